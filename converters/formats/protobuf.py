"""The wire format of Protocol Buffers: enough to read ONNX and SentencePiece models without their packages."""

from __future__ import annotations

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_FIXED_SIZES = {FIXED64: 8, FIXED32: 4}


def varint(data: memoryview, at: int) -> tuple[int, int]:
    """(the number that begins at byte `at`, the byte after it). Raises ValueError where it has no end."""
    value = shift = 0
    while shift < 70:
        if at >= len(data):
            raise ValueError("a number goes beyond the end")
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
    raise ValueError("a number has no end")


def fields(data: bytes | memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """(number, value) of a message's fields: varints as integers, everything else as a view of its bytes.

    Raises: ValueError where `data` is no message.
    """
    data, at = memoryview(data), 0
    while at < len(data):
        tag, at = varint(data, at)
        number, wire = tag >> 3, tag & 7
        if wire == VARINT:
            value, at = varint(data, at)
            yield number, value
            continue
        if wire == BYTES:
            size, at = varint(data, at)
        elif wire in _FIXED_SIZES:
            size = _FIXED_SIZES[wire]
        else:
            raise ValueError(f"field {number} has wire type {wire}")
        if at + size > len(data):
            raise ValueError(f"field {number} goes beyond the end")
        yield number, data[at : at + size]
        at += size


def bytes_of(value: int | memoryview) -> memoryview:
    """The value of a field that holds bytes. Raises ValueError where it holds a number."""
    if isinstance(value, int):
        raise ValueError(f"a field holds the number {value} where bytes were expected")
    return value


def number_of(value: int | memoryview) -> int:
    """The value of a field that holds a number. Raises ValueError where it holds bytes."""
    if not isinstance(value, int):
        raise ValueError(f"a field holds {len(value)} bytes where a number was expected")
    return value
