#!/usr/bin/env python3
# SPDX-License-Identifier: BSL-1.0
"""Holds the rows of this folder against the public headers: each operation is counted, or it says why not.

    check.py ROOT      one sentence for each public function that no row covers and uncounted.txt does not name, and for each name
                       there, or in a row, that no header has; the exit status is 0 if there is none
    check.py --selftest
"""
import os
import re
import sys

UMBRELLAS = ("tether.hpp", "testing.hpp")
NO_FUNCTIONS = {"requires", "noexcept", "alignas", "static_assert", "decltype", "if", "for", "while", "switch", "return", "sizeof", "catch"}
SCOPE = re.compile(r"\b(namespace|class|struct|union|enum)\b(?:\s+class)?\s*(?:\[\[.*?\]\]\s*)?([\w:]*)")
FUNCTION = re.compile(r"(operator\s*(?:\(\)|[^\s\w(]+|\w+)|~?\w+)\s*\(")


def bare(text):
    """Without comments, literals and preprocessor lines, nor the quotes inside of numbers."""
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    return re.sub(r"//[^\n]*|/\*.*?\*/|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", " ", text, flags=re.DOTALL)


def without_templates(head):
    """Without `template <...>` and `requires (...)`, whose brackets nest."""
    while (at := re.search(r"\btemplate\s*<|\brequires\s*\(", head)):
        opening = head[at.end() - 1]
        closing, depth, end = {"<": ">", "(": ")"}[opening], 0, at.end() - 1
        for end in range(at.end() - 1, len(head)):
            depth += (head[end] == opening) - (head[end] == closing)
            if depth == 0:
                break
        head = head[:at.start()] + " " + head[end + 1:]
    return head


def functions_of(text):
    """The public functions that a header declares in `tether`: "class::name", or "name" outside of a class."""
    found = set()
    scopes = []  # of (kind, name, access)
    head = ""

    def declared():
        inside = [name for kind, name, _ in scopes if kind in ("class", "struct")]
        names = "::".join(name for kind, name, _ in scopes if kind == "namespace").split("::")
        if names != ["tether"] or any(kind not in ("namespace", "class", "struct") for kind, _, _ in scopes):
            return
        if any(access != "public" for kind, _, access in scopes if kind != "namespace"):
            return
        line = re.sub(r"\[\[.*?\]\]", " ", without_templates(head))
        if re.search(r"\b(friend|using|typedef|static_assert|concept)\b", line) or "= delete" in line or "= default" in line:
            return
        for at in FUNCTION.finditer(line.split("=")[0] if "operator" not in line else line):
            name = re.sub(r"\s+", "", at.group(1))
            if name in NO_FUNCTIONS:
                continue
            if re.match(r"operator(==|<=>|bool|\*|->|\+\+|\+|-)$", name) or name.endswith("_"):
                return  # these have no N; or a member's initialiser
            owner = inside[-1].removeprefix("basic_") + "::" if inside else ""
            found.add(owner + name.removeprefix("basic_"))
            return

    for letter in bare(text):
        if letter == "{":
            kind, name = "block", ""
            scope = SCOPE.search(without_templates(head))
            if scope and "(" not in without_templates(head).split(scope.group(0))[-1]:
                kind, name = scope.group(1), scope.group(2)
            if kind == "block":
                declared()
            scopes.append((kind, name, "private" if kind == "class" else "public"))
            head = ""
        elif letter == "}":
            if scopes:
                scopes.pop()
            head = ""
        elif letter == ";":
            declared()
            head = ""
        else:
            head += letter
            access = re.search(r"\b(public|private|protected)\s*:$", head)
            if access and scopes:
                scopes[-1] = (*scopes[-1][:2], access.group(1))
                head = ""
    return found


def rows_of(text):
    """What the rows of a file cover."""
    joined = re.sub(r"\"\s*\n\s*\"", "", text)
    return {name for covers in re.findall(r"\{\"[^\"]+\",\s*\"([^\"]*)\",\s*promise::", joined) for name in covers.split()}


def violations(headers, rows, uncounted):
    """`headers`: header -> its functions; `uncounted`: names, or headers, that say why they have no row."""
    every = {name: where for where, names in headers.items() for name in names}
    for name, where in sorted(every.items()):
        owner, _, own = name.rpartition("::")
        if own.removeprefix("basic_") == owner or own.startswith(("~", "operator=")):
            continue  # made, assigned and destroyed in the rows of what it does
        if name not in rows and name not in uncounted and where not in uncounted:
            yield f"{where}: no row of test/growth covers {name}, and uncounted.txt does not say why"
    for name in sorted(rows - set(every)):
        yield f"a row covers {name}, which no public header declares"
    for name in sorted(uncounted):
        if name not in every and name not in headers:
            yield f"uncounted.txt names {name}, which is not there"
        elif name in rows:
            yield f"uncounted.txt names {name}, which a row covers"


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def check(root):
    include = os.path.join(root, "include/tether")
    named = [one for umbrella in UMBRELLAS for one in re.findall(r"<tether/([^>]+)>", read(os.path.join(include, umbrella)))]
    headers = {one: functions_of(read(os.path.join(include, one))) for one in named}
    here = os.path.join(root, "test/growth")
    rows = set()
    for name in sorted(os.listdir(here)):
        if name.endswith((".cpp", ".hpp")):
            rows |= rows_of(read(os.path.join(here, name)))
    lines = [line for line in read(os.path.join(here, "uncounted.txt")).splitlines() if line and not line.startswith("#")]
    found = [f"uncounted.txt: '{line}' has no reason" for line in lines if len(line.split(None, 1)) < 2]
    return found + list(violations(headers, rows, {line.split()[0] for line in lines}))


def selftest():
    header = """
namespace tether {
namespace detail { class hidden { public: void never(); }; }
/// void commented();
[[nodiscard]] inline int free_one(int a) noexcept { return other(a); }
template <class T> requires(sizeof(T) > 1)
class basic_thing : public base<T> {
 public:
  explicit basic_thing(int size) : size_{size} {}
  template <class F> void act(F f) { f(); }
  [[nodiscard]] int ask() const noexcept;
 private:
  void secret();
  int size_;
};
}
"""
    found = functions_of(header)
    wanted = {"free_one", "thing::thing", "thing::act", "thing::ask"}
    mistakes = [] if found == wanted else [f"found {sorted(found)} instead of {sorted(wanted)}"]
    rows = rows_of('{"a row", "thing::act "\n "thing::ask", promise::each, f}, {"b", "", promise::same}')
    if rows != {"thing::act", "thing::ask"}:
        mistakes.append(f"rows cover {sorted(rows)}")
    headers = {"thing.hpp": wanted}
    right = (rows | {"thing::thing"}, {"free_one"})
    if list(violations(headers, *right)):
        mistakes.append("what is right is refused")
    for wrong in ((rows, set()), ({"thing::ask"}, {"free_one"}), (wanted | {"gone"}, set()), (wanted, {"gone"}), (wanted, {"free_one"})):
        if not list(violations(headers, *wrong)):
            mistakes.append(f"{wrong} is accepted")
    return mistakes


def main(argument):
    found = selftest() if argument == "--selftest" else check(argument)
    for one in found:
        print(one)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
