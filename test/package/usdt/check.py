#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Whether the probes of `usdt.hpp` are in a program that asks for them, and in none that does not.

    check.py COMPILER SCRATCH INCLUDE...

Where <sys/sdt.h> is not installed: whether one sentence says so.
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
PROBES = {"begins": 3, "step_begins": 3, "step_ends": 6, "holds": 3, "ends": 4}


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "LC_ALL": "C"})


def probes_of(program):
    """name -> the numbers of arguments with which it is there"""
    notes = run("readelf", "--notes", "--wide", program).stdout
    found = {}
    for provider, name, arguments in re.findall(r"Provider: (\S+)\s+Name: (\S+)\s.*?Arguments: ([^\n]*)", notes, re.DOTALL):
        if provider == "tether":
            found.setdefault(name, set()).add(len(arguments.split()))
    return found


def main(compiler, scratch, *includes):
    os.makedirs(scratch, exist_ok=True)
    common = [compiler, "-std=c++20", "-O1", "-pthread", *(f"-I{one}" for one in includes if one)]
    there = run(*common, "-include", "sys/sdt.h", "-xc++", "-E", "/dev/null").returncode == 0
    program = os.path.join(scratch, "program")
    built = run(*common, os.path.join(HERE, "program.cpp"), "-o", program)
    if not there:
        if built.returncode == 0 or built.stderr.count(" error: ") != 1 or "tether[U1]" not in built.stderr:
            print(built.stderr, "without <sys/sdt.h> one sentence, tether[U1], must say so")
            return 1
        print("there is no <sys/sdt.h>: one sentence says so")
        return 0
    if built.returncode != 0:
        print(built.stderr)
        return 1
    found = probes_of(program)
    if found != {name: {arguments} for name, arguments in PROBES.items()}:
        print(f"the probes are {found}, and should be {PROBES}")
        return 1
    print(f"probes: {' '.join(sorted(found))}")
    if (status := run(program).returncode) != 0:
        print(f"the program ends with {status}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
