#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Holds generated code against hand-written code, instruction by instruction (performance.md, row 1).

    check.py skip REASON
    check.py compile OUT COMPILER INCLUDES...    compiles what is looked at into the folder OUT
    check.py map OUT                             the map path of every configuration against the same by hand
    check.py lifecycle OUT                       attach, open, close and detach: what must not be in them
    check.py count OUT                           what both really run, counted by callgrind
    check.py refuses OUT NAME                    NAME of wrong.cpp is refused, for its own reason

Static figures are those of the success path: what can run when nothing fails (machine_code.py).
"""
import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile

import machine_code

HERE = os.path.dirname(os.path.abspath(__file__))
SKIPPED = 77
RUNS = 100  # calls of each function that count.cpp makes
MORE_RUN = 1.005  # times as many instructions that a generic function may run, and for each of its calls MORE, and
MORE_A_PIECE = 1  # for each system call: compilers place registers and blocks of equal code unequally by so much
MORE = 2  # instructions that a generic function may have more than the one by hand, and opcodes that that one has not

SYSTEM_CALLS = {"codegen_map", "codegen_unmap"}
MUTEX = {"pthread_mutex_lock", "pthread_mutex_unlock"}
ALLOCATION = re.compile(r"operator new|(malloc|calloc|realloc|aligned_alloc)$|.*::_M_create\(")
EXCEPTIONS = re.compile(r"__cxa_|_Unwind_Resume|std::__throw_")
PATH = re.compile(r"codegen::(generic|by_hand)::(map|unmap)<(.*)>\(void\*, tether::section_plan const&\)$")
LIFECYCLE = re.compile(r"codegen::generic::(attach|open|close|detach)<(.*)>\(")
LIBRARY = re.compile(r"(?:^|\s|&|\*)(?:std|tl|__gnu_cxx)::")

# What wrong.cpp has: where it shows, and what the sentence must say.
WRONG = {
    "virtual_call": ("map", "indirect call"),
    "allocation": ("map", "allocates"),
    "extra_work": ("map", "more instructions"),
    "lock_as_single_threaded": ("lifecycle", "locks the bus"),
    "loop_and_switch": ("lifecycle", "jump table"),
}


def short(policies):
    text = re.sub(r"tether::|codegen::|wrong::|policy_list<|policies<", "", policies)
    text = text.replace("65536ul", "64K").replace("2097152ul", "2M").replace("fake_iommu<true>", "pins").replace("fake_iommu<false>", "pins nothing")
    return re.sub(r"(inhibit_|_threaded)", "", text).strip("> ") + (">" if "fixed_block" in text.rpartition(",")[2] else "")


def single_threaded(policies):
    return "multi_threaded" not in policies


def in_common(function, policies):
    """What neither the map path nor the lifecycle may have."""
    for one in function.indirect():
        yield f"{'jump table, or indirect jump' if one.opcode == 'jmp' else 'indirect call'}: {one.opcode} {one.operands}"
    for name in function.data():
        if name.startswith("vtable for"):
            yield f"reads a virtual table: {name}"
    if single_threaded(policies):
        for one in function.locked():
            yield f"locks the bus for one thread: {one.prefix} {one.opcode} {one.operands}"


# The map path.

def judge_map(generic, by_hand, policies):
    """(figures, refusals)"""
    refused = list(in_common(generic, policies))
    expected = SYSTEM_CALLS | (set() if single_threaded(policies) else MUTEX)
    mine = machine_code.opcodes(generic.success_path(expected))
    theirs = machine_code.opcodes(by_hand.success_path(expected))
    if "ret" not in mine or "ret" not in theirs:
        refused.append("no way through it was found on which nothing else is called")
    more, fewer = (mine - theirs).total(), (theirs - mine).total()
    if mine.total() > theirs.total() + MORE:
        refused.append(f"{mine.total() - theirs.total()} more instructions than by hand: {dict(mine - theirs)}")
    if more > MORE:
        refused.append(f"{more} opcodes that are not there by hand: {dict(mine - theirs)}")
    if len(generic.locked()) != len(by_hand.locked()):
        refused.append(f"locks the bus {len(generic.locked())} times, by hand {len(by_hand.locked())}")
    for name in sorted(generic.called() - by_hand.called()):
        if ALLOCATION.match(name):
            refused.append(f"allocates: {name}")
        elif EXCEPTIONS.match(name):
            refused.append(f"handles exceptions: {name}")
        elif "tether::section_mapper<" not in name:
            refused.append(f"calls what is not called by hand: {name}")
    everything = (machine_code.opcodes(generic.all()).total(), machine_code.opcodes(by_hand.all()).total())
    return (mine.total(), theirs.total(), more, fewer, *everything), refused


def pairs_of(object_file):
    pairs = collections.defaultdict(dict)
    for name, function in machine_code.functions_of(object_file).items():
        if found := PATH.search(name):
            pairs[found[3], found[2]][found[1]] = function
    return pairs


def check_map(object_file, wanted=None):
    refusals = 0
    print("instructions when nothing fails: generic, by hand; opcodes more and fewer; with failure paths: generic, by hand")
    rows = collections.defaultdict(list)
    for (policies, which), sides in sorted(pairs_of(object_file).items()):
        if wanted and wanted not in policies:
            continue
        if len(sides) != 2:
            figures, refused = (), [f"only {', '.join(sides)} was found"]
        else:
            figures, refused = judge_map(sides["generic"], sides["by_hand"], policies)
        rows[policies].append((which, figures, refused))
        refusals += len(refused)
    for policies, functions in rows.items():
        columns = [f"{which:5} {figures[0]:3} {figures[1]:3}  +{figures[2]} -{figures[3]:<2} {figures[4]:3} {figures[5]:3}" if figures else which
                   for which, figures, _ in functions]
        print(f"{short(policies):58}", "  |  ".join(columns))
        for which, _, refused in functions:
            for sentence in refused:
                print(f"    REFUSED {which}: {sentence}")
    return len(rows), refusals


# The lifecycle.

def reached(functions, start):
    """The functions of the object file that `start` reaches, itself included."""
    found, waiting = {}, [start]
    while waiting:
        name = waiting.pop()
        if name in found or name not in functions:
            continue
        found[name] = functions[name]
        waiting += functions[name].called()
    return found


def judge_lifecycle(which, functions, start, policies):
    """(figures, refusals)"""
    refused, allocations = [], collections.Counter()
    all_reached = reached(functions, start)
    for name, function in all_reached.items():
        # The standard library waits on condition variables in its own way, where threads are asked for.
        ours = not LIBRARY.search(name.split("(")[0].split("<")[0])
        if ours or single_threaded(policies):
            refused += [f"{sentence} in {name[:100]}" for sentence in in_common(function, policies)]
        allocations.update(one.target for one in function.transfers() if ALLOCATION.match(one.target))
    # Its record and, if it is long, the record's name.
    allowed = 2 if which in ("attach", "open") else 0
    if allocations.total() > allowed:
        refused.append(f"allocates in {allocations.total()} places, {allowed} are the record's: {dict(allocations)}")
    size = sum(machine_code.opcodes(function.all()).total() for function in all_reached.values())
    return (len(all_reached), size, allocations.total()), refused


def check_lifecycle(object_file, wanted=None):
    functions = machine_code.functions_of(object_file)
    refusals, rows = 0, collections.defaultdict(list)
    print("functions reached, their instructions with all failure paths, places that allocate")
    for name in sorted(functions):
        found = LIFECYCLE.search(name)
        if not found or (wanted and wanted not in name):
            continue
        figures, refused = judge_lifecycle(found[1], functions, name, found[2])
        rows[found[2]].append((found[1], figures, refused))
        refusals += len(refused)
    for policies, operations in rows.items():
        print(f"{short(policies):48}", "  |  ".join(f"{which} {f[0]:2} {f[1]:4} {f[2]}" for which, f, _ in operations))
        for which, _, refused in operations:
            for sentence in dict.fromkeys(refused):
                print(f"    REFUSED {which}: {sentence}")
    return len(rows), refusals


# Counting what really runs.

def totals_of(folder):
    """What each run took, by its label: (number, function, side)."""
    totals = {}
    for name in os.listdir(folder):
        with open(os.path.join(folder, name), encoding="utf-8") as file:
            text = file.read()
        label = re.search(r"^desc: Trigger: Client Request: (\d+) (\w+) (\w+)$", text, re.MULTILINE)
        if label:
            totals[int(label[1]), label[2], label[3]] = int(re.search(r"^totals: (\d+)$", text, re.MULTILINE)[1])
    return totals


def check_count(out):
    if not shutil.which("valgrind"):
        print("skipped: valgrind is not installed, so the instructions that really run are not counted")
        return SKIPPED
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder}/out", f"{out}/count"],
                             capture_output=True, text=True, check=False)
        totals = totals_of(folder)
    print(ran.stderr, end="")
    names, made = {}, {}
    for line in ran.stdout.splitlines():
        if found := re.match(r"(\d+) .*?(policy_list<.*>)\]$", line):
            names[int(found[1])] = short(found[2])
        elif found := re.match(r"(\d+) (\w+) (\d+) system calls$", line):
            made[int(found[1]), found[2]] = int(found[3])
        else:
            print(line)
    refusals = 0 if ran.returncode == 0 and names else 1
    print(f"instructions of {RUNS} calls: generic, by hand, their ratio, system calls")
    for number, name in sorted(names.items(), key=lambda one: one[1]):
        columns = []
        for which in ("map", "unmap"):
            generic, by_hand = totals.get((number, which, "generic")), totals.get((number, which, "by_hand"))
            pieces = made.get((number, which), 1)
            if not generic or not by_hand:
                columns.append(f"{which} REFUSED: was not counted")
                refusals += 1
                continue
            refused = generic > by_hand * MORE_RUN + MORE * RUNS + MORE_A_PIECE * pieces
            refusals += refused
            columns.append(f"{which:5} {generic:6} {by_hand:6} {generic / by_hand:.3f} {pieces:4}{' REFUSED' if refused else ''}")
        print(f"{name:58}", "  |  ".join(columns))
    print(f"{len(names)} configurations, {refusals} refusals")
    return 1 if refusals else 0


# Compiling.

def compile_all(out, compiler, includes):
    os.makedirs(out, exist_ok=True)
    is_clang = "clang" in subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout
    # g++ would make one function of two equal ones; clang repeats a loop's head before the loop or not, as it happens to
    # be 16 instructions long or 17.
    honest = ["-mllvm", "-rotation-max-header-size=0"] if is_clang else ["-fno-ipa-icf"]
    common = [compiler, "-std=c++20", "-O2", "-DNDEBUG", "-ffunction-sections"]
    seam = f"-I{HERE}/seam"
    paths = [f"-I{os.path.dirname(HERE)}", *(f"-I{one}" for one in includes if one)]
    for name, more in (("map_path", honest), ("lifecycle", [*honest, seam]), ("wrong", [*honest, seam])):
        subprocess.run([*common, *more, *paths, "-c", f"{HERE}/{name}.cpp", "-o", f"{out}/{name}.o"], check=True)
    if os.path.exists("/usr/include/valgrind/callgrind.h"):
        # As a user would compile it: what is counted here runs.
        subprocess.run([*common, *paths, f"{HERE}/map_path.cpp", f"{HERE}/count.cpp", "-o", f"{out}/count"], check=True)


def main(command, out, *rest):
    if command == "compile":
        compile_all(out, *rest[:1], rest[1:])
        return 0
    if command == "skip":
        print(f"skipped: {out}")
        return SKIPPED
    if command == "count":
        return check_count(out)
    if command == "refuses":
        path, reason = WRONG[rest[0]]
        with_what = {"map": check_map, "lifecycle": check_lifecycle}[path]
        import contextlib
        import io
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            with_what(f"{out}/wrong.o", rest[0])
        print(said.getvalue())
        refused = [line for line in said.getvalue().splitlines() if "REFUSED" in line and reason in line]
        print(f"{rest[0]} is refused as it must be" if refused else f"{rest[0]} must be refused with '{reason}', and is not")
        return 0 if refused else 1
    found, refusals = {"map": lambda: check_map(f"{out}/map_path.o"), "lifecycle": lambda: check_lifecycle(f"{out}/lifecycle.o")}[command]()
    print(f"{found} configurations, {refusals} refusals")
    return 0 if found and not refusals else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
