#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Shows that machine.py takes no failure for a success, needing neither a kernel nor QEMU."""
import io
import os
import subprocess
import sys
import tempfile

import machine

failures = []


def check(what, right):
    print(f"{'passed' if right else 'FAILED'}  {what}", flush=True)
    if not right:
        failures.append(what)


def followed(script, limit=20):
    """What follow() makes of a machine that says what `script` prints."""
    process = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    log = io.BytesIO()
    try:
        return machine.follow(process, log, limit), log.getvalue().decode()
    finally:
        process.kill()
        process.wait()


def skipped(act):
    try:
        act()
    except machine.Skip as reason:
        return str(reason)
    return None


check("a case that ends well is a success", followed("printf 'booting\\r\\ntether-end: 0\\r\\n'")[0] == 0)
check("a case that fails is a failure", followed("echo 'tether-end: 1'")[0] == 1)
check("a case that was killed is a failure", followed("echo 'tether-end: 139'")[0] == 139)
check("a case that was skipped says so", followed("echo 'skipped: no device'; echo 'tether-end: 77'")[0] == 77)
check("a machine that stops before its case has ended is a failure", "ended before" in str(followed("echo 'passed  one'; exit 0")[0]))
check("a machine that hangs is a failure", "did not end within" in str(followed("echo booting; exec sleep 60", limit=1)[0]))
check("an end in the midst of a line is no end", "ended before" in str(followed("echo 'it says tether-end: 0'")[0]))
check("all that the machine says is in the log", followed("echo one; echo 'tether-end: 0'; echo two")[1] == "one\ntether-end: 0\ntwo\n")

with tempfile.TemporaryDirectory() as work:
    source = os.path.join(work, "case.cpp")
    with open(source, "w", encoding="utf-8") as file:
        file.write("// machine: -device edu\n// kernel: a.b=1\n// machine: -m 2G\nint main() {}\n")
    check("a source says what machine it wants", machine.wishes(source) == (["-device", "edu", "-m", "2G"], ["a.b=1"]))
    if machine.shutil.which("qemu-system-x86_64"):
        command = machine.qemu("/folder", "/archive", *machine.wishes(source))
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
    machine.CACHE = os.path.join(work, "cache")
    machine.newest_package = lambda: None
    check("without a kernel the reason is said", "apt-get update" in (skipped(machine.kernel) or ""))
    machine.newest_package = lambda: ("linux-image-6.1.0-0-amd64", "0")
    check("a kernel that cannot be downloaded is a reason, too", "cannot be downloaded" in (skipped(machine.kernel) or ""))
    check("and leaves nothing behind", os.listdir(machine.CACHE) == ["lock"])
    os.mkdir(os.path.join(machine.CACHE, "linux-image-6.1.0-9-amd64_1"))
    os.mkdir(os.path.join(machine.CACHE, "linux-image-6.1.0-10-amd64_1"))
    check("the newest kernel in the cache stands in", machine.kernel().endswith("linux-image-6.1.0-10-amd64_1"))

sys.exit(1 if failures else 0)
