"""Arithmetic is counted exactly, targets are read strictly, and real compilers agree where they are installed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import launch
from empatheia_jax.errors import UserError
from empatheia_jax.parallel import hlo, preflight, targets
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, step
from tests.training import tiny

ROOT = Path(__file__).resolve().parents[2]
COMPILERS = {"a100-80gb:1": "jax_cuda12_plugin", "v5e:4x4": "libtpu"}


def flops(function, *shapes):
    return preflight.count_flops(jax.jit(function).trace(*(jnp.zeros(shape) for shape in shapes)).jaxpr)


def test_products_scans_and_recomputation_are_counted():
    product = 2 * 8 * 16 * 4
    assert flops(lambda a, b: a @ b, (8, 16), (16, 4)) == product

    def loop(x, w):
        return jax.lax.scan(lambda x, w: (jnp.tanh(x @ w), None), x, w)[0]

    layer = 2 * 8 * 16 * 16
    assert flops(loop, (8, 16), (5, 16, 16)) == 5 * layer
    assert flops(jax.grad(lambda x, w: loop(x, w).sum()), (8, 16), (5, 16, 16)) == 2 * 5 * layer

    def recomputed(x, w):
        body = jax.checkpoint(lambda x, w: jnp.tanh(jnp.tanh(x @ w) @ w))
        return jax.lax.scan(lambda x, w: (body(x, w), None), x, w)[0].sum()

    # Per layer: 2 products forward, 2 again, 2 backward; the gradient of the weights is not asked for. The last forward
    # value of a recomputed layer is not needed again beyond its tanh, so nothing of it may be dropped.
    assert flops(jax.grad(recomputed), (8, 16), (5, 16, 16)) == 6 * 5 * layer


def test_convolutions_are_counted():
    def convolve(x, k):
        return jax.lax.conv_general_dilated(x, k, (1,), "SAME", dimension_numbers=("NWC", "WIO", "NWC"))

    assert flops(convolve, (2, 10, 4), (3, 4, 6)) == 2 * (3 * 4) * (2 * 10 * 6)


def test_dead_code_is_not_counted():
    def step(a, b):
        return (a @ b).shape[0] * a.sum()

    assert flops(step, (8, 16), (16, 4)) == 0


HLO = """HloModule jit_step

%body (p: (s32[], f32[4,8])) -> (s32[], f32[4,8]) {
  %gather = f32[4,16]{1,0} all-gather(f32[4,8]{1,0} %x), dimensions={1}
}

%condition (p: (s32[], f32[4,8])) -> pred[] {
  ROOT %less = pred[] compare(s32[] %i, s32[] %n), direction=LT
}

ENTRY %main (a: f32[4,8]) -> f32[4,8] {
  %sum = f32[10]{0} all-reduce(f32[10]{0} %a), to_apply=%add
  %start = (f32[4,8]{1,0}, f32[32,8]{1,0}) all-gather-start(f32[4,8]{1,0} %a), dimensions={0}
  %done = f32[32,8]{1,0} all-gather-done((f32[4,8]{1,0}, f32[32,8]{1,0}) %start)
  ROOT %w = (s32[], f32[4,8]) while((s32[], f32[4,8]) %t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"32"}}
}
"""  # noqa: E501


def test_bytes_between_devices_count_loops_and_not_twice_what_starts_and_is_done():
    assert hlo.collective_bytes(HLO) == 2 * 40 + 32 * 8 * 4 + 32 * (4 * 16 * 4)


def test_a_loop_whose_length_is_not_noted_is_as_long_as_its_condition_says():
    noted = ', backend_config={"known_trip_count":{"n":"32"}}'
    assert noted in HLO
    bound = "  %n = s32[]{:T(128)} constant(32)\n  %i = s32[]{:T(128)} parameter(0)\n  ROOT %less"
    unnoted = HLO.replace(noted, "").replace("  ROOT %less", bound)
    assert hlo.collective_bytes(unnoted) == hlo.collective_bytes(HLO)


def test_a_refusal_of_a_tpu_compiler_says_how_much_it_would_take():
    message = "RESOURCE_EXHAUSTED: Ran out of memory in memory space hbm. Used 17.50G of 15.75G hbm. Exceeded by 1.75G."
    assert preflight.refused_bytes(message) == int(17.5 * 2**30)
    assert preflight.refused_bytes("INTERNAL: something else") is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("b200:1", "unknown device"),
        ("a100-80gb:4x4", "no size"),
        ("v5e:16", "write it like v5e:4x4"),
        ("v5p:0x1", "no size"),
    ],
)
def test_a_malformed_target_is_one_line(text, reason):
    with pytest.raises(UserError, match=reason):
        targets.parse(text)


def test_sizes_of_targets():
    assert targets.parse("a100-80gb").count == 1
    assert targets.parse("h100-80gb:8").count == 8
    assert targets.parse("v5p:4x4x4").count == 64


def test_the_plan_for_the_devices_at_hand_is_what_the_step_then_holds():
    """On the CPU: predicted weights and optimizer equal the bytes of the real arrays."""
    mesh = make_mesh(devices=jax.devices()[:1])
    cut = tiny.split()
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=10)
    built = step.build(cut, tiny.loss, optimizers.build(config), mesh, coefficients=tiny.COEFFICIENTS)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tiny.batch(0))
    abstract = built.abstract_state()
    found = preflight.analyse(
        "tiny",
        built.trace(shapes),
        targets.parse("a100-80gb:1"),
        weights=(built.abstract_frozen(), abstract.trainable),
        optimizer=abstract.optimizer,
        batch=built.abstract_batch(shapes),
        tokens=96,
        devices=1,
    )
    state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
    size = lambda tree: sum(8 if "key" in str(x.dtype) else x.nbytes for x in jax.tree.leaves(tree))  # noqa: E731
    assert found.weights == size((frozen, state.trainable))
    assert found.optimizer == size(state.optimizer)
    assert found.fits and found.bound in ("compute", "memory") and found.communication == 0
    assert found.tokens_per_second == pytest.approx(96 / found.seconds)


def command(*options):
    return subprocess.run(
        [sys.executable, "launch.py", "--config=configs/debug.py", "--mode=preflight", *options],
        cwd=ROOT,
        env={**os.environ, "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.mark.parametrize("target", COMPILERS)
def test_without_the_extra_one_line_says_how_to_install_it(target, capsys, monkeypatch):
    if find_spec(COMPILERS[target]):
        pytest.skip("the compiler is installed here")
    monkeypatch.chdir(ROOT)
    assert launch.main(["launch.py", "--config=configs/debug.py", "--mode=preflight", f"--target={target}"]) == 2
    assert capsys.readouterr().err.strip().splitlines()[-1] == (
        f"error: no compiler for {target.split(':')[0]} is installed; get it with {targets.INSTALL}"
    )


@pytest.mark.parametrize("target", COMPILERS)
def test_a_stage_compiles_for_hardware_that_is_not_here(target, tmp_path):
    if not find_spec(COMPILERS[target]):
        pytest.skip(f"needs {COMPILERS[target]}, part of the extra `preflight`")
    run = command(f"--target={target}", f"--json={tmp_path / 'plan.json'}", "--config.schedule=joint")
    assert run.returncode == 0, run.stderr[-2000:]
    plan = json.loads((tmp_path / "plan.json").read_text())
    (stage,) = plan["stages"]
    assert stage["fits"] and stage["flops"] > 0 and stage["peak"] > stage["weights"]
    assert (stage["communication"] > 0) == (target != "a100-80gb:1")
    assert "joint" in run.stdout and "tokens/s" in run.stdout
