#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Shows that check.py accepts a tree that is right, and that each of its rules refuses one that is wrong."""
import os
import shutil
import sys
import tempfile

import check

HEAD = "// SPDX-License-Identifier: BSL-1.0\n// A header.\n#pragma once\n"


def header(*includes):
    return HEAD + "".join(f"#include <{one}>\n" for one in includes)


def private(*includes):
    return header(*includes) + "namespace tether::detail {\n}  // namespace tether::detail\n"


HEADERS = {
    "version.hpp": header(),
    "fwd.hpp": header("tether/version.hpp"),
    "core/one.hpp": header("boost/hana/tuple.hpp", "tether/fwd.hpp"),
    "topology/view.hpp": header("tether/topology/detail/chunk.hpp", "range/v3/view/all.hpp"),
    "topology/detail/chunk.hpp": private("tether/core/one.hpp"),
    "granule/whole.hpp": header("tether/core/one.hpp"),
    "backend/concepts.hpp": header("tether/core/one.hpp"),
    "backend/detail/table.hpp": private("tether/core/one.hpp"),
    "backend/emulated/registry.hpp": private("tether/backend/concepts.hpp"),
    "backend/io_uring/ring.hpp": private("tether/backend/emulated/registry.hpp", "tether/backend/detail/table.hpp"),
    "backend/io_uring_buffers.hpp": header("tether/backend/io_uring/ring.hpp", "tether/backend/emulated/registry.hpp"),
    "backend/software_iommu.hpp": header("tether/backend/emulated/registry.hpp"),
    "backend/vfio/device.hpp": header("tether/backend/concepts.hpp"),
    "backend/vfio/joined.hpp": private("tether/backend/vfio/device.hpp"),
    "backend/vfio_type1.hpp": header("tether/backend/vfio/joined.hpp"),
    "backend/iommufd/ioas.hpp": private("tether/backend/vfio/device.hpp"),
    "backend/iommufd.hpp": header("tether/backend/iommufd/ioas.hpp", "tether/backend/vfio/device.hpp"),
    "inhibit/gate.hpp": header("tether/core/one.hpp"),
    "discard/balloon.hpp": header("tether/topology/view.hpp", "tether/inhibit/gate.hpp"),
    "listen/listener.hpp": header("tether/granule/whole.hpp", "tether/backend/concepts.hpp"),
    "attach/lifecycle/plans.hpp": header("tether/core/one.hpp"),
    "attach/container.hpp": header("tether/listen/listener.hpp", "tether/inhibit/gate.hpp", "tether/attach/lifecycle/plans.hpp"),
    "proof/world.hpp": header("tether/attach/lifecycle/plans.hpp", "tether/inhibit/gate.hpp"),
    "testing/recording.hpp": header("tether/backend/concepts.hpp"),
    "proof.hpp": header("tether/attach/lifecycle/plans.hpp", "tether/proof/world.hpp"),
    "testing.hpp": header("tether/testing/recording.hpp"),
    "usdt/tracer.hpp": header("tether/attach/container.hpp", "tether/inhibit/gate.hpp"),
    "usdt.hpp": header("tether/usdt/tracer.hpp"),
}
PAGE = "".join(f"| `{folder}/` | something | {sees} |\n" for folder, sees in (
    ("core", "-"), ("topology", "core"), ("granule", "core"), ("backend", "core"), ("inhibit", "core"), ("discard", "core topology inhibit"),
    ("listen", "core topology granule backend discard"), ("attach", "all above"), ("proof", "core inhibit attach/lifecycle"),
    ("testing", "core backend"), ("usdt", "core inhibit attach")))
NO_PART_OF_TETHER = ("proof", "testing", "usdt", "attach/lifecycle")
UMBRELLA = header(*(f"tether/{one}" for one in HEADERS
                    if not one.startswith(NO_PART_OF_TETHER) and "namespace" not in HEADERS[one]))

# What is changed in the right tree, and the sentence that must come of it: (path, text or None to remove it, sentence).
WRONG = [
    ("include/tether/core/one.hpp", header("tether/topology/view.hpp"), "core/ does not see topology/"),
    ("include/tether/granule/whole.hpp", header("tether/backend/concepts.hpp"), "granule/ does not see backend/"),
    ("include/tether/backend/concepts.hpp", header("tether/inhibit/gate.hpp"), "backend/ does not see inhibit/"),
    ("include/tether/inhibit/gate.hpp", header("tether/granule/whole.hpp"), "inhibit/ does not see granule/"),
    ("include/tether/topology/view.hpp", header("tether/backend/concepts.hpp"), "topology/ does not see backend/"),
    ("include/tether/discard/balloon.hpp", header("tether/listen/listener.hpp"), "discard/ does not see listen/"),
    ("include/tether/listen/listener.hpp", header("tether/inhibit/gate.hpp"), "listen/ does not see inhibit/"),
    ("include/tether/listen/listener.hpp", header("tether/attach/container.hpp"), "listen/ does not see attach/"),
    ("include/tether/attach/container.hpp", header("tether/proof/model/state.hpp"), "attach/ does not see proof/"),
    ("include/tether/proof/model/state.hpp", header("tether/attach/container.hpp"), "proof/ does not see attach/"),
    ("include/tether/proof/model/state.hpp", header("tether/backend/concepts.hpp"), "proof/ does not see backend/"),
    ("include/tether/backend/software_iommu.hpp", header("tether/backend/io_uring_buffers.hpp"), "backends never include each other"),
    ("include/tether/backend/software_iommu.hpp", header("tether/backend/vfio/joined.hpp"), "backend/emulated does not see backend/vfio/"),
    ("include/tether/backend/concepts.hpp", header("tether/backend/software_iommu.hpp"), "backends never include each other"),
    ("include/tether/backend/concepts.hpp", header("tether/backend/detail/table.hpp"), "backend/ does not see backend/detail/"),
    ("include/tether/backend/vfio/device.hpp", header("tether/backend/vfio_type1.hpp"), "backends never include each other"),
    ("include/tether/backend/vfio/device.hpp", header("tether/backend/iommufd/ioas.hpp"), "backend/vfio does not see backend/iommufd/"),
    ("include/tether/backend/detail/table.hpp", private("tether/backend/emulated/registry.hpp"), "backend/detail does not see backend/emulated/"),
    ("include/tether/backend/iommufd.hpp", header("tether/backend/vfio_type1.hpp"), "backends never include each other"),
    ("include/tether/proof/world.hpp", header("tether/attach/detail/executor.hpp"), "which is not there"),
    ("include/tether/topology/detail/chunk.hpp", header() + "namespace tether {\n}\n", "is private, and declares in tether,"),
    ("include/tether/topology/detail/chunk.hpp", private() + "namespace std {\n}\n", "is private, and declares in std,"),
    ("include/tether/topology/detail/chunk.hpp", private() + "namespace {\n}\n", "declares in a namespace without a name"),
    ("include/tether/topology/detail/chunk.hpp", header() + "struct chunk {};\n", "declares outside of tether::detail"),
    ("include/tether/backend/vfio/joined.hpp", header() + "namespace tether {\n}\n", "is private, and declares in tether,"),
    ("include/tether/attach/container.hpp", header("tether/tether.hpp"), "includes the umbrella tether.hpp"),
    ("include/tether/attach/container.hpp", header("tether/proof.hpp"), "includes the umbrella proof.hpp"),
    ("include/tether/attach/container.hpp", header("tether/testing.hpp"), "includes the umbrella testing.hpp"),
    ("include/tether/above.hpp", header(), "has no mirror"),
    ("include/tether/attach/container.hpp", header("tether/attach/nothing.hpp"), "which is not there"),
    ("include/tether/attach/container.hpp", header("boost/hana.hpp"), "includes boost/hana.hpp"),
    ("include/tether/attach/container.hpp", HEAD + '#include "lifecycle.hpp"\n', "write <tether/...>"),
    *((f"include/tether/{one}", header("range/v3/view/all.hpp"), "does without range-v3")
      for one in ("core/one.hpp", "granule/whole.hpp", "inhibit/gate.hpp", "attach/container.hpp", "proof/model/state.hpp")),
    ("include/tether/core/one.hpp", HEAD + "\n" * 298, "301 lines, 300 at most"),
    ("include/tether/core/one.hpp", HEAD + "//" + "=" * 99 + "\n", "101 columns, 100 at most"),
    *(("include/tether/core/one.hpp", HEAD + f"void f() {word}\n", "write TETHER_TRY, TETHER_CATCH or TETHER_RETHROW")
      for word in ("try {", "{ throw; }", "{} catch (...) {}")),
    ("include/tether/core/one.hpp", "// A header.\n#pragma once\n", "the first line is not the licence"),
    ("include/tether/core/one.hpp", "// SPDX-License-Identifier: BSL-1.0\n", "has no #pragma once"),
    ("include/tether/core/one.hpp", header("boost/hana/tuple.hpp"), "so it must include version.hpp"),
    ("include/tether/extra/one.hpp", header(), "the folder is not in the table"),
    ("include/tether/README.md", None, "README.md: is missing"),
    ("include/tether/README.md", PAGE.replace("| core topology inhibit |", "| core topology |"), "must say that discard/ sees core inhibit topology"),
    ("include/tether/README.md", PAGE.replace("`granule/`", "`granules/`"), "must say that granule/ sees core"),
    ("include/tether/README.md", PAGE.replace("| core topology inhibit |", "| all above |"), "must say that discard/ sees"),
    ("include/tether/README.md", PAGE.replace("attach/lifecycle", "attach"), "must say that proof/ sees core inhibit attach/lifecycle"),
    ("include/tether/core/README.md", "notes\n", "is no header of the library"),
    ("include/tether/core/notes.txt", "notes\n", "is no header of the library"),
    ("include/other/one.hpp", header(), "is no header of the library"),
    ("test/static/core/one.cpp", None, "has no mirror"),
    ("test/static/core/one.cpp", "#include <tether/version.hpp>\n", "its mirror does not include it"),
    ("include/tether/tether.hpp", UMBRELLA.replace("#include <tether/core/one.hpp>\n", ""), "tether.hpp: does not include core/one.hpp"),
    ("include/tether/proof.hpp", header("tether/attach/lifecycle/plans.hpp"), "proof.hpp: does not include proof/world.hpp"),
    ("include/tether/proof.hpp", header("tether/proof/world.hpp"), "proof.hpp: does not include attach/lifecycle/plans.hpp"),
    ("include/tether/testing.hpp", header(), "testing.hpp: does not include testing/recording.hpp"),
    ("include/tether/usdt.hpp", header(), "usdt.hpp: does not include usdt/tracer.hpp"),
    ("include/tether/attach/container.hpp", header("tether/usdt/tracer.hpp"), "attach/ does not see usdt/"),
    ("include/tether/tether.hpp", UMBRELLA + "#include <tether/proof/world.hpp>\n", "which is opt-in by another umbrella"),
    ("include/tether/tether.hpp", UMBRELLA + "#include <tether/testing/recording.hpp>\n", "which is opt-in by another umbrella"),
    ("include/tether/tether.hpp", UMBRELLA + "#include <tether/attach/lifecycle/plans.hpp>\n", "which is opt-in by another umbrella"),
    ("include/tether/tether.hpp", UMBRELLA + "#include <tether/proof.hpp>\n", "includes the umbrella proof.hpp"),
    ("include/tether/tether.hpp", UMBRELLA + "#include <tether/topology/detail/chunk.hpp>\n", "what is in detail/ is nobody's to use"),
    # A part that the umbrella stops to name is private, and must declare so.
    ("include/tether/tether.hpp", UMBRELLA.replace("#include <tether/backend/vfio/device.hpp>\n", ""), "backend/vfio/device.hpp: is private"),
    ("scripts/build", "", "scripts: does not belong at the top level"),
    ("Makefile", "", "Makefile: does not belong at the top level"),
    ("LICENSE", None, "LICENSE: is missing"),
]


def write(root, path, text):
    path = os.path.join(root, path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def plant(root):
    """The right tree."""
    for one, text in HEADERS.items():
        write(root, f"include/tether/{one}", text)
        kind = "runtime" if one.startswith("topology") else "static"
        write(root, f"test/{kind}/{one.removesuffix('.hpp')}.cpp", f"#include <tether/{one}>\n")
    write(root, "include/tether/tether.hpp", UMBRELLA)
    write(root, "include/tether/README.md", PAGE)
    for one in check.TOP_LEVEL:
        if "." in one or one.isupper():
            write(root, one, "")
    for one in ("bench/one.cpp", "examples/one.cpp", ".gitignore", "build/made"):
        write(root, one, "")


def main():
    failures = 0
    with tempfile.TemporaryDirectory() as scratch:
        right = os.path.join(scratch, "right")
        plant(right)
        for sentence in check.check(right):
            print(f"a tree that is right is refused: {sentence}")
            failures += 1
        for number, (path, text, expected) in enumerate(WRONG):
            wrong = os.path.join(scratch, str(number))
            shutil.copytree(right, wrong)
            if text is None:
                os.remove(os.path.join(wrong, path))
            else:
                write(wrong, path, text)
            found = check.check(wrong)
            if not any(expected in sentence for sentence in found):
                print(f"{path}: '{expected}' was expected, and what was said is {found}")
                failures += 1
    print(f"{len(WRONG)} wrong trees, {failures} mistakes of the checker")
    return 1 if failures else 0


sys.exit(main())
