"""The model card, `README.md`: what the release is, how it was made, under which terms, and how to load it."""

from __future__ import annotations

import json
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from converters.release.licences import DATA_TERMS, Licence
from converters.release.trained import Base
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
    "modeling_empatheia.py": "the model in PyTorch (with configuration_, processing_ and generators_empatheia.py)",
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


def metadata(base: Base, licence: Licence, name: str) -> str:
    """The YAML block of the Hub."""
    lines = [
        "language: [en]",
        "license: cc-by-nc-4.0",
        "library_name: transformers",
        "pipeline_tag: text-generation",
        f"base_model: {json.dumps(base.name)}",
        "base_model_relation: adapter",
        "tags: [empathetic-dialogue, multimodal, peft, lora, text-to-speech, talking-head, empatheia]",
        "datasets: [AvaMERG, EmpatheticDialogues]",
        f"model_name: {json.dumps(name)}",
    ]
    if licence.hub not in ("apache-2.0", "mit"):
        lines.append(f"license_details: {json.dumps('base: ' + licence.name)}")
    return "---\n" + "\n".join(lines) + "\n---\n"


def stages(run: Run) -> str:
    """How each stage went, as a table."""
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
    ours = "toy" in config.data.path or config.data.path == "debug"
    values = {
        "metadata": metadata(base, licences["networks.llm"][1], config.name),
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
        "data": "the toy dialogues of empatheia-jax" if ours else "AvaMERG",
        "data_terms": DATA_TERMS,
        "results": results(run),
        "terms": terms,
        "notices": f"{notices}\n" if notices else "",
    }
    return string.Template(TEMPLATE.read_text(encoding="utf-8")).substitute(values)


def write(folder: Path, text: str) -> None:
    """Writes the card into a release."""
    (folder / "README.md").write_text(text, encoding="utf-8")
