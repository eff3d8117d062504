#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Writes what Doxygen reads: the public headers, the pages of examples/messages, and a main page.

    prepare.py ROOT INTO     writes INTO/include and INTO/pages
    prepare.py --selftest

A header stays as it is, line by line, but for members that are documented without a comment of their own:

  - a comment speaks for the declarations below it, too, up to the next empty line or comment;
  - what the language or the standard library gives a meaning to (moves, comparisons, begin and end) is said to mean that;
  - a member that a concept asks for, in a class that models it, is documented by the concept.

Whatever else has no comment is left without, and Doxygen complains.
"""
import os
import re
import sys

COMMENT = re.compile(r"^( *)///(?!<) ?(.*)$")
DECLARES = re.compile(r"^( *)(?!(?:public|private|protected|return|namespace|static_assert|else|case)\b)(?:[A-Za-z_~]|\[\[)")
# Means what it means everywhere.
STANDARD = re.compile(
    r"\boperator(?:==|<=>|\*|->|\[\]|\+\+|\+=| bool\b)|\boperator=\((?:\w|<|>|, )*\s*(?:const )?(?:const)?&|"
    r"\b(?:begin|end|size|empty)\(\) (?:const )?(?:noexcept )?\{|\b(\w+)\(\1(?: const)?&&?(?: \w+)?\)|"
    r"\busing (?:iterator_category|value_type|difference_type|pointer|reference) =")
SLOT = re.compile(r"\busing slot = \w+_slot;")
# In these headers such members are there because a concept asks for them.
ASKED = [
    (r"backend/(vfio_type1|iommufd|io_uring_buffers|software_iommu)|testing/recording", "backend",
     "pins unit of_groups open_may_pin group_type joined_group device_type endpoint_type kernel_type map unmap page_sizes "
     "usable_iova free_mappings pins_now is_moved_from join acquire leave classify open kvm_file bind close "
     "tell_when_unused quiesce abandon"),
    (r"inhibit/policies", "inhibition", "holds admits never_inhibits"),
    (r"granule/(fixed_block|largest_page|whole_section)", "granularity", "block_size first_piece pieces"),
    (r"granule/edges", "edges", "refuses"),
    (r"listen/audited", "observation", "mapped unmapped pinning trimmed left_out diverged next"),
    (r"listen/progress", "progress_monitor", "keep_going"),
    (r"listen/dma_listener", "memory_listener", "begin begin_rollback remove add"),
    (r"attach/kvm_device", "kvm_policy", "tells add remove"),
    (r"discard/populate_failure", "populate_failure_policy", "busy_milliseconds failed_milliseconds"),
    (r"inhibit/threading", "discard_gate", "mutex reader_indicator checks_outer_lock"),
]


def asked_for(where, line):
    """The concept that documents the member which is declared here, if one does."""
    for headers, concept, names in ASKED:
        if re.match(rf"({headers})\.hpp$", where):
            if re.search(rf"\b({'|'.join(names.split())})(\(| =|;)", line):
                return concept
    return None


def documented(where, lines):
    """The lines of the header `where`, as Doxygen gets them: as many."""
    said, depth, before = [], None, False
    for line in lines:
        comment = COMMENT.match(line)
        declares = DECLARES.match(line)
        if comment:
            if not before:
                said, depth = [], len(comment[1])
            said.append(comment[2])
            before = True
            yield line
            continue
        if not line.strip():
            said, depth = [], None
        elif not before and declares and "///<" not in line:
            text = None
            if said and len(declares[1]) == depth:
                text = " ".join(said)
            elif STANDARD.search(line):
                text = "As everywhere."
            elif SLOT.search(line):
                text = "The slot that it fills."
            elif concept := asked_for(where, line):
                text = f"See {concept}."
            if text:
                line = f"{declares[1]}/** {text.replace('*/', '* /')} */ {line[len(declares[1]):]}"
        # a comment above `template <...>` speaks for what follows, too
        before = before and bool(re.match(r" *(template|requires)\b", line))
        yield line


def page_of(number, text):
    """A page of examples/messages, as Doxygen refers to it."""
    text = re.sub(r"^# (.*)$", rf"# \1 {{#message_{number}}}", text, count=1, flags=re.MULTILINE)
    return re.sub(r"\]\((\w+)\.md\)", r"](#message_\1)", text)


def numbers_in_order(names):
    return sorted(names, key=lambda name: (name[0], int(name[1:])))


def flow_of(readme):
    """The drawing of include/tether/README.md."""
    return re.search(r"^## How it works\n\n```\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)[1]


def main_page(readme, titles):
    messages = "\n".join(f"- \\subpage message_{number} \"{title}\"" for number, title in titles)
    return f"""/** \\mainpage tether

How the library works, its laws and its backends are told in include/tether/README.md; this is what each public name means.

\\verbatim
{flow_of(readme)}\\endverbatim

\\section messages Messages by number

What the compiler, or the program, says as `tether[..]`:

{messages}
*/
/** \\namespace tether
 *  \\brief The library. */
/** \\namespace tether::proof
 *  \\brief The proof: a model of a container, a kernel and a guest, and the search through its states. */
/** \\namespace std
 *  \\brief What the standard library is told of tether's types. */
"""


def public_headers(root):
    """The umbrellas, and what they name."""
    found = []
    for umbrella in ("tether.hpp", "proof.hpp", "testing.hpp"):
        with open(os.path.join(root, "include", "tether", umbrella), encoding="utf-8") as file:
            found += [umbrella] + re.findall(r"^#include <tether/(.*)>$", file.read(), re.MULTILINE)
    return list(dict.fromkeys(found))


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def read(*path):
    with open(os.path.join(*path), encoding="utf-8") as file:
        return file.read()


def prepare(root, into):
    for where in public_headers(root):
        lines = read(root, "include", "tether", where).split("\n")
        write(os.path.join(into, "include", "tether", where), "\n".join(documented(where, lines)))
    folder = os.path.join(root, "examples", "messages")
    titles = []
    for number in numbers_in_order(name.removesuffix(".md") for name in os.listdir(folder) if name != "README.md"):
        text = read(folder, f"{number}.md")
        titles.append((number, text.split("\n", 1)[0].removeprefix("# ")))
        write(os.path.join(into, "pages", f"{number}.md"), page_of(number, text))
    write(os.path.join(into, "pages", "main.dox"), main_page(read(root, "include", "tether", "README.md"), titles))


def selftest():
    def given(where, text):
        return "\n".join(documented(where, text.split("\n")))

    cases = [
        ("a comment speaks for the next line", "core/x.hpp", "  /// Both.\n  int a;\n  int b;", "/** Both. */ int b;", True),
        ("and not beyond an empty one", "core/x.hpp", "  /// One.\n  int a;\n\n  int b;", "*/ int b;", False),
        ("nor for what lies deeper", "core/x.hpp", "  /// One.\n  int a() {\n    int b;\n  }", "*/ int b;", False),
        ("a member without a comment has none", "core/x.hpp", "  int name() const;", "/**", False),
        ("a move is known", "core/x.hpp", "  box(box&& other) noexcept", "/** As everywhere. */ box(box&&", True),
        ("another constructor is not", "core/x.hpp", "  box(int sides) noexcept", "/**", False),
        ("a backend's map is asked for", "backend/iommufd.hpp", "  result<void> map(mapping const& it);", "/** See backend. */", True),
        ("its other members are not", "backend/iommufd.hpp", "  result<void> remap(mapping const& it);", "/**", False),
        ("nor another class's map", "core/x.hpp", "  result<void> map(mapping const& it);", "/**", False),
    ]
    wrong = [name for name, where, text, what, there in cases if (what in given(where, text)) != there]
    if page_of("B1", "# t\n\n[it](B2.md)\n") != "# t {#message_B1}\n\n[it](#message_B2)\n":
        wrong.append("a page is referred to by its number")
    for name in wrong:
        print(f"wrong: {name}")
    return 1 if wrong else 0


if __name__ == "__main__":
    if sys.argv[1:] == ["--selftest"]:
        sys.exit(selftest())
    prepare(*sys.argv[1:])
