#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Enforces the shape of the source tree: who includes whom, and what every header must have.

    check.py ROOT       one sentence for each violation; the exit status is 0 if there is none

The folder table is the one of include/tether/README.md, which is held to it. test/package/layers/selftest.py shows that each rule refuses something.
"""
import os
import re
import sys

# A folder, and what it sees beside itself.
SEES = {
    "core": set(),
    "topology": {"core"},
    "granule": {"core"},
    "backend": {"core"},
    "inhibit": {"core"},
    "discard": {"core", "topology", "inhibit"},
    "listen": {"core", "topology", "granule", "backend", "discard"},
    "attach": {"core", "topology", "granule", "backend", "inhibit", "discard", "listen"},
    "proof": {"core", "inhibit"},
    "testing": {"core", "backend"},
    "usdt": {"core", "inhibit", "attach"},
}
# Single folders of a folder that is not seen as a whole.
SEES_PART = {"proof": "attach/lifecycle"}
# The parts of backends, and what each sees beside itself. A backend's entry header stands in backend/ and sees its own part, and
# what that sees; nothing in backend/ includes an entry header, so backends never include each other.
PARTS = {
    "detail": set(),
    "vfio": {"detail"},
    "iommufd": {"detail", "vfio"},
    "emulated": {"detail"},
    "io_uring": {"detail", "emulated"},
}
# What works over any of them sees what they share.
ENTRIES = {"vfio_type1": "vfio", "iommufd": "iommufd", "io_uring_buffers": "io_uring", "software_iommu": "emulated", "mapped_buffers": "detail"}
WITHOUT_RANGES = {"core", "granule", "inhibit", "attach", "proof"}
# What is public is what one of these includes: an umbrella, and the folders that it is for.
UMBRELLAS = {
    "tether.hpp": {"core", "topology", "granule", "backend", "inhibit", "discard", "listen", "attach"},
    "testing.hpp": {"testing"},
    "usdt.hpp": {"usdt"},
    "proof.hpp": {"attach/lifecycle", "proof"},
}
ABOVE = {"version.hpp", "fwd.hpp"}  # headers above the folders that all may include
TOP_LEVEL = {"include", "test", "bench", "examples", "CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md"}
PAGE = "README.md"  # of include/tether: the map of the folders, and the laws
LONGEST = 300  # lines
WIDEST = 100  # columns
# Headers compile with -fno-exceptions as well: these words stand in one of them, as what its macros mean.
EXCEPTIONS = re.compile(r"\b(?:try|catch|throw)\b")
HAS_EXCEPTIONS = "core/detail/exceptions.hpp"
# Headers that are checked by other means than a mirror: the umbrella by odr and consume.
WITHOUT_MIRROR = {"tether.hpp"}

INCLUDE = re.compile(r"^\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", re.MULTILINE)


def folder_of(header):
    """Where it counts: "attach/lifecycle" is a folder of its own, any other is the topmost one."""
    folder = os.path.dirname(header)
    return folder if folder in SEES_PART.values() else folder.split("/")[0]


def is_part(header):
    """Whether it is private unless an umbrella includes it."""
    folders = os.path.dirname(header).split("/")
    return "detail" in folders or (folders[0] == "backend" and len(folders) > 1)


def includes_of(text):
    return {what.removeprefix("tether/") for _, what in INCLUDE.findall(text)}


def public_of(headers):
    return {where for umbrella in UMBRELLAS for where in includes_of(headers.get(umbrella, ""))}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def check_includes(where, text, headers):
    """`where`: the header's path below include/tether."""
    folder = where.split("/")[0] if "/" in where else ""
    for quote, what in INCLUDE.findall(text):
        if what == "boost/hana.hpp":
            yield f"{where}: includes boost/hana.hpp; take the single headers, they cost a tenth"
        if what.startswith("range/v3/") and folder in WITHOUT_RANGES:
            yield f"{where}: includes {what}; {folder}/ does without range-v3, which costs half a second a translation unit"
        if quote == '"':
            yield f'{where}: includes "{what}"; write <tether/...>'
        if not what.startswith("tether/"):
            continue
        target = what[len("tether/"):]
        seen = target.split("/")[0] if "/" in target else ""
        if target not in headers:
            yield f"{where}: includes {what}, which is not there"
        if target in UMBRELLAS:
            yield f"{where}: includes the umbrella {target}, which is for users only"
        elif folder and not seen:
            if target not in ABOVE:
                yield f"{where}: includes {what} from above its folder"
        elif folder in SEES and seen != folder and seen not in SEES[folder]:
            if folder_of(target) != SEES_PART.get(folder):
                yield f"{where}: {folder}/ does not see {seen}/, but it includes {what}"
        if folder == seen == "backend":
            yield from check_backend(where, target)


def check_backend(where, target):
    own, part = (one.split("/")[1] if one.count("/") > 1 else "" for one in (where, target))
    own = own or ENTRIES.get(os.path.basename(where).removesuffix(".hpp"), "")
    if not part and os.path.basename(target).removesuffix(".hpp") in ENTRIES:
        yield f"{where}: backends never include each other, but it includes {target}"
    elif part and part != own and part not in PARTS.get(own, set()):
        yield f"{where}: backend/{own} does not see backend/{part}/, but it includes {target}"


def check_header(where, text):
    lines = text.splitlines()
    if not lines or lines[0] != "// SPDX-License-Identifier: BSL-1.0":
        yield f"{where}: the first line is not the licence"
    if "#pragma once" not in lines:
        yield f"{where}: has no #pragma once"
    if where != "version.hpp" and "#include <tether/" not in text:
        yield f"{where}: includes no other header of tether, so it must include version.hpp"
    if len(lines) > LONGEST:
        yield f"{where}: {len(lines)} lines, {LONGEST} at most"
    for number, line in enumerate(lines, 1):
        if len(line) > WIDEST:
            yield f"{where}:{number}: {len(line)} columns, {WIDEST} at most"
        if where != HAS_EXCEPTIONS and EXCEPTIONS.search(re.sub(r'"[^"]*"|//.*$', "", line)):
            yield f"{where}:{number}: write TETHER_TRY, TETHER_CATCH or TETHER_RETHROW ({HAS_EXCEPTIONS})"
    if "/" in where and where.split("/")[0] not in SEES:
        yield f"{where}: the folder is not in the table"


def check_mirror(root, where):
    if where in WITHOUT_MIRROR:
        return
    below = os.path.splitext(where)[0] + ".cpp"
    mirrors = [os.path.join(root, "test", kind, below) for kind in ("static", "runtime")]
    mirrors = [one for one in mirrors if os.path.exists(one)]
    if not mirrors:
        yield f"{where}: has no mirror, neither test/static/{below} nor test/runtime/{below}"
    elif not any(f"<tether/{where}>" in read(one) for one in mirrors):
        yield f"{where}: its mirror does not include it"


def check_umbrellas(headers):
    """Each public header is named by the umbrella that is for its folder; a part that is named is public; nothing in detail/ is."""
    for umbrella, folders in UMBRELLAS.items():
        named = includes_of(headers.get(umbrella, ""))
        for where in sorted(headers):
            if "/" in where and folder_of(where) in folders and not is_part(where) and where not in named:
                yield f"{umbrella}: does not include {where}"
        for where in sorted(named & set(headers)):
            if "detail" in os.path.dirname(where).split("/"):
                yield f"{umbrella}: includes {where}: what is in detail/ is nobody's to use"
            elif "/" in where and folder_of(where) not in folders:
                yield f"{umbrella}: includes {where}, which is opt-in by another umbrella"
            elif "/" not in where and where not in ABOVE:
                yield f"{umbrella}: includes the umbrella {where}"


NAMESPACE = re.compile(r"^(?:inline )?namespace ?([\w:]*) ?\{", re.MULTILINE)


def check_private(where, text):
    """A private header declares in tether::detail alone, so that a name in `tether` is a promise."""
    found = NAMESPACE.findall(text)
    if not found:
        yield f"{where}: is private, and declares outside of tether::detail"
    for name in found:
        if name != "tether::detail" and not name.startswith("tether::detail::"):
            yield f"{where}: is private, and declares in {name or 'a namespace without a name'}, not in tether::detail"


def check_top_level(root):
    there = {name for name in os.listdir(root) if not name.startswith(".") and name != "build"}
    for name in sorted(there - TOP_LEVEL):
        yield f"{name}: does not belong at the top level"
    for name in sorted(TOP_LEVEL - there):
        yield f"{name}: is missing at the top level"


def check_page(page):
    """The library's own README has a row for each folder: its name, what it holds, what it sees."""
    rows = {row[1]: row[2].split() for row in re.finditer(r"^\| `(\w+)/` \|.*\| ([\w/ -]+) \|$", page, re.MULTILINE)}
    for folder, sees in SEES.items():
        parts = [part for name, part in SEES_PART.items() if name == folder]
        expected = sorted(sees) + parts or ["-"]
        everything = sees == set(list(SEES)[:list(SEES).index(folder)])
        said = rows.get(folder)
        if said is None or not (sorted(said) == sorted(expected) or (everything and said == ["all", "above"])):
            yield f"include/tether/README.md: its table must say that {folder}/ sees {' '.join(expected)}"


def check(root):
    """All violations, as sentences."""
    library = os.path.join(root, "include", "tether")
    headers = {}
    found = []
    for folder, _, names in os.walk(os.path.join(root, "include")):
        for name in names:
            path = os.path.join(folder, name)
            where = os.path.relpath(path, library)
            if where == PAGE:
                found += check_page(read(path))
            elif where.startswith("..") or not name.endswith(".hpp"):
                found.append(f"include/{os.path.relpath(path, os.path.join(root, 'include'))}: is no header of the library")
            else:
                headers[where] = read(path)
    if not headers:
        found.append("there are no headers at all")
    if not os.path.exists(os.path.join(library, PAGE)):
        found.append(f"include/tether/{PAGE}: is missing")
    public = public_of(headers)
    for where, text in sorted(headers.items()):
        found += check_header(where, text)
        if is_part(where) and where not in public:
            found += check_private(where, text)
        found += check_includes(where, text, headers)
        found += check_mirror(root, where)
    found += check_umbrellas(headers)
    found += check_top_level(root)
    return found


if __name__ == "__main__":
    violations = check(sys.argv[1])
    for sentence in violations:
        print(sentence)
    sys.exit(1 if violations else 0)
