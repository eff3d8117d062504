#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Compares the README with the program that it shows.

    check.py README SOURCE PROGRAM     the first ```cpp block is SOURCE from its first #include on, and the first
                                       ```text block behind it is what PROGRAM prints; 77 if it was skipped
    check.py --selftest                shows that it accepts what is right and refuses what is not
"""
import re
import subprocess
import sys

SKIPPED = 77  # the program cannot show anything here, and says why
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def violations(readme, source, printed):
    """All that differs, as sentences."""
    blocks = BLOCK.findall(readme)
    kinds = [kind for kind, _ in blocks]
    if "cpp" not in kinds:
        return ["the README has no ```cpp block"]
    first = kinds.index("cpp")
    start = source.find("#include")
    found = []
    if start < 0 or blocks[first][1] != source[start:]:
        found.append("the first ```cpp block is not examples/quickstart.cpp from its first #include on")
    shown = [text for kind, text in blocks[first:] if kind == "text"]
    if not shown:
        found.append("no ```text block follows the program")
    elif shown[0] != printed:
        found.append(f"the program prints\n{printed}and the README says\n{shown[0]}")
    return found


def selftest():
    source = "// A licence.\n#include <cstdio>\nint main() {}\n"
    right = "# x\n```cpp\n#include <cstdio>\nint main() {}\n```\nIt prints\n```text\n42\n```\n"
    wrong = [
        (right.replace("{}", "{ }"), source, "42\n"),
        (right, source, "41\n"),
        (right, source, "42\n43\n"),
        (right.replace("```text", "```sh"), source, "42\n"),
        (right.replace("```cpp", "```c"), source, "42\n"),
        ("", source, "42\n"),
    ]
    mistakes = [] if not violations(right, source, "42\n") else ["what is right is refused"]
    mistakes += [f"case {number} is accepted" for number, one in enumerate(wrong) if not violations(*one)]
    return mistakes


def main(arguments):
    if arguments == ["--selftest"]:
        found = selftest()
    else:
        readme, source, program = arguments
        ran = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=False)
        if ran.returncode == SKIPPED and ran.stdout.startswith("skipped: "):
            print(ran.stdout, end="")
            return SKIPPED
        with open(readme, encoding="utf-8") as one, open(source, encoding="utf-8") as other:
            if ran.returncode == 77:
                print(f"skipped: {ran.stdout.strip()}")
                return 77
            found = violations(one.read(), other.read(), ran.stdout)
        if ran.returncode != 0:
            found.append(f"the program answers {ran.returncode}")
    for sentence in found:
        print(sentence)
    return 1 if found else 0


sys.exit(main(sys.argv[1:]))
