#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Holds what the READMEs say against what is there.

    check.py README SOURCE PROGRAM     the first ```cpp block is SOURCE from its first #include on, and the first
                                       ```text block behind it is what PROGRAM prints; 77 if it was skipped
    check.py --laws ROOT               include/tether/README.md has every law that a comment of the tree names, numbered without a
                                       gap, and behind each tests that exist, or "Not there yet."
    check.py --prints SOURCE PROGRAM ARGUMENTS...
                                       the comment of SOURCE shows, behind a line that ends in "prints:", what PROGRAM prints; 77
                                       if it was skipped
    check.py --snippets ROOT INTO      writes each ```cpp block of the READMEs, but the quickstart, to INTO/<its heading>.inc, and says
                                       which of them test/package/readme/snippets.cpp does not compile
    check.py --selftest                shows that it accepts what is right and refuses what is not
"""
import os
import re
import subprocess
import sys
import textwrap

SKIPPED = 77  # the program cannot show anything here, and says why
BLOCK = re.compile(r"^ *```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)


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


# In a comment of C++, or of C.
SHOWN = re.compile(r"^(?://| \*) .*\bprints:\n(?://| \*)\n((?:(?://| \*)     .*\n)+)", re.MULTILINE)


def violations_of_comment(source, printed):
    """What a program's comment says that it prints, held against what it does print."""
    shown = SHOWN.findall(source)
    if len(shown) != 1:
        return [f"the source shows {len(shown)} times what it prints, behind a line of a comment that ends in 'prints:'"]
    said = re.sub(r"^(?://| \*)     ", "", shown[0], flags=re.MULTILINE)
    return [] if said == printed else [f"the program prints\n{printed}and its comment says\n{said}"]


LAW = re.compile(r"^(\d+)\. \*\*.*\n((?:    ?.*\n)*)", re.MULTILINE)
NAMED = re.compile(r"\b[Ll]aws? (\d+(?:(?:, | and |, and )\d+)*)")
TEST_FOLDERS = r"`((?:static|runtime|laws|scenario|exhaustive|rejects|system|fuzz)/[\w/]+)`"


def violations_of_laws(page, sources, exists):
    """All that is wrong, as sentences. `sources`: path -> text; `exists`: whether test/<it>.cpp is there."""
    laws = {int(law.group(1)): law.group(0) for law in LAW.finditer(page)}
    found = []
    if list(laws) != list(range(1, len(laws) + 1)) or not laws:
        found.append(f"the laws are not numbered from 1 on without a gap: {list(laws)}")
    for number, text in laws.items():
        tests = re.findall(TEST_FOLDERS, text)
        found += [f"law {number}: there is no test/{test}.cpp" for test in tests if not exists(test)]
        if not tests and "Not there yet." not in text:
            found.append(f"law {number} names no test")
    for path, text in sources.items():
        for names in NAMED.finditer(text):
            found += [f"{path} names law {number}, which is not there" for number in re.findall(r"\d+", names.group(1)) if int(number) not in laws]
    return found


PAGES = ["README.md", "include/tether/README.md", "bench/README.md"]
HEADING = re.compile(r"^##+ (.*)$", re.MULTILINE)


def snippets(page):
    """The ```cpp blocks of a page: a name, which is the heading's above it, and its text."""
    found = {}
    for block in BLOCK.finditer(page):
        headings = HEADING.findall(page, 0, block.start())
        if block[1] != "cpp" or not headings:  # above all headings stands the quickstart
            continue
        name = "_".join(re.findall(r"[a-z0-9]+", headings[-1].lower()))
        number = 1 + sum(re.fullmatch(rf"{name}(_\d+)?", other) is not None for other in found)
        found[name if number == 1 else f"{name}_{number}"] = textwrap.dedent(block[2])
    return found


def violations_of_snippets(found, compiled):
    """Compiled is exactly what is there, as sentences. `found`: the names; `compiled`: the source that includes them."""
    included = re.findall(r'^#include "(\w+)\.inc"$', compiled, re.MULTILINE)
    wrong = [f"snippets.cpp does not compile the snippet '{name}'" for name in found if name not in included]
    wrong += [f"snippets.cpp compiles '{name}', which no README has" for name in included if name not in found]
    return wrong if found else ["no README has a snippet"]


def check_snippets(root, into):
    found = {}
    for page in PAGES:
        with open(os.path.join(root, page), encoding="utf-8") as file:
            found.update(snippets(file.read()))
    for name, text in found.items():
        with open(os.path.join(into, f"{name}.inc"), "w", encoding="utf-8") as file:
            file.write(text)
    with open(os.path.join(root, "test/package/readme/snippets.cpp"), encoding="utf-8") as file:
        return violations_of_snippets(found, file.read())


def selftest_of_snippets():
    page = "# t\n```cpp\nint quick;\n```\n## With it\n```cpp\nint a;\n```\n```text\nx\n```\n- it\n\n  ```cpp\n  int b;\n    int c;\n  ```\n"
    found = snippets(page)
    compiled = '#include "with_it.inc"\n#include "with_it_2.inc"\n'
    mistakes = [] if found == {"with_it": "int a;\n", "with_it_2": "int b;\n  int c;\n"} else [f"the snippets are taken for {found}"]
    mistakes += violations_of_snippets(found, compiled)
    for number, one in enumerate([(found, '#include "with_it.inc"\n'), (found, compiled + '#include "other.inc"\n'), ({}, "")]):
        mistakes += [] if violations_of_snippets(*one) else [f"case {number} of snippets is accepted"]
    return mistakes


def check_laws(root):
    sources = {}
    for folder in ("include", "test", "examples"):
        for where, _, names in os.walk(os.path.join(root, folder)):
            for name in names:
                if name.endswith((".hpp", ".cpp", ".md")):
                    path = os.path.join(where, name)
                    with open(path, encoding="utf-8") as file:
                        sources[os.path.relpath(path, root)] = file.read()
    return violations_of_laws(sources.pop("include/tether/README.md"), sources,
                              lambda test: os.path.exists(os.path.join(root, "test", f"{test}.cpp")))


def selftest_of_laws():
    page = "1. **One.** It holds. `laws/gate`\n2. **Two.** It\n   holds. `runtime/a/b`,\n   `laws/gate`\n3. **Three.** Not there yet.\n"
    there = {"laws/gate", "runtime/a/b"}.__contains__
    wrong = [
        (page, {"a.hpp": "// Law 4."}, there),
        (page, {"a.hpp": "// As laws 1 and 5 say."}, there),
        (page, {"a.hpp": "// As laws 1, 3 and 7 say."}, there),
        (page.replace("2.", "4."), {}, there),
        (page.replace("`laws/gate`\n2", "\n2"), {}, there),
        (page, {}, lambda test: test == "laws/gate"),
        ("", {}, there),
    ]
    mistakes = [] if not violations_of_laws(page, {"a.hpp": "// Laws 1, 2 and 3; law 3."}, there) else ["right laws are refused"]
    return mistakes + [f"case {number} of laws is accepted" for number, one in enumerate(wrong) if not violations_of_laws(*one)]


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
    commented = "// A licence.\n// This prints:\n//\n//     42\n//      43\n#include <cstdio>\n"
    mistakes += violations_of_comment(commented, "42\n 43\n")
    mistakes += violations_of_comment("/* A licence. */\n/* This\n * prints:\n *\n *     42\n *      43\n */\n", "42\n 43\n")
    for number, one in enumerate([(commented, "42\n43\n"), (commented, "42\n"), (commented * 2, "42\n 43\n"), (source, "42\n")]):
        mistakes += [] if violations_of_comment(*one) else [f"case {number} of comments is accepted"]
    return mistakes


def main(arguments):
    if arguments == ["--selftest"]:
        found = selftest() + selftest_of_laws() + selftest_of_snippets()
    elif arguments[0] == "--laws":
        found = check_laws(arguments[1])
    elif arguments[0] == "--snippets":
        found = check_snippets(*arguments[1:])
    else:
        commented = arguments[0] == "--prints"
        files, program = (arguments[1:2], arguments[2:]) if commented else (arguments[:2], arguments[2:])
        ran = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)
        if ran.returncode == SKIPPED and ran.stdout.startswith("skipped: "):
            print(ran.stdout, end="")
            return SKIPPED
        texts = []
        for name in files:
            with open(name, encoding="utf-8") as file:
                texts.append(file.read())
        found = (violations_of_comment if commented else violations)(*texts, ran.stdout)
        if ran.returncode != 0:
            found.append(f"the program answers {ran.returncode}")
    for sentence in found:
        print(sentence)
    return 1 if found else 0


sys.exit(main(sys.argv[1:]))
