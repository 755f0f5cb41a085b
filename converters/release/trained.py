"""A run → a weights folder of kind `empatheia`, which holds everything that a release says but the frozen base."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from flax import nnx

from converters import interpreter
from converters.release import layout
from converters.release.form_file import form_file
from converters.tables import llama, peft
from converters.tables.empatheia import TrainedConfig, is_trained
from empatheia_jax import assemble, requirements, tiny, weights
from empatheia_jax.bridge.style_disentangler import CLASSES
from empatheia_jax.conversation import answer, labels, prompt
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.core import adapter_folder
from empatheia_jax.core.lora import adapters
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.dialogue.writer import form_of
from empatheia_jax.empatheia import Empatheia, EmpatheiaConfig
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.runs import checkpoint, fit
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment, plain
from empatheia_jax.tokens import AUDIO_RUN, SIGNALS, VIDEO_RUN

HUMAN_ASSISTANT = (
    '{% for message in messages %}{% if not loop.first %}{{ "\\n" }}{% endif %}'
    '{{ {"user": "### Human: ", "assistant": "### Assistant: ", "system": ""}[message["role"]] + message["content"] }}'
    '{% endfor %}{{ "\\n### Assistant:" }}'
)
CHATGLM3 = (
    '{{ "[gMASK]sop" }}{% for message in messages %}{{ "<|" + message["role"] + "|>\\n " + message["content"] }}{% endfor %}'
    '{{ "<|assistant|>" }}'
)
"""Our own templates in Jinja, for the release's tokenizer."""
_VOCABULARY = ("embed_tokens.embedding", "lm_head.kernel")
"""The base's tables with a row for each of its tokens."""


@dataclasses.dataclass(frozen=True)
class Base:
    """The frozen language model. source: conversion of its Hugging Face form; parameters: {path: array or `Lazy`}; folder: its
    weights folder; name: what a release calls it. Where it is made up, folder is None and `whole` the model around it.
    """

    source: str
    config: Any
    parameters: Mapping[str, Any]
    folder: Path | None
    name: str
    whole: Empatheia | None = None

    def released_config(self) -> dict[str, Any]:
        """`config.json` of its Hugging Face form."""
        if self.folder is not None and (self.folder / "source_config.json").is_file():
            return json.loads((self.folder / "source_config.json").read_text(encoding="utf-8"))
        return llama.release_config(self.config)


def require_finished(config: Experiment, run: Run) -> None:
    """Raises UserError where the run has a stage that is not complete, or has not trained the language model.

    A run without a stage is that of the trained leaves that `config.start` names.
    """
    if config.start and not run.trained_stages():
        return
    run.config()
    for stage in config.schedule:
        if run.completion(stage) is None:
            raise UserError(
                f"the stage {stage} of {run.folder} is not complete; train it to its end first, or export the stages that are "
                f"with --config.schedule={','.join(s for s in config.schedule if run.completion(s)) or '…'}"
            )
    if not config.start and not {"coe", "joint"} & set(run.trained_stages()):
        raise UserError(
            f"{run.folder} has not trained the language model (stage coe or joint); train one of them first"
        )


def base_of(config: Experiment) -> Base:
    """The frozen base of a config, nothing of it in memory.

    Raises: UserError for a core that PyTorch's side does not know.
    """
    name = config.networks.llm
    if requirements.is_debug(config):
        kind, sizes = tiny.CORES[name]
        _require_llama(kind, name)
        made_up = assemble.empatheia(config, local_mesh(*config.mesh.sizes)).model
        flat = weights.flatten(made_up.core)
        frozen = {path: value for path, value in flat.items() if ".lora." not in path}
        return Base(kind, sizes, frozen, None, name, made_up)
    folder = requirements.folder(config, "llm")
    description = weights.describe(folder)
    kind = description["kind"]
    _require_llama(kind, name)
    values = weights.config_from_dict(assemble.CORES[kind].config, description["config"])
    return Base(kind, values, weights.lazy_params(folder), folder, name)


def _require_llama(kind: str, name: str) -> None:
    if kind != "llama":
        raise UserError(
            f"networks.llm={name} is a {kind}; a release is written for the LLaMA family alone (its PyTorch code decodes those)"
        )


def released_hash(base: Base, told: Callable[[int], Any]) -> str:
    """SHA-256 of the base's weights in bfloat16 under their released names: what `modeling_empatheia.base_hash` computes.

    `told` is called with the bytes of each tensor, as it is stored.
    """
    table = llama.hf_table(base.config)
    hashes: dict[str, str] = {}
    for key, array in interpreter.export(base.parameters, table):
        data = np.ascontiguousarray(np.asarray(array).astype(ml_dtypes.bfloat16))
        digest = hashlib.sha256(f"{key}|{tuple(data.shape)}|".encode())
        digest.update(data.reshape(-1).view(np.uint8).data)
        hashes[key] = digest.hexdigest()
        told(array.nbytes)
    return hashlib.sha256("".join(hashes[key] for key in sorted(hashes)).encode()).hexdigest()


def _hashes(config: Experiment, base: Base) -> dict[str, str]:
    """SHA-256 of the frozen weights by name; an export needs no encoder, so those that are not here say nothing."""
    around = {name: requirements.folder(config, name) for name in requirements.NETWORKS if name != "llm"}
    found = {
        name: weights.describe(folder)["sha256"]
        for name, folder in around.items()
        if not requirements.is_debug(config, name) and (folder / weights.CONFIG_FILE).is_file()
    }
    llm = f"{config.networks.llm}-{config.seed}"
    if base.folder is not None:
        llm = weights.describe(base.folder)["sha256"]
    return {**found, "llm": llm} | ({"start": weights.open_start(config.start).sha256} if config.start else {})


def require_same_base(config: Experiment, run: Run, base: Base) -> None:
    """Raises UserError where the frozen base, or what its parameters go into, is another one than in the training."""
    hashes = _hashes(config, base)
    fit.require_usable(run, config, hashes)
    if config.start:
        start = weights.open_start(config.start)
        fit.require_start(start, config, prompts=not run.trained_stages())
        if start.weights.get("llm") != hashes["llm"]:
            raise UserError(
                f"start={config.start} was trained on other weights of the language model than networks.llm={base.name}; convert "
                "these again"
            )
    if not config.networks.adapter:
        return
    folder = requirements.adapter_folder(config)
    tables = [p for p in weights.describe(folder)["params"] if p.endswith(_VOCABULARY)]
    if tables:
        raise UserError(
            f"networks.adapter={folder} changed the base's own vocabulary ({tables[0]}), which no release beside the plain base "
            "can say; put it into a base of its own first"
        )


def trained_config(config: Experiment, base: Base) -> TrainedConfig:
    """What `config.json` of the weights folder says."""
    network: Any = assemble.CORES[base.source].network
    core = weights.abstract(lambda: network(base.config, rngs=nnx.Rngs(0)))
    model = assemble.empatheia_config(config, core, assemble.widths(config))
    values = json.loads(json.dumps(weights.config_to_dict(base.config)))
    return TrainedConfig(base.source, values, assemble.lora_config(config), model)


def parameters(config: Experiment, run: Run, trained: TrainedConfig, base: Base) -> dict[str, Any]:
    """{path: array} of everything that training moves: as trained, and as it was made where no stage trained it.

    What a training starts from, it is made of: a release in `config.networks.adapter`, and the leaves of `config.start`.
    """
    if base.whole is not None:
        run.load_into(base.whole)
        return {path: value for path, value in weights.flatten(base.whole).items() if is_trained(path)}
    found: dict[str, Any] = {}
    if config.networks.adapter:
        kind, _, started = weights.load(requirements.adapter_folder(config))
        found |= started if kind == layout.KIND else {}
    if config.start:
        found |= weights.open_start(config.start).leaves()
    for stage in run.trained_stages():
        found |= checkpoint.load_trainable(run.stage_folder(stage))

    return {**_initial(config, base), **found}


def _initial(config: Experiment, base: Base) -> dict[str, Any]:
    """{path: array} of what training moves, as a training draws it, but for the added rows, which start from the base's rows.

    Drawn as there, operation by operation: one compiled program rounds other bits. The base has shapes alone.
    """
    network: Any = assemble.CORES[base.source].network
    core = weights.abstract(lambda: network(base.config, rngs=nnx.Rngs(config.seed), **assemble.core_options(config)))
    empty = {path: leaf for path, leaf in weights.flatten(core).items() if path in _VOCABULARY}
    weights.overlay(core, {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in empty.items()})
    unquantised = dataclasses.replace(config, networks=dataclasses.replace(config.networks, frozen_int8=False))
    flat = weights.flatten(assemble.whole(unquantised, core, assemble.widths(config)))
    return {path: value for path, value in flat.items() if is_trained(path) and not path.startswith("added.")}


def _template(policy: PromptPolicy, tokenizer: Tokenizer) -> str:
    chosen: Callable[..., Any] = policy.template_of(tokenizer)
    if chosen is prompt.human_assistant:
        return HUMAN_ASSISTANT
    if chosen is prompt.chatglm3:
        return CHATGLM3
    if tokenizer.chat_template is None:
        raise UserError("data.chat_template=own, and the base's tokenizer has no chat template; nothing to release")
    return tokenizer.chat_template


def _prompt(policy: PromptPolicy, tokenizer: Tokenizer) -> dict[str, Any]:
    """How a dialogue becomes a prompt, for `processing_empatheia.py`."""
    personas = {
        f"{age} {gender} {tone}": prompt.persona(Profile(age, gender, tone))
        for age in labels.AGES
        for gender in labels.GENDERS
        for tone in labels.TONES
    }
    return {
        "instruction": prompt.INSTRUCTIONS[policy.instruction],
        "persona": policy.persona,
        "personas": personas,
        "runs": {"speech": AUDIO_RUN, "video": VIDEO_RUN},
        "slots": policy.slots,
        "max_length": policy.max_length,
        "answer_length": policy.answer_length,
        "utterances": policy.utterances,
        "modalities": list(policy.modalities),
        "listener_media": policy.listener_media,
        "frame": [list(ids) for ids in tokenizer.frame],
        "eos": tokenizer.eos_id,
        "end": answer.END,
        "steps": list(answer.FIELDS),
    }


def release_config(
    config: Experiment, trained: TrainedConfig, base: Base, tokenizer: Tokenizer, base_sha256: str
) -> dict[str, Any]:
    """`config.json` of the release."""
    policy = PromptPolicy.of(config.data)
    classes = {"emotion": labels.EMOTIONS_7, "age": labels.AGES, "gender": labels.GENDERS, "tone": labels.TONES}
    model: EmpatheiaConfig = trained.model
    decoding = plain(config)["decoding"]
    kept = ("form", "temperature", "top_k", "top_p", "repetition_penalty", "no_repeat_ngram", "max_new_tokens")
    return {
        "model_type": layout.KIND,
        "architectures": ["EmpatheiaModel"],
        "auto_map": {
            "AutoConfig": "configuration_empatheia.EmpatheiaConfig",
            "AutoModel": "modeling_empatheia.EmpatheiaModel",
            "AutoProcessor": "processing_empatheia.EmpatheiaProcessor",
        },
        layout.FORMAT_KEY: layout.FORMAT,
        "base_model_name_or_path": base.name,
        "base_sha256": base_sha256,
        adapter_folder.BASE_KEY: _hashes(config, base)["llm"],
        "base_vocab_size": tokenizer.vocab_size,
        "added_tokens": [*tokenizer.added_tokens, *tokenizer.words],
        "signals": SIGNALS,
        "speech_features": model.speech_features,
        "video_features": model.video_features,
        "reply_tokens": model.reply_tokens,
        "signal_source": model.signal_source,
        "synchronizer": dataclasses.asdict(model.synchronizer),
        "disentangler": dataclasses.asdict(model.disentangler),
        "labels": {task: list(classes[task]) for task in CLASSES},
        "prompt": _prompt(policy, tokenizer),
        "decoding": {key: decoding[key] for key in kept},
        "dtype": "float32",
        layout.OURS: json.loads(json.dumps(weights.config_to_dict(trained))),
    }


def generation_config(config: Experiment, tokenizer: Tokenizer) -> dict[str, Any]:
    """`generation_config.json`: decoding for `transformers`, and the fixed form in words."""
    decoding, policy = config.decoding, PromptPolicy.of(config.data)
    parts: list[Any] = []
    for piece in (piece for part in answer.form(steps=policy.chain_of_empathy) for piece in part):
        if isinstance(piece, str):
            parts.append(piece)
        elif piece.key == answer.EMOTION:
            parts.append({"slot": piece.key, "options": list(labels.EMOTIONS_32)})
        else:
            limit = decoding.response_tokens if piece.key == answer.RESPONSE else decoding.step_tokens
            parts.append({"slot": piece.key, "limit": limit})
    draws = {"temperature": decoding.temperature, "top_k": decoding.top_k, "top_p": decoding.top_p}
    return {
        **{
            f"{name}_token_id": value
            for name, value in (("bos", tokenizer.bos_id), ("eos", tokenizer.eos_id), ("pad", tokenizer.pad_id))
        },
        "do_sample": decoding.temperature > 0,
        **(draws if decoding.temperature > 0 else {}),
        "max_new_tokens": decoding.max_new_tokens,
        "answer_form": {
            "kind": decoding.form,
            "parts": parts,
            "file": layout.FORM_FILE if decoding.form == "fixed" else None,
            "signals_behind_it": 2 * SIGNALS,
            "no_repeat_ngram": decoding.no_repeat_ngram,
            "repetition_penalty": decoding.repetition_penalty,
        },
    }


def tokenizer_files(tokenizer: Tokenizer, template: str | None) -> dict[str, bytes]:
    """`tokenizer.json` with the added tokens under their ids, and what `transformers` wants beside it."""
    settings: dict[str, Any] = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": False,
        "model_max_length": 1 << 30,
        **{name: token for name, token in tokenizer.names.items() if token is not None},
    }
    files = {"tokenizer.json": tokenizer.to_json(), "tokenizer_config.json": json.dumps(settings, indent=1) + "\n"}
    if template is not None:
        files["chat_template.jinja"] = template
    return {name: text.encode() for name, text in files.items()}


def stage_records(run: Run) -> dict[str, Any]:
    """What each stage belongs to, and how it ended: what a run made of the release needs to know."""
    records = {}
    for stage in run.trained_stages():
        belongs = checkpoint.belongs_to(run.stage_folder(stage))
        kept = {key: belongs[key] for key in ("fingerprint", "metadata", "versions")}
        records[stage] = {**kept, "complete": run.completion(stage)}
    return records


def save(config: Experiment, run: Run, output: Path, base: Base, told: Callable[[int], Any]) -> Path:
    """Writes the weights folder of a run's trained parameters.

    Args:
      config: the run's config.
      run: a run whose stages are complete.
      output: the folder to make; an earlier attempt is replaced.
      base: the frozen base of the config (`base_of`).
      told: called with the bytes of each tensor of the base when it is read.

    Raises: UserError where weights or checkpoints are missing or damaged. Call `require_finished` and `require_same_base` first.
    """
    trained = trained_config(config, base)
    tokenizer = _tokenizer(config, base)
    policy = PromptPolicy.of(config.data)
    files: dict[str, str | Path | bytes] = {**tokenizer_files(tokenizer, _template(policy, tokenizer))}
    core = trained.abstract_core()
    paths = tuple(sorted({path for path, *_ in adapters(core, peft.ADAPTER)}))
    settings = dataclasses.replace(trained.lora, targets=paths)
    adapter = peft.released_config(
        trained.base_table(), core, settings, added_count=trained.model.added, base_name=base.name
    )
    records: dict[str, Any] = {
        "source_config.json": release_config(config, trained, base, tokenizer, released_hash(base, told)),
        "generation_config.json": generation_config(config, tokenizer),
        layout.ADAPTER_CONFIG: adapter,
        layout.TRAINING_FILE: plain(config),
        layout.STAGES_FILE: stage_records(run),
    }
    files |= {name: (json.dumps(value, indent=1, default=str) + "\n").encode() for name, value in records.items()}
    if config.decoding.form == "fixed":
        limits = {"step_tokens": config.decoding.step_tokens, "response_tokens": config.decoding.response_tokens}
        files[layout.FORM_FILE] = form_file(form_of(tokenizer, policy, **limits))
    flat = parameters(config, run, trained, base)
    provenance = {"source": layout.KIND, "run": config.name, "base": base.name, "stages": run.trained_stages()}
    return weights.save(output, flat, trained, layout.KIND, provenance, files, overwrite=True)


def _tokenizer(config: Experiment, base: Base) -> Tokenizer:
    words = assemble.CORES[base.source].words
    if base.folder is None:
        return tiny.tokenizer(words)
    return Tokenizer.load(base.folder, words=words)
