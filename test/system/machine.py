#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The machine of test/system: a real kernel in QEMU, with an emulated IOMMU and edu's real DMA engine.

    machine.py run SOURCE PROGRAM --logs FOLDER [--tier N]   boots, runs one case, prints its test cases as they end, and what failed
    machine.py shell [--tier N] [PROGRAM...]                 the same machine with a shell; the programs lie in /
    machine.py kernel [--tier N] [--modules NAME...]         only gets the kernel and says where it is

A case says what machine it wants in comments of its source:

    // tier: 1 2                                  1: Debian's 6.1 (where nothing is said); 2: the small 6.12; both: it runs in each
    // machine: -device edu -smp 2                arguments for QEMU
    // kernel: vfio_iommu_type1.dma_entry_limit=64   words for the kernel's command line
    // modules: kvm mdev                          tier 1 loads KVM as well, and mediated devices; tier 2 has everything built in
    // limit: 600                                 seconds for the boot, where 300 are not enough on a busy machine
    // guest: yes                                 a virtual machine inside the machine: /vmm, and /guest with a stock kernel and initrd

The answer is 0 if the case passed, 77 if it was skipped (the reason is printed), else 1. Nothing is installed: kernels are in a
cache folder (kernels.py). The host's /dev/kvm is never used.
"""
import argparse
import os
import re
import select
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
import time

import kernels
from kernels import Skip, run

END = re.compile(r"^tether-end: (\d+)\s*$")
LIMIT = 300  # seconds for one boot, on a machine that has other things to do
ALIVE = b"tether-alive"  # what a machine with a guest says every five seconds
PATIENCE = 60  # seconds without it, and with QEMU idle: the machine's kernel is not woken any more
IDLE = 0.05  # of a processor

INIT = """#!/bin/sh
export PATH=/bin
mount -t devtmpfs none /dev
exec </dev/ttyS0 >/dev/ttyS0 2>&1
mount -t proc none /proc
mount -t sysfs none /sys
mount -t debugfs none /sys/kernel/debug 2>/dev/null
mount -t tmpfs none /tmp
stty -onlcr 2>/dev/null
ip link set lo up 2>/dev/null
for module in {modules}; do
  parameters=$(tr ' ' '\\n' </proc/cmdline | sed -n "s/^$(echo $module | tr - _)\\.//p")
  insmod /modules/$module.ko $parameters || echo "tether-machine: cannot load $module"
done
for device in /sys/bus/pci/devices/*; do
  case "$(cat $device/vendor):$(cat $device/device)" in 0x1234:0x11e8|0x1b36:0x0010)  # edu, QEMU's NVMe
    echo vfio-pci >$device/driver_override
    echo ${{device##*/}} >/sys/bus/pci/drivers/vfio-pci/bind
  esac
done
cd /tmp
{command}
"""
BEAT = f"while sleep 5; do echo {ALIVE.decode()}; done &\n"
RUN = """/case {arguments}
status=$?
[ $status = 0 ] || [ $status = 77 ] || dmesg | tail -n 60
echo
echo "tether-end: $status"
poweroff -f
"""
SHELL = """echo 'A case is run by /case-NAME; poweroff -f ends the machine.'
setsid cttyhack sh
poweroff -f
"""


def cpio_entry(out, name, mode, data=b"", device=(0, 0)):
    """One entry of a 'newc' archive: written here because device nodes need no privileges this way."""
    cpio_entry.inode += 1
    encoded = name.encode() + b"\0"
    fields = (cpio_entry.inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded), 0)
    head = b"070701" + b"".join(b"%08X" % field for field in fields) + encoded
    out.write(head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4))


cpio_entry.inode = 0


def initramfs(path, kernel_folder, modules, command, programs):
    """Writes the archive that the kernel boots into. `programs`: name -> file."""
    busybox = shutil.which("busybox")
    if busybox is None:
        raise Skip("busybox is not installed: .ci/deps system")
    with open(path, "wb") as out:
        for folder in ("bin", "dev", "guest", "proc", "sys", "tmp", "modules"):
            cpio_entry(out, folder, stat.S_IFDIR | 0o755)
        cpio_entry(out, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1))

        def copy(source, name, mode):
            with open(source, "rb") as file:
                cpio_entry(out, name, stat.S_IFREG | mode, file.read())

        copy(busybox, "bin/busybox", 0o755)
        for applet in ("cat cttyhack dmesg echo insmod ip ls mount poweroff sed setsid sh sleep stty tail tr".split()):
            cpio_entry(out, f"bin/{applet}", stat.S_IFLNK | 0o777, b"busybox")
        for module in modules:
            copy(os.path.join(kernel_folder, f"{module}.ko"), f"modules/{module}.ko", 0o644)
        for name, file in programs.items():
            copy(file, name, 0o755)
        init = INIT.format(modules=" ".join(modules), command=command)
        cpio_entry(out, "init", stat.S_IFREG | 0o755, init.encode())
        cpio_entry(out, "TRAILER!!!", 0)


def guest_initramfs(path, kernel_folder, program):
    """The archive that the kernel of a virtual machine boots into: its program, and the stock drivers in their order."""
    with open(path, "wb") as out:
        cpio_entry(out, "dev", stat.S_IFDIR | 0o755)
        cpio_entry(out, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
        cpio_entry(out, "modules", stat.S_IFDIR | 0o755)
        cpio_entry(out, "modules/order", stat.S_IFREG | 0o644, " ".join(kernels.GUEST_MODULES).encode())
        files = {f"modules/{name}.ko": os.path.join(kernel_folder, f"{name}.ko") for name in kernels.GUEST_MODULES}
        for name, file in {"init": program, **files}.items():
            with open(file, "rb") as content:
                cpio_entry(out, name, stat.S_IFREG | 0o755, content.read())
        cpio_entry(out, "TRAILER!!!", 0)


def wishes(source):
    """What the source asks for: a list of words under each of the keys."""
    with open(source, encoding="utf-8") as file:
        text = file.read()
    keys = ("tier", "machine", "kernel", "modules", "limit", "guest")
    return {key: shlex.split(" ".join(re.findall(rf"^// {key}: (.*)$", text, re.MULTILINE))) for key in keys}


def modules_of(tier, wanted):
    """The modules to load, in order. Tier 2 has none."""
    unknown = [one for one in wanted if one not in kernels.MORE_MODULES]
    if unknown:
        sys.exit(f"there are no modules '{unknown[0]}': say {', '.join(kernels.MORE_MODULES)}")
    return [] if tier == 2 else [*kernels.MODULES, *(module for one in wanted for module in kernels.MORE_MODULES[one])]


def qemu(kernel_folder, archive, devices, words):
    program = shutil.which("qemu-system-x86_64")
    if program is None:
        raise Skip("qemu-system-x86_64 is not installed: .ci/deps system")
    command = [program, "-machine", "q35,kernel-irqchip=split", "-accel", "tcg", "-cpu", "max", "-nographic", "-no-reboot", "-nodefaults"]
    if "-m" not in devices:
        command += ["-m", "512"]
    # panic=-1 and -no-reboot: a kernel that stops ends the machine. no_timer_check: on a busy host the timer's first ticks come
    # late, and the kernel would panic over that. idle=halt: with several processors QEMU lets one that idles by MWAIT spin.
    line = ["console=ttyS0", "intel_iommu=on", "no_timer_check", "idle=halt", "quiet", "panic=-1", *words]
    line += [f"{name}={os.environ[name]}" for name in ("TETHER_SEED", "TETHER_AMOUNT") if os.environ.get(name)]  # Linux hands them on
    command += ["-serial", "stdio", "-kernel", os.path.join(kernel_folder, "vmlinuz"), "-initrd", archive, "-append", " ".join(line)]
    return command + ["-device", "intel-iommu,intremap=on", *devices]


class StoodStill(Exception):
    """The machine as a whole: no sleep in it ends any more, and QEMU does nothing."""


def used_by(process):
    """The seconds that it has had a processor."""
    with open(f"/proc/{process.pid}/stat", encoding="utf-8") as file:
        fields = file.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Pulse:
    """Of a machine that says ALIVE. It stands still if it has said it, does not say it any more, and does not compute either."""

    def __init__(self, process, patience):
        self.process, self.patience, self.beats = process, patience, 0
        self.begin()

    def begin(self):
        self.since, self.used = time.monotonic(), used_by(self.process)

    def heard(self, got):
        self.beats += got.count(ALIVE)
        self.begin()

    def look(self):
        waited = time.monotonic() - self.since
        if waited < self.patience:
            return
        if self.beats and used_by(self.process) - self.used < IDLE * waited:
            raise StoodStill(f"nothing in it woke for {waited:.0f} seconds, and QEMU did nothing")
        self.begin()


def follow(process, log, limit, patience=PATIENCE):
    """Writes all that the machine says into the log, and prints what a case says. Answers its exit status, or a sentence."""
    deadline = time.monotonic() + limit
    pending = b""
    status = None
    pulse = Pulse(process, patience)
    while True:
        left = deadline - time.monotonic()
        if left <= 0:
            return f"it did not end within {limit} seconds"
        if not select.select([process.stdout], [], [], min(left, patience / 4))[0]:
            pulse.look()
            continue
        got = os.read(process.stdout.fileno(), 65536)
        pulse.heard(got)
        if not got:
            process.wait()
            return status if status is not None else f"the machine ended before the case did (QEMU answered {process.returncode})"
        log.write(got)
        log.flush()
        *lines, pending = (pending + got).split(b"\n")
        for raw in lines:
            text = raw.decode(errors="replace").rstrip("\r")
            if END.match(text):
                status = int(END.match(text).group(1))
            elif re.match(r"\s*(passed|FAILED|skipped|told|figures)\b", text):
                print(text, flush=True)


def boot(command, log, limit):
    """Runs the machine once. Answers as `follow`. Fails: raises StoodStill."""
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        return follow(process, log, limit)
    finally:
        process.kill()
        process.wait()


def boot_again_if_it_stands_still(name, once):
    """An emulated machine that hosts a guest now and then loses its timer (README.md). That says nothing about the case, so it is
    begun anew, once, and told. A case that hangs is another matter: its machine is alive."""
    try:
        return once()
    except StoodStill as why:
        print(f"figures: {name}: the machine stood still once ({why}), and was begun again", flush=True)
    try:
        return once()
    except StoodStill as why:
        return f"the machine stood still twice: {why}"


def run_case(source, program, tier, logs, arguments, limit, vmm, guest_program):
    """Boots the machine for one case. Answers what ctest is to be answered."""
    wanted = wishes(source)
    modules = modules_of(tier, wanted["modules"])
    folder = kernels.of_tier(tier, wanted["modules"])
    name = f"{os.path.splitext(os.path.basename(source))[0]}.{tier}"
    os.makedirs(logs, exist_ok=True)
    log_path = os.path.join(logs, f"{name}.log")
    with tempfile.TemporaryDirectory() as work, open(log_path, "wb") as log:
        def stripped(name, of):
            run("strip", "-o", os.path.join(work, name), of)
            return os.path.join(work, name)

        programs = {"case": stripped("case", program)}
        if wanted["guest"]:
            stock = kernels.of_tier(1)  # of both tiers: it is the guest's drivers that matter
            guest_archive = os.path.join(work, "guest-initramfs")
            guest_initramfs(guest_archive, stock, stripped("guest-program", guest_program))
            programs.update({"vmm": stripped("vmm", vmm), "guest/vmlinuz": os.path.join(stock, "vmlinuz"), "guest/initrd": guest_archive})
        archive = os.path.join(work, "initramfs")
        initramfs(archive, folder, modules, (BEAT if wanted["guest"] else "") + RUN.format(arguments=arguments), programs)
        command = qemu(folder, archive, wanted["machine"], wanted["kernel"])
        status = boot_again_if_it_stands_still(name, lambda: boot(command, log, limit or int((wanted["limit"] or [LIMIT])[0])))
    if status in (0, 77):
        os.remove(log_path)
        return status
    with open(log_path, encoding="utf-8", errors="replace") as log:
        print(log.read()[-12000:])
    print(f"{name}: {status if isinstance(status, str) else f'it answered {status}'}; the serial log is {log_path}")
    return 1


def shell(tier, programs):
    folder = kernels.of_tier(tier)
    with tempfile.TemporaryDirectory() as work:
        archive = os.path.join(work, "initramfs")
        modules = [one for one in modules_of(tier, kernels.MORE_MODULES) if os.path.exists(os.path.join(folder, f"{one}.ko"))]
        initramfs(archive, folder, modules, SHELL, {f"case-{os.path.basename(one)}": one for one in programs})
        command = qemu(folder, archive, ["-smp", "2", "-device", "edu", "-device", "edu"], [])
        command[command.index("-serial") + 1] = "mon:stdio"
        return subprocess.call(command)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("run")
    one.add_argument("source")
    one.add_argument("program")
    one.add_argument("--logs", required=True)
    one.add_argument("--arguments", default="")
    one.add_argument("--vmm", help="the virtual machine monitor, for a case with a guest")
    one.add_argument("--guest-program", help="what runs in that guest")
    one.add_argument("--limit", type=int, help="seconds, instead of what the case or the default says")
    there = commands.add_parser("shell")
    there.add_argument("programs", nargs="*")
    only = commands.add_parser("kernel")
    only.add_argument("--modules", nargs="+", choices=list(kernels.MORE_MODULES), default=[])
    for each in (one, there, only):
        each.add_argument("--tier", type=int, choices=(1, 2), default=1)
    given = parser.parse_args()
    try:
        if given.command == "run":
            return run_case(given.source, given.program, given.tier, given.logs, given.arguments, given.limit, given.vmm, given.guest_program)
        if given.command == "shell":
            return shell(given.tier, given.programs)
        print(kernels.of_tier(given.tier, given.modules))
        return 0
    except Skip as reason:
        print(f"skipped: {reason}")
        return 77
    except kernels.BuildFailed as reason:
        print(reason)
        return 1


if __name__ == "__main__":
    sys.exit(main())
