"""A weights folder holds exactly what was put in, appears whole or not at all, and restores to any dtype and sharding."""

from __future__ import annotations

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.errors import UserError


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
    with pytest.raises(UserError, match="unknown fields \\['depth'\\], missing fields \\['width'\\]"):
        weights.restore(folder, Model, Config)


def test_damaged_parameters_are_refused(tmp_path, model):
    folder = weights.save(tmp_path / "w", model, CONFIG, "toy", {})
    for path in (folder / "params").rglob("*"):
        if path.is_file() and path.parent.name == "d":
            path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match="damaged or incomplete"):
        weights.load(folder)


def test_overwriting_leaves_one_whole_folder(tmp_path, model):
    weights.save(tmp_path / "w", model, CONFIG, "toy", {"n": 1})
    weights.save(tmp_path / "w", model, CONFIG, "toy", {"n": 2}, overwrite=True)
    assert weights.describe(tmp_path / "w")["provenance"] == {"n": 2}
    assert [p.name for p in tmp_path.iterdir()] == ["w"]
