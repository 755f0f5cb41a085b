"""Reads nodes and initializers of an ONNX file, without the onnx package.

Field numbers are those of the public `onnx.proto` (ModelProto.graph 7; GraphProto.node 1, .initializer 5; NodeProto.input
1, .output 2, .name 3, .op_type 4; TensorProto.dims 1, .data_type 2, .float_data 4, .int32_data 5, .int64_data 7, .name 8,
.raw_data 9, .external_data 13, .data_location 14).
"""

from __future__ import annotations

import dataclasses
import math
import struct

import numpy as np

from converters.formats.protobuf import bytes_of, fields, number_of, varint
from converters.formats.source import checked_shape
from empatheia_jax.errors import UserError

_DTYPES = {
    1: np.float32,
    2: np.uint8,
    3: np.int8,
    4: np.uint16,
    5: np.int16,
    6: np.int32,
    7: np.int64,
    9: np.bool_,
    10: np.float16,
    11: np.float64,
}


def _text(value) -> str:
    return bytes(value).decode()


def _integers(value) -> list[int]:
    """A repeated integer field, packed or not, as signed 64-bit numbers."""
    if isinstance(value, int):
        found = [value]
    else:
        found, at = [], 0
        while at < len(value):
            number, at = varint(value, at)
            found.append(number)
    return [n - (1 << 64) if n >= 1 << 63 else n for n in found]


@dataclasses.dataclass(frozen=True)
class Node:
    """One operation of the graph."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One initializer; `read()` decodes it."""

    name: str
    dtype: np.dtype
    shape: tuple[int, ...]
    data: bytes | memoryview

    def read(self) -> np.ndarray:
        return np.frombuffer(self.data, self.dtype.newbyteorder("<")).reshape(self.shape)


@dataclasses.dataclass(frozen=True)
class Graph:
    """Nodes in order, initializers by name."""

    nodes: tuple[Node, ...]
    tensors: dict[str, Tensor]


def _node(data: memoryview) -> Node:
    inputs, outputs, name, op = [], [], "", ""
    for number, value in fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            name = _text(value)
        elif number == 4:
            op = _text(value)
    return Node(name, op, tuple(inputs), tuple(outputs))


def _tensor(data: memoryview) -> Tensor:
    shape: list[int] = []
    typed: list[float] = []
    kind, name = 0, ""
    raw: bytes | memoryview | None = None
    for number, value in fields(data):
        if number == 1:
            shape += _integers(value)
        elif number == 2:
            kind = number_of(value)
        elif number == 4:
            typed += struct.unpack(f"<{len(bytes_of(value)) // 4}f", bytes_of(value))
        elif number in (5, 7):
            typed += _integers(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = bytes_of(value)
        elif number in (13, 14) and value:
            raise ValueError(f"the tensor {name!r} lies in another file")
    if kind not in _DTYPES:
        raise ValueError(f"the tensor {name!r} has the element type {kind}, which is not supported")
    dtype = np.dtype(_DTYPES[kind])
    if raw is None:
        # half precision is stored as the bits of unsigned integers
        raw = np.asarray(typed, np.uint16 if dtype == np.float16 else dtype).tobytes()
    sides = checked_shape(f"the tensor {name!r}", shape, dtype.itemsize)
    if math.prod(sides) * dtype.itemsize != len(raw):
        raise ValueError(f"the tensor {name!r} of shape {sides} has {len(raw)} bytes")
    return Tensor(name, dtype, sides, raw)


def read_onnx(data: bytes, what: str) -> Graph:
    """Parses a model; tensors keep pointing into `data`.

    Raises: UserError where `data` (called `what` in the message) is no ONNX model.
    """
    try:
        graphs = [value for number, value in fields(memoryview(data)) if number == 7]
        if len(graphs) != 1:
            raise ValueError(f"{len(graphs)} graphs")
        nodes: list[Node] = []
        tensors: dict[str, Tensor] = {}
        for number, value in fields(bytes_of(graphs[0])):
            if number == 1:
                nodes.append(_node(bytes_of(value)))
            elif number == 5:
                tensor = _tensor(bytes_of(value))
                tensors[tensor.name] = tensor
    except (ValueError, IndexError, TypeError, OverflowError, struct.error) as error:
        raise UserError(f"{what} is no readable ONNX model ({error}); install or download it again") from error
    return Graph(tuple(nodes), tensors)
