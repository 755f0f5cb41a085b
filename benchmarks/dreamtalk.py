"""Speed of the JAX DreamTalk beside its original PyTorch modules, same weights, float32, on CPU.

    git clone https://github.com/ali-vilab/dreamtalk
    pip install yacs
    python -m benchmarks.dreamtalk --reference=dreamtalk [--frames=125] [--threads=1,2] [--repeats=5] [--rows=motion,render]

Two rows at the released sizes, with made-up weights (`converters.parity.seeded`; speed does not depend on their values):

* motion: speech windows and a style clip → the expression of all frames by guided DDIM of 10 steps, encoders included.
* render: one frame of 256 × 256 pixels from a portrait and a window of motion, in batches: the original in the 16 of its own
  program, ours in the 8 of `Animator`; `--batches=16,8` changes both.

Both sides get the same inputs and noise, and their results are compared before anything is timed. One process per thread
count, pinned to that many cores; the two sides take turns. Printed are the fastest wall times, their ratio, the ratio of the
median CPU times, and the roof: the operations that XLA counts in our compiled programs over the rate of one plain operation
of the same sort, PyTorch's or JAX's, whichever is faster: a matrix product for the motion, a 3 × 3 convolution for the
renderer.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import importlib.util
import json
import os
import platform
import statistics
import subprocess
import sys
import time
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

GUIDANCE, STEPS = 2.0, 10
STYLE_FRAMES = 108  # valid frames of the style clip, of 256


@dataclasses.dataclass
class Row:
    """One thing to time on both sides: calls, how many units one call makes, and the least seconds per unit."""

    name: str
    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    units: tuple[int, int]  # of a call of each
    roof: float


def reference(checkout: Path):
    """Modules of the checkout; packages that they import but the networks do not use may be absent."""
    for name in ("dlib", "cv2"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = types.ModuleType(name)
    # Its folders have no `__init__.py`, so that our own package `configs` would be found before its one.
    for name in ("configs", "core", "generators"):
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(checkout / name)]
    names = ("configs.default", "core.networks.diffusion_net", "core.networks.diffusion_util", "generators.face_model")
    return [importlib.import_module(name) for name in names]


def seeded(module, prefix: str = "") -> dict:
    """The module's state dict with made-up parameters (its buffers stay), under the released file's keys."""
    from converters.parity.seeded import seeded_state_dict

    buffers = {f"{prefix}{key}": value.numpy() for key, value in module.named_buffers()}
    manifest = {f"{prefix}{key}": {"shape": list(value.shape)} for key, value in module.named_parameters()}
    return seeded_state_dict(manifest) | buffers


def restore(construct, table, state: dict):
    """Our network with the weights of a state dict, through the converter's table."""
    import jax.numpy as jnp

    from converters import interpreter
    from empatheia_jax import weights

    abstract = weights.flatten(weights.abstract(construct))
    flat = interpreter.load(state, table, abstract, jnp.float32, place=lambda _, array: jnp.asarray(array))
    return weights.materialize(construct, flat)


def compiled(module, function):
    """(call(*inputs), operations(*inputs) as XLA counts them) of `function(module, *inputs)`, weights an argument."""
    import jax
    from flax import nnx

    graph, state = nnx.split(module)
    program = jax.jit(lambda state, *inputs: function(nnx.merge(graph, state), *inputs))

    def operations(*inputs) -> float:
        return program.lower(state, *inputs).compile().cost_analysis()["flops"]

    return lambda *inputs: jax.block_until_ready(program(state, *inputs)), operations


def motion(modules, options) -> Row:
    """Guided DDIM."""
    import numpy as np
    import torch
    from flax import nnx

    from benchmarks.roof import matrix_rate
    from converters.tables import dreamtalk as tables
    from empatheia_jax.dreamtalk import released
    from empatheia_jax.dreamtalk.denoiser import Denoiser

    defaults, diffusion_net, diffusion_util, _ = modules
    settings = defaults.get_cfg_defaults()
    schedule = settings.DIFFUSION.SCHEDULE
    theirs = diffusion_net.DiffusionNet(
        cfg=settings,
        net=diffusion_util.NoisePredictor(settings),
        var_sched=diffusion_util.VarianceSchedule(schedule.NUM_STEPS, schedule.BETA_1, schedule.BETA_T, schedule.MODE),
    ).eval()
    state = seeded(theirs, tables.DENOISER_PREFIX)
    theirs.load_state_dict({k.removeprefix(tables.DENOISER_PREFIX): torch.from_numpy(v) for k, v in state.items()})
    config = released.DENOISER
    ours = restore(lambda: Denoiser(config, rngs=nnx.Rngs(0)), tables.denoiser(config), state)

    rng = np.random.default_rng(0)
    shape = (1, options.frames, config.window_slots, config.audio_feature_dim)
    audio = rng.standard_normal(shape, np.float32)
    clip = np.zeros((1, config.style_max_len, config.face3d_dim), np.float32)
    clip[:, :STYLE_FRAMES] = rng.standard_normal((1, STYLE_FRAMES, config.face3d_dim), np.float32)
    padding = np.arange(config.style_max_len)[None] >= STYLE_FRAMES
    torch.manual_seed(0)
    noise = torch.randn(1, options.frames, config.face3d_dim).numpy()  # the sampler draws the same after this seed
    tensors = [torch.from_numpy(array) for array in (audio, clip, padding)]

    def run_theirs():
        torch.manual_seed(0)
        with torch.inference_mode():
            return theirs.sample(
                *tensors,
                output_dim=config.face3d_dim,
                use_cf_guidance=True,
                cfg_scale=GUIDANCE,
                sample_method="ddim",
                ddim_num_step=STEPS,
            ).numpy()

    def sample(net, audio, clip, padding, noise):
        content, style = net.content_encoder(audio), net.style_encoder(clip, padding)
        return net.sample_ddim(content, style, noise, steps=STEPS, guidance=GUIDANCE)[0]

    def before(net, audio, clip, padding):
        content, style = net.content_encoder(audio), net.style_encoder(clip, padding)
        return net.condition(content, style, guided=True)

    call, _ = compiled(ours, sample)
    prepare, prepare_operations = compiled(ours, before)
    _, step_operations = compiled(ours, lambda net, x, t, condition: net.predict(x, t, condition))
    # XLA counts the body of the sampler's loop once, whatever the number of steps: count its parts
    operations = prepare_operations(audio, clip, padding)
    operations += STEPS * step_operations(noise, np.float32(501), prepare(audio, clip, padding))
    return Row(
        f"motion, {options.frames} frames",
        run_theirs,
        lambda: np.asarray(call(audio, clip, padding, noise)),
        (1, 1),
        operations / matrix_rate(1024 if options.frames < 100 else 2048),
    )


def render(modules, options) -> Row:
    """The full-size renderer."""
    import numpy as np
    import torch
    import yaml
    from flax import nnx

    from converters.tables import dreamtalk as tables
    from empatheia_jax.dreamtalk import released
    from empatheia_jax.dreamtalk.renderer import Renderer

    settings = yaml.safe_load((options.reference / "generators" / "renderer_conf.yaml").read_text())
    theirs = modules[-1].FaceGenerator(**settings).eval()
    state = seeded(theirs)
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    config = released.RENDERER
    ours = restore(lambda: Renderer(config, rngs=nnx.Rngs(0)), tables.renderer(config), state)

    rng = np.random.default_rng(1)
    size = config.image_size
    portrait = np.tanh(rng.standard_normal((1, size, size, 3), np.float32))
    batches = tuple(int(part) for part in options.batches.split(","))
    windows = rng.standard_normal((max(batches), config.window_frames, config.coefficient_dim), np.float32)
    picture = torch.from_numpy(portrait.transpose(0, 3, 1, 2).copy())
    driving = torch.from_numpy(windows[: batches[0]].transpose(0, 2, 1).copy())

    def run_theirs():
        with torch.inference_mode():
            image = theirs(picture.expand(batches[0], -1, -1, -1), driving)["fake_image"]
            return image.clamp(-1, 1).numpy().transpose(0, 2, 3, 1)

    call, count = compiled(ours, lambda net, portrait, windows: net(portrait, windows).image.clip(-1, 1))
    inputs = (portrait, windows[: batches[1]])
    roof = count(*inputs) / batches[1] / convolution_rate(options.repeats)
    return Row("render, per frame", run_theirs, lambda: np.asarray(call(*inputs)), batches, roof)


def convolution_rate(repeats: int) -> float:
    """Operations per second of a plain 3 × 3 convolution of the renderer, the faster of both sides and of two shapes."""
    import jax
    import jax.numpy as jnp
    import torch

    from benchmarks.roof import best_time

    rates = []
    for side, channels in ((64, 256), (128, 128)):
        x, kernel = jnp.ones((8, side, side, channels)), jnp.ones((3, 3, channels, channels))
        run = jax.jit(
            lambda x, k: jax.lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
        )
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1)
        picture = torch.ones(8, channels, side, side)
        with torch.inference_mode():
            theirs, _ = best_time(lambda layer=layer, picture=picture: layer(picture), repeats)
        ours, _ = best_time(lambda run=run, x=x, kernel=kernel: run(x, kernel).block_until_ready(), repeats)
        rates.append(2 * x.size * channels * 9 / min(theirs, ours))
    return max(rates)


def measure(run: Callable[[], object]) -> tuple[float, float]:
    """(wall, CPU) seconds of one call."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def child(options: argparse.Namespace) -> None:
    """Measures at one thread count; prints one JSON line."""
    from benchmarks.roof import use_cores

    use_cores(options.child)
    import jax
    import numpy as np
    import torch

    torch.set_num_threads(options.child)
    modules = reference(options.reference)
    rows = []
    for name in options.rows.split(","):
        row = {"motion": motion, "render": render}[name](modules, options)
        results = row.theirs(), row.ours()
        shared = min(len(result) for result in results)
        difference = float(np.abs(results[0][:shared] - results[1][:shared]).max())
        if difference > 1e-2:
            raise SystemExit(f"{row.name}: the two sides differ by {difference}; nothing was timed")
        sides = {"pytorch": (row.theirs, row.units[0]), "jax": (row.ours, row.units[1])}
        times: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
        for _ in range(options.repeats):
            for side, (run, units) in sides.items():
                times[side].append(tuple(seconds / units for seconds in measure(run)))
        found = {"row": row.name, "difference": difference, "roof_s": row.roof}
        for side, pairs in times.items():
            wall, cpu = zip(*pairs)
            found[side] = {"wall_s": statistics.median(wall), "fastest_s": min(wall), "cpu_s": statistics.median(cpu)}
        rows.append(found)
    versions = {"jax": jax.__version__, "torch": torch.__version__, "python": platform.python_version()}
    print(json.dumps({"threads": options.child, "rows": rows, "versions": versions}))


def main() -> None:
    parser = argparse.ArgumentParser("benchmarks.dreamtalk", description="Motion and rendering speed beside PyTorch.")
    parser.add_argument("--reference", type=Path, required=True, help="checkout of ali-vilab/dreamtalk")
    parser.add_argument("--frames", type=int, default=125)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--rows", default="motion,render")
    parser.add_argument("--batches", default="16,8", help="frames per call of the renderer: the original's, ours")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.reference = options.reference.resolve()
    if options.child:
        return child(options)
    print(
        f"{'threads':>7} {'row':20} {'PyTorch s':>10} {'JAX s':>8} {'ratio':>6} {'by CPU':>6} {'roof s':>8} {'differ':>8}"
    )
    for threads in options.threads.split(","):
        command = [sys.executable, "-m", "benchmarks.dreamtalk", *sys.argv[1:], f"--child={threads}"]
        line = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        result = json.loads(line)
        for row in result["rows"]:
            theirs, ours = row["pytorch"], row["jax"]
            print(
                f"{threads:>7} {row['row']:20} {theirs['fastest_s']:10.3f} {ours['fastest_s']:8.3f} "
                f"{theirs['fastest_s'] / ours['fastest_s']:6.2f} {theirs['cpu_s'] / ours['cpu_s']:6.2f} "
                f"{row['roof_s']:8.3f} {row['difference']:8.1e}",
                flush=True,
            )
    print(f"{os.cpu_count()} cores, {platform.machine()}; {result['versions']}")


if __name__ == "__main__":
    main()
