"""A small tokenizer of each family whose checkpoints can be the core, with its control tokens."""

from __future__ import annotations

import functools
import io
import json

import sentencepiece
import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers, trainers

from converters.tokenizer_files import gguf
from converters.tokenizer_files.sentencepiece import CHATGLM, LLAMA, T5, Pieces, build
from data_pipeline import toy
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.tokens import TAGS
from tests.answers import target

FAMILIES = ("byte-level", "llama", "chatglm", "t5", "gguf", "deepseek")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@functools.cache
def _words() -> list[str]:
    dialogues = toy.conversations("train", 30)
    said = [each.text for dialogue in dialogues for each in dialogue.utterances()]
    return said + [target(d.turns[-1].chain, d.turns[-1].response) for d in dialogues]


def _sentencepiece(**settings) -> bytes:
    sink = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(_words()), model_writer=sink, minloglevel=2, hard_vocab_limit=False, **settings
    )
    return sink.getvalue()


@functools.cache
def _bpe() -> bytes:
    return _sentencepiece(
        model_type="bpe",
        vocab_size=600,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )


def _byte_level(specials, special: bool) -> tokenizers.Tokenizer:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        _words(), trainers.BpeTrainer(vocab_size=600, initial_alphabet=alphabet, show_progress=False)
    )
    tokens = [AddedToken(token, special=special, normalized=False) for token in specials]
    (backend.add_special_tokens if special else backend.add_tokens)(tokens)
    return backend


@functools.cache
def tokenizer_of(family: str) -> Tokenizer:
    """The tokenizer of a family, with the tokens that Empatheia adds."""
    if family == "byte-level":
        backend = _byte_level(("<|im_start|>", "<|im_end|>", "<|endoftext|>"), True)
        return Tokenizer(backend, vocab_size=700, eos="<|im_end|>", chat_template=CHATML)
    if family == "deepseek":  # turn marks that its release does not call special
        backend = _byte_level(("<｜User｜>", "<｜Assistant｜>", "<think>", "</think>"), False)
        return Tokenizer(backend, vocab_size=700)
    if family == "gguf":
        model = json.loads(_byte_level(("<|im_start|>", "<|im_end|>"), True).to_str())
        vocabulary = {**model["model"]["vocab"], **{e["content"]: e["id"] for e in model["added_tokens"]}}
        tokens = sorted(vocabulary, key=vocabulary.get)
        files = gguf.tokenizer_files(
            {
                "tokenizer.ggml.model": "gpt2",
                "tokenizer.ggml.tokens": tokens,
                "tokenizer.ggml.token_type": [3 if token.startswith("<|") else 1 for token in tokens],
                "tokenizer.ggml.merges": [" ".join(merge) for merge in model["model"]["merges"]],
            }
        )
        backend = tokenizers.Tokenizer.from_str(files["tokenizer.json"].decode())
        return Tokenizer(backend, vocab_size=700, eos="<|im_end|>", chat_template=CHATML)
    if family == "llama":
        return Tokenizer(build(Pieces.read(_bpe(), "m"), LLAMA), vocab_size=700, bos="<s>", eos="</s>")
    if family == "chatglm":
        return Tokenizer(build(Pieces.read(_bpe(), "m"), CHATGLM), vocab_size=700, eos="</s>", pad="<unk>")
    unigram = _sentencepiece(model_type="unigram", vocab_size=400, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)
    return Tokenizer(build(Pieces.read(unigram, "m"), T5), vocab_size=600, words=TAGS, eos="</s>", pad="<pad>")
