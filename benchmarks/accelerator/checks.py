"""Rows that say whether the numbers are right on this device, before any speed is believed."""

from __future__ import annotations

import dataclasses
import importlib.metadata
import platform as machine
import subprocess
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from benchmarks.accelerator import language
from benchmarks.accelerator.sizes import TINY, Sizes, denoiser, drawn, empatheia_config, llama_config
from benchmarks.accelerator.timing import Measurement, device_rates
from empatheia_jax.bridge.content_synchronizer import ContentSynchronizer
from empatheia_jax.core.llama import Llama
from empatheia_jax.dreamtalk.compiled import Compiled
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.encoders.clip_vision import ClipVision
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.nn import attention
from empatheia_jax.nn.platform import target_platform
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, partition, stages
from empatheia_jax.training import step as steps


def card(sizes: Sizes) -> tuple[Measurement, dict]:
    """The rates, and what hardware and software they are of."""
    device = jax.devices()[0]
    versions = {}
    for name in ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "transformers", "peft"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = "absent"
    found = device_rates(sizes.tiny) | {
        "device": device.device_kind,
        "platform": device.platform,
        "memory": (device.memory_stats() or {}).get("bytes_limit"),
        "python": machine.python_version(),
        "versions": versions,
    }
    note = f"{found['flops'] / 1e12:.3g} TFLOP/s in a bfloat16 product, {found['bytes'] / 1e9:.3g} GB/s read"
    return Measurement(note=note), found


def relative(found, expected) -> float:
    """‖found − expected‖ / ‖expected‖ over all leaves."""
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    wide = [(np.asarray(a, np.float64), np.asarray(b, np.float64)) for a, b in pairs]
    over = sum(float(np.sum((a - b) ** 2)) for a, b in wide)
    return float(np.sqrt(over / max(sum(float(np.sum(b**2)) for _, b in wide), 1e-300)))


def worst_of(errors: Iterable[float]) -> float:
    """The largest; not a number where one is none, which no bound admits."""
    return float(np.max(list(errors)))


def named(errors: Mapping[str, float]) -> str:
    """For a note."""
    return ", ".join(f"{name} {error:.1e}" for name, error in errors.items())


def fused_attention(sizes: Sizes) -> Measurement:
    """The platform's fused attention against XLA's in float32, forward and gradient, with every restriction it takes."""
    b, t, n, h = (2, 64, 2, 32) if sizes.tiny else (2, 1024, 8, 128)
    keys = jax.random.split(jax.random.key(0), 4)
    q, k, v, g = (jax.random.normal(key, (b, t, n, h), jnp.bfloat16) for key in keys)
    lengths = jnp.array([t, t // 2 + 3])
    cases = {
        "causal": {"causal": True},
        "lengths": {"causal": True, "lengths": lengths},
        "both ways": {"lengths": lengths},
        "window": {"causal": True, "window": t // 4},
        "segments": {"causal": True, "segment_ids": jnp.stack([jnp.arange(t) * 3 // t, jnp.arange(t) * 5 // t]) + 1},
    }
    errors: dict[str, float] = {}
    valid = (jnp.arange(t) < lengths[:, None])[..., None, None]
    for name, restrictions in cases.items():
        real = valid if "lengths" in restrictions else jnp.ones_like(valid)

        def both(q, k, v, implementation, restrictions=restrictions, real=real):
            def scalar(*inputs):
                out = attention.attention(*inputs, implementation=implementation, **restrictions)
                return jnp.sum(jnp.where(real, out.astype(jnp.float32) * g.astype(jnp.float32), 0.0)), out

            (_, out), slopes = jax.value_and_grad(scalar, (0, 1, 2), has_aux=True)(q, k, v)
            return jnp.where(real, out, 0), slopes

        run = jax.jit(both, static_argnames="implementation")
        with jax.default_matmul_precision("highest"):
            expected = run(*(x.astype(jnp.float32) for x in (q, k, v)), implementation="xla")
        errors[name] = relative(run(q, k, v, implementation="auto"), expected)
    chosen = attention.select(
        "auto", platform=jax.default_backend(), dtype=jnp.bfloat16, head_dim=h, queries=t, keys=t, causal=True
    ).name
    return Measurement(error=worst_of(errors.values()), bound=2e-2, note=f"{chosen}: {named(errors)}")


def bfloat16(sizes: Sizes) -> Measurement:
    """Every network in bfloat16 against itself in float32, on small networks."""
    small, key = TINY, jax.random.key(0)
    c, r, config = small.denoiser, small.renderer, empatheia_config(small).synchronizer
    ids = jnp.asarray(np.random.default_rng(0).integers(0, small.llm["vocab_size"], (2, 64)))
    normal = lambda *shape: jax.random.normal(key, shape)  # noqa: E731
    waves, pictures, states = normal(2, 4000), normal(2, 32, 32, 3), normal(2, 9, config.hidden)
    content, style, noise = normal(1, 6, c.window_slots, c.d_model), normal(1, c.d_model), normal(1, 6, c.face3d_dim)
    portrait = jnp.tanh(normal(1, r.image_size, r.image_size, 3))
    windows = normal(2, 2 * r.window_radius + 1, r.coefficient_dim)
    # name → constructor, and what is asked of the network
    networks: dict[str, tuple[Any, Any]] = {
        "Llama": (lambda **k: Llama(llama_config(small), implementation="auto", **k), _logits(ids)),
        "HuBERT": (lambda **k: Wav2Vec2(small.hubert, **k), lambda m: m(waves).last),
        "CLIP": (lambda **k: ClipVision(small.clip, **k), lambda m: m(pictures).last),
        "CS": (
            lambda **k: ContentSynchronizer(config, **k),
            lambda m: m.speech(states, jnp.array([9, 5]), jnp.array([12, 7]), 12)[0],
        ),
        "denoiser": (None, lambda m: m.sample_ddim(content, style, noise, steps=5)[0]),
        "renderer": (lambda **k: Renderer(r, **k), lambda m: m(portrait, windows).image),
    }
    errors = {}
    for name, (construct, call) in networks.items():
        outputs = []
        for dtype in (jnp.bfloat16, jnp.float32):
            if construct is None:
                module: nnx.Module = denoiser(c, dtype=dtype)
            else:
                module = drawn(lambda construct=construct, dtype=dtype: construct(rngs=nnx.Rngs(0), dtype=dtype))
            with jax.default_matmul_precision("highest"):
                outputs.append(np.asarray(Compiled(module, call)(), np.float64))
        errors[name] = relative(*outputs)
    return Measurement(error=worst_of(errors.values()), bound=5e-2, note=named(errors))


def _logits(ids):
    return lambda m: m.logits(m(m.embed(ids)).hidden)


def parity(folder: Path, network: str) -> Measurement:
    """The vectors of one network's reference, in float32: the largest difference as a share of its bound."""
    if not folder.is_dir():
        return Measurement(left_out=f"there is no {folder}; name the vector sets by --parity")
    from converters.parity.run import run_network

    results = [r for r in run_network(network, folder) if not r.left_out]
    if not results:
        return Measurement(left_out=f"no vectors of {network} below {folder}")
    failed = [f"{r.file} {r.array} {r.max_abs:.1e}" for r in results if not r.passed]
    share = worst_of(r.max_abs / (r.bound or np.finfo(np.float64).tiny) for r in results)  # some are compared exactly
    note = f"{len(results) - len(failed)} of {len(results)} arrays within their bounds"
    return Measurement(error=share, bound=1.0, note=note + (f"; not: {'; '.join(failed[:5])}" if failed else ""))


def four_stages(sizes: Sizes) -> Measurement:
    """Two steps of each stage on small networks in float32, on this device and on the CPU: losses and gradient norms."""
    small = dataclasses.replace(TINY, dtype=jnp.float32)
    batch = language.batch_of(small, 2, small.length)
    objective = stages.Objective(chunk=small.chunk)
    host = jax.devices("cpu")[0]
    with jax.default_device(host):
        model = language.whole(small)
    errors: dict[str, float] = {}
    for stage in stages.STAGES:
        values = []
        for device in (host, jax.devices()[0]):
            with target_platform(device.platform), jax.default_matmul_precision("highest"), jax.default_device(device):
                cut = partition.split(model, stages.TRAINABLE[stage])
                built = steps.build(
                    cut,
                    stages.loss_function(stage, objective),
                    optimizers.build(optimizers.OptimizerConfig(1e-3, 10)),
                    make_mesh(devices=[device]),
                    coefficients=stages.coefficients(stage, objective),
                )
                state, frozen = built.init(cut.trainable, 0), built.place_frozen(cut.frozen)
                placed = built.place_batch(batch)
                for _ in range(2):
                    state, metrics = built(state, frozen, placed)
                values.append(np.array([float(metrics["loss"]), float(metrics["grad_norm"])]))
        errors[stage] = float(np.max(np.abs(values[1] / values[0] - 1)))
    here = jax.devices()[0].platform
    return Measurement(error=worst_of(errors.values()), bound=1e-3, note=f"cpu against {here}: {named(errors)}")


def two_processes(sizes: Sizes) -> Measurement:
    """Two processes against one, on the CPU: two processes cannot share one accelerator."""
    options = ["--processes=2", "--axes=data", "--modes=train"]
    try:
        import grain  # noqa: F401
        import ml_collections  # noqa: F401
    except ImportError as error:
        return Measurement(left_out=f"the commands of a run need {error.name}, which is not installed here")
    command = [sys.executable, "-m", "benchmarks.multi_process", *options]
    done = subprocess.run(command, capture_output=True, text=True)
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    if done.returncode not in (0, 1):
        raise RuntimeError(f"benchmarks.multi_process ended with {done.returncode}: {done.stderr[-300:]}")
    found = last.split("largest difference ")[-1].split(":")[0]
    return Measurement(error=float(found), bound=1e-5, note="on the CPU")
