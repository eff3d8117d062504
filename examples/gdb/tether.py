# SPDX-License-Identifier: BSL-1.0
"""Pretty printers for gdb: addresses in hexadecimal, extents, sections, views, labels, errors, and a gate with its holders.

    (gdb) source /usr/local/share/tether/gdb/tether.py

(below whatever prefix it was installed to), or the same line in ~/.gdbinit: a library of headers alone has no object file by whose name gdb could find them.
"""
import gdb
import gdb.printing
import gdb.types
import os
import re

SPACES = ["", "guest physical", "I/O virtual", "host virtual", "block offset"]
KINDS = ["any hold", "uncoordinated hold", "any requirement", "coordinated requirement", "suspension"]


def text_of_label(label):
    raw = label["text_"]["_M_elems"]
    low, high = raw.type.strip_typedefs().range()
    raw_bytes = bytes(int(raw[at]) & 0xFF for at in range(low, high + 1))
    return raw_bytes.split(b"\0", 1)[0].decode("utf-8", "backslashreplace")


def quoted(name):
    """On one line, as the library itself shows a name."""
    return "'" + re.sub(r"[\x00-\x1f\x7f-\x9f']", lambda c: f"\\x{ord(c[0]):02x}", name) + "'"


def text_of_view(view):
    """A std::string_view of libstdc++ or libc++."""
    names = [field.name for field in view.type.strip_typedefs().fields()]
    begin, size = ("_M_str", "_M_len") if "_M_str" in names else ("__data_", "__size_")
    if int(view[size]) == 0:
        return ""
    return view[begin].string("utf-8", "backslashreplace", int(view[size]))


def counted(number, what):
    return f"{number} {what}{'' if number == 1 else 's'}"


def space_of(address_type):
    return SPACES[int(address_type.strip_typedefs().template_argument(0))]


class Address:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"{space_of(self.value.type)} {int(self.value['value']):#x}"


class Extent:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        first, last = (int(self.value[end]["value"]) for end in ("first", "last"))
        empty = "" if first <= last else " (not valid)"
        return f"{space_of(self.value['first'].type)} [{first:#x}, {last:#x}]{empty}"


class Label:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return quoted(text_of_label(self.value))


def text_of_section(section):
    name = text_of_view(section["name"])
    text = str(section["kind"]).rsplit("::", 1)[-1] + (f" {quoted(name)}" if name else "")
    text += " at " + Extent(section["where"]).to_string()
    return text + (", read-only" if section["read_only"] else "")


class Section:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return text_of_section(self.value)


def elements_of(vector):
    """What a std::vector of libstdc++ holds."""
    at, end = vector["_M_impl"]["_M_start"], vector["_M_impl"]["_M_finish"]
    while at != end:
        yield at.dereference()
        at += 1


class View:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"view of {counted(int(self.value['size_']), 'section')}"

    def children(self):
        number = 0
        groups = self.value["groups_"]
        several = elements_of(groups["many_"])
        for group in [groups["one_"]] if groups["one_"]["_M_ptr"] else several:
            chunks = group["_M_ptr"]["chunks_"]
            for chunk in (chunks[at]["_M_ptr"] for at in range(int(group["_M_ptr"]["size_"]))):
                for at in range(int(chunk["size_"])):
                    yield f"[{number}]", chunk["sections_"][at]
                    number += 1

    def display_hint(self):
        return "array"


def cause_of(code):
    """A std::error_code of libstdc++: tether's own cause by name, an errno by its sentence."""
    number = int(code["_M_value"])
    if "the_error_category" in code["_M_cat"].format_string(symbols=True):
        return str(gdb.Value(number).cast(gdb.lookup_type("tether::errc")))
    return os.strerror(number)


class Error:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        it = self.value
        text = it["operation_"].string()
        subject, blocker, container = (text_of_label(it[which]) for which in ("subject_", "blocker_", "container_"))
        if subject:
            text += f"{' for' if it['on_behalf_'] else ' of'} {quoted(subject)}"
        if int(it["space_"]) != 0:
            text += f" at {SPACES[int(it['space_'])]} [{int(it['first_']):#x}, {int(it['last_']):#x}]"
        if container:
            text += f" in container {quoted(container)}"
        text += f": {cause_of(it['cause_'])}"
        if blocker:
            text += f" ({quoted(blocker)} is in the way)"
        if int(it["advice_"]) != 0:
            number = int(it["number_"])
            advice = re.sub(r"\{([^{}|]*)\|([^{}]*)\}", r"\1" if number == 1 else r"\2", it["advice_"].string())
            text += "; " + advice.replace("{}", str(number))
        return text


def entries_of(gate):
    entry = gate["ledger_"]["first_"]
    while int(entry) != 0:
        yield entry.dereference()
        entry = entry["next_"]


class Gate:
    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"gate with {counted(sum(1 for _ in entries_of(self.value)), 'holder')}"

    def children(self):
        for number, entry in enumerate(entries_of(self.value)):
            kind = KINDS[int(entry["what_"])]
            yield f"[{number}]", f"{quoted(text_of_label(entry['name_']))}: {int(entry['count_'])} of {kind}"

    def display_hint(self):
        return "array"


PRINTERS = [
    (r"^tether::address<.*>$", Address),
    (r"^tether::extent<.*>$", Extent),
    (r"^tether::label$", Label),
    (r"^tether::section$", Section),
    (r"^tether::flat_view$", View),
    (r"^tether::error$", Error),
    (r"^tether::discard_gate<.*>$", Gate),
]


class Printers(gdb.printing.PrettyPrinter):
    def __init__(self):
        super().__init__("tether")

    def __call__(self, value):
        name = gdb.types.get_basic_type(value.type).tag or ""
        for pattern, printer in PRINTERS:
            if re.match(pattern, name):
                return printer(value)
        return None


gdb.printing.register_pretty_printer(None, Printers(), replace=True)
