"""Rebuilds a tokenizer from the metadata of a GGUF file, as `tokenizer.json` and `tokenizer_config.json`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import tokenizers
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

from converters.tokenizer_files.build import build
from empatheia_jax.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""Kinds of token in `tokenizer.ggml.token_type`."""

_WORDS = {
    "llama-bpe": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    ),
    "qwen2": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|"
        r"\s+(?!\S)|\s+"
    ),
}
"""How Llama 3 and Qwen 2 cut a text into words before the merges apply."""


def _byte_level(use_regex: bool):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=use_regex)


def _pre_tokenizer(name: str) -> pre_tokenizers.PreTokenizer:
    if name in ("gpt-2", "default"):
        return _byte_level(True)
    if name == "smollm":  # every digit is a word of its own, as in StarCoder
        return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), _byte_level(True)])
    if name in _WORDS:
        words = pre_tokenizers.Split(Regex(_WORDS[name]), behavior="isolated", invert=False)
        return pre_tokenizers.Sequence([words, _byte_level(False)])
    raise UserError(
        f"the GGUF's tokenizer cuts words by the rule {name!r}, which is not implemented; "
        f"known are gpt-2, default, smollm, {', '.join(_WORDS)}"
    )


def rule_of(spec: Mapping[str, Any]) -> str:
    """The name in GGUF of the rule by which a `tokenizer.json` cuts a text into words; the inverse of reading it.

    Raises: UserError where it cuts by none that is known.
    """
    found = json.loads(json.dumps(spec.get("pre_tokenizer")))
    for name in ("gpt-2", "smollm", *_WORDS):
        backend = tokenizers.Tokenizer(models.BPE())
        backend.pre_tokenizer = _pre_tokenizer(name)
        if _same_rule(json.loads(backend.to_str())["pre_tokenizer"], found):
            return name
    raise UserError("the tokenizer cuts words by a rule that has no name in GGUF; leave gguf out of --parts")


def _same_rule(one: Any, other: Any) -> bool:
    """Whether two pre-tokenizers cut alike; `trim_offsets` and `add_prefix_space=None` do not count."""
    if isinstance(one, dict) and isinstance(other, dict):
        keys = (one.keys() | other.keys()) - {"trim_offsets"}
        return all(_same_rule(one.get(key), other.get(key)) for key in keys)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same_rule, one, other))
    return one == other


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise UserError("tokenizer.ggml.merges of the GGUF file is no list")
    return value


def _check(tokens: Any, kinds: Any, merges: list[tuple[str, ...]]) -> None:
    """Raises UserError where the lists of the file cannot be those of one vocabulary."""
    if not isinstance(tokens, list) or not all(isinstance(token, str) for token in tokens):
        raise UserError("tokenizer.ggml.tokens of the GGUF file is no list of texts")
    if len(set(tokens)) != len(tokens):
        raise UserError("tokenizer.ggml.tokens of the GGUF file has a token twice")
    if not isinstance(kinds, list) or len(kinds) != len(tokens):
        raise UserError(f"tokenizer.ggml.token_type of the GGUF file does not fit its {len(tokens)} tokens")
    known = set(tokens)
    for merge in merges:
        if len(merge) != 2 or not known.issuperset(merge) or "".join(merge) not in known:
            raise UserError(
                f"the GGUF file merges {' '.join(merge)!r}, which do not fit its tokens; the file is damaged"
            )


def tokenizer_files(metadata: Mapping[str, Any]) -> dict[str, bytes]:
    """`tokenizer.json` and `tokenizer_config.json` from the fields of a GGUF file with a byte-level BPE vocabulary.

    Raises: UserError for a kind of tokenizer that is not implemented, or a field that is missing.
    """

    def field(name: str):
        if f"tokenizer.ggml.{name}" not in metadata:
            raise UserError(f"the GGUF file has no tokenizer.ggml.{name}")
        return metadata[f"tokenizer.ggml.{name}"]

    if field("model") != "gpt2":
        raise UserError(f"the GGUF's tokenizer is of the kind {field('model')!r}; implemented is gpt2 (byte-level BPE)")
    tokens, kinds = field("tokens"), field("token_type")
    merges = [
        tuple(merge.split(" ", 1)) if isinstance(merge, str) else ()
        for merge in _list(metadata.get("tokenizer.ggml.merges", []))
    ]
    _check(tokens, kinds, merges)
    pairs = [(left, right) for left, right in merges]
    rule = str(metadata.get("tokenizer.ggml.pre", "default"))
    # Llama 3: a word of the vocabulary is one token, whatever its merges give; a BOS token stands first unless that is denied.
    llama = rule == "llama-bpe"
    vocabulary = {token: i for i, token in enumerate(tokens)}
    backend = build("the GGUF file", lambda: tokenizers.Tokenizer(models.BPE(vocabulary, pairs, ignore_merges=llama)))
    if rule == "qwen2":
        backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = _pre_tokenizer(rule)
    backend.decoder = decoders.ByteLevel()
    special = [AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == CONTROL]
    plain = [AddedToken(t, special=False, normalized=False) for t, k in zip(tokens, kinds) if k == USER_DEFINED]
    backend.add_special_tokens(special)
    backend.add_tokens(plain)

    settings: dict[str, Any] = {"add_bos_token": bool(metadata.get("tokenizer.ggml.add_bos_token", llama))}
    for name, ggml in (("bos", "bos"), ("eos", "eos"), ("unk", "unknown"), ("pad", "padding")):
        index = metadata.get(f"tokenizer.ggml.{ggml}_token_id")
        if index is not None:
            if not isinstance(index, int) or not 0 <= index < len(tokens):
                raise UserError(
                    f"tokenizer.ggml.{ggml}_token_id is {index!r}, and the GGUF file has {len(tokens)} tokens"
                )
            settings[f"{name}_token"] = tokens[index]
    if not isinstance(metadata.get("tokenizer.chat_template", ""), str):
        raise UserError("tokenizer.chat_template of the GGUF file is no text")
    if "tokenizer.chat_template" in metadata:
        settings["chat_template"] = metadata["tokenizer.chat_template"]
    return {
        "tokenizer.json": backend.to_str(pretty=False).encode(),
        "tokenizer_config.json": (json.dumps(settings, indent=1, ensure_ascii=False) + "\n").encode(),
    }
