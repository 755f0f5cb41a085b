"""Rebuilds a tokenizer from a SentencePiece model file, as `tokenizer.json` and `tokenizer_config.json`.

Some releases (Vicuna, ChatGLM3, older T5) come with `tokenizer.model` or `spiece.model` alone. The file is a protocol
buffer, `ModelProto` of google/sentencepiece's sentencepiece_model.proto; its few fields are read here directly.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors

from converters.formats.sentencepiece_file import BPE, CONTROL, NORMAL, UNIGRAM, UNKNOWN, UNUSED, USER_DEFINED, Pieces
from converters.formats.source import Source
from converters.huggingface import hf_files
from converters.tokenizer_files.build import build as refused_in_one_line
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object

FILES = ("tokenizer.model", "spiece.model")
SPACE = "\u2581"
"""How SentencePiece writes a blank."""


@dataclass(frozen=True)
class Surroundings:
    """What a family's tokenizer adds to its SentencePiece model.

    extra: control tokens whose ids follow the model's pieces. before, after: tokens around every text. names: the
    tokens of `tokenizer_config.json` ({"eos_token": …}).
    """

    extra: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()


LLAMA = Surroundings(before=("<s>",), names=(("bos_token", "<s>"), ("eos_token", "</s>"), ("unk_token", "<unk>")))
T5 = Surroundings(
    extra=tuple(f"<extra_id_{i}>" for i in reversed(range(100))),
    after=("</s>",),
    names=(("eos_token", "</s>"), ("pad_token", "<pad>"), ("unk_token", "<unk>")),
)
CHATGLM = Surroundings(
    extra=(
        *("[MASK]", "[gMASK]", "[sMASK]", "sop", "eop"),
        *("<|system|>", "<|user|>", "<|assistant|>", "<|observation|>"),
    ),
    before=("[gMASK]", "sop"),
    names=(("eos_token", "</s>"), ("pad_token", "<unk>"), ("unk_token", "<unk>")),
)


def _merges(pieces: Sequence[tuple[str, float, int]]) -> list[tuple[str, str]]:
    """Every way to make a piece out of two others, the best-scored piece first: SentencePiece joins by score."""
    known = {text for text, _, kind in pieces if kind in (NORMAL, UNUSED)}
    ranked = sorted((p for p in pieces if p[2] == NORMAL), key=lambda piece: -piece[1])
    return [
        (text[:cut], text[cut:])
        for text, _, _ in ranked
        for cut in range(1, len(text))
        if text[:cut] in known and text[cut:] in known
    ]


def build(model: Pieces, around: Surroundings) -> tokenizers.Tokenizer:
    """The tokenizer of a SentencePiece model for the `tokenizers` library."""
    texts = [text for text, _, _ in model.pieces]
    unknown = next((i for i, (_, _, kind) in enumerate(model.pieces) if kind == UNKNOWN), None)
    if model.kind == UNIGRAM:
        scored = [(text, score) for text, score, _ in model.pieces]
        backend = tokenizers.Tokenizer(models.Unigram(scored, unknown, model.byte_fallback))
    else:
        backend = tokenizers.Tokenizer(
            models.BPE(
                {text: i for i, text in enumerate(texts)},
                _merges(model.pieces),
                unk_token=None if unknown is None else texts[unknown],
                fuse_unk=True,
                byte_fallback=model.byte_fallback,
            )
        )
    rules: list[normalizers.Normalizer] = [normalizers.Precompiled(model.charsmap)] if model.charsmap else []
    if model.squeeze:
        rules += [normalizers.Strip(left=model.kind == BPE, right=True), normalizers.Replace(Regex(" {2,}"), " ")]
    if model.kind == UNIGRAM and model.squeeze:
        prepend = "always" if model.dummy_prefix else "never"
        backend.pre_tokenizer = pre_tokenizers.Metaspace(SPACE, prepend)  # word by word: faster, and the same
    else:
        rules += [normalizers.Prepend(SPACE)] if model.dummy_prefix else []
        rules.append(normalizers.Replace(" ", SPACE))
    if rules:
        backend.normalizer = normalizers.Sequence(rules)
    steps: list[decoders.Decoder] = [decoders.Replace(SPACE, " ")]
    if model.byte_fallback:
        steps.append(decoders.ByteFallback())
    steps.append(decoders.Fuse())
    if model.dummy_prefix:
        steps.append(decoders.Strip(" ", 1, 0))
    backend.decoder = decoders.Sequence(steps)
    special = [text for text, _, kind in model.pieces if kind in (CONTROL, UNKNOWN)] + list(around.extra)
    backend.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in special])
    own = [text for text, _, kind in model.pieces if kind == USER_DEFINED]
    backend.add_tokens([AddedToken(text, normalized=False) for text in own])
    lacking = sorted(text for text in (*around.before, *around.after) if backend.token_to_id(text) is None)
    if lacking:
        raise UserError(f"the SentencePiece model has no piece {', '.join(lacking)}; it is of another family")
    if around.before or around.after:
        backend.post_processor = processors.TemplateProcessing(
            single=[*around.before, "$A", *around.after],
            special_tokens=[(text, backend.token_to_id(text)) for text in {*around.before, *around.after}],
        )
    return backend


def tokenizer_files(path: Path, around: Surroundings, settings: Mapping[str, Any]) -> dict[str, bytes]:
    """`tokenizer.json` and `tokenizer_config.json` of a SentencePiece model; `settings`: what the release's
    own `tokenizer_config.json` says, which counts more.

    Raises: UserError where the file is no SentencePiece model, or not of that family.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error}") from error
    pieces = Pieces.read(data, str(path))
    backend = refused_in_one_line(str(path), lambda: build(pieces, around))
    config = {**dict(around.names), **settings}
    return {
        "tokenizer.json": backend.to_str().encode(),
        "tokenizer_config.json": (json.dumps(config, indent=1, ensure_ascii=False) + "\n").encode(),
    }


def language_files(around: Surroundings):
    """`Conversion.files` of a language model: its tokenizer files, `tokenizer.json` rebuilt where there is none."""

    def files(path: Path, source: Source) -> dict[str, Path | bytes]:
        beside = hf_files(path, source)
        found: dict[str, Path | bytes] = dict(beside)
        model = next((beside[name] for name in FILES if name in beside), None)
        if "tokenizer.json" not in found and model is not None:
            stated = beside.get("tokenizer_config.json")
            settings = read_json_object(stated, "the settings of a tokenizer") if stated else {}
            found |= tokenizer_files(model, around, settings)
        return found

    return files
