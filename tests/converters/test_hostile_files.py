"""A weights file that is damaged, lies about its sizes or tries to do something is refused in one line."""

from __future__ import annotations

import io
import json
import re
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch
from safetensors import SafetensorError

from converters.formats.torch_names import UnsafePickleError
from converters.sources import open_source
from empatheia_jax.errors import UserError


def read_all(path) -> dict[str, np.ndarray]:
    source = open_source(path)
    return {key: source.read(key) for key in source}


def refused(path, match: str = ".") -> str:
    """The one line with which the file is refused, having allocated next to nothing."""
    tracemalloc.start()
    try:
        with pytest.raises(UserError, match=match) as caught:
            read_all(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---------------------------------------------------------------- pickles


def name(module: str, attribute: str) -> bytes:
    return f"c{module}\n{attribute}\n".encode()


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def integer(value: int) -> bytes:
    return b"\x8a\x08" + struct.pack("<q", value)


def pack(*items: bytes) -> bytes:
    return b"(" + b"".join(items) + b"t"


def tensor(shape=(4,), strides=(1,), elements=4, offset=0, storage="0") -> bytes:
    pid = pack(text("storage"), name("torch", "FloatStorage"), text(storage), text("cpu"), integer(elements))
    sides, steps = pack(*map(integer, shape)), pack(*map(integer, strides))
    arguments = pack(pid + b"Q", integer(offset), sides, steps, b"\x89", b"}")
    return name("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"


def archive(path, program: bytes, data: bytes = b"\1" * 16, method=zipfile.ZIP_STORED, **members: bytes):
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("archive/data.pkl", program)
        made.writestr("archive/data/0", data)
        for member, content in members.items():
            made.writestr(f"archive/{member}", content)
    return path


def of(value: bytes) -> bytes:
    """A pickle of {"w": value}."""
    return b"\x80\x02}" + text("w") + value + b"s."


def array(dtype: bytes, data: bytes, shape=(1,)) -> bytes:
    made = name("numpy.core.multiarray", "_reconstruct") + pack(name("numpy", "ndarray"), pack(integer(0)), b"C\x01b")
    state = pack(integer(1), pack(*map(integer, shape)), dtype, b"\x89", b"C" + bytes([len(data)]) + data)
    return made + b"R" + state + b"b"


def dtype(code: str, *state: bytes) -> bytes:
    made = name("numpy", "dtype") + pack(text(code), b"\x89", b"\x88") + b"R"
    return made + (pack(*state) + b"b" if state else b"")


STATE = (integer(3), text("<"), b"N", b"N", b"N", integer(-1), integer(-1), integer(0))
DEEP_KEY = b"}" + b"(" * 20000 + b"t" * 20000 + b"Ns"
BOMBS = {
    "a list that holds itself": b"]q\0h\0a",
    "a dictionary that holds itself": b"}q\0" + text("a") + b"h\0s",
    "100,000 levels": b"]" * 100_000 + b"a" * 99_999,
    "a billion laughs of tuples": b")" + b"".join(b"2\x86" for _ in range(60)),
    "a billion laughs of dictionaries": b"}"
    + b"".join(
        b"q" + bytes([i]) + b"}(" + text("a") + b"h" + bytes([i]) + text("b") + b"h" + bytes([i]) + b"u"
        for i in range(60)
    ),
    "a key of 20,000 levels": DEEP_KEY,
    "a bytearray of 1 TB": name("builtins", "bytearray") + pack(integer(10**12)) + b"R",
    "an integer of a million bits": b"\x8b" + struct.pack("<i", 125_000) + b"\x7f" * 125_000,
    "text that claims 4 GB": b"X\xff\xff\xff\xffabc",
    "bytes that claim 2^60": b"\x8e" + struct.pack("<Q", 1 << 60) + b"abc",
    "a stack that is empty": b"000",
    "a memory that is empty": b"hZ",
    "a tensor of 4 TB on 4 numbers": tensor((10**6, 10**6), (0, 0)),
    "a tensor of 2^70 bytes": tensor((1 << 35, 1 << 35), (0, 0)),
    "a tensor with a negative side": tensor((-4,), (1,)),
    "a tensor with 100 axes": tensor((1,) * 100, (1,) * 100),
    "a tensor beyond its storage": tensor((4,), (1,), offset=1),
    "a tensor with a negative offset": tensor((2,), (1,), offset=-1),
    "a tensor with strides of another": tensor((4,), (1, 1)),
    "a storage of a negative size": tensor(elements=-1),
    "a storage that is not there": tensor(storage="../../x"),
    "a NumPy array larger than its bytes": array(dtype("f4", *STATE), b"abcd", (10**6,)),
    "a NumPy array of objects": array(dtype("O8"), b"abcdefgh"),
    "a NumPy array of words": array(dtype("S1000000000"), b"abcdefgh"),
    "a structured NumPy type": array(dtype("V8"), b"A" * 8),
    "a NumPy type with fields": array(
        dtype("f8", integer(3), text("|"), b"N", pack(text("a")), b"}", integer(8), integer(1), integer(16)), b"A" * 8
    ),
    "the state of a type of PyTorch": name("torch", "bfloat16") + pack(*STATE) + b"b",
    "the state of a storage": name("torch", "FloatStorage") + pack(*STATE) + b"b",
    "the state of a tensor": tensor() + b"}b",
    "the state of a list": b"]}b",
    "items of a tuple": b")" + b"Na",
    "a call of what is no function": b"})R",
    "an object of a class": name("collections", "OrderedDict") + b")\x81)\x92",
}


@pytest.mark.parametrize("case", BOMBS)
def test_a_hostile_pickle_is_one_line_and_changes_nothing(tmp_path, case):
    before = [np.dtype(t).__reduce__() for t in (ml_dtypes.bfloat16, np.float32, np.float64)]
    refused(archive(tmp_path / "x.pt", of(BOMBS[case])))
    assert [np.dtype(t).__reduce__() for t in (ml_dtypes.bfloat16, np.float32, np.float64)] == before
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2


def test_the_pickles_of_this_file_are_read_where_nothing_is_wrong(tmp_path):
    found = read_all(archive(tmp_path / "x.pt", of(tensor((2, 2), (2, 1)))))
    np.testing.assert_array_equal(found["w"], np.full((2, 2), np.frombuffer(b"\1" * 4, "<f4")[0]))
    swapped = array(dtype("f4", integer(3), text(">"), *STATE[2:]), struct.pack(">f", 2.5))
    np.testing.assert_array_equal(read_all(archive(tmp_path / "y.pt", of(swapped)))["w"], [2.5])


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_what_training_scripts_save_beside_tensors_is_still_read(tmp_path, zipped):
    import argparse
    import collections

    state = {
        "w": torch.ones(2, 3).T,
        "args": argparse.Namespace(lr=0.1, name="x"),
        "counts": collections.Counter({"a": 2}),
        "array": np.arange(6, dtype=np.float32).reshape(2, 3, order="F"),
        "scalar": np.float64(0.5),
        "size": torch.Size([2, 3]),
        "device": torch.device("cpu"),
        "dtype": torch.float16,
        "set": {1},
        "bytes": bytearray(b"ab"),
        "big": 2**70,
    }
    torch.save(state, tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    source = open_source(tmp_path / "x.pt")
    assert set(source.keys()) == {"w", "array"}
    np.testing.assert_array_equal(source.read("array"), state["array"])
    assert source.metadata["args.lr"] == 0.1 and source.metadata["scalar"] == 0.5 and source.metadata["big"] == 2**70
    assert source.metadata["size"] == (2, 3) and source.metadata["dtype"] == "float16"


# ---------------------------------------------------------------- zip archives


def test_a_flipped_bit_in_any_byte_of_a_torch_file_is_refused_or_changes_nothing(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.arange(40.0), "v": torch.arange(40.0)[::3]}, path)
    data, expected = path.read_bytes(), read_all(path)
    for place in np.random.default_rng(0).integers(0, len(data), 250):
        changed = bytearray(data)
        changed[place] ^= 1 << (place % 8)
        path.write_bytes(changed)
        try:
            found = read_all(path)
        except UserError:
            continue
        assert found.keys() == expected.keys(), place
        for key, value in found.items():
            np.testing.assert_array_equal(value, expected[key], err_msg=str(place))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_compressed_torch_file_is_refused(tmp_path, method):
    refused(archive(tmp_path / "x.pt", of(tensor()), method=method), "compressed")


def test_an_archive_that_would_grow_a_thousandfold_is_refused(tmp_path):
    refused(archive(tmp_path / "x.pt", bytes(80_000_000), method=zipfile.ZIP_DEFLATED), "compressed")
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.zeros(20_000_000, np.float32))
    with zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED) as made:
        made.writestr("a.npy", buffer.getvalue())
    del buffer
    refused(tmp_path / "x.npz", "would become")


def test_an_encrypted_archive_is_refused(tmp_path):
    path = archive(tmp_path / "x.pt", of(tensor()))
    data = bytearray(path.read_bytes())
    data[6] |= 1
    data[data.find(b"PK\1\2") + 8] |= 1
    path.write_bytes(data)
    refused(path, "encrypted")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_flipped_bit_in_any_byte_of_an_archive_of_arrays_is_refused_or_changes_nothing(tmp_path):
    path, arrays = tmp_path / "x.npz", {"embed.weight": np.arange(6, dtype=np.float32), "é": np.ones(2)}
    np.savez(path, **arrays)
    whole = path.read_bytes()
    read_all(path)
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << place % 8)]) + whole[place + 1 :])
        try:
            found = read_all(path)
        except UserError:
            continue
        assert found.keys() == arrays.keys()  # a name that only the archive's list has is no name
        assert all(np.array_equal(found[key], arrays[key]) for key in arrays)


def test_a_member_twice_and_two_members_on_the_same_bytes_are_refused(tmp_path):
    path = archive(tmp_path / "x.pt", of(tensor()))
    with zipfile.ZipFile(path, "a") as made:
        made.writestr("archive/data/0", b"\2" * 16)
    refused(path, "twice")
    path = archive(tmp_path / "y.pt", of(tensor()), **{"data/1": b"\1" * 16})
    data = bytearray(path.read_bytes())
    directory = data.find(b"PK\1\2")
    places = [i for i in range(directory, len(data)) if data[i : i + 4] == b"PK\1\2"]
    longer = bytearray(data)
    for field in (20, 24):  # its two sizes
        struct.pack_into("<I", longer, places[1] + field, 64)
    path.write_bytes(longer)
    refused(path, "share bytes")
    data[places[2] + 42 : places[2] + 46] = data[places[1] + 42 : places[1] + 46]
    path.write_bytes(data)
    refused(path, "the member itself")


@pytest.mark.parametrize("listed", [2, 1])
def test_bytes_of_an_archive_that_its_list_does_not_name_are_refused(tmp_path, listed):
    path = tmp_path / "x.npz"
    np.savez(path, a=np.ones(4, np.float32), b=np.zeros(3, np.float32))
    data = bytearray(path.read_bytes())
    data[0] ^= 1  # so the first member is no longer seen
    first, second = (found.start() for found in re.finditer(b"PK\1\2", bytes(data)))
    end = data.find(b"PK\5\6")
    if listed == 1:  # and the list begins behind its entry
        struct.pack_into("<2H2I", data, end + 8, 1, 1, end - second, second)
    path.write_bytes(data)
    refused(path, "that its list does not name" if listed == 1 else "is not where it should be")


@pytest.mark.parametrize("order", [b"big", b"\xff\xfe", b"", b"little "])
def test_another_order_of_bytes_is_refused(tmp_path, order):
    refused(archive(tmp_path / "x.pt", of(tensor()), byteorder=order), "order of bytes")


def test_bytes_after_the_last_storage_of_an_old_torch_file_are_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(3)}, path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes() + bytes(8))
    refused(path, "bytes follow")


# ---------------------------------------------------------------- npz


def npy(header: str) -> bytes:
    text_ = header.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text_)) + text_


@pytest.mark.parametrize(
    "content",
    [
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (1000000000000,)}") + bytes(16),
        npy("{'descr': '<f4', 'fortran_order': False, 'shape': (-4,)}") + bytes(16),
        npy("{'descr': '|O', 'fortran_order': False, 'shape': (1,)}") + bytes(8),
        npy("{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (4,)}") + bytes(16),
        npy("{'descr': '<U4', 'fortran_order': False, 'shape': (1,)}") + bytes(16),
        npy("(" * 5000),
        npy("{'descr': 5, 'fortran_order': 1, 'shape': 7}"),
        b"\x93NUMPY\x02\x00\xff\xff\xff\xff",
        b"nothing",
        b"",
    ],
)
def test_an_npz_whose_array_lies_is_refused(tmp_path, content):
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as made:
        made.writestr("a.npy", content)
    refused(tmp_path / "x.npz")


# ---------------------------------------------------------------- safetensors


def entry(begin: int, end: int, shape=(4,), dtype="F32") -> dict:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


HEADERS = {
    "one tensor": (json.dumps({"a": entry(0, 16)}), 16),
    "spaces at the end": (json.dumps({"a": entry(0, 16)}) + "   ", 16),
    "an empty tensor": (json.dumps({"a": entry(0, 0, (0, 3)), "b": entry(0, 16)}), 16),
    "no tensor": ("{}", 0),
    "metadata": (json.dumps({"__metadata__": {"format": "pt"}, "a": entry(0, 16)}), 16),
    "the same bytes": (json.dumps({"a": entry(0, 16), "b": entry(0, 16)}), 16),
    "overlapping bytes": (json.dumps({"a": entry(0, 16), "b": entry(8, 24)}), 24),
    "a hole": (json.dumps({"a": entry(0, 16), "b": entry(24, 40)}), 40),
    "a hole before the first": (json.dumps({"a": entry(8, 24)}), 24),
    "bytes after the last": (json.dumps({"a": entry(0, 16)}), 24),
    "a name twice": ('{"a":' + json.dumps(entry(0, 16)) + ',"a":' + json.dumps(entry(16, 32)) + "}", 32),
    "negative sides": (json.dumps({"a": entry(0, 16, (-2, -2))}), 16),
    "a fractional side": (json.dumps({"a": entry(0, 16, (4.0,))}), 16),
    "a side that is a word": (json.dumps({"a": entry(0, 16, ("4",))}), 16),
    "an endless offset": ('{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,Infinity]}}', 16),
    "terabytes": (json.dumps({"a": entry(0, 1 << 44, (1 << 42,))}), 16),
    "a product beyond 64 bits": (json.dumps({"a": entry(0, 0, (1 << 40, 1 << 40, 0))}), 0),
    "metadata that is a number": (json.dumps({"__metadata__": 5, "a": entry(0, 16)}), 16),
    "metadata that holds a list": (json.dumps({"__metadata__": {"a": [1]}, "a": entry(0, 16)}), 16),
    "a field that nobody knows": (json.dumps({"a": {**entry(0, 16), "x": 1}}), 16),
    "200,000 levels": ('{"a":' + "[" * 200_000 + "]" * 200_000 + "}", 0),
    "an integer of 5,000 digits": ('{"a":{"dtype":"F32","shape":[' + "9" * 5000 + '],"data_offsets":[0,16]}}', 16),
    "a list": ("[]", 0),
    "half a character": ('{"\\ud800":' + json.dumps(entry(0, 16)) + "}", 16),
}


@pytest.mark.parametrize("case", HEADERS)
def test_we_refuse_what_the_formats_own_library_refuses(tmp_path, case):
    header, size = HEADERS[case]
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header.encode() + bytes(size))
    try:
        theirs = safetensors.numpy.load_file(path)
    except (SafetensorError, ValueError):
        theirs = None
    if theirs is None or case == "a field that nobody knows":  # the library is laxer here
        refused(path)
    else:
        assert read_all(path).keys() == theirs.keys()


def test_an_index_that_names_no_file_is_refused(tmp_path):
    for weight_map in ({"a": 5}, [1], None, {"a": "x\0y"}, {"a": ["b"]}):
        (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))
        refused(tmp_path)


def test_only_a_regular_file_is_opened(tmp_path):
    import os

    os.mkfifo(tmp_path / "x.safetensors")
    refused(tmp_path / "x.safetensors")


# ---------------------------------------------------------------- GGUF


def gtext(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def field(key: bytes, kind: int, value: bytes) -> bytes:
    return gtext(key) + struct.pack("<I", kind) + value


def gguf_file(fields: list[bytes] = (), tensors: list[bytes] = (), data: bytes = b"", counts=None) -> bytes:
    count = counts or (len(tensors), len(fields))
    head = b"GGUF" + struct.pack("<IQQ", 3, *count) + b"".join([*fields, *tensors])
    return head + bytes(-len(head) % 32 if tensors else 0) + data


def line(key: bytes, sides, offset: int, kind: int = 0) -> bytes:
    return gtext(key) + struct.pack(f"<I{len(sides)}QIQ", len(sides), *sides, kind, offset)


GGUF = {
    "a list of 2^60 numbers": gguf_file([field(b"a", 9, struct.pack("<IQ", 4, 1 << 60))]),
    "a list of 2^60 texts": gguf_file([field(b"a", 9, struct.pack("<IQ", 8, 1 << 60))]),
    "a list of lists": gguf_file([field(b"a", 9, struct.pack("<IQIQ", 9, 1, 9, 1))]),
    "a text of 2^60 bytes": gguf_file([field(b"a", 8, struct.pack("<Q", 1 << 60))]),
    "2^60 fields": gguf_file(counts=(0, 1 << 60)),
    "2^60 tensors": gguf_file(counts=(1 << 60, 0)),
    "a value of an unknown type": gguf_file([field(b"a", 77, b"")]),
    "a field twice": gguf_file([field(b"a", 7, b"\1"), field(b"a", 7, b"\1")]),
    "a tensor twice": gguf_file(tensors=[line(b"w", (8,), 0), line(b"w", (8,), 32)], data=bytes(64)),
    "two tensors on the same bytes": gguf_file(tensors=[line(b"w", (8,), 0), line(b"v", (8,), 0)], data=bytes(32)),
    "a tensor beyond the file": gguf_file(tensors=[line(b"w", (1 << 40,), 0)], data=bytes(32)),
    "a tensor of 2^66 bytes": gguf_file(tensors=[line(b"w", (1 << 32, 1 << 32), 0)], data=bytes(32)),
    "a tensor of an unknown type": gguf_file(tensors=[line(b"w", (8,), 0, 99)], data=bytes(32)),
    "blocks that do not fit": gguf_file(tensors=[line(b"w", (8,), 0, 8)], data=bytes(34)),
    "a quantised tensor without axes": gguf_file(tensors=[line(b"w", (), 0, 8)], data=bytes(34)),
    "a tensor with 2^31 axes": gguf_file(tensors=[gtext(b"w") + struct.pack("<I", 1 << 31)]),
    "bytes after the last tensor": gguf_file(tensors=[line(b"w", (8,), 0)], data=bytes(128)),
    "no alignment": gguf_file([field(b"general.alignment", 4, struct.pack("<I", 0))]),
    "an alignment that is a text": gguf_file([field(b"general.alignment", 8, gtext(b"x"))]),
    "another version": b"GGUF" + struct.pack("<IQQ", 9, 0, 0),
    "a name that is no text": gguf_file([field(b"\xff", 7, b"\1")]),
    "nothing": b"GGUF",
}


@pytest.mark.parametrize("case", GGUF)
def test_a_gguf_header_that_lies_is_refused(tmp_path, case):
    (tmp_path / "x.gguf").write_bytes(GGUF[case])
    refused(tmp_path / "x.gguf")


def test_the_gguf_files_of_this_file_are_read_where_nothing_is_wrong(tmp_path):
    numbers = np.arange(8, dtype="<f4")
    lines = [line(b"w", (4, 2), 0), line(b"v", (8,), 32)]
    (tmp_path / "x.gguf").write_bytes(
        gguf_file([field(b"a", 9, struct.pack("<IQ2H", 2, 2, 1, 2))], lines, numbers.tobytes() * 2)
    )
    source = open_source(tmp_path / "x.gguf")
    assert source.metadata == {"a": [1, 2]}
    np.testing.assert_array_equal(source.read("w"), numbers.reshape(2, 4))
    np.testing.assert_array_equal(source.read("v"), numbers)


def test_unsafe_names_are_still_told_from_damage(tmp_path):
    for program in (name("os", "system"), b"\x8c\x02os\x8c\x06system\x93", name("numpy", "load")):
        with pytest.raises(UnsafePickleError, match="asks for"):
            open_source(archive(tmp_path / "x.pt", of(program)))
