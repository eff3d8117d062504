#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""The programs that the pages of examples/messages show: made of the tests, each complete, so that whoever has only what is installed
can compile it.

    programs.py --write ROOT          puts the programs of the tests into the pages, below the lines that name the tests
    programs.py --compile ROOT CXX    compiles each program from the pages alone: refused with the page's number, or, of what is told
                                      when it runs, accepted
"""
import concurrent.futures
import os
import re
import subprocess
import sys

# A line of a page that names a test, and the program below it.
SHOWN = re.compile(r"^`(test/(?:rejects|scenario)/\w+\.cpp)`([^\n]*:)\n(?:\n```cpp\n(.*?)^```\n)?", re.MULTILINE | re.DOTALL)
USES_IT = "#include <rejects/program.hpp>\n"
# What a part of test/scenario/numbered_messages.cpp needs of the standard library, by what it names.
STANDARD = {
    "cerrno": r"\bE[A-Z]+\b", "cstdint": r"std::uint", "cstdio": r"std::(fputs|puts)", "cstdlib": r"std::exit",
    "limits": r"std::numeric_limits", "memory": r"std::(make_unique|unique_ptr)", "mutex": r"std::mutex", "optional": r"std::optional",
    "string": r"std::to_string", "thread": r"std::thread", "type_traits": r"std::is_", "utility": r"std::(move|exchange|in_place)",
    "vector": r"std::vector",
}


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def of_rejects(text):
    """A file of test/rejects as it is compiled without TETHER_CONTROL, without what only its test reads."""
    lines, taken = [], [True]
    for line in text.splitlines(keepends=True):
        if line.startswith(("#ifdef TETHER_CONTROL", "#ifndef TETHER_CONTROL")):
            taken.append(line.startswith("#ifndef"))
        elif line.startswith("#if"):
            raise ValueError(f"another condition than TETHER_CONTROL: {line}")
        elif line.startswith("#else"):
            taken[-1] = not taken[-1]
        elif line.startswith("#endif"):
            taken.pop()
        elif taken[-1] and not line.startswith(("// SPDX-", "// expects:", "// errors:")):
            lines.append(line)
    text = re.sub(r"\n{3,}", "\n\n", "".join(lines)).strip("\n") + "\n"
    return text.replace(USES_IT, "\nint main() { return sizeof(passthrough) == 0 ? 1 : 0; }\n")


def part_of(text, name):
    return text.split(f"//! [{name}]\n")[1]


def of_scenario(text, quickstart, number):
    """The part of `number`, with what it uses and a main that runs it. A part on a fake kernel of the tests is shown alone."""
    part = part_of(text, number)
    if "tether_test::" in part:
        return part
    cause = re.search(rf'\{{"{number}", ends::\w+,\s*(?:either<([^>]*<false>)|(\w+))', text)
    used = [part_of(text, name) for name in ("nics", "soft", "tell", "pins_by_its_word") if re.search(rf"\b{name}\b", part)]
    if re.search(r"\bmust\(", part):
        must = re.search(r"^template <class T>\nT must\(.*?^}\n", quickstart, re.MULTILINE | re.DOTALL)[0]
        used.insert(0, must)
    call = f"{cause[1]}(); }}  // <true>: the same, cured" if cause[1] else f"{cause[2]}(false); }}  // (true): the same, cured"
    body = "\n".join(["using namespace tether;\n", *used, part, f"int main() {{ {call}\n"])
    own = ["tether/testing.hpp"] if "journal" in part else []
    standard = [name for name, of in STANDARD.items() if re.search(of, body)]
    groups = [["tether/tether.hpp", *own], standard]
    return "\n".join("".join(f"#include <{name}>\n" for name in group) for group in groups if group) + "\n" + body


def program_of(root, number, path):
    text = read(root, path)
    if path.startswith("test/rejects/"):
        return of_rejects(text)
    return of_scenario(text, read(root, "examples/quickstart.cpp"), number)


def written(root, number, page):
    """The page with the programs that belong below its lines."""
    return SHOWN.sub(lambda it: f"`{it[1]}`{it[2]}\n\n```cpp\n{program_of(root, number, it[1])}```\n", page)


def pages_of(root):
    folder = os.path.join(root, "examples/messages")
    return {name.removesuffix(".md"): read(folder, name) for name in sorted(os.listdir(folder))}


def write(root):
    for number, page in pages_of(root).items():
        text = written(root, number, page)
        with open(os.path.join(root, "examples/messages", f"{number}.md"), "w", encoding="utf-8") as file:
            file.write(text)


INCLUDE = re.compile(r"^#include .*\n", re.MULTILINE)


def together(programs):
    """One source of all: what they include, then each in a namespace of its own, and under its own name. `programs`: name -> text."""
    includes = dict.fromkeys(line for text in programs.values() for line in INCLUDE.findall(text))
    return "".join(includes) + "".join(f'namespace page_{name} {{\n#line 1 "{name}.cpp"\n{INCLUDE.sub("", text)}}}\n'
                                       for name, text in programs.items())


def compiled(compiler, root, text):
    """The exit status, and what is said, without the lines of the source that are echoed. A `main` in a namespace returns nothing."""
    ran = subprocess.run([compiler, "-std=c++20", "-fsyntax-only", "-Wno-return-type", "-ferror-limit=0", "-I", os.path.join(root, "include"), "-x", "c++", "-"],
                         input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return ran.returncode, re.sub(r"^ *\d* \|.*\n", "", ran.stdout, flags=re.MULTILINE)


def is_told(said, name, number):
    """Whether an error with this number is told of the program of that name."""
    errors = re.split(r"^(?=[^\n]*: (?:fatal )?error: )", said, flags=re.MULTILINE)[1:]
    return any(f"tether[{number}]" in error and re.search(rf"\b{name}\.cpp:", error) for error in errors)


def compile_all(root, compiler):
    refused, running = {}, {}
    for number, page in pages_of(root).items():
        for path, _, text in SHOWN.findall(page):
            if path.startswith("test/rejects/"):
                refused[f"{number}_{os.path.basename(path).removesuffix('.cpp')}"] = text
            elif "tether_test::" not in text:
                running[number] = text
    with concurrent.futures.ThreadPoolExecutor(2) as workers:
        jobs = [workers.submit(compiled, compiler, root, together(programs)) for programs in (refused, running)]
        (_, said), (status, of_running) = (job.result() for job in jobs)
    found = []
    for name, text in refused.items():
        number = name.split("_")[0]
        if is_told(said, name, number):
            continue
        # Of two that are one type a compiler tells once.
        _, alone = compiled(compiler, root, together({name: text}))
        if not is_told(alone, name, number):
            found.append(f"examples/messages/{number}.md: {name} is not refused with its number:\n{alone}")
    if status != 0:
        found.append(f"a program of the pages that runs does not compile:\n{of_running}")
    if len(refused) < 50 or len(running) < 20:
        found.append(f"only {len(refused)} programs that are refused and {len(running)} that run were found")
    return found


def selftest():
    mistakes = []
    text = "// SPDX-License-Identifier: x\n// expects: y\n#include <a>\n\n#ifdef TETHER_CONTROL\nusing a = b;\n#else\nusing a = c;\n#endif\n\n"
    text += "struct d {\n#ifndef TETHER_CONTROL\n  int e;\n#endif\n};\n"
    if of_rejects(text) != "#include <a>\n\nusing a = c;\n\nstruct d {\n  int e;\n};\n":
        mistakes.append("a file of rejects becomes another program")
    for said, right in [("a.hpp:1:2: error: tether[B1]: x\nB1_a.cpp:3:1: note: here\n", True), ("B1_a.cpp:3:1: note: tether[B1]: x\n", False),
                        ("a.hpp:1:2: error: tether[B10]: x\nB1_a.cpp:3:1: note: here\n", False), ("", False),
                        ("a.hpp:1:2: error: tether[B1]: x\nB1_b.cpp:3:1: note: here\nB1_a.cpp:1:1: error: no\n", False)]:
        if is_told(said, "B1_a", "B1") != right:
            mistakes.append(f"'{said}' is judged wrongly")
    return mistakes


if __name__ == "__main__":
    if sys.argv[1] == "--write":
        write(sys.argv[2])
        sys.exit(0)
    sentences = selftest() if sys.argv[1] == "--selftest" else compile_all(*sys.argv[2:])
    for sentence in sentences:
        print(sentence)
    sys.exit(1 if sentences else 0)
