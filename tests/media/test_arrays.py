"""Arrays in files: what a header claims is compared with the file before anything is built."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zipfile
import zlib

import numpy as np
import pytest
import scipy.io

from empatheia_jax.dreamtalk import motion
from empatheia_jax.errors import UserError
from empatheia_jax.media import arrays
from empatheia_jax.media.arrays import read_array, read_mat


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def header(shape: str, dtype: str = "<f4") -> bytes:
    text = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text.encode()


def refusal(reader, path) -> str:
    tracemalloc.start()
    with pytest.raises(UserError) as caught:
        reader(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6
    tracemalloc.stop()
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("fortran", [False, True])
def test_arrays_are_read_as_numpy_reads_them(tmp_path, fortran):
    array = np.arange(12, dtype=np.float32).reshape(3, 4)
    array = np.asfortranarray(array) if fortran else array
    (tmp_path / "a.npy").write_bytes(npy(array))
    np.savez_compressed(tmp_path / "a.npz", array)
    np.savetxt(tmp_path / "a.TXT", array)
    for name in ("a.npy", "a.npz", "a.TXT"):
        np.testing.assert_array_equal(read_array(tmp_path / name, "numbers"), array)


@pytest.mark.parametrize(
    "content",
    [
        header("(1000000000000, 64)"),
        header("(-1, 64)") + bytes(256),
        header("(2, 64)") + bytes(4),
        header("(2, 64)") + bytes(1000),
        header("(2,)", "|O") + bytes(16),
        header("(float('inf'),)"),
        header("((((((((1,") + bytes(8),
        b"\x93NUMPY\x09\x00" + bytes(80),
        npy(np.zeros((2, 64)))[:-3],
        b"text",
    ],
    ids=["terabytes", "negative", "cut", "long", "objects", "infinite", "nested", "version", "truncated", "text"],
)
def test_a_header_that_does_not_fit_is_one_line(tmp_path, content):
    (tmp_path / "a.npy").write_bytes(content)
    refusal(motion.read_expression, tmp_path / "a.npy")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("arr_0.npy", content)
    refusal(motion.read_expression, tmp_path / "a.npz")


def test_damaged_and_encrypted_members_of_an_archive_are_one_line(tmp_path):
    array = np.random.default_rng(0).standard_normal((20, 64))
    np.savez_compressed(tmp_path / "a.npz", array)
    blob = (tmp_path / "a.npz").read_bytes()
    for place in range(40, len(blob) - 100, 97):
        (tmp_path / "b.npz").write_bytes(blob[:place] + bytes([blob[place] ^ 255]) + blob[place + 1 :])
        try:
            np.testing.assert_array_equal(read_array(tmp_path / "b.npz", "numbers"), array)
        except UserError as error:
            assert "\n" not in str(error)
    for at, mask in ((6, 1), (8, 99)):  # encrypted; an unknown way of compressing
        central = blob.index(b"PK\x01\x02")
        changed = bytearray(blob)
        changed[at] ^= mask
        changed[central + at + 2] ^= mask
        (tmp_path / "b.npz").write_bytes(changed)
        refusal(motion.read_expression, tmp_path / "b.npz")


def test_what_unpacks_to_gigabytes_is_refused(tmp_path):
    parts = arrays.LARGEST // 2**24 + 1
    squeezed = zlib.compressobj(1)
    bomb = b"".join(squeezed.compress(bytes(2**24)) for _ in range(parts)) + squeezed.flush()
    head = b"MATLAB 5.0 MAT-file".ljust(124) + struct.pack("<H2s", 0x0100, b"IM")
    (tmp_path / "a.mat").write_bytes(head + struct.pack("<II", 15, len(bomb)) + bomb)
    assert "unpacks to more" in refusal(motion.read_mat, tmp_path / "a.mat")
    packed = zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    with packed as archive, archive.open("a.npy", "w") as file:
        for _ in range(parts):
            file.write(bytes(2**24))
    assert "unpacks to" in refusal(motion.read_expression, tmp_path / "a.npz")


def test_a_mat_file_in_capitals_or_compressed_is_read(tmp_path):
    track = {"coeff": np.random.default_rng(0).standard_normal((5, 257)), "transform_params": np.zeros((5, 5))}
    scipy.io.savemat(tmp_path / "a.MAT", track, appendmat=False, do_compression=True)
    np.testing.assert_array_equal(read_mat(tmp_path / "a.MAT", "a track")["coeff"], track["coeff"])
    expected = track["coeff"][:, 80:144].astype(np.float32)
    np.testing.assert_array_equal(motion.read_expression(tmp_path / "a.MAT"), expected)


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.mat", "a.txt"])
def test_what_is_no_file_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    assert "FIFO" in refusal(motion.read_expression, tmp_path / name)
