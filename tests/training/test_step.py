"""A step moves what it should, only that, and the same on any mesh and in any number of micro-batches."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, step, tables
from tests.training import tiny

ROOT = Path(__file__).resolve().parents[2]
EIGHT_DEVICES = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=8 "
    # Eight threads on a busy machine of two cores may wait longer for each other than XLA's 40 seconds.
    "--xla_cpu_collective_call_terminate_timeout_seconds=600"
)
CONFIG = optimizers.OptimizerConfig(learning_rate=1e-2, steps=20, weight_decay=0.01)


def build(cut, **options):
    mesh = make_mesh(devices=jax.devices()[:1])
    options = {"coefficients": tiny.COEFFICIENTS, **options}
    return step.build(cut, options.pop("loss", tiny.loss), optimizers.build(CONFIG), mesh, **options)


def train(cut, count=3, **options):
    built = build(cut, **options)
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    entries = []
    for number in range(count):
        state, metrics = built(state, frozen, built.place_batch(tiny.batch(number)))
        entries.append(jax.device_get(metrics))
    return built, state, entries


def test_one_compilation_for_any_number_of_steps():
    compiled = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
    )
    cut = tiny.split()
    built = build(cut)
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    batches = [built.place_batch(tiny.batch(number)) for number in range(4)]
    jax.block_until_ready((state, frozen, batches))
    before = len(compiled)
    for batch in batches:
        state, _ = built(state, frozen, batch)
    assert len(compiled) - before == 1
    assert built.compilations == 1


def test_only_trainable_leaves_are_state_and_frozen_ones_stay_bit_identical():
    cut = tiny.split(jnp.bfloat16)
    before = jax.tree.map(np.asarray, {k: v for k, v in cut.frozen.items() if not k.endswith("key")})
    built, state, _ = train(cut)
    assert set(state.trainable) == {"layers.lora_a", "layers.lora_b", "style.kernel", "style.bias"}
    assert all(leaf.dtype == jnp.float32 for leaf in state.trainable.values())
    moments = [leaf for leaf in jax.tree.leaves(state.optimizer) if leaf.ndim]
    assert sum(leaf.size for leaf in moments) == 2 * sum(leaf.size for leaf in state.trainable.values())
    for path, value in before.items():
        np.testing.assert_array_equal(value, np.asarray(cut.frozen[path]), err_msg=path)
    assert any(not np.array_equal(cut.trainable[path], value) for path, value in state.trainable.items())


def test_the_state_is_donated_and_the_frozen_weights_are_not_copied():
    cut = tiny.split()
    built = build(cut)
    lowered = built.trace(jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny.batch(0))).lower()
    state = built.init(cut.trainable, 0)
    held = sum(leaf.nbytes for leaf in jax.tree.leaves((state.trainable, state.optimizer)))
    memory = lowered.compile().memory_analysis()
    assert memory.alias_size_in_bytes >= held
    new, _ = built(state, built.place_frozen(cut.frozen), built.place_batch(tiny.batch(0)))
    assert state.trainable["layers.lora_a"].is_deleted()
    assert not new.trainable["layers.lora_a"].is_deleted()


def test_accumulation_gives_the_same_step_though_micro_batches_weigh_differently():
    results = [train(tiny.split(dropout=0.0), accumulation=n, loss=_without_dropout)[1:] for n in (1, 2, 4)]
    for state, entries in results[1:]:
        for name in ("loss", "ce", "style", "accuracy", "grad_norm"):
            np.testing.assert_allclose(
                [entry[name] for entry in entries], [entry[name] for entry in results[0][1]], rtol=1e-5
            )
        for path, value in state.trainable.items():
            np.testing.assert_allclose(value, results[0][0].trainable[path], atol=1e-5, err_msg=path)


def _without_dropout(model, batch, rng):
    return tiny.loss(model, batch, None)


def test_weights_of_the_batch_cost_no_second_forward_pass():
    cut, shapes = tiny.split(), jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny.batch(0))

    def flops(accumulation):
        return build(cut, accumulation=accumulation).trace(shapes).lower().compile().cost_analysis()["flops"]

    built = build(cut)
    built._weights = lambda *_: {name: jnp.ones(()) for name in ("ce", "accuracy", "style")}
    assert flops(1) < 1.02 * built.trace(shapes).lower().compile().cost_analysis()["flops"]


def test_scanned_and_unrolled_layers_agree():
    unrolled = lambda model, batch, rng: tiny.loss(model, batch, rng, scan=False)  # noqa: E731
    one, other = train(tiny.split())[1], train(tiny.split(), loss=unrolled)[1]
    for path, value in one.trainable.items():
        np.testing.assert_allclose(value, other.trainable[path], atol=1e-6, err_msg=path)


def test_a_loss_that_is_not_finite_is_flagged_and_changes_nothing():
    cut = tiny.split()
    built = build(cut, ema=0.9)
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    state, _ = built(state, frozen, built.place_batch(tiny.batch(0)))
    good = jax.device_get((state.trainable, state.optimizer, state.ema))
    poison = tiny.batch(1)
    poison.style[0] = np.nan
    state, metrics = built(state, frozen, built.place_batch(poison))
    assert not metrics["finite"]
    state, _ = built(state, frozen, built.place_batch(tiny.batch(2)))
    assert int(state.bad_step) == 1
    jax.tree.map(np.testing.assert_array_equal, jax.device_get((state.trainable, state.optimizer, state.ema)), good)


def test_dropout_differs_by_step_and_is_off_in_evaluation():
    cut = tiny.split()
    built = build(cut)
    frozen, batch = built.place_frozen(cut.frozen), built.place_batch(tiny.batch(0))
    start = built.init(cut.trainable, 0)
    jax.tree.map(np.testing.assert_array_equal, *(built.evaluate(start, frozen, batch) for _ in range(2)))
    later = dataclasses.replace(built.init(cut.trainable, 0), step=start.step + 1)
    again = built.init(cut.trainable, 0)
    first, second, repeated = (float(built(state, frozen, batch)[1]["loss"]) for state in (start, later, again))
    assert first == repeated != second


def test_the_loss_falls_and_the_average_follows():
    cut = tiny.split()
    _, state, entries = train(cut, count=40, ema=0.5)
    assert entries[-1]["loss"] < 0.9 * entries[0]["loss"]
    distance = optax.tree.norm(jax.tree.map(jnp.subtract, state.ema, state.trainable))
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, dict(cut.trainable), state.trainable))
    assert 0 < distance < 0.2 * moved


def test_the_gradient_is_clipped_by_its_global_norm():
    cut = tiny.split(dropout=0.0)
    mesh = make_mesh(devices=jax.devices()[:1])
    built = step.build(cut, _without_dropout, optax.sgd(1.0), mesh, coefficients=tiny.COEFFICIENTS, clip=0.01)
    state = built.init(cut.trainable, 0)
    new, metrics = built(state, built.place_frozen(cut.frozen), built.place_batch(tiny.batch(0)))
    moved = optax.tree.norm(jax.tree.map(jnp.subtract, dict(cut.trainable), new.trainable))
    assert metrics["grad_norm"] > 0.01
    assert float(moved) == pytest.approx(0.01, rel=1e-3)


def test_a_coefficient_without_a_loss_is_an_error():
    with pytest.raises(ValueError, match="coefficients for \\['kl'\\]"):
        train(tiny.split(), coefficients={"kl": 1.0})


def test_eight_simulated_devices_give_the_same_numbers():
    """1×1×1, 8×1×1, 2×4×1 and 1×4×2, in a process of its own since the number of devices is fixed at the start."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.training.mesh_equality"],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": EIGHT_DEVICES},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    assert run.stdout.count("equal") == 3


def test_the_real_model_gives_the_same_numbers_on_a_split_mesh():
    """Stage 1 of the debug model; all stages, meshes and accumulations: `python -m benchmarks.mesh_equality`."""
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks.mesh_equality", "--stages=coe", "--meshes=1x4x2", "--accumulations="],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu", "XLA_FLAGS": EIGHT_DEVICES},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr[-2000:]
    assert "mesh 1×4×2" in run.stdout and "equal within" in run.stdout


def test_a_filter_that_matches_nothing_is_an_error():
    with pytest.raises(UserError, match="layers.lora_c"):
        partition.split(tiny.model(), "layers.lora_c*")


def test_frozen_is_the_complement_of_trainable_and_merging_restores_the_model():
    model = tiny.model()
    cut = partition.split(model, tiny.TRAINABLE)
    names = {partition.path_name(path) for path, _ in nnx.to_flat_state(nnx.state(model))}
    assert set(cut.trainable) | set(cut.frozen) == names and not set(cut.trainable) & set(cut.frozen)
    tokens = tiny.batch(0).tokens
    np.testing.assert_array_equal(cut.merge(cut.trainable, cut.frozen).hidden(tokens), model.hidden(tokens))


def test_the_table_of_parameters_counts_what_trains():
    abstract = weights.abstract(tiny.model)
    text = tables.parameter_table(abstract, tiny.TRAINABLE, make_mesh(devices=jax.devices()[:1]))
    rows = {line.split("|")[0].strip(): [cell.strip() for cell in line.split("|")] for line in text.splitlines()}
    total = sum(leaf.size for leaf in jax.tree.leaves(nnx.state(abstract, nnx.Param)))
    assert rows["total"][1:3] == [f"{total:,}", "616"]
    assert rows["layers"][2] == "480" and rows["table"][2] == "0"


def test_groups_learn_at_their_own_rate():
    params = {"a.kernel": jnp.ones((2, 2)), "b.kernel": jnp.ones((2, 2))}
    config = optimizers.OptimizerConfig(learning_rate=0.1, steps=10, group_rates={"b.*": 0.1})
    optimizer = optimizers.build(config)
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["b.kernel"], 0.1 * updates["a.kernel"], rtol=1e-6)
    with pytest.raises(UserError, match="matches no trainable parameter"):
        optimizers.build(optimizers.OptimizerConfig(0.1, 10, group_rates={"c.*": 1.0})).init(params)


def test_decay_spares_biases_and_norms():
    params = {"a.kernel": jnp.ones((2, 2)), "a.bias": jnp.ones((3, 2)), "n.scale": jnp.ones(2)}
    optimizer = optimizers.build(optimizers.OptimizerConfig(0.1, 10, weight_decay=0.5, decay="constant"))
    updates, _ = optimizer.update(jax.tree.map(jnp.zeros_like, params), optimizer.init(params), params)
    np.testing.assert_allclose(updates["a.kernel"], -0.05, rtol=1e-6)
    assert not np.any(updates["a.bias"]) and not np.any(updates["n.scale"])


def test_the_rate_warms_up_and_decays():
    config = optimizers.OptimizerConfig(1.0, 110, warmup_steps=10, final_fraction=0.1)
    rate = optimizers.schedule(config)
    assert float(rate(0)) == pytest.approx(0.1)
    assert float(rate(9)) == pytest.approx(1.0)
    assert float(rate(60)) == pytest.approx(0.55)
    assert float(rate(110)) == pytest.approx(0.1)
