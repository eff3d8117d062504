#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Sums up what ctest wrote, and ends with "N passed, N failed" alone on the last line.

    summary.py PRESET=STATUS[,SECONDS]...     STATUS is the workflow's exit status; its results are build/PRESET/results.xml
    summary.py NAME:STATUS[,SECONDS]...       a program that is one test by itself

With SECONDS, what each took, it also says where the time went.

What was not run has not passed: no results, an empty list, or a workflow that failed although no test did each count
as one failure, printed with the first checks that failed. A skipped test is neither; it is printed with its reason. Lines
"figures: ..." of tests that passed are repeated: what a proof, a fuzzer or a random test has covered.
"""
import os
import re
import sys
import xml.etree.ElementTree as xml

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SKIPPED = "SKIP_RETURN_CODE"


def judge(preset, status, results):
    """(passed, sentences about failures, sentences about skips, figures)"""
    passed, failed, skipped, figures = 0, [], [], []
    if not os.path.exists(results):
        return 0, [f"{preset}: configuring or building failed, no test was run (status {status})"], [], []
    try:
        cases = xml.parse(results).getroot().iter("testcase")
    except xml.ParseError as error:
        return 0, [f"{preset}: the results cannot be read: {error}"], [], []
    for case in cases:
        name = f"{preset}: {case.get('name')}"
        note = case.find("skipped")
        if case.get("status") == "run" and case.find("failure") is None and note is None:
            passed += 1
            figures += [f"{preset}: {line}" for line in re.findall(r"^figures: (.*)$", case.findtext("system-out") or "", re.MULTILINE)]
        elif note is not None and SKIPPED in note.get("message", ""):
            reasons = re.findall(r"^skipped: (.*)$", case.findtext("system-out") or "", re.MULTILINE)
            skipped.append(f"{name}: {'; '.join(reasons) or 'no reason was given'}")
        else:
            why = case.find("failure") if case.find("failure") is not None else note
            message = why.get("message", "") if why is not None else ""
            failed.append(f"{name}{': ' + message if message else ''}")
            checks = re.findall(r"^(?:FAILED  .*|.* ERROR: .*)$", case.findtext("system-out") or "", re.MULTILINE)
            failed[-1] += "".join(f"\n           {check}" for check in [*dict.fromkeys(checks)][:8])
    if not passed and not failed:
        failed.append(f"{preset}: not one test was run")
    elif status != 0 and not failed:
        failed.append(f"{preset}: no test failed, but the workflow did (status {status})")
    return passed, failed, skipped, figures


def seconds_of_tests(results):
    """What ctest itself took, or 0."""
    try:
        return float(xml.parse(results).getroot().get("time", 0))
    except (OSError, xml.ParseError):
        return 0


def main(arguments):
    passed, failed, skipped, figures, times = 0, [], [], [], []
    for argument in arguments:
        name, kind, status, _, took = re.fullmatch(r"(\w+)([=:])(\d+)(,(\d+))?", argument).groups()
        if took:
            tests = seconds_of_tests(os.path.join(ROOT, "build", name, "results.xml")) if kind == "=" else 0
            times.append((name, int(took), tests))
        if kind == ":":
            ok, bad, left_out, seen = (1, [], [], []) if status == "0" else (0, [f"{name}: answered {status}"], [], [])
        else:
            ok, bad, left_out, seen = judge(name, int(status), os.path.join(ROOT, "build", name, "results.xml"))
        print(f"{name}: {ok} passed, {len(bad)} failed, {len(left_out)} skipped")
        passed += ok
        failed += bad
        skipped += left_out
        figures += seen
    for sentence in figures:
        print(f"figures  {sentence}")
    for name, took, tests in times:
        print(f"time     {name:8} {took / 60:5.1f} min, of them {tests / 60:.1f} in tests")
    if times:
        print(f"time     all      {sum(took for _, took, _ in times) / 60:5.1f} min")
    for sentence in skipped:
        print(f"skipped  {sentence}")
    for sentence in failed:
        print(f"FAILED   {sentence}")
    print(f"{passed} passed, {len(failed)} failed")
    return 0 if passed and not failed else 1


sys.exit(main(sys.argv[1:]))
