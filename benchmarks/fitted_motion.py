"""What fitted face coefficients cost: their correlation with the true ones, and a renderer trained on either.

    python -m benchmarks.fitted_motion CLIPS --folder=runs/fitted_motion [--steps=600]

CLIPS holds films with Deep3DFaceRecon's tracks beside them, as `data_pipeline.fit_motion learn` takes them. Each clip gets a
track of our fitter that has learned from the others: from all other clips (`--unseen=clips`), or from those of other persons
alone (`--unseen=persons`). Printed is the correlation of each coefficient on those clips. Then two small renderers of 64 x 64
pixels are trained from nothing (`dreamtalk.training`), one on the true and one on the fitted tracks: the same films, steps,
batches and first weights. Both draw the clips that were kept back, each from the first picture and its own kind of track.
Told are
PSNR, SSIM and the trainer's own loss; `still` is the first picture itself. `sheet.png` shows them one below the other.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict
from PIL import Image

from configs import drawn_face, dreamtalk_renderer
from data_pipeline import fit_motion, talking_heads
from empatheia_jax import weights
from empatheia_jax.dreamtalk import fitter, perceptual, windows
from empatheia_jax.dreamtalk.compiled import Compiled
from empatheia_jax.dreamtalk.config import RendererConfig
from empatheia_jax.dreamtalk.renderer import Renderer, normalise_image, to_uint8
from empatheia_jax.dreamtalk.settings import RendererTraining
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.settings import read
from empatheia_jax.training import talking_head
from evaluation.similarity import psnr, ssim

SIZE, BATCH, COLUMNS = 64, 8, 12
KEPT = 4
"""Every so-many-th clip is kept back from the renderers' training."""


def fitted(examples: Sequence[fitter.Example], unseen: str) -> dict[str, np.ndarray]:
    """(frames, 73) of each clip by name, from a map that has not seen it (or its person), and the person's own mean.

    The mean of a person is that of all his or her clips, this one included: as `fit` takes it, it needs no known track.
    """
    found = {}
    for each in examples:
        others = [
            other for other in examples if (other.person != each.person if unseen == "persons" else other is not each)
        ]
        made = fitter.learn(others)
        mine = [made.relative(other.points).mean(axis=0) for other in examples if other.person == each.person]
        expression = made.absolute(made.relative(each.points), np.mean(mine, axis=0))
        found[each.name] = np.concatenate([expression, made.pose_of(each.points, each.size)], axis=1)
    return found


def correlation_table(name: str, values: np.ndarray) -> list[str]:
    """Lines of a table, eight coefficients in each."""
    lines = [f"| {name} | " + " | ".join(f"+{k}" for k in range(8)) + " |", "|" + "---|" * 9]
    for start in range(0, len(values), 8):
        row = [f"{value:.2f}" for value in values[start : start + 8]]
        lines.append(f"| {start} | " + " | ".join(row + [""] * (8 - len(row))) + " |")
    return lines


def lay_out(folder: Path, clips: Mapping[str, tuple[Path, np.ndarray]]) -> Path:
    """A folder of films with tracks beside them, as the trainer takes it."""
    for name, (film, moves) in clips.items():
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(film, place.with_suffix(film.suffix))
        np.save(place.with_suffix(".npy"), moves.astype(np.float32))
    return folder


def settings(data: Path, steps: int) -> RendererTraining:
    """The trainer's config at the size of this comparison."""
    config = dreamtalk_renderer.get_config()
    config.network = ConfigDict(drawn_face.get_config().renderer.to_dict() | {"image_size": SIZE})
    config.data, config.features, config.mesh.data = str(data), talking_head.EDGES, 1
    config.batch, config.steps, config.warp_steps, config.learning_rate = BATCH, steps, steps // 4, 1e-3
    config.objective.update({"pixel": 10.0, "style": 0.0, "scales": 3})
    config.ema, config.valid_every, config.valid_batches = 0.98, KEPT, 4
    config.log_every, config.save_every, config.eval_every = max(1, steps // 12), steps, max(1, steps // 4)
    return read(RendererTraining, config)


def draw(folder: Path, clips: Sequence[talking_heads.Clip]) -> list[np.ndarray]:
    """Every fifth frame of each clip, from its first picture and its track, by a trained renderer."""
    render = Compiled(
        weights.restore(folder, Renderer, RendererConfig, kind="dreamtalk-renderer"),
        lambda renderer, portrait, window: to_uint8(renderer(portrait, window).image),
    )
    made, radius = [], drawn_face.get_config().renderer.window_radius
    for clip in clips:
        portrait = normalise_image(jnp.asarray(clip.media[0]))[None]
        frames = np.arange(0, clip.frames, 5)
        window = windows.motion_windows(clip.motion, radius=radius, start=0, stop=clip.frames)[frames]
        padded = np.concatenate([window, np.repeat(window[-1:], -len(window) % BATCH, axis=0)])
        drawn = [np.asarray(render(portrait, padded[k : k + BATCH])) for k in range(0, len(padded), BATCH)]
        made.append(np.concatenate(drawn)[: len(frames)])
    return made


def trainer_loss(made: np.ndarray, truth: np.ndarray) -> float:
    """The perceptual distance that the trainer minimises, on edges."""
    a, b = (jnp.stack([normalise_image(jnp.asarray(each)) for each in pictures]) for pictures in (made, truth))
    return float(perceptual.perceptual_distance(perceptual.edge_features, a, b, scales=3).mean())


def sheet(rows: Sequence[np.ndarray]) -> Image.Image:
    """Rows of frames, one below the other."""
    rows = [np.concatenate([row[k] for k in np.linspace(0, len(row) - 1, COLUMNS).astype(int)], axis=1) for row in rows]
    return Image.fromarray(np.concatenate(rows, axis=0))


def compare(root: Path, folder: Path, steps: int, unseen: str, pattern: str) -> None:
    """Does everything; prints the tables and writes the sheet."""
    found = talking_heads.find(root, talking_heads.FILMS)
    examples = [
        fit_motion.read_example(name, track, film, fit_motion.person_of(name, pattern)) for name, track, film in found
    ]
    for what, (expression, pose) in fitter.correlations(examples).items():
        weight = np.mean([each.expression.var(axis=0) for each in examples], axis=0)
        print(f"\n{what} left out: weighted by variance {np.average(expression, weights=weight):.2f}, ", end="")
        print(f"median {np.median(expression):.2f}, pose median {np.median(pose):.2f}\n")
        print("\n".join([*correlation_table("expression", expression), "", *correlation_table("pose", pose)]))
    ours = fitted(examples, unseen)
    tracks = {
        "true": {each.name: np.concatenate([each.expression, each.pose], axis=1) for each in examples},
        "fitted": ours,
    }
    pictures, truth = {}, []
    for kind, moves in tracks.items():
        place = folder / kind
        films = {name: (film, moves[name]) for name, _, film in found}
        config = settings(lay_out(place / "clips", films), steps)
        talking_head.run(config, place / "run", talking_heads.open_folder)
        clips = talking_heads.filmed_clips(Path(config.data), place / "run" / "frames", config.network)
        kept = talking_heads.split(clips, KEPT)[1]
        truth = [np.asarray(clip.media[: clip.frames : 5]) for clip in kept]
        pictures[kind] = draw(place / "run" / "renderer", kept)
    pictures["still"] = [np.repeat(clip[:1], len(clip), axis=0) for clip in truth]
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"\n{machine}; {steps} steps of {BATCH} frames, {SIZE} x {SIZE}; {len(truth)} clips kept back\n")
    print("| drawn from | PSNR | SSIM | trainer's distance |\n|---|---|---|---|")
    whole = np.concatenate([clip[1:] for clip in truth])  # the first picture is given
    for kind, made in pictures.items():
        each = np.concatenate([clip[1:] for clip in made])
        print(
            f"| {kind} | {psnr(each, whole).mean():.2f} | {ssim(each, whole).mean():.3f} | {trainer_loss(each, whole):.3f} |"
        )
    rows = [part[k] for k in range(len(truth)) for part in (truth, pictures["true"], pictures["fitted"])]
    sheet(rows).save(folder / "sheet.png")
    print(f"\n{folder / 'sheet.png'}: for each clip the film, the renderer of true and that of fitted tracks")


@main_guard
def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser("python -m benchmarks.fitted_motion", description=__doc__)
    parser.add_argument("clips", type=Path, help="folder of films with tracks (.mat …) beside them")
    parser.add_argument("--folder", type=Path, required=True, help="a new folder for runs and sheet")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--unseen", choices=("clips", "persons"), default="clips", help="what the fitter has not seen")
    parser.add_argument("--person", default=fit_motion.PERSON, help="what of a clip's path names the person")
    options = parser.parse_args(argv)
    if options.steps < 8:
        raise UserError(f"--steps={options.steps}; expected at least 8")
    compare(options.clips, options.folder, options.steps, options.unseen, options.person)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
