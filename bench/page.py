#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Runs the benchmarks and writes one page that shows what they found, beside the goals.

    page.py run OUT PROGRAM...   runs each, writes OUT/bench.json and OUT/bench.html; fails where a goal's figure is missing
    page.py page OUT             writes the page anew from OUT/bench.json
    page.py table OUT            prints the goals as the table of bench/README.md
    page.py selftest             what must be refused is refused; the page is one file, and well-formed
"""
import html
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree

import plot
import results

STYLE = """
:root { color-scheme: light dark; --ground: #fcfcfb; --card: #fff; --text: #1d2126; --soft: #667; --rule: #e3e5e8; --goal: #b3261e;
  --good: #1a7f4b; --bad: #b3261e; --0: #0b62d6; --1: #e08a00; --2: #2e9e6b; --3: #b5489a; --4: #7a6ff0; --5: #c9543b; --6: #4aa3b8;
  --7: #8a8f3a; --8: #8d8d96; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171b; --card: #1b1f25; --text: #e6e8eb; --soft: #9aa3ad; --rule: #2e343c;
  --goal: #ff8a80; --good: #63d297; --bad: #ff8a80; --0: #63a4ff; --1: #ffb74d; --2: #63d297; --3: #e58bcb; --4: #a79dff; --5: #ff8a70;
  --6: #7fd0e2; --7: #c5cb6b; --8: #a5a8b3; } }
body { margin: 0 auto; max-width: 1180px; padding: 2rem 1.2rem 4rem; background: var(--ground); color: var(--text);
  font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.7rem; margin: 0; } h2 { margin: 2.6rem 0 .2rem; font-size: 1.25rem; } h3 { font-size: .92rem; margin: 0 0 .3rem; }
p, .meta { color: var(--soft); margin: .2rem 0 .8rem; } nav a { color: inherit; margin-right: 1rem; }
.tally { font-size: 1.05rem; color: var(--text); } .reached { color: var(--good); font-weight: 600; }
.short { color: var(--bad); font-weight: 600; } .not { color: var(--soft); }
.grid-of { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)); gap: 1rem; }
figure { margin: 0; padding: .9rem; background: var(--card); border: 1px solid var(--rule); border-radius: 8px; }
svg { width: 100%; height: auto; } .tick { font-size: 11px; fill: var(--soft); } .grid { stroke: var(--rule); stroke-width: 1; }
.line { fill: none; stroke-width: 1.5; } .line.c0 { stroke-width: 3; } .goal { fill: none; stroke: var(--goal); stroke-width: 1.6;
  stroke-dasharray: 5 4; } .legend { list-style: none; display: flex; flex-wrap: wrap; gap: .1rem .9rem; margin: .3rem 0 0; padding: 0;
  font-size: .8rem; color: var(--soft); } .key { display: inline-block; width: .8rem; height: .22rem; margin-right: .35rem;
  vertical-align: middle; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .84rem; width: 100%; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .26rem .6rem .26rem 0; border-bottom: 1px solid var(--rule); } th { color: var(--soft);
  font-weight: 500; } details { margin-top: .5rem; font-size: .84rem; color: var(--soft); } .without { font-size: .8rem; }
""" + "".join(f".line.c{i} {{ stroke: var(--{i}); }} .dot.c{i}, .bar.c{i} {{ fill: var(--{i}); }} .key.c{i} {{ background: var(--{i}); }}\n"
              for i in range(9))


def escape(text):
    return html.escape(str(text))


def goals_table(verdicts):
    yield '<div class="scroll"><table><tr><th>row</th><th>compiler</th><th>tether</th><th>against</th><th>ratio of the fastest</th>'
    yield "<th>median of pairs</th><th></th></tr>"
    for one in verdicts:
        goal, unit = one["goal"], one["row"]["unit"]
        against = f"itself at {goal['than_row'].split('/')[-1]}" if "than_row" in goal else goal["than"]
        ours, theirs = (results.figure_text(one[key], unit) if key in one else "" for key in ("ours", "theirs"))
        ours = f"{goal['of']} {ours}" if "of" in goal else ours
        median = f"{one['median']:.3g}" if one.get("median") else ""
        yield (f"<tr><td>{escape(goal['row'])}</td><td>{escape(one['compiler'])}</td><td>{ours}</td><td>{escape(against)} {theirs}</td>"
               f"<td>{escape(results.comparison_text(one))}</td><td>{median}</td>"
               f"<td class='{one['word'].split()[0]}'>{one['word']}</td></tr>")
    yield "</table></div>"


def numbers_table(rows):
    sides = sorted({side for row in rows for side in row["fastest"]}, key=lambda side: (side != "tether", side))
    head = "".join(f"<th>{escape(side)}</th>" for side in sides)
    yield '<details><summary>figures</summary><div class="scroll"><table>'
    yield f"<tr><th>{escape(rows[0]['parameter'])}</th>{head}<th>rounds</th></tr>"
    for row in rows:
        texts = (results.figure_text(row["fastest"][side], row["unit"]) if side in row["fastest"] else "" for side in sides)
        cells = "".join(f"<td>{one}</td>" for one in texts)
        yield f"<tr><td>{row['at']}</td>{cells}<td>{row['rounds']}</td></tr>"
    yield "</table></div></details>"


def figure(panel, compiler, rows, verdicts):
    """A panel: its plot with the line of each goal, and its figures."""
    yield f"<figure><h3>{escape(panel)} <span class='meta'>({escape(rows[0]['unit'])}; {escape(compiler)})</span></h3>"
    lines = {}
    for one in verdicts:
        if "line" in one and one["row"] in rows:
            kind = "at_least" if "at_least" in one["goal"] else "at_most"
            whose = f" of {one['goal']['of']}" if "of" in one["goal"] else ""
            lines.setdefault(f"goal{whose}: against {one['goal']['than']}, {kind.replace('_', ' ')} {one['wanted']}", []).append(
                (one["row"]["at"], one["line"]))
    if any(row["fastest"] for row in rows):
        yield from plot.panel(rows, lines)
        yield from numbers_table([row for row in rows if row["fastest"]])
    for reason in sorted({f"not measured: {row['skipped']}" for row in rows if row["skipped"]} |
                         {f"without {one}" for row in rows for one in row["without"]}):
        yield f'<p class="without">{escape(reason)}</p>'
    yield "</figure>"


def page(contexts, rows, all_goals):
    """The lines of the page. Raises results.Missing."""
    verdicts = results.judge(rows, all_goals)
    words = [one["word"] for one in verdicts]
    context = contexts[0]
    yield "<!DOCTYPE html>"
    yield f'<html lang="en"><head><meta charset="utf-8"/><title>tether: benchmarks</title><style>{STYLE}</style></head><body>'
    yield "<h1>tether: benchmarks</h1>"
    yield (f"<p class='meta'>{escape(context['processor'])}, {escape(context['processors'])} processors; {escape(context['kernel'])}; "
           f"{escape(' and '.join(dict.fromkeys(one['compiler'] for one in contexts)))}; {escape(context['date'])}</p>")
    yield (f"<p class='tally'><span class='reached'>{words.count('reached')} reached</span>, "
           f"<span class='short'>{words.count('short')} short</span>, {words.count('not measured')} not measured</p>")
    yield ("<p>Every side of a plot ran in one process and took samples in turn; shown is the fastest sample of each, lower is better. "
           "Ratios travel to other machines, times do not. A dashed line is a goal: tether must lie on or below it.</p>")
    yield "<nav>" + "".join(f'<a href="#{one}">{one}</a>' for one in all_goals) + "</nav>"
    for question, content in all_goals.items():
        yield f'<h2 id="{question}">{question}</h2><p>{escape(content["asks"])}</p>'
        mine = [one for one in verdicts if one["question"] == question]
        if mine:
            yield from goals_table(mine)
        yield '<div class="grid-of">'
        panels = dict.fromkeys((row["panel"], row["compiler"]) for row in rows if row["question"] == question)
        for panel, compiler in panels:
            chosen = [row for row in rows if (row["question"], row["panel"], row["compiler"]) == (question, panel, compiler)]
            yield from figure(panel, compiler, chosen, mine)
        yield "</div>"
    yield "</body></html>"


def read(out):
    with open(os.path.join(out, "bench.json"), encoding="utf-8") as file:
        outputs = json.load(file)
    return [one["context"] for one in outputs], [row for one in outputs for row in results.rows_of(one)]


def write_page(out):
    contexts, rows = read(out)
    try:
        text = "\n".join(page(contexts, rows, results.goals()))
    except results.Missing as why:
        sys.exit(f"a figure is missing: {why}")
    path = os.path.join(out, "bench.html")
    with open(path, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    words = [one["word"] for one in results.judge(rows, results.goals())]
    print(f"{len(rows)} rows; {words.count('reached')} goals reached, {words.count('short')} short, "
          f"{words.count('not measured')} not measured: {path}")
    return 0


def run(out, *programs):
    outputs = []
    part = os.path.join(out, "part.json")
    for program in programs:
        begun = time.monotonic()
        done = subprocess.run([program, f"--benchmark_out={part}", "--benchmark_out_format=json"], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"{done.stderr}{program} ended with {done.returncode}")
        with open(part, encoding="utf-8") as file:
            outputs.append(json.load(file))
        os.remove(part)
        print(f"{os.path.basename(program)} ({outputs[-1]['context']['compiler']}): {time.monotonic() - begun:.0f} s", flush=True)
        with open(os.path.join(out, "bench.json"), "w", encoding="utf-8") as file:  # what was measured is kept if the next one ends
            json.dump(outputs, file, indent=1)
    return write_page(out)


def show_table(out):
    _, rows = read(out)
    print("\n".join(results.table(results.judge(rows, results.goals()))))
    return 0


def selftest():
    """What a page is made of, and what it refuses."""
    context = {"compiler": "g++ 1", "processor": "a <fast> one", "processors": "2", "kernel": "Linux", "date": "today"}

    def output(**changes):
        figures = {"fastest|tether": 10.0, "ratio|tether": 1.0, "fastest|other": 50.0, "ratio|other": 4.5, "rounds": 7.0}
        rows = [{"name": f"q/p/n:{n}/iterations:1/manual_time", "label": "ns each|third: not here"} | figures for n in (1, 10, 100)]
        rows[0] |= changes
        return {"context": context, "benchmarks": rows}

    def judged(goal, **changes):
        try:
            rows = list(results.rows_of(output(**changes)))
            text = "\n".join(page([context], rows, {"q": {"asks": "<?>", "goals": [{"row": "p/n:1"} | goal]}}))
        except results.Missing:
            return "refused"
        root = xml.etree.ElementTree.fromstring(text.split("\n", 1)[1])  # well-formed, or this throws
        alone = "http" not in text and not any(one.get("src") or (one.get("href") or "#")[0] != "#" for one in root.iter())
        lines = sum("goal" in (one.get("class") or "") for one in root.iter())
        word = next(word for word in ("reached", "short", "not measured") if f">{word}</td>" in text)
        return f"{word}, {lines} lines" if alone else "not alone"

    faster, slower = {"than": "other", "at_least": 5}, {"than": "other", "at_most": 0.1}
    cases = [
        (judged(faster), "reached, 1 lines"),
        (judged(faster | {"at_least": 5.01}), "short, 1 lines"),
        (judged(slower), "short, 1 lines"),
        (judged(slower | {"at_most": 0.2}), "reached, 1 lines"),
        (judged(faster | {"than": "tether", "than_row": "p/n:10", "at_least": 1}), "reached, 1 lines"),
        (judged(faster | {"than": "tether", "of": "other", "at_least": 0.2}), "reached, 1 lines"),
        (judged(faster | {"than": "tether", "of": "other", "at_least": 0.21}), "short, 1 lines"),
        (judged(faster | {"of": "third"}), "not measured, 0 lines"),
        (judged(faster | {"of": "nobody"}), "refused"),
        (judged(faster | {"than": "third"}), "not measured, 0 lines"),
        (judged(faster, error_occurred=True, error_message="forbidden"), "not measured, 0 lines"),
        (judged(faster | {"than": "nobody"}), "refused"),
        (judged(faster | {"row": "p/n:2"}), "refused"),
        (judged(faster | {"than_row": "p/n:2"}), "refused"),
        (judged(faster | {"compilers": 2}), "refused"),
    ]
    wrong = [f"{found} instead of {expected}" for found, expected in cases if found != expected]
    print(f"{len(cases)} pages, {len(wrong)} wrong", *wrong, sep="\n  ")
    return 1 if wrong else 0


if __name__ == "__main__":
    command, *arguments = sys.argv[1:]
    sys.exit({"run": run, "page": write_page, "table": show_table, "selftest": selftest}[command](*arguments))
