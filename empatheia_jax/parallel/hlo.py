"""Reads the text of a compiled program (HLO): what it moves through a device's memory, and between devices.

Every operation outside a fusion reads its operands from memory and writes its result there; what happens inside a fusion stays in
registers. So the bytes moved are those of the operands and results, except that a slice reads only what it takes, and an update
in place writes only what it puts. A loop counts as often as it runs, where the program says how often.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections import defaultdict
from collections.abc import Iterator

_SIZES = {"pred": 1, "s8": 1, "u8": 1, "s16": 2, "u16": 2, "bf16": 2, "f16": 2, "s32": 4, "u32": 4, "f32": 4}
_SIZES |= {"s64": 8, "u64": 8, "f64": 8, "f8e4m3fn": 1, "f8e5m2": 1}
_COLLECTIVES = ("all-gather", "all-reduce", "reduce-scatter", "all-to-all", "collective-permute", "ragged-all-to-all")
_SHAPE = re.compile(r"\b([a-z]+\d*[a-z0-9]*)\[([\d,]*)\]")
_OPERATION = re.compile(r"^\s*(ROOT )?%?([\w.\-]+) = (.*?) ([\w\-]+)\((.*)$")
_COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) (?:\(.*\) -> .*)?\{$")
_CALLED = re.compile(r"(?:body|to_apply|calls|branch_computations)=\{?%?([\w.\-]+)")

_NOTHING = {
    "parameter",
    "constant",
    "tuple",
    "get-tuple-element",
    "bitcast",
    "after-all",
    "while",
    "conditional",
    "call",
}
_NOTHING |= {"partition-id", "replica-id", "opt-barrier", "iota"}
_SLICES = ("slice", "dynamic-slice", "gather")
_MOVES = {
    "copy",
    "transpose",
    "slice",
    "dynamic-slice",
    "concatenate",
    "pad",
    "reverse",
    "convert",
    "dynamic-update-slice",
}
_WITHIN_MOVES = _MOVES | {"parameter", "constant", "bitcast", "reshape", "broadcast", "tuple"}
_OF_INDICES = {"add", "compare", "select"}  # an offset below 0 counts from the end


def bytes_of(shapes: str) -> int:
    """Bytes of all arrays named in a piece of HLO: "f32[4,8]{1,0}", or a tuple of such."""
    total = 0
    for kind, sizes in _SHAPE.findall(shapes):
        if kind in _SIZES:
            total += _SIZES[kind] * math.prod(int(size) for size in sizes.split(",") if size)
    return total


@dataclasses.dataclass(frozen=True)
class Operation:
    """One line of a computation. `shapes` of the result; `rest`: all behind the opening bracket of the operands."""

    name: str
    shapes: str
    kind: str
    rest: str
    root: bool

    @property
    def operands(self) -> list[str]:
        """Names of the operands."""
        depth, end = 1, len(self.rest)
        for place, letter in enumerate(self.rest):
            depth += (letter == "(") - (letter == ")")
            if not depth:
                end = place
                break
        return re.findall(r"%([\w.\-]+)", self.rest[:end])

    @property
    def called(self) -> list[str]:
        """Computations that it runs."""
        return _CALLED.findall(self.rest)


class Program:
    """The computations of a compiled program, by name."""

    def __init__(self, text: str):
        self.computations: dict[str, list[Operation]] = {}
        self.entry: str | None = None
        self._bounds: dict[str, int] = {}
        current: str | None = None
        for line in text.splitlines():
            if header := _COMPUTATION.match(line):
                current = header.group(1)
                self.computations[current] = []
                self.entry = current if line.startswith("ENTRY") else self.entry
            elif current is not None and (found := _OPERATION.match(line)):
                root, name, shapes, kind, rest = found.groups()
                self.computations[current].append(Operation(name, shapes, kind, rest, root is not None))
        for name, operations in self.computations.items():
            if (bound := _bound(operations)) is not None:
                self._bounds[name] = bound

    def times(self, loop: Operation) -> int | None:
        """How often a `while` runs, None where only the run itself can know: the number that the compiler notes, else the
        constant with which the condition compares (TPU compilers note none).
        """
        if trips := re.search(r'known_trip_count"?:?\s*\{"?n"?:\s*"?(\d+)', loop.rest):
            return int(trips.group(1))
        condition = re.search(r"condition=%?([\w.\-]+)", loop.rest)
        return self._bounds.get(condition.group(1)) if condition else None

    def open_loops(self) -> list[str]:
        """Bodies of the loops whose length only the run can know: decoding's, say."""
        operations = [each for computation in self.computations.values() for each in computation]
        loops = [each for each in operations if each.kind == "while" and self.times(each) is None]
        return [match.group(1) for each in loops if (match := re.search(r"body=%?([\w.\-]+)", each.rest))]

    def total(self, own, computation: str | None = None) -> int:
        """`own(computation)` of the computation (the whole program unless given) and of all that it runs, as often as it does."""
        start = computation or self.entry
        return 0 if start is None else self._total(own, start, frozenset())

    def _total(self, own, computation: str, seen: frozenset[str]) -> int:
        if computation in seen or computation not in self.computations:
            return 0
        result, inside = own(computation), seen | {computation}
        for operation in self.computations[computation]:
            times = (self.times(operation) or 1) if operation.kind == "while" else 1
            result += times * sum(self._total(own, name, inside) for name in operation.called)
        return result


def _bound(operations: list[Operation]) -> int | None:
    """n, of a computation that ends in `compare(i, n), direction=LT` with a constant n: the condition of a counting loop."""
    constants = {}
    for each in operations:
        if each.kind == "constant" and each.shapes.startswith("s32[]") and (value := re.match(r"(\d+)\)", each.rest)):
            constants[each.name] = int(value.group(1))
    for each in operations:
        if each.root and each.kind == "compare" and "direction=LT" in each.rest and len(each.operands) == 2:
            return constants.get(each.operands[1])
    return None


# ---------------------------------------------------------------- between devices


def collective_bytes(text: str) -> int:
    """Bytes that a device receives per call in the collectives of a compiled program (HLO text).

    The result's bytes of every gather, scatter, permutation and exchange, twice those of an all-reduce (ring: reduce, then
    gather).
    """
    program = Program(text)

    def own(computation: str) -> int:
        return sum(_received(each) for each in program.computations[computation])

    return program.total(own)


def _received(operation: Operation) -> int:
    kind = operation.kind.removesuffix("-start")
    if kind not in _COLLECTIVES or operation.kind.endswith("-done"):
        return 0
    size = bytes_of(operation.shapes)
    if operation.kind.endswith("-start") and kind != "all-reduce":
        size -= bytes_of(operation.rest.split("), ")[0])  # an asynchronous one lists its operands before its results
    return max(0, size) * (2 if kind == "all-reduce" else 1)


# ---------------------------------------------------------------- through memory


@dataclasses.dataclass(frozen=True)
class Traffic:
    """Bytes through one device's memory. `moved`: all; `copied`: of which by operations that compute nothing (copies,
    transposes, slices, conversions).
    """

    moved: int
    copied: int


def traffic(program: Program, computation: str | None = None) -> Traffic:
    """What a computation (the whole program unless given) moves, with all that it runs, loops as often as they run."""
    fused = {name for each in _all(program) if each.kind in ("fusion", "reduce", "scatter", "sort", "custom-call")
             for name in each.called}  # fmt: skip

    def moved(name: str) -> int:
        return 0 if name in fused else sum(_moved(program, name))

    def copied(name: str) -> int:
        if name in fused:
            return 0
        operations = program.computations[name]
        return sum(size for size, each in zip(_moved(program, name), operations) if _copies(program, each))

    return Traffic(program.total(moved, computation), program.total(copied, computation))


def _all(program: Program) -> Iterator[Operation]:
    for operations in program.computations.values():
        yield from operations


def _moved(program: Program, computation: str) -> list[int]:
    """Bytes that each operation of a computation moves."""
    operations = program.computations[computation]
    sizes = {each.name: bytes_of(each.shapes) for each in operations}
    return [_moved_by(program, each, sizes) for each in operations]


def _moved_by(program: Program, each: Operation, sizes: dict[str, int]) -> int:
    if each.kind in _NOTHING or each.kind.endswith("-done"):
        return 0
    result, operands = sizes[each.name], [sizes.get(name, 0) for name in each.operands]
    if each.kind in _SLICES:
        return 2 * result
    if each.kind == "dynamic-update-slice":
        return 2 * operands[1]
    if each.kind == "fusion" and len(each.called) == 1 and each.called[0] in program.computations:
        read, written = _fusion(program.computations[each.called[0]])
        return sum(min(size, read.get(place, size)) for place, size in enumerate(operands)) + (written or result)
    return result + sum(operands)


def _fusion(operations: list[Operation]) -> tuple[dict[int, int], int | None]:
    """What a fusion moves: bytes that it reads of an operand where only slices of it are taken, and bytes that it writes where it
    updates an operand in place.
    """
    sizes = {each.name: bytes_of(each.shapes) for each in operations}
    by_name = {each.name: each for each in operations}
    users: dict[str, list[Operation]] = defaultdict(list)
    for each in operations:
        for name in set(each.operands):
            users[name].append(each)

    def uses(name: str) -> list[tuple[str, Operation]]:
        """(what the user has for its operand, user), through operations that change no byte."""
        found = []
        for user in users[name]:
            found += uses(user.name) if user.kind in ("bitcast", "reshape") and not user.root else [(name, user)]
        return found

    read: dict[int, int] = {}
    for each in operations:
        number = re.match(r"(\d+)\)", each.rest)
        if each.kind != "parameter" or number is None:
            continue
        taken = []
        for name, user in uses(each.name):
            if user.kind in _SLICES and user.operands[0] == name:
                taken.append(sizes[user.name])
            elif user.kind == "dynamic-update-slice" and user.operands[0] == name:
                taken.append(0)
            else:
                break
        else:
            read[int(number.group(1))] = sum(taken)
    root = next((each for each in operations if each.root), None)
    while root is not None and root.kind in ("bitcast", "convert", "copy") and root.operands[0] in by_name:
        root = by_name[root.operands[0]]
    if root is not None and root.kind == "dynamic-update-slice":
        return read, sizes.get(root.operands[1], 0)
    if root is not None and root.kind == "tuple":
        parts = [by_name[name] for name in root.operands if name in by_name]
        updates = [each.kind == "dynamic-update-slice" for each in parts]
        if any(updates):
            return read, sum(sizes[p.operands[1]] if u else sizes[p.name] for p, u in zip(parts, updates))
    return read, None


def _copies(program: Program, each: Operation) -> bool:
    """Whether an operation computes nothing."""
    if each.kind == "fusion":
        within = [inner for name in each.called for inner in program.computations.get(name, [])]
        kinds = {x.kind for x in within if x.kind not in _OF_INDICES or not re.match(r"[su]32|[su]64|pred", x.shapes)}
        return bool(kinds & _MOVES) and kinds <= _WITHIN_MOVES
    return each.kind in _MOVES
