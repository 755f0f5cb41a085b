"""Kokoro's int8 file becomes the published float32 tensors, and they speak as the reference modules do."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest

from converters.formats import kokoro_package
from converters.formats.onnx_file import read_onnx
from converters.parity.networks import kokoro as parity
from empatheia_jax.errors import UserError


@pytest.fixture(scope="module")
def source():
    try:
        return kokoro_package.open_kokoro(None)
    except UserError as error:
        pytest.skip(str(error))


def test_every_tensor_is_the_published_one(source, shared):
    manifest = json.loads((shared / "parity" / "kokoro" / parity.MANIFEST).read_text())
    result = parity.compare_tensors(source, manifest)
    assert result.passed, result


@pytest.mark.slow  # 80 million weights speak four sentences; test_networks.py compares the same modules one by one
def test_it_speaks_as_the_reference_does(source, shared):
    arrays = np.load(shared / "parity" / "kokoro" / parity.REFERENCE)
    model = parity.load_model(source)
    with jax.default_matmul_precision("highest"):
        results = list(parity.compare_voice(model, arrays, "am_michael"))
    assert len(results) == 4
    assert [r for r in results if not r.passed] == []


def test_voices_are_tables_of_510_styles(source):
    tables = kokoro_package.voices()
    assert len(tables) >= 5
    for table in tables.values():
        assert table.shape == (510, 256)
        assert table.dtype == np.float32
    assert not np.array_equal(*list(tables.values())[:2])


def test_voices_of_a_wrong_size_are_refused(source, tmp_path):
    np.zeros(100, np.float32).tofile(tmp_path / "short.bin")
    with pytest.raises(UserError, match="short is no voice table"):
        kokoro_package.voices(tmp_path)


@pytest.mark.parametrize("data", [b"", b"\x00" * 40, b"\x3a\xff\xff\xff\xff\x0f", b"<html>not a model</html>"])
def test_a_file_that_is_no_model_is_refused_in_one_line(data):
    with pytest.raises(UserError, match="x.onnx is no readable ONNX model"):
        read_onnx(data, "x.onnx")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match="cannot be read"):
        kokoro_package.open_kokoro(tmp_path / "absent.onnx")
