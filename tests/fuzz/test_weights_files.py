"""Damaged safetensors, GGUF and torch files give a result or one line, never a crash, a hang or a flood of memory."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from tests.fuzz.damage import Damaged, check, damaged
from tests.fuzz.sandbox import Outcome, Sandbox

ARRAYS = {"embed.weight": np.arange(48, dtype=np.float32).reshape(6, 8), "layer.0.bias": np.ones(5, np.float16)}


@pytest.fixture(scope="module")
def sandbox():
    """Reads weights files in a process of its own."""
    with Sandbox("tests.fuzz.weights_readers:read", megabytes=600) as made:
        yield made


def torch_file(zipped: bool) -> bytes:
    buffer = io.BytesIO()
    state = {key: torch.from_numpy(value.copy()) for key, value in ARRAYS.items()}
    state |= {"view": state["embed.weight"].T[1:3], "epoch": 3, "numpy": np.arange(3.0)}
    torch.save(state, buffer, _use_new_zipfile_serialization=zipped)
    return buffer.getvalue()


def gguf_file(folder: Path) -> bytes:
    import gguf

    writer = gguf.GGUFWriter(folder / "whole.gguf", "llama")
    writer.add_uint32("llama.block_count", 1)
    writer.add_token_list(["a", "b", "ab"])
    for key, value in ARRAYS.items():
        writer.add_tensor(key, value)
    q8 = gguf.GGMLQuantizationType.Q8_0
    writer.add_tensor("q8", gguf.quantize(np.linspace(-1, 1, 64, dtype=np.float32).reshape(2, 32), q8), raw_dtype=q8)
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    return (folder / "whole.gguf").read_bytes()


@pytest.mark.parametrize("kind", ["safetensors", "gguf", "zip", "legacy", "npz"])
def test_damage_gives_a_result_or_one_line(sandbox, tmp_path, kind):
    if kind == "npz":
        buffer = io.BytesIO()
        np.savez(buffer, **ARRAYS)
    original = {
        "safetensors": lambda: safetensors.numpy.save(ARRAYS),
        "gguf": lambda: gguf_file(tmp_path),
        "zip": lambda: torch_file(True),
        "legacy": lambda: torch_file(False),
        "npz": lambda: buffer.getvalue(),
    }[kind]()
    path = tmp_path / f"x.{kind if kind in ('safetensors', 'gguf', 'npz') else 'pt'}"
    path.write_bytes(original)
    whole = sandbox.call(path)
    assert whole.digest is not None

    def claim(copy: Damaged) -> None:
        path.write_bytes(copy.data)
        found: Outcome = sandbox.call(path)
        if found.digest is not None and kind in ("zip", "npz"):  # formats with checksums: never other numbers
            assert found.digest == whole.digest

    check(claim, damaged(original, head=0.7), examples=250)
