#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Shows that machine.py takes no failure for a success, needing neither a kernel nor QEMU.

    selftest.py shell N    opens a shell in the machine of that tier, as a person at a terminal would, and works in it
"""
import contextlib
import glob
import io
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile
import time

import kernels
import machine

failures = []


def check(what, right):
    print(f"{'passed' if right else 'FAILED'}  {what}", flush=True)
    if not right:
        failures.append(what)


def followed(script, limit=20, patience=10):
    """What follow() makes of a machine that says what `script` prints."""
    process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    log = io.BytesIO()
    try:
        return machine.follow(process, log, limit, patience), log.getvalue().decode()
    finally:
        process.kill()
        process.wait()


def stands_still(script):
    """Whether that is what follow() makes of it within a few seconds."""
    try:
        followed(script, 4, 1.5)
    except machine.StoodStill:
        return True
    return False


def booted(*outcomes):
    """(what becomes of a case whose machines end so, or, where None, stand still; how many were booted; whether that was told)"""
    left = list(outcomes)

    def once():
        if left[0] is None:
            raise machine.StoodStill(left.pop(0))
        return left.pop(0)

    with contextlib.redirect_stdout(io.StringIO()) as told:
        answer = machine.boot_again_if_it_stands_still("case", once)
    return answer, len(outcomes) - len(left), "begun again" in told.getvalue()


def skipped(act):
    try:
        act()
    except machine.Skip as reason:
        return str(reason)
    return None


def at_a_terminal(tier, limit=240):
    """Types into the machine's shell. Answers (how machine.py ended, all that was on the screen)."""
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-B", machine.__file__, "shell", "--tier", str(tier)])
    screen = b""
    # What is typed is echoed; $((...)) keeps the echo from being taken for the answer.
    to_type = [(b"# ", b"echo it is $((6*7)); ls -1 --color=never /dev/vfio/vfio /dev/kvm\r"), (b"it is 42", b"poweroff -f\r")]
    deadline = time.monotonic() + limit
    try:
        while time.monotonic() < deadline:
            if not select.select([terminal], [], [], 1)[0]:
                continue
            try:
                got = os.read(terminal, 65536)
            except OSError:
                got = b""  # Linux says EIO where others say that it ended
            if not got:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode(errors="replace")
            screen += got
            if to_type and to_type[0][0] in screen:
                os.write(terminal, to_type.pop(0)[1])
        return f"it did not end within {limit} seconds", screen.decode(errors="replace")
    finally:
        os.close(terminal)  # hangs it up, if it still runs


if sys.argv[1:2] == ["shell"]:
    ended, said = at_a_terminal(int(sys.argv[2]))
    if ended == 77:
        print(said)
        sys.exit(77)
    check("a shell takes commands, answers, and ends", ended == 0 and "it is 42" in said)
    answered = said.partition("it is 42")[2].split()
    check("in it are VFIO and KVM", "/dev/vfio/vfio" in answered and "/dev/kvm" in answered)
    if failures:
        print(said[-4000:], ended)
    sys.exit(1 if failures else 0)

check("a case that ends well is a success", followed("printf 'booting\\r\\ntether-end: 0\\r\\n'")[0] == 0)
check("a case that fails is a failure", followed("echo 'tether-end: 1'")[0] == 1)
check("a case that was killed is a failure", followed("echo 'tether-end: 139'")[0] == 139)
check("a case that was skipped says so", followed("echo 'skipped: no device'; echo 'tether-end: 77'")[0] == 77)
check("a machine that stops before its case has ended is a failure", "ended before" in str(followed("echo 'passed  one'; exit 0")[0]))
check("a machine that hangs is a failure", "did not end within" in str(followed("echo booting; exec sleep 60", limit=1)[0]))
check("a machine that said it was alive, and then says and does nothing, stands still", stands_still("echo tether-alive; exec sleep 60"))
check("one that goes on saying it does not", not stands_still("while :; do echo tether-alive; sleep 0.1; done"))
check("nor does one that computes", not stands_still("echo tether-alive; while :; do :; done"))
check("nor one that never said it", not stands_still("exec sleep 60"))
check("a machine that stood still is begun again, and that is told", booted(None, 0) == (0, 2, True) and booted(None, 1) == (1, 2, True))
check("once", booted(None, None, 0) == ("the machine stood still twice: None", 2, True))
check("one that ended is not", booted(0, 1) == (0, 1, False) and booted("it did not end", 0) == ("it did not end", 1, False))
check("an end in the midst of a line is no end", "ended before" in str(followed("echo 'it says tether-end: 0'")[0]))
check("all that the machine says is in the log", followed("echo one; echo 'tether-end: 0'; echo two")[1] == "one\ntether-end: 0\ntwo\n")

with tempfile.TemporaryDirectory() as work:
    source = os.path.join(work, "case.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write("// tier: 1 2\n// machine: -device edu\n// kernel: a.b=1\n// machine: -m 2G\n// modules: kvm\n// limit: 600\n")
        file.write("// guest: yes\nint main() {}\n")
    wanted = machine.wishes(source)
    asked = {"tier": ["1", "2"], "machine": ["-device", "edu", "-m", "2G"], "kernel": ["a.b=1"], "modules": ["kvm"], "limit": ["600"]}
    asked["guest"] = ["yes"]
    check("a source says what machine it wants", wanted == asked)
    loaded = machine.modules_of(1, ["kvm"])
    check("modules are loaded after those that they need", loaded.index("vfio") < loaded.index("vfio-pci") < loaded.index("kvm-amd"))
    check("KVM is loaded only where it is asked for", "kvm" in loaded and "kvm" not in machine.modules_of(1, []))
    loaded = machine.modules_of(1, ["mdev"])
    check("a driver of mediated devices is loaded after what it needs", loaded.index("vfio") < loaded.index("mdev") < loaded.index("mtty"))
    check("nothing is loaded on tier 2", not machine.modules_of(2, ["kvm", "mdev"]))
    if shutil.which("qemu-system-x86_64"):
        command = machine.qemu("/folder", "/archive", wanted["machine"], wanted["kernel"])
        check("the machine is emulated", command.count("-accel") == 1 and command[command.index("-accel") + 1] == "tcg")
        check("and never uses /dev/kvm", not any("kvm" in word for word in command))
        asked = "edu" in command and command.count("-m") == 1 and "a.b=1" in command[command.index("-append") + 1]
        check("what a source asks for is in the command", asked)

    archive = os.path.join(work, "archive")
    with open(archive, "wb") as out:
        machine.cpio_entry(out, "folder", machine.stat.S_IFDIR | 0o755)
        machine.cpio_entry(out, "folder/file", machine.stat.S_IFREG | 0o644, b"five5")
        machine.cpio_entry(out, "TRAILER!!!", 0)
    with open(archive, "rb") as file:
        written = file.read()
    begins = [at for at in range(len(written)) if written[at:at + 6] == b"070701"]
    check("the archive's entries begin at multiples of four", len(begins) == 3 and all(at % 4 == 0 for at in [*begins, len(written)]))

    # Neither apt nor the network: the reason is said, and nothing is left in the cache.
    def cached(name, *files):
        os.makedirs(os.path.join(kernels.CACHE, name), exist_ok=True)
        for one in files:
            with open(os.path.join(kernels.CACHE, name, one), "w", encoding="utf-8"):
                pass

    kernels.CACHE = os.path.join(work, "cache")
    whole = ("vmlinuz", *(f"{module}.ko" for module in kernels.ALL_MODULES))
    kernels.newest_package = lambda: None
    check("without a kernel the reason is said", "apt-get update" in (skipped(kernels.debians) or ""))
    kernels.newest_package = lambda: ("linux-image-6.1.0-0-amd64", "0")
    check("a kernel that cannot be downloaded is a reason, too", "cannot be downloaded" in (skipped(kernels.debians) or ""))
    check("and leaves nothing behind", os.listdir(kernels.CACHE) == ["lock-debian"])
    cached("linux-image-6.1.0-9-amd64_1", *whole)
    cached("linux-image-6.1.0-10-amd64_1", *whole)
    cached("linux-image-6.1.0-11-amd64_1", "vmlinuz")
    check("the newest whole kernel in the cache stands in", kernels.debians().endswith("linux-image-6.1.0-10-amd64_1"))

    real_check = kernels.check_tools
    kernels.check_tools = lambda *_: None
    tier_1 = kernels.debians()
    check("a module that is not asked for is not built", kernels.of_tier(1, ["kvm"]) == tier_1)
    said = skipped(lambda: kernels.of_tier(1, ["mdev"])) or ""
    check("a module whose kernel's headers cannot be had is a reason", "linux-headers-6.1.0-10-amd64 cannot be downloaded" in said)
    check("and leaves nothing behind", not glob.glob(f"{kernels.CACHE}/work-*") and "mtty.ko" not in os.listdir(tier_1))
    kernels.check_tools = lambda what, tools, headers, room: real_check(what, {"no-such-tool": "its-package"}, headers, room)
    check("a tool that is missing is a reason, too", "its-package" in (skipped(lambda: kernels.of_tier(1, ["mdev"])) or ""))
    kernels.check_tools = lambda *_: None
    cached(os.path.basename(tier_1), "mtty.ko")
    check("a module that is there is not built again", kernels.of_tier(1, ["mdev"]) == tier_1)

    kernels.candidate = lambda package, options=(): None
    kernels.mirrors = lambda: []
    check("without a mirror the reason is said", kernels.SUITE in (skipped(kernels.small) or ""))
    kernels.candidate = lambda package, options=(): "6.12.0-0"
    check("a source that cannot be downloaded is a reason", "cannot be downloaded" in (skipped(kernels.small) or ""))
    check("and leaves nothing behind", not glob.glob(f"{kernels.CACHE}/work-*") and not glob.glob(f"{kernels.CACHE}/small-*"))
    mine = kernels.fragment()[1]
    cached(f"small-linux_6.12.9-1_{mine}", "vmlinuz")
    cached(f"small-linux_6.12.10-1_{mine}", "vmlinuz")
    cached("small-linux_6.12.11-1_0123456789ab", "vmlinuz")
    check("the newest small kernel of this configuration stands in", kernels.small().endswith(f"small-linux_6.12.10-1_{mine}"))
    kernels.candidate = lambda package, options=(): None
    check("and no mirror is asked for a newer one", kernels.small().endswith(f"small-linux_6.12.10-1_{mine}"))

    # A build that fails, or that loses a line of the configuration, is a failure and no skip.
    def built(merge, make="#!/bin/sh\nexit 0\n"):
        tree = tempfile.mkdtemp(dir=work)
        os.makedirs(os.path.join(tree, "scripts/kconfig"))
        os.makedirs(os.path.join(tree, "bin"))
        for name, script in (("scripts/kconfig/merge_config.sh", merge), ("bin/make", make)):
            with open(os.path.join(tree, name), "w", encoding="utf-8") as file:
                file.write(script)
            os.chmod(os.path.join(tree, name), 0o755)
        path = os.environ["PATH"]
        os.environ["PATH"] = f"{tree}/bin:{path}"
        try:
            return kernels.build(tree, tree)
        except kernels.BuildFailed as reason:
            return str(reason)
        finally:
            os.environ["PATH"] = path

    takes_all = '#!/bin/sh\ncp "$3" .config\n'
    check("a configuration that is taken whole is built", built(takes_all)[0].endswith("bzImage"))
    loses_one = '#!/bin/sh\ngrep -v CONFIG_IOMMUFD= "$3" >.config\n'
    check("a line of it that is lost is a failure, by name", "CONFIG_IOMMUFD=y" in str(built(loses_one)))
    stops = '#!/bin/sh\ncase "$*" in *bzImage) echo no such register; exit 2 ;; esac\n'
    check("a build that fails is a failure, with what it said", "no such register" in str(built(takes_all, stops)))

sys.exit(1 if failures else 0)
