"""Reads the pickles of `torch.save` without PyTorch, and without running anything that they contain.

A pickle is a program: it names functions of installed packages, calls them, and sets the state of what they returned.
Here it is read as data. A small stack machine knows the opcodes that build containers, and a table knows the names that
describe tensors and plain containers, each with a function of ours that makes a stand-in. Any other name or opcode is
refused. No class is looked up, no state is set on anything but the stand-ins of this module, and what the result would
hold is bounded by the size of the pickle.

The names are in `torch_names`; the opcodes are decoded by the standard library's `pickletools`.
"""

from __future__ import annotations

import dataclasses
import pickletools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from converters.formats.torch_names import (
    CONSTANTS,
    FUNCTIONS,
    Dict,
    Namespace,
    NumpyArray,
    NumpyType,
    Storage,
    StorageType,
    TorchType,
    UnsafePickleError,
    integer,
    plain_key,
)
from empatheia_jax.errors import UserError

DEEPEST = 64  # containers inside containers; released checkpoints have about five
_LARGEST_INTEGER = 1 << 127


@dataclasses.dataclass(frozen=True)
class _Function:
    """A name of the table that may be called."""

    call: Callable[..., Any]


_CONSTANT_OPCODES = {
    "NONE": None,
    "NEWTRUE": True,
    "NEWFALSE": False,
}
_VALUE_OPCODES = frozenset(
    """
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE
    SHORT_BINUNICODE BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 BYTEARRAY8
    """.split()  # noqa: SIM905
)
_EMPTY = {
    "EMPTY_DICT": Dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": list,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


class _Machine:
    """Runs the opcodes of one pickle."""

    def __init__(self, path: Path, storage: Callable[[tuple], Storage]):
        self._path, self._storage = path, storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, file: Any) -> Any:
        """The object that the pickle describes; `file` then stands behind it."""
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise UserError(f"{self._path} is cut short: its pickle has no end")

    def _step(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _VALUE_OPCODES:
            stack.append(self._value(argument))
        elif name in _CONSTANT_OPCODES:
            stack.append(_CONSTANT_OPCODES[name])
        elif name in _EMPTY:
            stack.append(_EMPTY[name]())
        elif name in _TUPLES:
            items = [stack.pop() for _ in range(_TUPLES[name])]
            stack.append(tuple(reversed(items)))
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif name == "GLOBAL":
            stack.append(self._name(*argument.split(" ", 1)))
        elif name not in ("PROTO", "FRAME"):
            method = getattr(self, f"_{name.lower()}", None)
            if method is None:
                raise UnsafePickleError(f"{self._path} is refused: its pickle uses {name}, which no tensor file needs")
            method()

    def _value(self, value: Any) -> Any:
        if isinstance(value, int) and abs(value) >= _LARGEST_INTEGER:
            raise UserError(f"{self._path} is refused: its pickle holds an integer of {value.bit_length()} bits")
        if isinstance(value, str):
            value.encode()  # a lone surrogate is an error here, and not when it is printed
        return bytes(value) if isinstance(value, bytearray) else value

    def _name(self, module: Any, name: Any) -> Any:
        full = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else "something without a name"
        full = full.encode("unicode_escape").decode()
        if full in CONSTANTS:
            return CONSTANTS[full]
        if full in FUNCTIONS:
            return _Function(FUNCTIONS[full])
        raise UnsafePickleError(
            f"{self._path} is refused: its pickle asks for {full}, which is no part of a tensor file and could run "
            "code; save the tensors alone, best as safetensors"
        )

    def _from_mark(self) -> list[Any]:
        begin = self._marks.pop()
        items = self._stack[begin:]
        del self._stack[begin:]
        return items

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _pop(self) -> None:
        self._stack.pop()

    def _pop_mark(self) -> None:
        self._from_mark()

    def _dup(self) -> None:
        self._stack.append(self._stack[-1])

    def _stack_global(self) -> None:
        name, module = self._stack.pop(), self._stack.pop()
        self._stack.append(self._name(module, name))

    def _tuple(self) -> None:
        self._stack.append(tuple(self._from_mark()))

    def _list(self) -> None:
        self._stack.append(self._from_mark())

    _frozenset = _list

    def _dict(self) -> None:
        items = self._from_mark()
        self._stack.append(Dict())
        self._fill(items)

    def _container(self, kind: type) -> Any:
        if not isinstance(self._stack[-1], kind):
            raise UnsafePickleError(
                f"{self._path} is refused: its pickle puts items into a {type(self._stack[-1]).__name__}"
            )
        return self._stack[-1]

    def _append(self) -> None:
        item = self._stack.pop()
        self._container(list).append(item)

    def _appends(self) -> None:
        items = self._from_mark()
        self._container(list).extend(items)

    _additems = _appends

    def _setitem(self) -> None:
        value, key = self._stack.pop(), self._stack.pop()
        self._container(Dict)[plain_key(key)] = value

    def _setitems(self) -> None:
        self._fill(self._from_mark())

    def _fill(self, items: list[Any]) -> None:
        target = self._container(Dict)
        if len(items) % 2:
            raise UserError(f"{self._path} is damaged: a dictionary of its pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2]):
            target[plain_key(key)] = value

    def _reduce(self) -> None:
        arguments, function = self._stack.pop(), self._stack.pop()
        if not isinstance(function, _Function) or not isinstance(arguments, tuple):
            raise UnsafePickleError(f"{self._path} is refused: its pickle calls something that is no function")
        self._stack.append(function.call(*arguments))

    _newobj = _reduce

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if not isinstance(target, NumpyType | NumpyArray | Namespace | Dict):
            raise UnsafePickleError(
                f"{self._path} is refused: its pickle sets the state of a {type(target).__name__}, which has none"
            )
        target.set_state(state)

    def _binpersid(self) -> None:
        pid = self._stack.pop()
        if not isinstance(pid, tuple) or len(pid) < 5 or pid[0] not in ("storage", b"storage"):
            raise UnsafePickleError(f"{self._path} is refused: its pickle holds a reference that is no storage")
        if not isinstance(pid[1], StorageType) or not isinstance(pid[2], str | int):
            raise UnsafePickleError(f"{self._path} is refused: its pickle holds a storage of an unknown type")
        if integer(pid[4], "the size of a storage") < 0:
            raise UserError(f"{self._path} is damaged: a storage has a negative size")
        self._stack.append(self._storage(pid))


class _Remaining:
    """A file that is never asked for more than it has left, so that a length in it cannot make anyone allocate."""

    def __init__(self, file: BinaryIO, end: int):
        self._file, self._end = file, end

    def tell(self) -> int:
        return self._file.tell()

    def read(self, count: int) -> bytes:
        return self._file.read(min(max(count, 0), max(self._end - self._file.tell(), 0)))

    def readline(self) -> bytes:
        return self._file.readline()


def unpickle(file: BinaryIO, path: Path, size: int, storage: Callable[[tuple], Storage]) -> Any:
    """The next object of `file` as plain containers, numbers, text, NumPy arrays and `Tensor`s.

    Args:
      file: stands at the pickle's first byte, afterwards behind its last one.
      path: for messages.
      size: bytes of the file.
      storage: makes a `Storage` of each reference to one.
    Raises: UnsafePickleError for a name or an opcode that is not known here; UserError for a damaged pickle.
    """
    begin = file.tell()
    try:
        found = _Machine(path, storage).run(_Remaining(file, size))
        return _plain(found, path, file.tell() - begin)
    except UserError as error:
        raise error if str(path) in str(error) else type(error)(f"{path}: {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way; none of them runs foreign code
        raise UserError(
            f"{path} cannot be read, its pickle is damaged or of an unknown form: {error!r:.200}"
        ) from error


def _plain(value: Any, path: Path, most: int) -> Any:
    """`value` without stand-ins. An honest pickle spends at least a byte on each entry, so `most` bounds them."""
    count = 0

    def walk(value: Any, depth: int) -> Any:
        nonlocal count
        count += 1
        if depth > DEEPEST:
            raise UserError(f"{path} is refused: its containers are more than {DEEPEST} deep, or hold themselves")
        if count > most:
            raise UserError(f"{path} is refused: its pickle of {most} bytes describes more entries than that")
        if isinstance(value, NumpyArray):
            if value.array is None:
                raise UserError(f"{path} is damaged: a NumPy array has no data")
            return value.array
        if isinstance(value, NumpyType | TorchType | StorageType):
            return value.dtype.name
        if isinstance(value, _Function):
            return None
        if isinstance(value, Namespace):
            value = value.values
        if isinstance(value, Mapping):
            return {key: walk(inner, depth + 1) for key, inner in value.items()}
        if isinstance(value, list | tuple):
            return type(value)(walk(inner, depth + 1) for inner in value)
        return value

    return walk(value, 0)
