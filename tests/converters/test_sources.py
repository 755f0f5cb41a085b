"""Checkpoint files are read exactly, without PyTorch, and a file that runs code or is damaged is refused."""

from __future__ import annotations

import collections
import json
import os
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch

from converters.formats.npz_file import NpzSource
from converters.formats.safetensors_writer import write_safetensors
from converters.formats.source import RenamedSource
from converters.formats.torch_file import TorchSource
from converters.formats.torch_names import UnsafePickleError
from converters.parity.seeded import seeded_tensor
from converters.sources import open_source
from empatheia_jax.errors import UserError


def tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    base = torch.randn(6, 5, generator=generator)
    return {
        "float32": base,
        "transposed": base.T,
        "slice": base[1:4, ::2],
        "expanded": base[:1].expand(3, 5),
        "bfloat16": base.bfloat16(),
        "float16": base.half(),
        "float64": base.double(),
        "int64": torch.arange(5),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "parameter": torch.nn.Parameter(base + 1),
    }


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    tensor = tensor.detach()
    return tensor.float().numpy().astype(ml_dtypes.bfloat16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_torch_files_are_read_bit_for_bit(tmp_path, zipped):
    torch.save(collections.OrderedDict(tensors()), tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    source = open_source(tmp_path / "x.pt")
    assert list(source.keys()) == list(tensors())
    for key, tensor in tensors().items():
        expected = as_numpy(tensor)
        found = source.read(key)
        assert found.dtype == expected.dtype and source.manifest()[key]["shape"] == list(expected.shape)
        np.testing.assert_array_equal(found, expected)


def test_nested_dictionaries_are_joined_and_a_root_can_be_chosen(tmp_path):
    state = {
        "net": {"bert": {"w": torch.ones(2)}, "list": [torch.zeros(1)]},
        "epoch": 3,
        "name": "x",
        "lr": np.float64(0.5),
    }
    torch.save(state, tmp_path / "x.pth")
    whole = TorchSource(tmp_path / "x.pth")
    assert list(whole.keys()) == ["net.bert.w", "net.list.0"]
    assert whole.metadata == {"epoch": 3, "name": "x", "lr": 0.5}
    assert list(TorchSource(tmp_path / "x.pth", "net/bert").keys()) == ["w"]
    with pytest.raises(UserError, match="'decoder' it holds"):
        TorchSource(tmp_path / "x.pth", "net/decoder")


class Evil:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_a_pickle_that_executes_code_is_refused_and_does_not_run(tmp_path, zipped):
    mark = tmp_path / "ran"
    path = tmp_path / "evil.pt"
    torch.save({"w": torch.ones(1), "x": Evil(f"touch {mark}")}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(UnsafePickleError, match="asks for (posix|nt).system"):
        open_source(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "payload", [b"cbuiltins\neval\n(V1\ntR.", b"cbuiltins\ngetattr\n.", b"\x80\x04\x8c\x02os\x8c\x06system\x93."]
)
def test_other_ways_to_name_a_function_are_refused(tmp_path, payload):
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", payload)
    with pytest.raises(UnsafePickleError, match="refused"):
        open_source(path)


def test_an_object_array_is_refused(tmp_path):
    torch.save({"x": np.array([object], dtype=object)}, tmp_path / "x.pt")
    with pytest.raises(UserError):
        open_source(tmp_path / "x.pt")


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors"])
def test_a_file_cut_short_is_refused(tmp_path, kind, keep):
    path = tmp_path / ("x.safetensors" if kind == "safetensors" else "x.pt")
    if kind == "safetensors":
        safetensors.numpy.save_file({"w": np.ones((50, 50), np.float32)}, path)
    else:
        torch.save({"w": torch.ones(50, 50)}, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(UserError, match="x\\.(pt|safetensors)"):
        open_source(path).read("w")


def test_a_storage_smaller_than_its_tensor_is_refused(tmp_path):
    path = tmp_path / "x.pt"
    torch.save({"w": torch.ones(4, 4)}, path)
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data[:20] if "/data/" in name else data)
    with pytest.raises(UserError, match="cut short"):
        open_source(path)


def test_safetensors_agree_with_the_reference_library(tmp_path):
    arrays = {
        "a": np.arange(6, dtype=np.float32).reshape(2, 3),
        "b": np.ones(4, np.float16),
        "c": np.ones(3, ml_dtypes.bfloat16),
        "d": np.array([True]),
        "e": np.array(7, np.int64),
    }
    manifest = {k: {"shape": v.shape, "dtype": v.dtype.name} for k, v in arrays.items()}
    write_safetensors(tmp_path, reversed(arrays.items()), manifest)
    theirs = safetensors.numpy.load_file(tmp_path / "model.safetensors")
    source = open_source(tmp_path)
    for key, value in arrays.items():
        np.testing.assert_array_equal(theirs[key], value)
        np.testing.assert_array_equal(source.read(key), value)
        assert source.read(key).dtype == value.dtype == theirs[key].dtype


def sharded(folder) -> dict[str, np.ndarray]:
    arrays = {f"w{i}": np.full((10, 10), i, np.float32) for i in range(5)}
    write_safetensors(
        folder, arrays.items(), {k: {"shape": (10, 10), "dtype": "float32"} for k in arrays}, shard_bytes=900
    )
    return arrays


def test_shards_are_read_through_their_index(tmp_path):
    arrays = sharded(tmp_path)
    assert (tmp_path / "model-00003-of-00003.safetensors").exists()
    source = open_source(tmp_path)
    assert set(source.keys()) == set(arrays)
    for key, value in arrays.items():
        np.testing.assert_array_equal(source.read(key), value)


def test_a_shard_that_is_absent_is_named(tmp_path):
    sharded(tmp_path)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(UserError, match="model-00002-of-00003.safetensors, which is not there"):
        open_source(tmp_path)


def test_an_index_that_promises_more_than_its_shards_hold_is_refused(tmp_path):
    sharded(tmp_path)
    index = tmp_path / "model.safetensors.index.json"
    content = json.loads(index.read_text())
    content["weight_map"]["lost"] = "model-00001-of-00003.safetensors"
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="missing \\['lost"):
        open_source(tmp_path)
    content["weight_map"] = {"w0": "../w.safetensors"}
    index.write_text(json.dumps(content))
    with pytest.raises(UserError, match="outside its folder"):
        open_source(tmp_path)


def test_torch_shards_are_read_through_their_index(tmp_path):
    for i in range(2):
        torch.save({f"w{i}": torch.full((2,), float(i))}, tmp_path / f"pytorch_model-{i}.bin")
    weight_map = {f"w{i}": f"pytorch_model-{i}.bin" for i in range(2)}
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": weight_map}))
    np.testing.assert_array_equal(open_source(tmp_path).read("w1"), [1, 1])


def test_npz_and_renaming(tmp_path):
    np.savez(tmp_path / "x.npz", **{"a.w": np.ones((2, 3)), "b": np.zeros(1, np.int32)})
    source = NpzSource(tmp_path / "x.npz")
    assert source.manifest()["a.w"] == {"shape": [2, 3], "dtype": "float64"}
    renamed = RenamedSource(source, lambda key: key.removeprefix("a.") if key.startswith("a.") else None)
    assert list(renamed.keys()) == ["w"]
    np.testing.assert_array_equal(renamed.read("w"), np.ones((2, 3)))


def test_gguf_is_read_with_row_major_shapes_and_its_fields(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "x.gguf", "llama")
    writer.add_uint32("llama.block_count", 2)
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    half = plain.astype(np.float16)
    values = np.linspace(-1, 1, 128, dtype=np.float32).reshape(2, 64)
    writer.add_tensor("plain", plain)
    writer.add_tensor("half", half)
    writer.add_tensor(
        "q8", gguf.quantize(values, gguf.GGMLQuantizationType.Q8_0), raw_dtype=gguf.GGMLQuantizationType.Q8_0
    )
    for write in (
        writer.write_header_to_file,
        writer.write_kv_data_to_file,
        writer.write_tensors_to_file,
        writer.close,
    ):
        write()
    source = open_source(tmp_path / "x.gguf")
    assert source.metadata["llama.block_count"] == 2
    np.testing.assert_array_equal(source.read("plain"), plain)
    assert source.read("half").dtype == np.float16
    assert source.manifest()["q8"] == {"shape": [2, 64], "dtype": "float32"}
    np.testing.assert_allclose(source.read("q8"), values, atol=1 / 127)
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "x.gguf").read_bytes()[:100])
    with pytest.raises(UserError, match="cut short"):
        open_source(tmp_path / "cut.gguf")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.bin").write_text("hello")
    for path, reason in ((tmp_path / "notes.bin", "no checkpoint that is read"), (tmp_path / "none", "does not exist")):
        with pytest.raises(UserError, match=reason):
            open_source(path)
    (tmp_path / "pickle.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(UserError, match="pickle.pt"):
        open_source(tmp_path / "pickle.pt")


def test_the_seeded_recipe_is_the_one_of_the_reference_vectors(shared):
    import importlib.util

    spec = importlib.util.spec_from_file_location("reference", shared / "parity" / "seeded_weights.py")
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)
    for key, shape, dtype in (
        ("a.weight", (3, 4), "float32"),
        ("a.weight", (5,), "float16"),
        ("a.bias", (5,), "float32"),
        ("n.running_var", (5,), "float32"),
        ("n.running_mean", (5,), "float32"),
        ("c.weight_g", (1, 1, 8), "float32"),
        ("c.parametrizations.weight.original0", (1, 1, 8), "float32"),
        ("snake.alpha.0", (1, 3, 1), "float32"),
        ("n.num_batches_tracked", (), "int64"),
    ):
        for seed in (0, 7):
            expected = reference.seeded_tensor(key, shape, dtype, seed)
            found = seeded_tensor(key, shape, dtype, seed)
            assert found.dtype == expected.dtype and found.tobytes() == expected.tobytes()
