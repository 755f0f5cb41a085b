"""The model card, `README.md`: what the release is, how it was made, under which terms, and how to load it."""

from __future__ import annotations

import dataclasses
import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from converters.release.licences import DATA_TERMS, PERMISSIVE, Licence
from converters.release.trained import Base
from empatheia_jax import weights
from empatheia_jax.files import read_json_object
from empatheia_jax.runs.report import stage_rows
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment
from empatheia_jax.tokens import ADDED_TOKENS

TEMPLATE = Path(__file__).with_name("card.md")
FILES = {
    "config.json": "sizes, the base and its hash, how a dialogue becomes a prompt",
    "model.safetensors": "projections, content synchronizer, style disentangler with its classifiers (float32)",
    "adapter": "LoRA and the rows of the added tokens, as PEFT reads them",
    "generation_config.json": "how an answer is decoded, and its fixed form",
    "form.safetensors": "the fixed form as arrays, for decoding",
    "tokenizer.json": "the base's tokenizer with the added tokens",
    "modeling_empatheia.py": "the model in PyTorch (with configuration_, bridge_, processing_ and generators_empatheia.py)",
    "merged": "the language model with LoRA and the added rows folded in (bfloat16)",
    "base_with_tokens": "the base with the added rows in its vocabulary, for `lora`",
    "lora": "LoRA alone, for servers that take no other adapter (on `base_with_tokens`)",
    "gguf": "the merged language model for llama.cpp (bfloat16)",
    "speech": "the speech generator in StyleTTS 2's file",
    "face": "the talking-head generator in DreamTalk's files, with its sizes in a `config.json`",
    "training_config.json": "the configuration of the training",
    "stages.json": "what each stage depended on, and how it ended",
    "SHA256SUMS": "checksums of all files (`sha256sum --check SHA256SUMS`)",
}
TOY_SETS = {
    "toy": "the toy dialogues of empatheia-jax, spoken and drawn by its own networks",
    "corpus": "dialogues of empatheia-jax's corpus, spoken and drawn by its own networks",
}
"""What `data_pipeline.toy` notes of a set that it makes → what a card says of it."""


@dataclasses.dataclass(frozen=True)
class Data:
    """What a run learned from. said: for people; ours: whether it is known to be dialogues of empatheia-jax alone; avamerg:
    whether some of it was given as AvaMERG.
    """

    said: str
    ours: bool
    avamerg: bool


def data_of(config: Experiment, run: Run) -> Data:
    """What a run, and what it began from, learned from. Nothing is taken for ours that is not known to be."""
    said, ours, avamerg = [], True, False
    if config.start:
        start = weights.open_start(config.start)
        shipped = weights.SHIPPED in start.folder.parents
        said.append(f"the trained leaves `{config.start}`: {start.facts.get('note') or 'their origin is not noted'}")
        ours = shipped
    if config.networks.adapter:
        said.append(f"what `{config.networks.adapter}` had learned from, which it began from")
        ours = False
    if run.trained_stages():
        name = TOY_SETS.get(_made_by(Path(config.data.path)))
        debug = config.data.path == "debug"
        avamerg = not (name or debug)
        made_up = "the words of the toy dialogues with made-up features"
        said.append(name or (made_up if debug else "AvaMERG"))
        ours = ours and name is not None
    return Data("; then ".join(said), ours, avamerg)


def _made_by(folder: Path) -> str:
    """Which dialogues a set has that `data_pipeline.toy` made ("toy" or "corpus"); "" for every other folder."""
    path = folder / "made_by.json"
    return str(read_json_object(path, "how a toy set was made").get("dialogues", "toy")) if path.is_file() else ""


def licence_key(data: Data, base: Licence) -> str:
    """The key of the release's licence on the hub. Only data that are known to be ours alone permit commercial use."""
    if not data.ours:
        return "cc-by-nc-4.0"
    return "apache-2.0" if base.hub in PERMISSIVE else base.hub


def _is_repository(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return "/" in name


def metadata(base: Base, licence: Licence, name: str, data: Data) -> str:
    """The YAML block of the hub, which refuses a base that is no name of a model there."""
    lines = [
        "language: [en]",
        f"license: {licence_key(data, licence)}",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        "tags: [empathetic-dialogue, multimodal, peft, lora, text-to-speech, talking-head, empatheia]",
        f"model_name: {json.dumps(name)}",
    ]
    repository = licence.repository or base.name
    if _is_repository(repository):
        lines += [f"base_model: {json.dumps(repository)}", "base_model_relation: adapter"]
    if data.avamerg:
        lines.append("datasets: [AvaMERG, EmpatheticDialogues]")
    if licence.hub not in PERMISSIVE:
        lines.append(f"license_details: {json.dumps('base: ' + licence.name)}")
    return "---\n" + "\n".join(lines) + "\n---\n"


def _terms(data: Data, base: Licence) -> str:
    """Under which terms the release is given, and why."""
    if data.ours:
        return (
            f"What was trained here is given under {base.name if base.hub not in PERMISSIVE else 'Apache-2.0'}: it learned from "
            f"dialogues of empatheia-jax alone. A training on AvaMERG would change that: {DATA_TERMS}"
        )
    return f"What was trained here is given under CC BY-NC 4.0, because of the data. {DATA_TERMS}"


def stages(run: Run) -> str:
    """How each stage went, as a table; "" where there is none."""
    if not run.trained_stages():
        return ""
    rows = ["| stage | steps | first loss | last loss |", "|---|---|---|---|"]
    logged = {row["stage"]: row for row in stage_rows(run, run.metrics())}
    for stage in run.trained_stages():
        row = logged.get(stage, {}) | (run.completion(stage) or {})
        losses = [
            f"{row[key]:.4g}" if isinstance(row.get(key), int | float) else "" for key in ("first_loss", "last_loss")
        ]
        rows.append(f"| {stage} | {row.get('step', row.get('steps', ''))} | {' | '.join(losses)} |")
    return "\n".join(rows)


def results(run: Run) -> str:
    """The tables of the run's evaluation, where it has any."""
    parts = [path.read_text(encoding="utf-8").strip() for path in sorted(run.evaluation.glob("*.md"))]
    return "\n\n".join(parts) or "The run was not evaluated. Measure before you rely on anything."


def card(
    config: Experiment,
    run: Run,
    base: Base,
    base_sha256: str,
    names: Sequence[str],
    licences: Mapping[str, tuple[str, Licence]],
    left_out: Mapping[str, str],
) -> str:
    """The text of the card.

    Args:
      config, run: what was trained.
      base, base_sha256: on what.
      names: top-level files and folders of the release.
      licences: network's key → (its name, its licence).
      left_out: part → why it is not here, and where to get it.
    """
    files = "\n".join(f"| `{name}` | {told} |" for name, told in FILES.items() if name in names)
    missing = "\n".join(f"- `{part}`: {why}" for part, why in left_out.items())
    notices = "\n".join(f"- {name}: {each.notice}" for name, each in licences.values() if each.notice)
    terms = "\n".join(f"| {key} | {name} | {each.name} | {each.source} |" for key, (name, each) in licences.items())
    data, base_licence = data_of(config, run), licences["networks.llm"][1]
    values = {
        "metadata": metadata(base, base_licence, config.name, data),
        "name": config.name,
        "files": files,
        "missing": f"Not in this release:\n\n{missing}\n" if missing else "",
        "base": base.name,
        "base_sha256": base_sha256,
        "rows": base.config.vocab_size + len(ADDED_TOKENS),
        "speech_encoder": config.networks.speech_encoder,
        "video_encoder": config.networks.video_encoder,
        "video_layer": config.networks.video_layer,
        "video_pooling": config.networks.video_pooling,
        "slots": config.data.slots,
        "rank": config.lora.rank,
        "alpha": f"{config.lora.alpha:g}",
        "targets": ", ".join(config.lora.targets),
        "stages": ", ".join(run.trained_stages()) or f"those of the trained leaves `{config.start}`",
        "losses": stages(run),
        "base_source": base_licence.source,
        "data": data.said.rstrip("."),
        "licence": _terms(data, base_licence),
        "results": results(run),
        "terms": terms,
        "notices": f"{notices}\n" if notices else "",
    }
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def write(folder: Path, text: str) -> None:
    """Writes the card into a release."""
    (folder / "README.md").write_text(text, encoding="utf-8")
