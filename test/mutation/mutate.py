#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Breaks the library on purpose, one place at a time, and demands that a test goes red each time.

    run [--every N] [--only TEXT] [--list] [--jobs N]        in test/mutation; all mutants, or every N-th

A mutant is the real header with one change: an order exchanged, an act dropped, a count raised, a comparison turned, a condition
denied, a statement left out. It is laid before the other headers and given to the judges of its header, cheapest first; the first
that does not compile, or fails, has killed it. What no judge kills is a survivor and is printed; one is a failure.
A change that makes no difference is no mutant: `equivalent.txt` lists those, each with the reason.
"""
import argparse
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
TEST = os.path.dirname(HERE)
ROOT = os.path.dirname(TEST)
FLAGS = ["-std=c++20", "-O0", "-pthread", "-DDOCTEST_CONFIG_USE_STD_HEADERS", "-D_GLIBCXX_ASSERTIONS", "-fmax-errors=1", "-w"]
LIMIT = 180  # seconds that a judge may take; a mutant that hangs is dead

def static(*names):
    return [("static", f"static/{name}.cpp") for name in names]


def program(*sources):
    return [("program", sources)]


def units(*names):
    return [judge for name in names for judge in program(f"runtime/attach/{name}.cpp")]


PROOF = program("mutation/proof.cpp")
LAWS = program("laws/inhibition.cpp")
LOCKSTEP = program("mutation/lockstep_groups.cpp") + program("mutation/lockstep_devices.cpp")
STORIES = [judge for name in ("attach", "opt_in", "mixed_groups", "failed_attach", "hot_unplug", "kvm_is_told", "single_devices",
                              "compulsory") for judge in program(f"scenario/{name}.cpp")] + program("exhaustive/fault_sweep.cpp")

UNIT_STORIES = (program("scenario/units_and_failures.cpp") + program("scenario/coordinated_discards.cpp")
                + program("exhaustive/lockstep_units.cpp"))

# Header, and who judges it, in this order.
TARGETS = {
    "inhibit/policies.hpp": static("inhibit/policies") + PROOF + LAWS,
    "inhibit/membership.hpp": PROOF + static("inhibit/membership"),
    "inhibit/concepts.hpp": PROOF + static("inhibit/concepts"),
    "inhibit/kinds.hpp": static("inhibit/kinds"),
    "core/detail/unit_rules.hpp": static("core/detail/unit_rules") + program("exhaustive/units_at_run_time.cpp"),
    "topology/population.hpp": program("runtime/topology/population.cpp", "support/failing_allocation.cpp")
    + program("runtime/topology/unit_source.cpp") + UNIT_STORIES,
    "topology/unit_source.hpp": program("runtime/topology/unit_source.cpp") + program("runtime/discard/populate_failure.cpp") + UNIT_STORIES,
    "listen/detail/unit_mapper.hpp": program("runtime/listen/detail/unit_mapper.cpp", "support/failing_allocation.cpp")
    + UNIT_STORIES,
    "discard/virtio_mem.hpp": program("runtime/discard/virtio_mem.cpp"),
    "discard/detail/frame_records.hpp": program("runtime/discard/detail/frame_records.cpp") + program("runtime/discard/balloon.cpp")
    + program("scenario/balloon_notes.cpp") + program("scenario/coordinated_discards.cpp"),
    "inhibit/detail/ledger.hpp": program("runtime/inhibit/detail/ledger.cpp"),
    "attach/lifecycle/steps.hpp": PROOF + static("attach/lifecycle/steps", "attach/lifecycle/plans", "attach/lifecycle/plan_rules"),
    "attach/lifecycle/plans.hpp": PROOF + static("attach/lifecycle/plans", "attach/lifecycle/plan_rules"),
    "attach/lifecycle/plan_rules.hpp": static("attach/lifecycle/plan_rules", "attach/lifecycle/plans"),
    "attach/detail/container_state.hpp": LOCKSTEP + units("handles", "lease", "container", "container_status") + STORIES,
    "attach/detail/executor.hpp": LOCKSTEP + units("detail/executor", "audit", "handles")
    + program("scenario/coordinated_discards.cpp") + STORIES,
    "attach/detail/tasks.hpp": LOCKSTEP + program("runtime/attach/detail/tasks.cpp") + program("exhaustive/exchanged_nodes.cpp") + STORIES,
    "attach/detail/group_operations.hpp": program("mutation/lockstep_groups.cpp") + program("runtime/attach/detail/group_operations.cpp")
    + program("scenario/attach_by_name.cpp") + STORIES,
    "attach/detail/device_operations.hpp": program("mutation/lockstep_devices.cpp")
    + units("detail/device_operations", "lease") + STORIES,
    "attach/container.hpp": LOCKSTEP + program("runtime/attach/container.cpp") + STORIES,
}

# What is turned into what. Spaces keep template brackets and references out.
TURNS = [
    (r" == ", [" != "]), (r" != ", [" == "]), (r" <= ", [" < "]), (r" >= ", [" > "]),
    (r" < ", [" <= "]), (r" > ", [" >= "]), (r" && ", [" || "]), (r" \|\| ", [" && "]),
    (r" \+= ", [" -= "]), (r" -= ", [" += "]), (r" \+ ", [" - "]), (r" - ", [" + "]),
    (r"(?<=[(\s])!(?=[\w(])", [""]), (r"\btrue\b", ["false"]), (r"\bfalse\b", ["true"]),
    (r"\? 1\b", ["? 0", "? 2"]), (r": 0\b(?=[;)])", [": 1"]), (r"(?<=return )0(?=;)", ["1"]),
    (r"\bfailed\b(?=>|\)|;)", ["done"]), (r"\bdone\b(?=\);|>)", ["failed"]),
]
STATEMENT = re.compile(r"^\s*(?:if \([^;]*\) )?(?:static_cast<void>\()?[\w:.>*\[\]()-]*?[\w\])](?:\(.*\)|\s[+|-]?=\s.*);$")
NOT_A_STATEMENT = re.compile(r"^\s*(?:return|using|constexpr|const|auto|static_assert|template|case|default|friend|explicit|inline|else|for"
                             r"|public|private|\[\[nodiscard|[\w:<>]+(?: const)?[&*]? \w+(?:\{.*\})? ?(?:=|;)|typename|static constexpr)\b")


class Mutant:
    def __init__(self, header, number, line, changed):
        self.header, self.number, self.line, self.changed = header, number, line, changed

    def __str__(self):
        return f"{self.header}:{self.number + 1}: {self.line.strip()}  =>  {self.changed.strip() or '(left out)'}"


def lists_of_acts(line):
    """Each list of acts with one left out; a plan, where the order counts, also with two neighbours exchanged."""
    ordered = "plan_with<" in line
    for match in re.finditer(r"(?:\{|plan_with<change::\w+, )((?:(?:act::)?[a-z_]+, )+(?:act::)?[a-z_]+)[}>]", line):
        acts = match.group(1).split(", ")
        for i in range(len(acts)):
            for changed in ([acts[:i] + acts[i + 1:]] + ([acts[:i] + [acts[i + 1], acts[i]] + acts[i + 2:]] if ordered and i + 1 < len(acts) else [])):
                yield line[:match.start(1)] + ", ".join(changed) + line[match.end(1):]


def whole_lines(lines):
    """The lines with each statement, condition or head that the formatter has wrapped on one of them again, so that what is changed
    does not depend on where a line ends. Continuations are empty lines, so numbers stay."""
    made = list(lines)
    first = None  # of the line that is not over yet
    for number, line in enumerate(lines):
        code = re.sub(r"\s*//.*$", "", line).rstrip()
        if first is not None and code.strip():
            made[first] += (" " if made[first][-1] not in "(<{" else "") + code.strip()
            made[number] = ""
        over = not code.strip() or code.endswith((";", "{", "}", ":", ">")) or code.lstrip().startswith("#")
        if over or re.match(r"^\s*[\w ={}]+,$", code) and first is None:
            first = None
        elif first is None:
            made[number], first = code, number
    return made


def mutants_of(header):
    """Every change of one header, in the order of its lines."""
    with open(os.path.join(ROOT, "include/tether", header), encoding="utf-8") as file:
        lines = whole_lines(file.read().split("\n"))
    for number, line in enumerate(lines):
        code = re.sub(r"\s*//.*$", "", line)
        if not code.strip() or code.lstrip().startswith(("#", "*", "static_assert", "template", "namespace", "requires")):
            continue
        changes = list(lists_of_acts(code))
        if not changes:
            for pattern, instead in TURNS:
                for match in re.finditer(pattern, code):
                    if code[:match.start()].count('"') % 2 == 1:
                        continue  # in a message
                    changes += [code[:match.start()] + new + code[match.end():] for new in instead]
        if STATEMENT.match(code) and not NOT_A_STATEMENT.match(code):
            changes.append("")
        elif re.match(r"^\s*if (?:constexpr )?\(.*\) (?:\[\[\w+\]\] )?return .*;$", code):
            changes.append("")
        for changed in dict.fromkeys(changes):
            yield Mutant(header, number, line, changed), lines


def equivalents():
    """{(header, line, changed line)} from equivalent.txt: `header | line | changed line | why`."""
    found = set()
    with open(os.path.join(HERE, "equivalent.txt"), encoding="utf-8") as file:
        for row in file:
            if row.strip() and not row.startswith("#"):
                header, line, changed, why = [part.strip() for part in row.split(" | ")]
                assert why
                found.add((header, line, changed))
    return found


class Trial:
    """Where mutants are tried: a folder for each thread, and doctest's main, compiled once."""

    def __init__(self, folder, compiler):
        self.folder, self.compiler, self.own = folder, compiler, threading.local()
        self.asked, self.asking = {}, threading.Lock()
        self.main = os.path.join(folder, "main.o")
        subprocess.run([compiler, *FLAGS, f"-I{TEST}", "-c", os.path.join(TEST, "main.cpp"), "-o", self.main], check=True)

    def seat(self):
        if not hasattr(self.own, "seat"):
            self.own.seat = tempfile.mkdtemp(dir=self.folder)
        return self.own.seat

    def kills(self, judge, includes):
        """Whether the judge goes red."""
        kind, what = judge
        command = [self.compiler, *FLAGS, *includes, f"-I{ROOT}/include", f"-I{TEST}"]
        if kind == "static":
            return subprocess.run([*command, "-fsyntax-only", os.path.join(TEST, what)], capture_output=True, check=False).returncode != 0
        made = os.path.join(self.seat(), "program")
        sources = [os.path.join(TEST, source) for source in what]
        main = [] if what == ("mutation/proof.cpp",) else [self.main]
        if subprocess.run([*command, *sources, *main, "-o", made], capture_output=True, check=False).returncode != 0:
            return True
        try:
            return subprocess.run([made, "--abort-after=1"], capture_output=True, check=False, timeout=LIMIT).returncode not in (0, 77)
        except subprocess.TimeoutExpired:
            return True

    def killer_of(self, mutant, lines):
        """The judge that kills it, or None."""
        laid = os.path.join(self.seat(), "include")
        shutil.rmtree(laid, ignore_errors=True)
        path = os.path.join(laid, "tether", mutant.header)
        os.makedirs(os.path.dirname(path))
        with open(path, "w", encoding="utf-8") as file:
            file.write("\n".join(lines[:mutant.number] + [mutant.changed] + lines[mutant.number + 1:]))
        for judge in TARGETS[mutant.header]:
            if self.kills(judge, [f"-I{laid}"]):
                return self.name_of_green(judge)
        return None

    def name_of_green(self, judge):
        """The judge's name. A judge that is red without any mutant has killed nobody: that ends everything."""
        name = judge[1] if judge[0] == "static" else judge[1][0]
        with self.asking:
            if name not in self.asked:
                self.asked[name] = not self.kills(judge, [])
            if not self.asked[name]:
                raise SystemExit(f"{name} is red without any mutant")
        return name


def main():
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("--every", type=int, default=1, help="only every N-th mutant")
    asked.add_argument("--only", default="", help="only mutants whose description has this in it")
    asked.add_argument("--list", action="store_true", help="print them and try none")
    asked.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    asked.add_argument("--compiler", default="g++")
    asked.add_argument("--blind", action="store_true", help="with no judge at all: everything must survive, or this program is wrong")
    asked = asked.parse_args()

    same = equivalents()
    all_of_them = [one for header in TARGETS for one in mutants_of(header) if asked.only in str(one[0])]
    key = lambda one: (one.header, re.sub(r"\s*//.*$", "", one.line).strip(), one.changed.strip() or "(left out)")
    unknown = same - {key(one) for one, _ in all_of_them}
    if unknown and not asked.only:
        print("equivalent.txt speaks of what is not there any more:", *sorted(unknown), sep="\n  ")
        return 1
    real = [one for one in all_of_them if key(one[0]) not in same]
    chosen = real[asked.every // 2::asked.every]
    if asked.list:
        print(*(one for one, _ in chosen), sep="\n")
        return 0
    if asked.blind:
        for header in TARGETS:
            TARGETS[header] = []

    survivors, by_judge, done = [], {}, 0
    with tempfile.TemporaryDirectory() as folder:
        trial = Trial(folder, asked.compiler)
        with concurrent.futures.ThreadPoolExecutor(asked.jobs) as pool:
            for (mutant, _), killer in zip(chosen, pool.map(lambda one: trial.killer_of(*one), chosen)):
                done += 1
                if killer is None:
                    survivors.append(mutant)
                    print(f"SURVIVED {mutant}", flush=True)
                else:
                    by_judge[killer] = by_judge.get(killer, 0) + 1
                if done % 50 == 0:
                    print(f"{done} of {len(chosen)} tried, {len(survivors)} survived", flush=True)
    for judge, count in sorted(by_judge.items(), key=lambda one: -one[1]):
        print(f"  {count:4} killed by {judge}")
    print(f"{'without a judge' if asked.blind else 'figures: mutation'}: {len(chosen)} of {len(real)} mutants tried, {len(chosen) - len(survivors)} killed, "
          f"{len(survivors)} survived ({len(same)} changes that change nothing are listed)")
    return 1 if survivors or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
