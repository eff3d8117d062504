#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Enforces the shape of the source tree: who includes whom, and what every header must have.

    check.py ROOT       one sentence for each violation; the exit status is 0 if there is none

The folder table is the one of include/tether/README.md, which is held to it. test/layers/selftest.py shows that each rule refuses something.
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
}
# Single headers of a folder that is not seen as a whole.
SEES_HEADER = {"proof": re.compile(r"attach/lifecycle\w*\.hpp$")}
# The families of backends: they never include each other, and what they share includes none of them.
BACKENDS = ("vfio", "iommufd", "io_uring", "software_iommu", "recording")
# Named like a backend, but shared by several: a device is the same whichever interface maps for it.
SHARED = {"vfio_cdev.hpp", "vfio_device.hpp", "vfio_group.hpp", "vfio_sysfs.hpp"}
WITHOUT_RANGES = {"core", "granule", "inhibit", "attach", "proof"}
OPT_IN = {"proof"}
TOP_LEVEL = {"include", "test", "bench", "examples", "CMakeLists.txt", "CMakePresets.json", "LICENSE", "README.md"}
PAGE = "README.md"  # of include/tether: the map of the folders, and the laws
LONGEST = 300  # lines
WIDEST = 140  # columns
# Headers that are checked by other means than a mirror: the umbrella by odr and consume.
WITHOUT_MIRROR = {"tether.hpp"}

INCLUDE = re.compile(r"^\s*#\s*include\s*([<\"])([^>\"]+)[>\"]", re.MULTILINE)


def family(header):
    name = os.path.basename(header)
    if name in SHARED:
        return None
    return next((one for one in BACKENDS if name.startswith(one)), None)


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
        if target == "tether.hpp":
            yield f"{where}: includes the umbrella, which is for users only"
        elif folder and not seen:
            if target != "version.hpp":
                yield f"{where}: includes {what} from above its folder"
        elif folder in SEES and seen != folder and seen not in SEES[folder]:
            single = SEES_HEADER.get(folder)
            if not (single and single.match(target)):
                yield f"{where}: {folder}/ does not see {seen}/, but it includes {what}"
        if folder == seen == "backend" and family(target) and family(target) != family(where):
            yield f"{where}: backends never include each other, but it includes {what}"


def check_header(where, text):
    lines = text.splitlines()
    if not lines or lines[0] != "// SPDX-License-Identifier: BSL-1.0":
        yield f"{where}: the first line is not the licence"
    if "#pragma once" not in lines:
        yield f"{where}: has no #pragma once"
    if len(lines) > LONGEST:
        yield f"{where}: {len(lines)} lines, {LONGEST} at most"
    for number, line in enumerate(lines, 1):
        if len(line) > WIDEST:
            yield f"{where}:{number}: {len(line)} columns, {WIDEST} at most"
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


def check_umbrella(headers):
    included = {what for _, what in INCLUDE.findall(headers.get("tether.hpp", ""))}
    for where in headers:
        if where == "tether.hpp" or where.split("/")[0].removesuffix(".hpp") in OPT_IN:
            continue
        if f"tether/{where}" not in included:
            yield f"tether.hpp: does not include {where}"
    for what in sorted(included):
        if what.split("/")[1].removesuffix(".hpp") in OPT_IN:
            yield f"tether.hpp: includes {what}, which is opt-in"
    for folder in sorted(OPT_IN):
        own = {what for _, what in INCLUDE.findall(headers.get(f"{folder}.hpp", ""))}
        for where in headers:
            if where.startswith(f"{folder}/") and f"tether/{where}" not in own:
                yield f"{folder}.hpp: does not include {where}"


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
        headers = [pattern.pattern.split("\\")[0] for name, pattern in SEES_HEADER.items() if name == folder]
        expected = sorted(sees) + headers or ["-"]
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
    for where, text in sorted(headers.items()):
        found += check_header(where, text)
        found += check_includes(where, text, headers)
        found += check_mirror(root, where)
    found += check_umbrella(headers)
    found += check_top_level(root)
    return found


if __name__ == "__main__":
    violations = check(sys.argv[1])
    for sentence in violations:
        print(sentence)
    sys.exit(1 if violations else 0)
