#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""What it costs to include each public header: counted, so that it cannot grow unnoticed. And whether each header compiles alone.

    measure.py check  INCLUDE COMPILER   compiles every header alone, counts the public ones and compares with baseline.txt: 3 % more is
                                         refused, 3 % less too (write it anew)
    measure.py write  INCLUDE COMPILER   writes baseline.txt
    measure.py time   INCLUDE COMPILER   the seconds of g++ -fsyntax-only, in multiples of boost/hana.hpp in the same run; never a test
    measure.py program INCLUDE COMPILERS the processor seconds and MB of memory of each compiler at -O2, for the README's program
    measure.py selftest                  the comparison refuses what it must

Counted are the templates that clang instantiates (its time trace, all events) and the headers that are opened. Both depend on the
versions of compiler and standard library alone, which baseline.txt names: with others there is nothing to compare, and that is said.
"""
import concurrent.futures
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
BASELINE = os.path.join(HERE, "baseline.txt")
BAND = 0.03
SLACK = 3  # templates or headers: a band of 3 % of very few is less than one
UMBRELLAS = ("tether.hpp", "proof.hpp", "testing.hpp")
SKIPPED = 77
INCLUDE = re.compile(r"^#include <tether/([^>]+)>", re.MULTILINE)
# What the headers are meant to cost, in multiples of boost/hana.hpp.
GOALS = {"tether.hpp": 10, "attach/container.hpp": 5, "inhibit/discard_gate.hpp": 2.5, "topology/flat_view.hpp": 2,
         "core/error.hpp": 1.5}


def public_headers(include):
    """The umbrellas, and what they name."""
    found = set(UMBRELLAS)
    for umbrella in UMBRELLAS:
        with open(os.path.join(include, "tether", umbrella), encoding="utf-8") as file:
            found.update(INCLUDE.findall(file.read()))
    return sorted(found)


def private_headers(include):
    public = set(public_headers(include))
    found = []
    for folder, _, names in os.walk(os.path.join(include, "tether")):
        paths = (os.path.relpath(os.path.join(folder, name), os.path.join(include, "tether")) for name in names)
        found += [path for path in paths if path.endswith(".hpp") and path not in public]
    return sorted(found)


def versions(compiler):
    """Of the compiler, and of its standard library."""
    name = subprocess.run([compiler, "--version"], check=True, capture_output=True, text=True).stdout.splitlines()[0]
    library = subprocess.run([compiler, "-std=c++20", "-x", "c++", "-E", "-dM", "-include", "cstddef", "/dev/null"], check=True,
                             capture_output=True, text=True).stdout
    return f"{name.split('(')[0].strip()}, libstdc++ {re.search(r'__GLIBCXX__ ([0-9]+)', library)[1]}"


def compile_alone(scratch, include, compiler, header, *options):
    """What the compiler says. A program of this header and nothing else must compile."""
    source = source_for(scratch, f"tether/{header}")
    done = subprocess.run([compiler, "-std=c++20", f"-I{include}", source, *options], capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"tether/{header} does not compile alone:\n{done.stderr}")
    return done.stderr


def source_for(scratch, what):
    path = os.path.join(scratch, what.replace("/", "_") + ".cpp")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"#include <{what}>\n")
    return path


def count(scratch, include, compiler, header):
    """(instantiations, headers opened)"""
    trace = os.path.join(scratch, header.replace("/", "_") + ".json")
    said = compile_alone(scratch, include, compiler, header, "-c", "-o", trace + ".o", "-H", f"-ftime-trace={trace}",
                         "-ftime-trace-granularity=0")
    with open(trace, encoding="utf-8") as file:
        events = json.load(file)["traceEvents"]
    instantiated = sum(event["name"] in ("InstantiateClass", "InstantiateFunction") for event in events)
    return instantiated, sum(line.startswith(".") for line in said.splitlines())


def for_each(headers, do):
    """{header: do(scratch, header)}, on all processors"""
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(headers, pool.map(lambda one: do(scratch, one), headers)))


def count_all(include, compiler):
    return for_each(public_headers(include), lambda scratch, one: count(scratch, include, compiler, one))


def compile_private(include, compiler):
    """How many there are."""
    return len(for_each(private_headers(include),
                        lambda scratch, one: compile_alone(scratch, include, compiler, one, "-fsyntax-only")))


def read_baseline():
    with open(BASELINE, encoding="utf-8") as file:
        lines = file.read().splitlines()
    rows = (line.split() for line in lines[1:])
    return lines[0].removeprefix("# "), {name: (int(templates), int(opened)) for name, templates, opened in rows}


def differences(before, now):
    """Sentences about what is outside the band."""
    for name in sorted(before.keys() | now.keys()):
        if name not in now:
            yield f"tether/{name}: is in the baseline, and public no more"
        elif name not in before:
            yield f"tether/{name}: is public, and not in the baseline"
        else:
            for what, old, new in zip(("templates instantiated", "headers opened"), before[name], now[name]):
                if abs(new - old) > max(SLACK, BAND * old):
                    yield f"tether/{name}: {what} {old} -> {new}"


def check(include, compiler):
    parts, now = compile_private(include, compiler), count_all(include, compiler)
    print(f"each of {len(now)} public headers and {parts} private ones compiles alone")
    made_with, before = read_baseline()
    if made_with != versions(compiler):
        print(f"skipped: the baseline was made with {made_with}, and this is {versions(compiler)}")
        return SKIPPED
    found = list(differences(before, now))
    for sentence in found:
        print(sentence)
    if found:
        print("if that is meant: bench/compile/measure.py write INCLUDE COMPILER, and say why in the commit")
    print(f"{len(before)} headers compared, {len(found)} outside the band of {BAND:.0%}")
    return 1 if found else 0


def write(include, compiler):
    rows = count_all(include, compiler)
    with open(BASELINE, "w", encoding="utf-8") as file:
        file.write(f"# {versions(compiler)}\n")
        for name, (templates, opened) in rows.items():
            file.write(f"{name} {templates} {opened}\n")
    return 0


def seconds(scratch, include, compiler, what, tries=5):
    """The least user time of a few: other work on the machine only adds to it."""
    source = source_for(scratch, what)
    times = []
    for _ in range(tries):
        begun = os.times()
        subprocess.run([compiler, "-std=c++20", "-fsyntax-only", f"-I{include}", source], check=True)
        ended = os.times()
        times.append(ended.children_user - begun.children_user + ended.children_system - begun.children_system)
    return min(times)


def show_times(include, compiler):
    with tempfile.TemporaryDirectory() as scratch:
        unit = seconds(scratch, include, compiler, "boost/hana.hpp")
        print(f"boost/hana.hpp {unit:.2f} s; the rest in multiples of it")
        for name in public_headers(include):
            multiple = seconds(scratch, include, compiler, f"tether/{name}", 3) / unit
            goal = f"   goal {GOALS[name]}" if name in GOALS else ""
            print(f"{multiple:6.2f}  tether/{name}{goal}")
    return 0


def program(include, *compilers):
    """The least of three runs of each compiler: other work on the machine only adds to it."""
    source = os.path.join(HERE, "..", "..", "examples", "quickstart.cpp")
    for compiler in compilers:
        runs = []
        for _ in range(3):
            started = subprocess.Popen([compiler, "-std=c++20", "-O2", f"-I{include}", "-c", source, "-o", os.devnull])
            _, status, used = os.wait4(started.pid, 0)  # of the compiler and of what it runs
            started.returncode = os.waitstatus_to_exitcode(status)
            if started.returncode != 0:
                return 1
            runs.append((used.ru_utime + used.ru_stime, used.ru_maxrss / 1024))
        print(f"{os.path.basename(compiler)}: {min(one[0] for one in runs):.1f} s, {min(one[1] for one in runs):.0f} MB")
    return 0


def selftest():
    before = {"one.hpp": (1000, 100), "two.hpp": (10, 10)}
    cases = [
        ({"one.hpp": (1030, 103), "two.hpp": (13, 13)}, 0),
        ({"one.hpp": (1031, 100), "two.hpp": (10, 10)}, 1),
        ({"one.hpp": (969, 100), "two.hpp": (10, 10)}, 1),
        ({"one.hpp": (1000, 104), "two.hpp": (14, 10)}, 2),
        ({"one.hpp": (1000, 100)}, 1),
        ({"one.hpp": (1000, 100), "two.hpp": (10, 10), "three.hpp": (1, 1)}, 1),
    ]
    wrong = sum(len(list(differences(before, now))) != expected for now, expected in cases)
    print(f"{len(cases)} comparisons, {wrong} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    sys.exit({"check": check, "write": write, "time": show_times, "program": program, "selftest": selftest}[command](*arguments))
