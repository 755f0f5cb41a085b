"""The four stages: what trains, which losses, and with which factors (paper §5, equations (8)–(13)).

| stage   | trains                                                          | objective                                   |
|---------|-----------------------------------------------------------------|---------------------------------------------|
| coe     | LoRA, added token rows, projections                             | L_emp                                 (8)   |
| content | content synchronizer                                            | L_ccl + w KL                          (9)   |
| style   | style disentangler with its classifiers                         | L_sac = L_sal + L_cls + w KL          (12)  |
| joint   | LoRA, added token rows, projections, synchronizer, disentangler | L_emp + alpha L_ccl + beta L_sac      (13)  |

Errors are means over feature dimensions and valid positions (`losses.regression`), so alpha = beta = 1 balances them; the
paper gives neither. `kl_weight = 0` is the letter of (9)–(13): the latents' variance then collapses.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax
import jax.numpy as jnp

from empatheia_jax.batch import Batch, required
from empatheia_jax.bridge.style_disentangler import CLASSES
from empatheia_jax.empatheia import Empatheia
from empatheia_jax.errors import UserError
from empatheia_jax.settings import PARTS, STAGES
from empatheia_jax.settings.choices import Loss, Regression
from empatheia_jax.training.losses import Pair, chunked_cross_entropy, classification, regression

LANGUAGE = ("core.*lora*", "added.*", "speech_projection.*", "video_projection.*")
TRAINABLE = {
    "coe": LANGUAGE,
    "content": ("synchronizer.*",),
    "style": ("disentangler.*",),
    "joint": (*LANGUAGE, "synchronizer.*", "disentangler.*"),
}
"""Stage → globs of the parameters that train; everything else is frozen."""


@dataclasses.dataclass(frozen=True)
class Objective:
    """Switches and factors of the objective.

    alpha, beta     factors of L_ccl and L_sac in the joint stage (13)
    kl_weight       factor of the KL term (0: the paper's letter)
    emotion_weight  weight in L_emp of the tokens of the emotion's label, where every other token has 1
    regression      "mse" or "l2" (Euclidean norm, as the authors' unused helper)
    without         losses left out for an ablation: any of "emp", "ccl", "sac"
    chunk           positions whose logits exist at once; None = all
    classifies      whether the disentangler has classifiers (the ablation without SD has none)
    """

    alpha: float = 1.0
    beta: float = 1.0
    kl_weight: float = 1e-4
    emotion_weight: float = 1.0
    regression: Regression = "mse"
    without: tuple[Loss, ...] = ()
    chunk: int | None = 128
    classifies: bool = True


def parts(stage: str, objective: Objective) -> tuple[str, ...]:
    """The losses of a stage. Raises `UserError` for an unknown stage or one whose every loss is left out."""
    if stage not in PARTS:
        raise UserError(f"stage {stage!r} is unknown; expected one of {', '.join(STAGES)}")
    kept = tuple(part for part in PARTS[stage] if part not in objective.without)
    if not kept:
        raise UserError(f"stage {stage!r} has no loss left without {objective.without}; drop it from the schedule")
    return kept


def coefficients(stage: str, objective: Objective) -> Mapping[str, float]:
    """Factor of each named loss in the stage's objective."""
    alpha = objective.alpha if stage == "joint" else 1.0
    beta = objective.beta if stage == "joint" else 1.0
    factors = {}
    for part in parts(stage, objective):
        if part == "emp":
            factors["emp"] = 1.0
        elif part == "ccl":
            factors |= {"ccl_speech": alpha, "ccl_video": alpha, "kl_content": objective.kl_weight}
        else:
            factors |= {"sal_speech": beta, "sal_video": beta, "kl_style": objective.kl_weight}
            factors |= {f"cls_{task}": beta for task in CLASSES if objective.classifies}
    return factors


def loss_function(stage: str, objective: Objective):
    """`(model, batch, rng | None) → {name: (sum, weight)}` of a stage; with a key, dropout and latents are sampled."""
    wanted = parts(stage, objective)

    def loss(model: Empatheia, batch: Batch, rng: jax.Array | None) -> dict[str, Pair]:
        keys = (None, None, None) if rng is None else jax.random.split(rng, 3)
        # Where the core is frozen it runs as in use: without dropout.
        hidden = model.hidden(batch, keys[0] if "emp" in wanted else None)
        named: dict[str, Pair] = {}
        if "emp" in wanted:
            mask = batch.loss_mask[:, 1:] * batch.weight[:, None]
            if objective.emotion_weight != 1:
                label = required(batch.emotion_mask, "emotion_mask")[:, 1:]
                mask = mask * jnp.where(label, objective.emotion_weight, 1.0)
            named["emp"], named["token_accuracy"] = chunked_cross_entropy(
                model.logits, hidden[:, :-1], batch.tokens[:, 1:], mask, chunk=objective.chunk
            )
        if wanted == ("emp",):
            return named
        signals = model.signals(hidden, batch.tokens, batch.reply_mask, batch.loss_mask)
        if "ccl" in wanted:
            named |= content_losses(model, signals, batch, keys[1], objective)
        if "sac" in wanted:
            named |= style_losses(model, signals, batch, keys[2], objective)
        return named

    return loss


def content_losses(model, signals, batch: Batch, key, objective: Objective) -> dict[str, Pair]:
    """L_ccl of (9), by modality, and the KL of the latents."""
    content = model.content(signals, batch, key)
    kind, weight = objective.regression, batch.weight
    speech, video = required(batch.speech_content, "speech_content"), required(batch.video_content, "video_content")
    return {
        "ccl_speech": regression(
            content.speech,
            speech,
            weight=weight,
            lengths=batch.speech_content_lengths,
            kind=kind,
        ),
        "ccl_video": regression(
            content.video,
            video,
            weight=weight,
            lengths=batch.video_content_lengths,
            kind=kind,
        ),
        "kl_content": ((content.kl * weight).sum(), weight.sum()),
    }


def style_losses(model, signals, batch: Batch, key, objective: Objective) -> dict[str, Pair]:
    """L_sac of (12): L_sal (10) by modality, L_cls (11) by task with accuracies beside, and the KL of the latents."""
    style = model.style(signals, key)
    kind, weight = objective.regression, batch.weight
    named = {
        "sal_speech": regression(style.speech, required(batch.speech_style, "speech_style"), weight=weight, kind=kind),
        "sal_video": regression(style.video, required(batch.video_style, "video_style"), weight=weight, kind=kind),
        "kl_style": ((style.kl * weight).sum(), weight.sum()),
    }
    labels = {"emotion": batch.emotion7, "age": batch.age, "gender": batch.gender, "tone": batch.tone}
    for task, logits in style.logits.items():
        named[f"cls_{task}"], named[f"{task}_accuracy"] = classification(logits, labels[task], weight)
    return named
