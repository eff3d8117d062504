#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Holds generated code against hand-written code, instruction by instruction (performance.md, row 1).

    check.py skip REASON
    check.py compile OUT COMPILER INCLUDES...    compiles what is looked at into the folder OUT
    check.py map OUT                             the map path of every configuration against the same by hand
    check.py lifecycle OUT                       attach, open, close and detach: what must not be in them
    check.py count OUT                           what both sides of the map path really run, counted by callgrind
    check.py count_lifecycle OUT                 what attach, open, close and detach really run, against the same by hand
    check.py search OUT                          the search of an interval table: no branch but the loop's own
    check.py translation OUT                     an address found by direct_lookup: no loop, no call, and few instructions
    check.py refuses OUT NAME                    NAME of wrong.cpp is refused, for its own reason

Static figures are those of the success path: what can run when nothing fails (machine_code.py).
"""
import collections
import contextlib
import io
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
STORIES = 50  # times that count_lifecycle.cpp runs each step

# What a generic map or unmap may have more than the one by hand, in instructions and in opcodes that that one has not at
# all: compilers place registers and blocks of equal code unequally by so much. And how many times as many it may run,
# beside those two once for each piece that is mapped.
MORE = 2
TIMES = 1.005
# Attach, open, close and detach: times as many, and so many more. The acts are functions of their own where code by hand has one:
# a hundred instructions in an operation that pins for milliseconds.
LIFECYCLE_LIMITS = {"g++": (1.25, 60), "clang": (1.25, 60)}

SYSTEM_CALLS = {"codegen_map", "codegen_unmap"}
MUTEX = {"pthread_mutex_lock", "pthread_mutex_unlock"}
ALLOCATION = re.compile(r"operator new|(malloc|calloc|realloc|aligned_alloc)$|.*::_M_create\(")
EXCEPTIONS = re.compile(r"__cxa_|_Unwind_Resume|std::__throw_")
PATH = re.compile(r"codegen::(generic|by_hand)::(map|unmap)<(.*)>\(void\*, tether::detail::section_plan const&\)$")
LIFECYCLE = re.compile(r"codegen::generic::(attach|open|close|detach)<(.*)>\(")
# Populating is a system call for each section that is mapped read-only, and there are none mostly: as opaque as the calls themselves.
# Copying what a container answers with is asked for only where the lists of it have changed.
POPULATES = re.compile(r"section_mapper<.*>::populate_each\(|detail::published::copy_lists<|dma_listener<.*>::left_out\(|basic_left_out_list<.*>::all\(")
SEARCH = re.compile(r"codegen::(generic|wrong)::(\w*search)\(")
TRANSLATION = re.compile(r"codegen::(generic|wrong)::(\w*translation)\(")
LIBRARY = re.compile(r"(?:^|\s|&|\*)(?:std|tl|__gnu_cxx)::")

# How many configurations there are (product.hpp asserts the first), and functions of each.
COMPLETE = {"map": (56, 2), "lifecycle": (28, 4), "count": (56, 2), "count_lifecycle": (4, 8), "search": (1, 1), "translation": (1, 1)}

# Conditional jumps of the search that are in no loop: there is nothing, or nothing so low; there is one chunk (asked up to three
# times), or are many; the very last address.
# Each goes the same way for all addresses of a table, or all but one.
AROUND = 8

# Of a translation that succeeds: the GiB is in the list, it has a table, the block a buffer, the buffer these bytes.
CHECKS = 4
INSTRUCTIONS = 45

# What wrong.cpp, and the end of search.cpp, have: where it shows, and what the sentence must say.
WRONG = {
    "virtual_call": ("map", "indirect call"),
    "allocation": ("map", "allocates"),
    "extra_work": ("map", "more instructions"),
    "lock_as_single_threaded": ("lifecycle", "locks the bus"),
    "branching_search": ("search", "branches within the loop"),
    "unrolled_search": ("search", "conditional jumps around the loop"),
    "walking_translation": ("translation", "loops"),
    "loop_and_switch": ("lifecycle", "jump table"),
}


def short(policies):
    """A configuration's name for a table: "pins, per_group, fixed_block<64K>, single"."""
    text = re.sub(r"tether::|detail::|codegen::|wrong::|inhibit_|_threaded", "", policies)
    for what, shown in ((r"policy_list<", ""), (r"65536(ul)?", "64K"), (r"2097152(ul)?", "2M"),
                        (r"fake_iommu<true>", "pins"), (r"fake_iommu<false>", "pins nothing")):
        text = re.sub(what, shown, text)
    text = text.rstrip()
    return text.removesuffix(">").rstrip() if text.count(">") > text.count("<") else text


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
        elif "tether::detail::section_mapper<" not in name:
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
        columns = [f"{which:5} {f[0]:3} {f[1]:3}  +{f[2]} -{f[3]:<2} {f[4]:3} {f[5]:3}" if f else which for which, f, _ in functions]
        print(f"{short(policies):58}", "  |  ".join(columns))
        for which, _, refused in functions:
            for sentence in refused:
                print(f"    REFUSED {which}: {sentence}")
    return rows, refusals


# The lifecycle.

def reached(functions, start):
    """The functions of the object file that `start` reaches, itself included."""
    found, waiting = {}, [start]
    while waiting:
        name = waiting.pop()
        if name in found or name not in functions or POPULATES.search(name):
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
    return rows, refusals


def told(refused):
    """Prints why something is refused; answers for how many reasons."""
    for sentence in refused:
        print(f"    REFUSED {sentence}")
    return len(refused)


# The search.

def check_search(object_file, wanted="generic"):
    functions = machine_code.functions_of(object_file)
    rows, refusals = {}, 0
    for start in sorted(functions):
        found = SEARCH.search(start)
        if not found or wanted not in found.groups():
            continue
        refused, around, loops = [], 0, 0
        for function in reached(functions, start).values():
            jumps, own = function.conditional(), function.loops()
            for loop in own:
                more = sum(at in loop for at in jumps) - 1
                if more > 0:
                    refused.append(f"branches within the loop: {more} conditional jumps besides its own")
            loops += len(own)
            around += sum(not any(at in loop for loop in own) for at in jumps)
        if loops != 1:
            refused.append(f"{loops} loops, and not the one through the chunks")
        if around > AROUND:
            refused.append(f"{around} conditional jumps around the loop, {AROUND} are accounted for")
        print(f"{found[2]}: {loops} loops, {around} conditional jumps around them")
        rows[start] = [found[2]]
        refusals += told(refused)
    return rows, refusals


# The translation.

def check_translation(object_file, wanted="generic"):
    rows, refusals = {}, 0
    for name, function in sorted(machine_code.functions_of(object_file).items()):
        found = TRANSLATION.search(name)
        if not found or wanted not in found.groups():
            continue
        path = function.success_path(set())
        jumps = sum(one.opcode.startswith("j") and one.opcode != "jmp" for one in path)
        size, loops = machine_code.opcodes(path).total(), len(function.loops())
        refused = [f"{loops} loops: something is done for each block"] if loops else []
        if not path:
            refused.append("no way through it was found on which nothing is called")
        if jumps > CHECKS:
            refused.append(f"{jumps} conditional jumps, {CHECKS} are accounted for")
        if size > INSTRUCTIONS:
            refused.append(f"{size} instructions, {INSTRUCTIONS} at most")
        print(f"{found[2]}: {size} instructions, {jumps} conditional jumps, {loops} loops")
        rows[name] = [found[2]]
        refusals += told(refused)
    return rows, refusals


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


def run_counted(program, *options):
    """(what it printed, totals, whether it ended well)"""
    with tempfile.TemporaryDirectory() as folder:
        ran = subprocess.run(["valgrind", "--tool=callgrind", "--quiet", f"--callgrind-out-file={folder}/out", *options, program],
                             capture_output=True, text=True, check=False)
        totals = totals_of(folder)
    print(ran.stderr, end="")
    return ran.stdout.splitlines(), totals, ran.returncode == 0


def check_count(out):
    said, totals, well = run_counted(f"{out}/count")
    names, made = {}, {}
    for line in said:
        if found := re.match(r"(\d+) .*?(policy_list<.*>)\]$", line):
            names[int(found[1])] = short(found[2])
        elif found := re.match(r"(\d+) (\w+) (\d+) system calls$", line):
            made[int(found[1]), found[2]] = int(found[3])
        else:
            print(line)
    rows, refusals = {}, 0 if well else 1
    print(f"instructions of {RUNS} calls: generic, by hand, their ratio, system calls")
    for number, name in sorted(names.items(), key=lambda one: one[1]):
        columns = rows.setdefault(name, [])
        for which in ("map", "unmap"):
            generic, by_hand = totals.get((number, which, "generic")), totals.get((number, which, "by_hand"))
            pieces = made.get((number, which), 0)
            if not generic or not by_hand or not pieces:
                columns.append(f"{which} REFUSED: was not counted")
                refusals += 1
                continue
            refused = generic > by_hand * TIMES + MORE * pieces
            refusals += refused
            columns.append(f"{which:5} {generic:6} {by_hand:6} {generic / by_hand:.3f} {pieces:4}{' REFUSED' if refused else ''}")
        print(f"{name:58}", "  |  ".join(columns))
    return rows, refusals


def check_count_lifecycle(out):
    said, totals, well = run_counted(f"{out}/count_lifecycle", "--collect-atstart=no")
    names = {int(found[1]): found[2] for line in said if (found := re.match(r"(\d+) (.*)$", line))}
    steps = list(dict.fromkeys(which for _, which, _ in sorted(totals)))
    refusals = 0 if well else 1
    times, more = LIFECYCLE_LIMITS["clang" if is_clang(out) else "g++"]
    print(*(line for line in said if not re.match(r"\d+ ", line)), sep="\n")
    print(f"instructions of one operation: generic, by hand, their ratio; up to {times} times and {more} more are accepted")
    for number, name in names.items():
        for which in steps:
            generic, by_hand = (totals.get((number, which, side), 0) / STORIES for side in ("generic", "by_hand"))
            refused = not generic or not by_hand or generic > by_hand * times + more
            refusals += refused
            ratio = generic / by_hand if by_hand else 0
            print(f"{name:26} {which:14} {generic:5.0f} {by_hand:5.0f} {ratio:.3f}{' REFUSED' if refused else ''}")
    return dict.fromkeys(names, steps), refusals


# Compiling.

def is_clang(out):
    with open(f"{out}/compiler", encoding="utf-8") as file:
        return "clang" in file.read()


def compile_all(out, compiler, includes):
    os.makedirs(out, exist_ok=True)
    with open(f"{out}/compiler", "w", encoding="utf-8") as file:
        file.write(subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True).stdout)
    # g++ would make one function of two equal ones; clang repeats a loop's head before the loop or not, as it happens to
    # be 16 instructions long or 17.
    honest = ["-mllvm", "-rotation-max-header-size=0"] if is_clang(out) else ["-fno-ipa-icf"]
    common = [compiler, "-std=c++20", "-O2", "-DNDEBUG", "-ffunction-sections", "-pthread"]
    seam = f"-I{HERE}/seam"
    paths = [f"-I{os.path.dirname(HERE)}", *(f"-I{one}" for one in includes if one)]
    for name, more in (("map_path", honest), ("lifecycle", [*honest, seam]), ("search", honest), ("wrong", [*honest, seam])):
        subprocess.run([*common, *more, *paths, "-c", f"{HERE}/{name}.cpp", "-o", f"{out}/{name}.o"], check=True)
    if can_count():
        # As a user would compile it: what is counted here runs.
        for name, sources, more in (("count", ["count", "map_path"], []), ("count_lifecycle", ["count_lifecycle"], [seam])):
            files = [f"{HERE}/{source}.cpp" for source in (*sources, "system_calls")]
            subprocess.run([*common, *more, *paths, *files, "-o", f"{out}/{name}"], check=True)


def can_count():
    return shutil.which("valgrind") and os.path.exists("/usr/include/valgrind/callgrind.h")


def refuses(out, name):
    """Whether the wrong one is refused, and for its own reason."""
    path, reason = WRONG[name]
    said = io.StringIO()
    object_file = f"{out}/{'search' if path in ('search', 'translation') else 'wrong'}.o"
    with contextlib.redirect_stdout(said):
        {"map": check_map, "lifecycle": check_lifecycle, "search": check_search, "translation": check_translation}[path](object_file, name)
    print(said.getvalue())
    refused = any("REFUSED" in line and reason in line for line in said.getvalue().splitlines())
    print(f"{name} is refused as it must be" if refused else f"{name} must be refused with '{reason}', and is not")
    return refused


def skip(reason):
    print(f"skipped: {reason}")
    return SKIPPED


def main(command, out, *rest):
    if command == "skip":
        return skip(out)
    if command == "compile":
        compile_all(out, rest[0], rest[1:])
        return 0
    if command == "refuses":
        return 0 if refuses(out, rest[0]) else 1
    if command.startswith("count") and not can_count():
        return skip("valgrind is not installed, so the instructions that really run are not counted")
    rows, refusals = {
        "map": lambda: check_map(f"{out}/map_path.o"),
        "lifecycle": lambda: check_lifecycle(f"{out}/lifecycle.o"),
        "search": lambda: check_search(f"{out}/search.o"),
        "translation": lambda: check_translation(f"{out}/search.o"),
        "count": lambda: check_count(out),
        "count_lifecycle": lambda: check_count_lifecycle(out),
    }[command]()
    configurations, functions = COMPLETE[command]
    if len(rows) != configurations or any(len(row) != functions for row in rows.values()):
        print(f"REFUSED: there must be {configurations} configurations with {functions} functions each")
        refusals += 1
    print(f"{len(rows)} configurations, {refusals} refusals")
    return 1 if refusals else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
