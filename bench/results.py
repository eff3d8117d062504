# SPDX-License-Identifier: BSL-1.0
"""Reads what the benchmarks wrote, and judges it by goals.json."""
import json
import os

HERE = os.path.dirname(os.path.abspath(__file__))


class Missing(Exception):
    """A figure that a goal needs was not measured, and nothing says why."""


def goals():
    with open(os.path.join(HERE, "goals.json"), encoding="utf-8") as file:
        return json.load(file)


def rows_of(output):
    """The rows of one program. `output` is the JSON of Google Benchmark; a row's name is question/panel/parameter:number/..."""
    compiler = output["context"]["compiler"]
    for one in output["benchmarks"]:
        question, panel, point = one["name"].split("/")[:3]
        parameter, number = point.split(":")
        unit, *without = one.get("label", "").split("|")
        pick = lambda kind: {key.removeprefix(kind): value for key, value in one.items() if key.startswith(kind)}
        yield {"question": question, "panel": panel, "parameter": parameter, "at": int(number), "compiler": compiler, "unit": unit,
               "fastest": pick("fastest|"), "ratio": pick("ratio|"), "rounds": int(one.get("rounds", 0)), "without": without,
               "skipped": one["error_message"] if one.get("error_occurred") else None}


def name_of(row):
    return f"{row['panel']}/{row['parameter']}:{row['at']}"


def side_of(goal):
    """Which side of ours a goal is about."""
    return goal.get("of", "tether")


def judge_one(question, goal, row, other):
    """A goal's ratio: of how many times as long the other takes (at_least), or we do (at_most). "We" are `of`, if that is given."""
    own = side_of(goal)
    verdict = {"question": question, "goal": goal, "compiler": row["compiler"], "row": row}
    left_out = [why for holder, side in ((row, own), (other, goal["than"])) for why in holder["without"] if why.startswith(side + ":")]
    skipped = row["skipped"] or other["skipped"] or next(iter(left_out), None)
    if skipped:
        return verdict | {"word": "not measured", "why": skipped}
    for holder, side in ((row, own), (other, goal["than"])):
        if side not in holder["fastest"]:
            raise Missing(f"{question}/{name_of(holder)} ({holder['compiler']}) has no figure of '{side}'")
    ours, theirs = row["fastest"][own], other["fastest"][goal["than"]]
    wanted = goal.get("at_least", goal.get("at_most"))
    ratio = theirs / ours if "at_least" in goal else ours / theirs
    median = None
    if row is other and own == "tether":  # the medians are of ratios to it
        median = row["ratio"][goal["than"]] if "at_least" in goal else 1 / row["ratio"][goal["than"]]
    reached = ratio >= wanted if "at_least" in goal else ratio <= wanted
    line = theirs / wanted if "at_least" in goal else theirs * wanted  # where tether's time must be, at most
    return verdict | {"word": "reached" if reached else "short", "ratio": ratio, "median": median, "wanted": wanted, "ours": ours,
                      "theirs": theirs, "line": line}


def judge(rows, all_goals):
    """One verdict for each goal and compiler. Raises Missing where there is no figure to judge."""
    verdicts = []
    for question, content in all_goals.items():
        for goal in content["goals"]:
            found = [row for row in rows if row["question"] == question and name_of(row) == goal["row"]]
            if len({row["compiler"] for row in found}) < goal.get("compilers", 1):
                raise Missing(f"{question}/{goal['row']} was asked of {len(found)} compilers, not of {goal.get('compilers', 1)}")
            for row in found:
                wanted = goal.get("than_row", goal["row"])
                other = next((one for one in rows if one["question"] == question and name_of(one) == wanted
                              and one["compiler"] == row["compiler"]), None)
                if other is None:
                    raise Missing(f"{question}/{wanted} was not measured")
                verdicts.append(judge_one(question, goal, row, other))
    return verdicts


def time_text(nanoseconds):
    for size, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:.3g} ns"


def figure_text(nanoseconds, unit):
    """Time, or bandwidth where a time is of a GiB."""
    return f"{1e9 / nanoseconds:.3g} GiB/s" if unit == "ns a GiB" else time_text(nanoseconds)


def comparison_text(verdict):
    """'12.3 times as fast (6 wanted)', or '1.02 times as long (1.03 allowed)'."""
    if verdict["word"] == "not measured":
        return verdict["why"]
    faster = "at_least" in verdict["goal"]
    return f"{verdict['ratio']:.3g} times as {'fast' if faster else 'long'} ({verdict['wanted']} {'wanted' if faster else 'allowed'})"


def table(verdicts):
    """Markdown, for bench/README.md."""
    yield "| question | row | compiler | tether | against | | |"
    yield "|---|---|---|---|---|---|---|"
    for one in verdicts:
        unit = one["row"]["unit"]
        goal = one["goal"]
        ours = f"{goal['of'] + ' ' if 'of' in goal else ''}{figure_text(one['ours'], unit)}" if "ours" in one else "-"
        theirs = f" {figure_text(one['theirs'], unit)}" if "theirs" in one else ""
        against = (f"itself at {goal['than_row'].split(':')[-1]}" if "than_row" in goal else goal["than"]) + theirs
        yield (f"| {one['question']} | {goal['row']} | {one['compiler'].split('.')[0]} | {ours} | {against} | {comparison_text(one)} "
               f"| {one['word']} |")
