#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Holds the pages of examples/messages against the sentences in the headers: a page for each number, and none more.

    check.py ROOT
    check.py --selftest

A page has the number in its title, the smallest program that causes the message, and the cure. The program is that of a test, as
programs.py writes it: one of test/rejects that expects this very number, or a part of test/scenario/numbered_messages.cpp, which runs
it and the cured one.
"""
import os
import re
import sys
import tempfile

import programs

SECTIONS = ["## The smallest program that causes it", "## The cure"]
PROGRAM = re.compile(r"`(test/[\w/]+\.\w+)`")


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def numbers_said(root):
    said = set()
    for folder, _, names in os.walk(os.path.join(root, "include")):
        for name in names:
            if name.endswith(".hpp"):
                said |= set(re.findall(r"tether\[([A-Z][0-9]+)\]", read(folder, name)))
    return said


def check_program(root, number, path):
    if not os.path.exists(os.path.join(root, path)):
        yield f"{path}, which it shows, is not there"
        return
    text = read(root, path)
    if path.startswith("test/rejects/") and path.endswith(".cpp"):
        if not re.search(rf"^// expects: .*tether\\\[{number}\\\]", text, re.MULTILINE):
            yield f"{path} expects another message"
    elif path.startswith("test/scenario/"):
        if text.count(f"//! [{number}]\n") != 2:
            yield f"{path} has no part between two lines '//! [{number}]'"
        if f'{{"{number}",' not in text:
            yield f"{path} does not run it"
    elif number not in text:
        yield f"{path} does not ask for it"


def check_page(root, number, text):
    if not text.startswith(f"# tether[{number}]: "):
        yield "its title is not '# tether[number]: ...'"
    parts = re.split(r"^(## .*)$", text, flags=re.MULTILINE)
    if parts[1::2] != SECTIONS or not all(part.strip() for part in parts[2::2]) or parts[0].count("\n\n") < 2:
        yield f"it must say what the message means, then have {' and '.join(SECTIONS)}"
        return
    tests = PROGRAM.findall(parts[2])
    if not tests or "```" not in parts[2]:
        yield "it shows no program"
    wrong = [what for path in tests for what in check_program(root, number, path)]
    yield from wrong
    if not wrong and programs.written(root, number, text) != text:
        yield "its program is not the test's: python3 -B test/package/reference/programs.py --write ."
    for other in re.findall(r"\]\((\w+)\.md\)", text):
        if not os.path.exists(os.path.join(root, "examples/messages", f"{other}.md")):
            yield f"it refers to {other}, which has no page"


def check(root):
    said = numbers_said(root)
    pages = {name.removesuffix(".md") for name in os.listdir(os.path.join(root, "examples/messages"))} - {"README"}
    found = [f"tether[{one}]: has no page examples/messages/{one}.md" for one in sorted(said - pages)]
    found += [f"examples/messages/{one}.md: no header says tether[{one}]" for one in sorted(pages - said)]
    for number in sorted(pages & said):
        text = read(root, "examples/messages", f"{number}.md")
        found += [f"examples/messages/{number}.md: {what}" for what in check_page(root, number, text)]
    if not said:
        found.append("no header says any number")
    return found


GOOD = """# tether[I1]: t

What it means.

## The smallest program that causes it

`test/rejects/a.cpp`:

```cpp
int a;
```

## The cure

Do otherwise.
"""


def selftest():
    def judged(page, name="I1", program="// expects: tether\\[I1\\]: no\nint a;\n", scenario=""):
        with tempfile.TemporaryDirectory() as root:
            for path, text in (("include/tether/a.hpp", '"tether[I1]: no"'), (f"examples/messages/{name}.md", page),
                               ("test/rejects/a.cpp", program), ("test/scenario/s.cpp", scenario),
                               ("examples/quickstart.cpp", "")):
                os.makedirs(os.path.join(root, os.path.dirname(path)), exist_ok=True)
                with open(os.path.join(root, path), "w", encoding="utf-8") as file:
                    file.write(text)
            return "\n".join(check(root))

    ran = GOOD.replace("rejects/a.cpp", "scenario/s.cpp").replace(
        "int a;\n", "#include <tether/tether.hpp>\n\nusing namespace tether;\n\nint a;\n\nint main() { f(false); }  // (true): the same, cured\n")
    cases = [
        ("a good page", judged(GOOD), ""),
        ("a good page of what runs", judged(ran, scenario='//! [I1]\nint a;\n//! [I1]\n{"I1", ends::on, f}'), ""),
        ("another program", judged(GOOD.replace("int a", "int b")), "its program is not the test's"),
        ("another part", judged(ran.replace("f(false)", "g(false)"), scenario='//! [I1]\nint a;\n//! [I1]\n{"I1", ends::on, f}'),
         "its program is not the test's"),
        ("no page", judged(GOOD, name="I2"), "tether[I1]: has no page"),
        ("a page of nothing", judged(GOOD, name="I2"), "no header says tether[I2]"),
        ("another title", judged(GOOD.replace("[I1]: t", "[I2]: t")), "its title"),
        ("no cure", judged(GOOD.replace("Do otherwise.\n", "")), "it must say what"),
        ("no meaning", judged(GOOD.replace("What it means.\n\n", "")), "it must say what"),
        ("no program", judged(GOOD.replace("`test/", "`x/")), "it shows no program"),
        ("a program that is not there", judged(GOOD.replace("a.cpp", "b.cpp")), "is not there"),
        ("another message", judged(GOOD, program="// expects: tether\\[I11\\]: no\n"), "expects another message"),
        ("no part", judged(ran, scenario='{"I1", f}'), "has no part"),
        ("not run", judged(ran, scenario="//! [I1]\n//! [I1]\n"), "does not run it"),
    ]
    wrong = [f"{name}: {said}" for name, said, wanted in cases if (wanted not in said if wanted else said)]
    for one in wrong:
        print(f"wrong: {one}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--selftest"]:
        sys.exit(selftest())
    violations = check(sys.argv[1])
    for sentence in violations:
        print(sentence)
    sys.exit(1 if violations else 0)
