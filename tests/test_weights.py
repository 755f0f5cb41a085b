"""A weights folder holds exactly what was put in, appears whole or not at all, and restores to any dtype and sharding."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.weights import read, sums
from tests.full_disk import files_end_at


@dataclasses.dataclass(frozen=True)
class Inner:
    size: int


@dataclasses.dataclass(frozen=True)
class Config:
    width: int
    parts: tuple[Inner, ...]
    note: str | None
    shape: tuple[int, int]


CONFIG = Config(4, (Inner(2), Inner(3)), None, (1, 2))


class Model(nnx.Module):
    def __init__(self, config, *, rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        kernel = nnx.with_partitioning(nnx.initializers.normal(), ("embed", "mlp"))
        self.blocks = nnx.List(
            [
                nnx.Linear(config.width, p.size, kernel_init=kernel, param_dtype=param_dtype, rngs=rngs)
                for p in config.parts
            ]
        )
        self.norm = nnx.BatchNorm(3, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)


@pytest.fixture
def model():
    return Model(CONFIG, rngs=nnx.Rngs(7))


def test_flatten_names_parameters_and_buffers_but_no_random_state(model):
    assert set(weights.flatten(model)) == {
        *(f"blocks.{i}.{name}" for i in range(2) for name in ("kernel", "bias")),
        *(f"norm.{name}" for name in ("scale", "bias", "mean", "var")),
    }


def test_a_folder_gives_back_every_bit(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {"from": "here"}, {"voices/a.txt": b"hello"})
    kind, config, flat = weights.load(folder)
    assert kind == "toy" and weights.config_from_dict(Config, config) == CONFIG
    assert (folder / "voices" / "a.txt").read_bytes() == b"hello"
    restored = weights.restore(folder, Model, Config, kind="toy")
    for path, value in weights.flatten(model).items():
        np.testing.assert_array_equal(flat[path], value)
        np.testing.assert_array_equal(weights.flatten(restored)[path], value)
        np.testing.assert_array_equal(weights.lazy_params(folder)[path].read(), value)
    assert weights.verify(folder) == weights.describe(folder)["sha256"]
    fresh = Model(CONFIG, rngs=nnx.Rngs(0))  # random streams are no weights: they start as the constructor makes them
    assert jnp.array_equal(*(jax.random.key_data(m.dropout.rngs.key[...]) for m in (restored, fresh)))


class Keys(nnx.Module):
    def __init__(self, *, rngs):
        self.keys = nnx.Intermediate(jnp.stack([jax.random.key_data(rngs.params()) for _ in range(3)]))


def test_a_folder_does_not_say_where_it_was_written(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {"source": "test"})
    told = [path for path in folder.rglob("*") if path.is_file() and str(tmp_path).encode() in path.read_bytes()]
    assert not told and (folder / "params" / "commit_success.txt").is_file()


def test_an_abstract_module_is_flaxs_and_its_streams_give_flaxs_keys(model):
    def construct():
        return Model(CONFIG, rngs=nnx.Rngs(7))

    ours, theirs = (dict(nnx.to_flat_state(nnx.state(f(construct)))) for f in (weights.abstract, nnx.eval_shape))
    assert ours.keys() == theirs.keys()
    for path, variable in theirs.items():
        assert type(ours[path]) is type(variable) and ours[path].get_value() == variable.get_value()
    made = weights.materialize(lambda: Keys(rngs=nnx.Rngs(3)), {})
    np.testing.assert_array_equal(made.keys[...], Keys(rngs=nnx.Rngs(3)).keys[...])


def test_the_hash_depends_on_the_values_and_not_on_the_writing(tmp_path, model):
    first = weights.describe(weights.save(tmp_path / "a", model, CONFIG, "toy", {}))["sha256"]
    again = weights.describe(weights.save(tmp_path / "b", model, CONFIG, "toy", {"other": 1}))["sha256"]
    model.norm.bias[...] = model.norm.bias[...].at[0].add(1e-7)
    other = weights.describe(weights.save(tmp_path / "c", model, CONFIG, "toy", {}))["sha256"]
    assert first == again != other


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_stored_types_are_kept_and_can_be_changed_on_restoring(tmp_path, model, dtype):
    flat = {path: np.asarray(value).astype(jnp.dtype(dtype)) for path, value in weights.flatten(model).items()}
    folder = weights.save(tmp_path / "w", flat, CONFIG, "toy", {})
    assert {v.dtype.name for v in weights.load(folder)[2].values()} == {dtype}
    with jax.enable_x64(dtype == "float64"):
        kept = weights.restore(folder, Model, Config)
        assert kept.blocks[0].kernel.dtype == dtype
        wide = weights.restore(folder, Model, Config, param_dtype=jnp.float32)
        assert wide.blocks[0].kernel.dtype == jnp.float32


def test_parameters_are_read_straight_to_their_sharding(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    mesh = jax.make_mesh((1,), ("fsdp",), axis_types=(jax.sharding.AxisType.Auto,))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("fsdp", None))
    restored = weights.restore(folder, Model, Config, shardings=lambda state: {"blocks.0.kernel": sharding})
    assert restored.blocks[0].kernel[...].sharding == sharding
    np.testing.assert_array_equal(restored.blocks[0].kernel[...], model.blocks[0].kernel[...])


def test_values_that_do_not_fit_are_all_named(model):
    flat = weights.flatten(model)
    del flat["norm.mean"]
    flat["norm.var"] = jnp.ones(4)
    flat["extra"] = jnp.ones(1)
    with pytest.raises(UserError) as caught:
        weights.update(model, flat)
    for line in ("missing: norm.mean", "unknown: extra", "misshapen: norm.var: found (4,), expected (3,)"):
        assert line in str(caught.value)


def test_update_changes_the_module_in_place(model):
    flat = {path: jnp.zeros_like(value) for path, value in weights.flatten(model).items()}
    weights.update(model, flat)
    assert float(jnp.abs(model.blocks[1].kernel[...]).sum()) == 0


def test_what_is_no_fitting_folder_is_refused(tmp_path, model, monkeypatch):
    monkeypatch.setenv(weights.ROOT_VARIABLE, str(tmp_path))
    weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    assert weights.find("w") == tmp_path / "w"
    with pytest.raises(UserError, match="no weights folder 'v'"):
        weights.find("v")
    with pytest.raises(UserError, match="exists already"):
        weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    with pytest.raises(UserError, match="kind 'toy', expected 'other'"):
        weights.restore(tmp_path / "w", Model, Config, kind="other")
    with pytest.raises(UserError, match="no name for a file"):
        weights.save(tmp_path / "x", model, CONFIG, "toy", {}, {"../escape": b""})
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(UserError, match="converters.convert"):
        weights.describe(tmp_path / "hf")
    assert not (tmp_path / "x").exists() and not (tmp_path.parent / "escape").exists()


def test_a_folder_with_other_fields_is_refused(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    description = json.loads((folder / "config.json").read_text())
    description["config"]["depth"] = description["config"].pop("width")
    (folder / "config.json").write_text(json.dumps(description))
    weights.seal(folder)
    with pytest.raises(UserError, match="unknown fields \\['depth'\\], missing fields \\['width'\\]"):
        weights.restore(folder, Model, Config)


def test_damaged_parameters_are_refused(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    for path in (folder / "params").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="is damaged: params/.* has another SHA-256"):
        weights.load(folder)


FOLDERS = ("bits", "deleted", "cut")


@pytest.mark.parametrize("kind", FOLDERS)
def test_damage_to_any_file_is_refused_or_changes_nothing(tmp_path, model, kind):
    """200 flipped bits, 50 deleted files and 50 files cut short: none is read as other numbers."""
    original = weights.save(tmp_path / "w", model, CONFIG, "toy", {}, {"voice.txt": b"hello"})
    expected = weights.load(original)
    rng = np.random.default_rng(0)
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    refused, folder = 0, tmp_path / "copy"
    for _ in range(200 if kind == "bits" else 50):
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(original, folder)
        path = folder / files[rng.integers(len(files))]
        data = bytearray(path.read_bytes())
        if kind == "deleted" or not data:
            path.unlink()
        elif kind == "cut":
            path.write_bytes(data[: rng.integers(len(data))])
        else:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
            path.write_bytes(data)
        try:
            found = weights.load(folder)
        except UserError as error:
            assert "\n" not in str(error) and str(folder) in str(error)
            refused += 1
            continue
        assert found[:2] == expected[:2]
        for name, value in found[2].items():
            np.testing.assert_array_equal(value, expected[2][name])
    assert refused == (200 if kind == "bits" else 50)


def test_a_folder_is_compared_once_and_again_where_a_file_changed(tmp_path, model, monkeypatch):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {}, {"a.txt": b"hello", "b.txt": b"hello"})
    hashed = []
    plain = sums.file_hash
    monkeypatch.setattr(sums, "file_hash", lambda path: hashed.append(path.name) or plain(path))
    weights.load(folder)
    assert {"a.txt", "b.txt", "config.json"} <= set(hashed)
    hashed.clear()
    weights.load(folder)
    assert set(hashed) == {"config.json"}  # small, and compared whenever it is read
    os.utime(folder / "a.txt", ns=(1, 1))
    hashed.clear()
    weights.load(folder)
    assert hashed.count("a.txt") == 1 and "b.txt" not in hashed
    state = (folder / "b.txt").stat()
    (folder / "b.txt").write_bytes(b"hallo")
    os.utime(folder / "b.txt", ns=(state.st_atime_ns, state.st_mtime_ns))  # same size, same time
    with pytest.raises(UserError, match=r"b\.txt has another SHA-256"):
        weights.restore(folder, Model, Config)


def test_a_file_among_the_parameters_that_nobody_wrote_is_refused(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    (folder / "README").write_text("a note of the user beside them is nobody's harm")
    weights.load(folder)
    (folder / "params" / "d" / "more").write_bytes(b"x")
    with pytest.raises(UserError, match="params/d/more does not belong"):
        weights.load(folder)


def test_where_nothing_can_be_remembered_the_folder_is_read_all_the_same(tmp_path, model, monkeypatch):
    (tmp_path / "cache").write_text("a file where a folder should be")
    monkeypatch.setenv(sums.CACHE_VARIABLE, str(tmp_path / "cache"))
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    assert weights.load(folder)[0] == "toy"


def test_a_folder_of_the_first_format_is_compared_by_its_parameters(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    description = json.loads((folder / "config.json").read_text())
    (folder / weights.SUMS_FILE).unlink()
    with pytest.raises(UserError, match="SHA256SUMS is not there"):
        weights.load(folder)
    (folder / "config.json").write_text(json.dumps(description | {"format": 1}))
    assert weights.load(folder)[0] == "toy"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(read, "verify", lambda folder: pytest.fail("it was compared before"))
        weights.load(folder)
    description["params"]["norm.bias"]["sha256"] = "0" * 64
    (folder / "config.json").write_text(json.dumps(description | {"format": 1}))
    with pytest.raises(UserError, match=r"differs of norm\.bias"):
        weights.load(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", "[" * 100_000, '{"format": 2}', '{"format": 2, "params": {"a": 5}}'])
def test_a_config_that_is_no_description_is_one_line(tmp_path, model, text):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    (folder / "config.json").write_text(text)
    weights.seal(folder)
    with pytest.raises(UserError) as caught:
        weights.load(folder)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("size", [10, 3_000, 60_000])
def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path, size):
    arrays = {"w": np.random.default_rng(0).standard_normal((200, 200)).astype(np.float32)}
    with files_end_at(size), pytest.raises(UserError, match="x.* cannot be written: its disk is full") as caught:
        weights.save(tmp_path / "x", arrays, {}, "test", {})
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_overwriting_leaves_one_whole_folder(tmp_path, model):
    weights.save(tmp_path / "w", model, CONFIG, "toy", {"n": 1})
    weights.save(tmp_path / "w", model, CONFIG, "toy", {"n": 2}, overwrite=True)
    assert weights.describe(tmp_path / "w")["provenance"] == {"n": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
