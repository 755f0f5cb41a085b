"""Whether a run and a config fit: one answer for training, reply, evaluation and export, which names the keys.

The fingerprint of a stage holds what its trained parameters depend on, by the keys of the config, and nothing else: a key
that is not known here counts. So a training goes on only where it would have gone on, and stages can be shared by runs that
differ in later ones alone.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from ml_collections import ConfigDict

from empatheia_jax.errors import UserError
from empatheia_jax.runs.checkpoint import RUN_FILE, belongs_to
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import ADDED_LATER, PARTS, STAGES, Experiment, plain, resolve
from empatheia_jax.settings.rules import parts
from empatheia_jax.weights import Start

_COUNTED_EARLIER = ("networks.voices", "data.expression")
"""Keys of replies alone that stand in the fingerprints of earlier versions, where they are passed over."""
HARMLESS = (
    *("name", "start", "schedule", "mesh.*", "decoding.*", "log_every", "keep_checkpoints", "compiler_options"),
    *("preflight_price", "profile_steps"),
    # Weights count by their hashes, features and targets by their fingerprints, examples by the position in the data.
    *("networks.weights_dir", "networks.llm", "networks.speech_encoder", "networks.video_encoder", "networks.tts"),
    *("networks.talking_head", "networks.faces", "networks.phonemizer"),
    *_COUNTED_EARLIER,
    *("networks.remat", "networks.attention"),  # how the same numbers are computed
    *("data.path", "data.cache", "data.workers", "data.quarantine_limit"),
    *("*.save_every", "*.eval_every"),
)
"""Keys that no trained parameter depends on."""
_TARGETS = ("data.phonemes", "data.frames")
_STYLE = ("bridge.style_latent", "bridge.style_kind", "bridge.sharing", "bridge.style_inputs", "bridge.fuse")
_WEIGHTS_OF_LOSSES = ("objective.alpha", "objective.beta", "objective.without")
UNUSED: Mapping[str, tuple[str, ...]] = {
    "coe": (
        "bridge.*",
        *_WEIGHTS_OF_LOSSES,
        "objective.kl_weight",
        "objective.regression",
        *_TARGETS,
        "data.reply_tokens",
        "data.label_map",
    ),
    "content": (*_STYLE, *_WEIGHTS_OF_LOSSES, "objective.emotion_weight", "data.packing", "data.label_map"),
    # The disentangler is made after the synchronizer, so its first values depend on all of `bridge`.
    "style": (*_WEIGHTS_OF_LOSSES, "objective.emotion_weight", "data.packing", *_TARGETS, "data.reply_tokens"),
    "joint": ("data.packing",),
}
"""Stage → keys that this stage does not depend on, beside `HARMLESS` and the blocks of other stages."""
NETWORK = (
    *("lora.rank", "lora.alpha", "lora.targets", "lora.rslora", "bridge.*", "weights.llm", "weights.start"),
    *("networks.video_layer", "networks.video_pooling", "networks.frozen_int8", "data.reply_tokens"),
)
"""Keys that must be as in the training wherever the trained parameters are put into a network."""
PROMPT = (
    *("data.instruction", "data.chat_template", "data.chain_of_empathy", "data.persona", "data.modalities"),
    *("data.slots", "data.listener_media", "data.label_map"),
)
"""Keys that must be as in the training wherever it answers: those of its prompts."""
HEARD_BY = {"speech": "speech_encoder", "video": "video_encoder"}
"""Modality → the network whose features of it the core learned to read."""
TARGETS_OF = ("tts", "talking_head")
"""The networks whose contents and styles the bridge learned to make."""


def fingerprint(
    config: Experiment,
    stage: str,
    *,
    weights: Mapping[str, str],
    features: Mapping[str, str],
    after: Mapping[str, str],
) -> dict[str, Any]:
    """What the trained parameters of a stage depend on, key → value.

    Args:
      config: the settings.
      stage: the stage.
      weights: SHA-256 of frozen weights by the name of their network; those of the language model and of the leaves that the
        training began from count.
      features: fingerprint of each feature and target that the stage reads.
      after: `digest` of the fingerprint of each stage that was trained before it.
    """
    left_out = (*HARMLESS, *UNUSED[stage], *(f"{other}.*" for other in STAGES if other != stage))
    found = {key: value for key, value in flat(plain(config)).items() if not _matches(key, left_out)}
    found |= {f"weights.{name}": value for name, value in weights.items() if name in ("llm", "start")}
    found |= {f"features.{name}": value for name, value in features.items()}
    return found | {f"after.{name}": value for name, value in after.items()}


def digest(values: Mapping[str, Any]) -> str:
    """A short name of a fingerprint."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def known_as(folder: str | os.PathLike, wanted: Mapping[str, Any]) -> str:
    """The digest by which later stages name a stage: that of the fingerprint in its folder where it is of the same training (an
    earlier version may have written other keys); else that of `wanted`.
    """
    if not (Path(folder) / RUN_FILE).is_file():
        return digest(wanted)
    found = belongs_to(folder)["fingerprint"]
    same = not list(_differences(found, json.loads(json.dumps(wanted))))
    return digest(found if same else wanted)


def require_same(folder: str | os.PathLike, found: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    """For a training: raises `UserError`, naming every key that differs, where checkpoints are those of another one."""
    if lines := list(_differences(found, wanted)):
        raise UserError(
            f"{folder} holds checkpoints of another run ({'; '.join(lines)}); choose another --workdir, or the "
            f"configuration that it was started with"
        )


def require_usable(run: Run, config: Experiment, weights: Mapping[str, str], *, prompts: bool = True) -> None:
    """Refuses to use a run's trained parameters in another network than the one that they were trained in.

    Args:
      run: the run whose parameters are used.
      config: of the network that they shall go into.
      weights: SHA-256 of its frozen weights by name; those of encoders and generators that are not known here are not compared.
      prompts: whether it will get the prompts of that config, which must be those of the training too.

    Raises:
      UserError: naming every key that differs, and the stage.
    """
    for stage in run.trained_stages():
        belongs = belongs_to(run.stage_folder(stage))
        found = belongs["fingerprint"]
        around = _around(stage, found, config)
        wanted = json.loads(json.dumps(fingerprint(config, stage, weights=weights, features={}, after={})))
        keys = NETWORK + (PROMPT if prompts else ())
        found, wanted = ({key: value for key, value in each.items() if _matches(key, keys)} for each in (found, wanted))
        lines = list(_differences(found, wanted))
        trained_on = belongs["metadata"].get("weights", {})
        for name in around:
            theirs, ours = trained_on.get(name), weights.get(name)
            if theirs is not None and ours is not None and theirs != ours:
                lines.append(
                    f"weights.{name}: {theirs!r} there, {ours!r} here, which are those of networks.{name}={config.networks[name]}"
                )
        if lines:
            raise UserError(
                f"the stage {stage} of {run.folder} was trained with other settings ({'; '.join(lines)}); leave these "
                f"keys out to take the run's own{_put_back(lines)}, or choose another --workdir"
            )


def _around(stage: str, trained: Mapping[str, Any], config: Experiment) -> list[str]:
    """The networks beside the core whose numbers the trained parameters of a stage were fitted to.

    The same widths are no proof: features of another encoder mean nothing to the projections, and another generator speaks
    noise from the bridge's content. Where the config says that nothing of the bridge reaches the generators, they are free.

    Args:
      stage: the stage.
      trained: its fingerprint.
      config: of what uses it.
    """
    networks = [HEARD_BY[each] for each in parts(trained.get("data.modalities", "")) if each in HEARD_BY]
    bridged = {"ccl", "sac"} & set(PARTS[stage]) - set(parts(trained.get("objective.without", "")))
    if bridged and (config.decoding.content_blend, config.decoding.style_blend) != (0.0, 0.0):
        networks += TARGETS_OF
    return networks


def _put_back(lines: Collection[str]) -> str:
    return ", put the weights of the training back" if any(line.startswith("weights.") for line in lines) else ""


def require_start(start: Start, config: Experiment, *, prompts: bool = True) -> None:
    """For whatever begins from trained leaves: they go into the network that they were trained in.

    Args:
      start: the leaves.
      config: of the network that they shall go into.
      prompts: whether it will answer with nothing but these leaves, so that its prompts must be those of their training too.

    Raises:
      UserError: naming every key that differs.
    """
    left = ["weights."]
    if not {"ccl", "sac"} & set(start.losses):
        left.append("bridge.")  # its leaves are not among them: an ablation of the bridge begins from them too
    globs = tuple(key for key in NETWORK + (PROMPT if prompts else ()) if not key.startswith(tuple(left)))
    wanted = json.loads(json.dumps(flat(plain(config))))
    found, wanted = ({k: v for k, v in each.items() if _matches(k, globs)} for each in (flat(start.config), wanted))
    if lines := list(_differences(found, wanted)):
        raise UserError(
            f"start={config.start}: {start.folder} was trained with other settings ({'; '.join(lines)}); leave these keys out to "
            'take its own, or begin from the bare language model with --config.start=""'
        )


def as_trained(config: Experiment, workdir: str | os.PathLike, overrides: Collection[str]) -> Experiment:
    """For what uses a trained run: the run's own config, with the keys that the command line set.

    The mesh alone is that of `config`: it says what devices are here, and not what was trained on.

    Args:
      config: as the command line gave it.
      workdir: the run's folder; where it holds no config yet, `config` is the answer.
      overrides: dotted keys that the command line set.
    """
    run = Run(workdir)
    if run.folder.exists() and not run.folder.is_dir():
        raise UserError(f"--workdir={workdir} is a file; expected the folder of a run")
    if not run.config_path.is_file():
        return config
    values, asked = ConfigDict(run.config()), flat(plain(config))
    overrides = {*overrides, *(key for key in asked if key.startswith("mesh."))}
    ours = flat(values.to_dict())
    if other := sorted(key for key in asked if key not in overrides and asked[key] != ours.get(key)):
        shown = ", ".join(other[:5]) + (" …" if len(other) > 5 else "")
        print(f"{run.config_path} decides, not the config file, where they differ: {shown}")
    values.update_from_flattened_dict({key: asked[key] for key in overrides if key in asked})
    return resolve(values)


def flat(values: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """Nested values by dotted keys."""
    found: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{before}{key}"
        found |= flat(value, f"{name}.") if isinstance(value, Mapping) else {name: value}
    return found


def _matches(key: str, globs: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(key, glob) for glob in globs)


def _differences(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Iterator[str]:
    known = {key: value for key, value in ADDED_LATER.items() if key in wanted}
    counted = {key: value for key, value in found.items() if key not in _COUNTED_EARLIER}
    found = {**known, **counted}  # it may be of an earlier version
    for key in sorted({*found, *wanted}):
        if found.get(key) != wanted.get(key):
            yield f"{key}: {found.get(key)!r} there, {wanted.get(key)!r} here"
