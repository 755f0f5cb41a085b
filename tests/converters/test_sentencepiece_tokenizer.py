"""A SentencePiece model alone becomes a tokenizer that says what SentencePiece says."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import sentencepiece
from safetensors.numpy import save_file

from converters.convert import main
from converters.parity.seeded import seeded_state_dict
from converters.tokenizer_files.sentencepiece import CHATGLM, LLAMA, T5, Pieces, build
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import TAGS

SENTENCES = [
    "I lost my keys again this morning, and I was late for work.",
    "That sounds exhausting! Did somebody help you to get in?",
    "My sister did; she lives around the corner and she keeps a spare key for me.",
    "How kind of her. I am glad that you were not alone with it.",
    "Ärger über verlorene Schlüssel - das kenne ich, sagte sie leise.",
]
TEXTS = [*SENTENCES, "keys", "a  b   c", " she was kind ", "She said: 12.5 % \N{GRINNING FACE} \u4f60\u597d!"]


@pytest.fixture(scope="module")
def train():
    made = {}

    def run(kind: str, **settings) -> bytes:
        if kind not in made:
            sink = io.BytesIO()
            sentencepiece.SentencePieceTrainer.train(
                sentence_iterator=iter(SENTENCES * 20), model_writer=sink, minloglevel=2, **settings
            )
            made[kind] = sink.getvalue()
        return made[kind]

    return run


@pytest.fixture(scope="module")
def bpe(train):
    """As LLaMA's and ChatGLM's: BPE, bytes for what is unknown, text left as it is."""
    return train(
        "bpe",
        model_type="bpe",
        vocab_size=400,
        byte_fallback=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
    )


@pytest.fixture(scope="module")
def unigram(train):
    """As T5's: unigram, NFKC, blanks squeezed, no BOS."""
    return train("unigram", model_type="unigram", vocab_size=80, pad_id=0, eos_id=1, unk_id=2, bos_id=-1)


@pytest.mark.parametrize(("name", "around"), [("bpe", LLAMA), ("bpe", CHATGLM), ("unigram", T5)])
def test_ids_and_text_are_those_of_sentencepiece(name, around, request):
    data = request.getfixturevalue(name)
    theirs = sentencepiece.SentencePieceProcessor(model_proto=data)
    ours = build(Pieces.read(data, "m"), around)
    for text in TEXTS:
        ids = theirs.encode(text)
        assert ours.encode(text, add_special_tokens=False).ids == ids, text
        if theirs.unk_id() not in ids:
            assert ours.decode(ids) == theirs.decode(ids)
    framed = ours.encode("keys").ids
    assert [ours.id_to_token(i) for i in framed][: len(around.before)] == list(around.before)
    assert [ours.id_to_token(i) for i in framed][len(framed) - len(around.after) :] == list(around.after)
    assert [ours.token_to_id(token) for token in around.extra] == [len(theirs) + i for i in range(len(around.extra))]


def test_a_t5_release_without_tokenizer_json_converts_and_writes_the_tags(unigram, tmp_path):
    release, rows = tmp_path / "release", 256
    release.mkdir()
    (release / "spiece.model").write_bytes(unigram)
    config = {"model_type": "t5", "vocab_size": rows, "d_model": 8, "d_kv": 4, "d_ff": 12, "num_layers": 1}
    config |= {"num_heads": 2, "relative_attention_num_buckets": 4, "relative_attention_max_distance": 8}
    config |= {"layer_norm_epsilon": 1e-6, "feed_forward_proj": "gated-gelu", "decoder_start_token_id": 0}
    (release / "config.json").write_text(json.dumps(config))
    shapes = {"shared": (rows, 8), "lm_head": (rows, 8)}
    for stack, blocks in (("encoder", ("SelfAttention",)), ("decoder", ("SelfAttention", "EncDecAttention"))):
        for index, block in enumerate(blocks):
            layer = f"{stack}.block.0.layer.{index}"
            shapes |= {f"{layer}.{block}.{n}": (8, 8) for n in "qkvo"} | {f"{layer}.layer_norm": (8,)}
        last = f"{stack}.block.0.layer.{len(blocks)}"
        shapes |= {f"{last}.DenseReluDense.{n}": (12, 8) for n in ("wi_0", "wi_1")}
        shapes |= {f"{last}.DenseReluDense.wo": (8, 12), f"{last}.layer_norm": (8,), f"{stack}.final_layer_norm": (8,)}
        shapes[f"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias"] = (4, 2)
    manifest = {f"{key}.weight": {"shape": list(shape), "dtype": "float32"} for key, shape in shapes.items()}
    tensors = {key: np.ascontiguousarray(value) for key, value in seeded_state_dict(manifest).items()}
    save_file(tensors, release / "model.safetensors")
    assert main([f"--input={release}", f"--output={tmp_path / 'weights'}"]) == 0

    tokenizer = Tokenizer.load(tmp_path / "weights", words=TAGS)
    end = tokenizer.token_id("</s>")
    assert tokenizer.frame == ((), (end,)) and tokenizer.bos_id is None and tokenizer.eos_id == end
    text = "<emo> kind </emo> That sounds exhausting!</response>"
    assert "".join(tokenizer.decode(tokenizer.encode(text)).split()) == "".join(text.split())
    assert tokenizer.encode("</response>") == [rows + 34 + 2]

    assert main(["--target=hf", f"--input={tmp_path / 'weights'}", f"--output={tmp_path / 'again'}"]) == 0
    assert (tmp_path / "again" / "spiece.model").read_bytes() == unigram


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda data: b"not a model", "is no SentencePiece model"),
        (lambda data: data[:200], "is no SentencePiece model"),
    ],
)
def test_a_damaged_model_is_refused(bpe, spoil, says):
    with pytest.raises(UserError, match=says):
        Pieces.read(spoil(bpe), "tokenizer.model")


def test_a_model_of_another_family_is_refused(unigram):
    with pytest.raises(UserError, match="no piece <s>"):
        build(Pieces.read(unigram, "tokenizer.model"), LLAMA)
