"""StyleTTS 2's networks at full size against their reference, for both published configurations.

Bounds are those of the vectors' README: ten times what the reference itself loses in float32, plus 1e-6 of the largest value;
in float64 1e-6 of the largest value. What follows the harmonic source is compared with the stored source (and, for the
iSTFT decoder, the stored first-frame phases) put in, as the README says, because neither is reproducible to float32's digits.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flax import nnx

from converters import interpreter
from converters.parity.networks.styletts2 import decoder, diffusion, end_to_end, prosody, speech, text
from converters.parity.networks.styletts2.comparison import Comparison, config_names
from converters.parity.result import Result
from converters.parity.vectors import guarded, read_manifest
from converters.tables.styletts2_networks import table
from empatheia_jax import weights
from empatheia_jax.styletts2.config import NETWORKS
from empatheia_jax.styletts2.model import StyleTTS2


def matches(folder: Path) -> bool:
    return (folder / "manifests").is_dir() and bool(config_names(folder))


def compare_manifests(c: Comparison) -> Iterator[Result]:
    """The whole checkpoint's keys and shapes against the whole model."""
    manifest: dict[str, Any] = {}
    for name in NETWORKS:
        entries = read_manifest(c.folder / "manifests" / c.name / f"{name}.json")
        manifest |= {f"net.{name}.{key}": entry for key, entry in entries.items()}
    abstract = weights.flatten(weights.abstract(lambda: StyleTTS2(c.config, rngs=nnx.Rngs(0))))
    report = interpreter.check(manifest, table(c.config), abstract)
    wrong = len(report.lines()) + len(report.ignored)
    yield Result(f"manifests/{c.name}", f"{len(manifest)} keys", wrong, wrong, 0, "; ".join(report.lines()[:1]))


SHARED = (
    speech.compare_mel,
    text.compare_text_encoder,
    text.compare_bert,
    text.compare_bert_encoder,
    speech.compare_style_encoders,
    prosody.compare_predictor,
    speech.compare_text_aligner,
    speech.compare_pitch_extractor,
    speech.compare_discriminators,
)
EACH = (
    compare_manifests,
    diffusion.compare_diffusion,
    decoder.compare_decoder,
    end_to_end.compare_end_to_end,
    end_to_end.compare_end_to_end_in_float64,
)


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    names = config_names(folder)
    for name in names:
        comparison = Comparison(folder, name, seed, float64)
        for part in (SHARED if name == names[0] else ()) + EACH:
            yield from guarded(f"{name}/{part.__name__.removeprefix('compare_')}", part(comparison))
