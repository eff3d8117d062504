# SPDX-License-Identifier: BSL-1.0
"""Reads the functions of an object file as objdump shows them: opcodes, what is called, what runs when nothing fails."""
import collections
import re
import subprocess

HEADER = re.compile(r"^[0-9a-f]+ <(.+)>:$")
INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\t(\S.*)$")
RELOCATION = re.compile(r"^\s+[0-9a-f]+: R_\S+\s+(.+)$")
INDIRECT = re.compile(r"^(?:\w+ PTR )?(?:\w\w:)?(?:\[.*\]|[a-z]\w+)$")
LOCAL = re.compile(r"^([0-9a-f]+) <")
# Alignment and markers: no work, and their number depends on where a function happens to lie.
PADDING = ("nop", "endbr64", "data16", "cs", "int3", "xchg   ax,ax")
PREFIXES = ("lock", "rep", "repz", "repnz", "notrack", "bnd")
ADDEND = re.compile(r"[-+]0x[0-9a-f]+$")
# A function that is not visible outside is named by its section (-ffunction-sections).
SECTION = re.compile(r"\.text(\.unlikely)?\.(?=_Z)")
OWN_COLD_PART = "its own cold part"

# `target`: the symbol that a relocation names, or "". `prefix`: "lock", "rep", ... or "".
Instruction = collections.namedtuple("Instruction", "prefix opcode operands target")


class Function:
    """One function: its hot part by address, and the part that the compiler has moved away as unlikely (`X.cold`)."""

    def __init__(self):
        self.hot = {}
        self.cold = {}

    def all(self):
        return [*self.hot.values(), *self.cold.values()]

    def transfers(self):
        """Calls, and jumps out of the function."""
        return [one for one in self.all() if one.opcode in ("call", "jmp") and (one.target or not LOCAL.match(one.operands))]

    def called(self):
        return {one.target for one in self.transfers()} - {"", OWN_COLD_PART}

    def indirect(self):
        """Calls and jumps whose target is read from a register or from memory: virtual calls, function pointers, jump tables."""
        return [one for one in self.transfers() if INDIRECT.match(one.operands)]

    def locked(self):
        """Instructions that lock the bus: `lock`, and `xchg` with memory, which needs no prefix."""
        return [one for one in self.all() if one.prefix == "lock" or (one.opcode == "xchg" and "[" in one.operands)]

    def data(self):
        """Symbols whose address is taken or read: strings, tables, virtual tables."""
        return {one.target for one in self.all() if one.target and one.opcode not in ("call", "jmp") and not one.opcode.startswith("j")}

    def conditional(self):
        """Addresses of the hot part's conditional jumps."""
        return [at for at, one in self.hot.items() if one.opcode.startswith("j") and one.opcode != "jmp"]

    def loops(self):
        """The loops of the hot part, each a set of addresses that can reach one another."""
        ways = self.successors(lambda one: True)
        reach = {}
        for start in self.hot:
            found, waiting = set(), [start]
            while waiting:
                new = set(ways(waiting.pop())) - found
                found |= new
                waiting += new
            reach[start] = found
        return {frozenset(at for at in reach[start] if start in reach[at]) for start in self.hot if start in reach[start]}

    def successors(self, returns_from):
        """A function from an address of the hot part to those that can be run next. `returns_from` tells of a call."""
        addresses = sorted(self.hot)
        after = dict(zip(addresses, addresses[1:]))

        def of(at):
            one = self.hot[at]
            if one.opcode in ("ret", "ud2") or (one.opcode == "call" and not returns_from(one)):
                return []
            if not one.opcode.startswith("j"):
                return [after[at]] if at in after else []
            jump = LOCAL.match(one.operands)
            ways = [int(jump[1], 16)] if jump and not one.target else []
            if one.opcode != "jmp" and at in after:
                ways.append(after[at])
            return [way for way in ways if way in self.hot]

        return of

    def success_path(self, expected):
        """What can run when nothing fails: the instructions on a way from the entry to a return on which nothing but the
        `expected` is called."""
        successors = self.successors(lambda one: one.target in expected)
        reached, waiting = set(), sorted(self.hot)[:1]
        while waiting:
            at = waiting.pop()
            if at not in reached:
                reached.add(at)
                waiting += successors(at)
        before = collections.defaultdict(list)
        for at in reached:
            for way in successors(at):
                before[way].append(at)
        returns, waiting = set(), [at for at in reached if self.hot[at].opcode == "ret"
                                   or (self.hot[at].opcode == "jmp" and self.hot[at].target in expected)]
        while waiting:
            at = waiting.pop()
            if at not in returns:
                returns.add(at)
                waiting += before[at]
        return [self.hot[at] for at in sorted(returns)]


def demangled(text):
    return subprocess.run(["c++filt"], input=text, capture_output=True, text=True, check=True).stdout


def functions_of(object_file):
    """All functions of an object file by their demangled names."""
    text = subprocess.run(["objdump", "-dr", "-M", "intel", "--no-show-raw-insn", object_file],
                           capture_output=True, text=True, check=True).stdout
    text = SECTION.sub("", re.sub(r"^([0-9a-f]+ <\S+)\.cold(\.\d+)?>:", r"\1>:@cold", text, flags=re.MULTILINE))
    found = collections.defaultdict(Function)
    part, name = None, ""
    for line in demangled(text).splitlines():
        is_cold = line.endswith("@cold")
        if header := HEADER.match(line.removesuffix("@cold")):
            name = header[1]
            part = found[name].cold if is_cold else found[name].hot
        elif part and (relocation := RELOCATION.match(line)):
            last = next(reversed(part))
            target = ADDEND.sub("", relocation[1])
            part[last] = part[last]._replace(target=OWN_COLD_PART if target == name else target)
        elif part is not None and (instruction := INSTRUCTION.match(line)):
            shown = instruction[2].strip()
            words = shown.split(None, 1)
            prefix = ""
            if words[0] in PREFIXES and len(words) > 1:
                prefix, words = words[0], words[1].split(None, 1)
            if shown.startswith(PADDING):
                # A jump may lead here; what it leads to is what follows.
                part[int(instruction[1], 16)] = Instruction("", "nop", "", "")
            else:
                part[int(instruction[1], 16)] = Instruction(prefix, words[0], words[1] if len(words) > 1 else "", "")
    return dict(found)


def opcodes(instructions):
    """The multiset of opcodes, without padding."""
    return collections.Counter(f"{one.prefix} {one.opcode}".strip() for one in instructions if one.opcode != "nop")
