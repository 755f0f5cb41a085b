"""Tokenizers: rebuilt from a GGUF's metadata they equal the library's own, and added tokens follow the model's rows."""

from __future__ import annotations

import json
from datetime import datetime
from unittest.mock import Mock

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, processors
from transformers.utils import chat_template_utils

from converters.tables.llama import smollm2_file
from converters.tokenizer_files.gguf import tokenizer_files
from empatheia_jax import tiny
from empatheia_jax.core.tokenizer import Tokenizer, contains_any
from empatheia_jax.errors import UserError

TEXTS = [
    "I lost my dog 123 days ago, it's  hard…\n\n  Can't sleep!",
    "<|im_start|>user\nhello<|im_end|>\n",
    "naïve café 日本語 😀 \t tabs",
    " leading space and trailing space ",
    "",
]


@pytest.fixture
def small():
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = tokenizers.Tokenizer(models.BPE({c: i for i, c in enumerate(alphabet)}, []))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<s>", "</s>"])
    return backend


def test_added_tokens_follow_the_models_rows_not_the_tokenizers(small):
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=("<Aud>", "[AUD0]"), bos="<s>", eos="</s>")
    ids = tokenizer.encode("a<Aud><Aud>b[AUD0]")
    assert ids[1:3] == [300, 300] and ids[4] == 301 and len(ids) == 5
    assert tokenizer.token_id("<Aud>") == 300 and tokenizer.bos_id == 256 and len(tokenizer) == 302
    assert tokenizer.decode(ids) == "ab"
    assert tokenizer.decode(ids, skip_special=False) == "a<Aud><Aud>b[AUD0]"
    assert {256, 257, 300, 301} <= tokenizer.special_ids


def test_a_character_of_several_bytes_is_streamed_whole(small):
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=())
    stream = tokenizer.stream()
    pieces = [stream.push(i) for i in tokenizer.encode("aé😀b")]
    assert "".join(pieces) == "aé😀b"
    assert [p for p in pieces if p] == ["a", "é", "😀", "b"]


def test_a_chat_template_is_rendered_and_its_refusals_are_user_errors(small):
    template = (
        "{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
        "{{ bos_token }}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
    )
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=(), bos="<s>", chat_template=template)
    assert tokenizer.chat([{"role": "user", "content": "hi"}]) == "<s>user: hi\nassistant:"
    with pytest.raises(UserError, match="no tools"):
        tokenizer.chat([{"role": "tool", "content": "x"}])
    with pytest.raises(UserError, match="no chat template"):
        Tokenizer(small, vocab_size=300, added_tokens=()).chat([])


@pytest.mark.parametrize(
    "template",
    [
        "{% set today = strftime_now('%d %b %Y') %}{% for m in messages %}{{ m.content }}{% endfor %}",
        "{% for m in messages %}{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}",
        "{% for m in messages %}{{ m | tojson }}{% if loop.first %}{% continue %}{% endif %}{% endfor %}",
    ],
)
def test_templates_of_today_are_rendered(small, template):
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=(), chat_template=template)
    assert "hello" in tokenizer.chat([{"role": "user", "content": "hello"}])


def test_a_template_that_says_the_day_says_the_same_in_training_and_at_any_reply(small, monkeypatch):
    # as Llama 3's does: inside a condition, and where the function is defined
    template = (
        "{%- if not date_string is defined %}{%- if strftime_now is defined %}{%- set date_string = strftime_now('%d %b %Y') %}"
        "{%- endif %}{%- endif %}{{ date_string }}{{ strftime_now('; %A, %-d.%m.%y %H:%M%p') }}"
        "{% for m in messages %}: {{ m.content }}{% endfor %}"
    )
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=(), chat_template=template)
    monkeypatch.setattr(chat_template_utils, "datetime", Mock(**{"now.return_value": datetime(2031, 1, 2)}))
    said = tokenizer.chat([{"role": "user", "content": "hello"}])
    assert said == "26 Jul 2024; Friday, 26.07.24 00:00AM: hello"
    again = Tokenizer(small, vocab_size=300, added_tokens=(), chat_template=tokenizer.chat_template)  # of a release
    assert again.chat_template == tokenizer.chat_template


@pytest.mark.parametrize(
    "template", ["{% for m in messages %}", "{{ messages[0].content.a.b }}", "{{ 1 / 0 }}", "{{ x() }}"]
)
def test_a_template_that_is_broken_is_one_line(small, template):
    with pytest.raises(UserError, match="chat template cannot be used") as caught:
        Tokenizer(small, vocab_size=300, added_tokens=(), chat_template=template).chat(
            [{"role": "user", "content": "x"}]
        )
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("said", "processor", "has"),
    [
        ({"add_bos_token": True}, False, True),
        ({"add_bos_token": False}, True, False),
        ({"tokenizer_class": "LlamaTokenizerFast"}, False, True),
        ({"tokenizer_class": "LlamaTokenizer", "add_bos_token": False}, True, False),
        ({}, True, True),  # Llama 3: its tokenizer.json puts it there
        ({"tokenizer_class": "GPT2Tokenizer"}, False, False),  # SmolLM2: it has a name and stands before no text
        ({"add_bos_token": None}, False, False),
    ],
)
def test_a_release_that_wants_no_bos_gets_none(tmp_path, small, said, processor, has):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 258}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"bos_token": "<s>", **said}))
    if processor:
        small.post_processor = processors.TemplateProcessing("<s> $A", "<s> $A $B", [("<s>", 256)])
    small.save(str(tmp_path / "tokenizer.json"))
    assert Tokenizer.load(tmp_path).frame == (((256,) if has else ()), ())


@pytest.mark.parametrize(
    "settings",
    [
        {"bos_token": 5},
        {"eos_token": {"name": "</s>"}},
        {"chat_template": 7},
        {"chat_template": [{"name": "default", "template": 1}]},
    ],
)
def test_settings_of_another_type_are_one_line(tmp_path, small, settings):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 258}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    small.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"tokenizer_config\.json"):
        Tokenizer.load(tmp_path)


def test_a_chat_template_file_that_is_no_text_is_one_line(tmp_path, small):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 258}))
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe{")
    small.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match=r"chat_template\.jinja"):
        Tokenizer.load(tmp_path)


@pytest.mark.parametrize(
    "content",
    ["[" * 100_000, "[]", "{", '{"a": ' + "1" * 5_000 + "}", '{"bos_token": "a", "bos_token": "b"}'],
)
def test_a_tokenizer_config_that_is_no_object_is_one_line(tmp_path, small, content):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 258}))
    (tmp_path / "tokenizer_config.json").write_text(content)
    small.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(UserError, match="tokenizer_config.json"):
        Tokenizer.load(tmp_path)


def test_the_texts_of_single_tokens_are_those_of_decoding_them(small):
    tokenizer = Tokenizer(small, vocab_size=300, added_tokens=("[AUD0]",), words=("<emo>",))
    assert tokenizer.texts() == [tokenizer.decode([token]) for token in range(302)]
    assert (tokenizer.texts()[256], tokenizer.texts()[290], tokenizer.texts()[301]) == ("", "", "<emo>")


def test_a_tokenizer_of_another_checkpoint_is_refused(small):
    with pytest.raises(UserError, match="258 tokens and the model only 200 rows"):
        Tokenizer(small, vocab_size=200)


def test_a_folder_without_a_tokenizer_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 10}))
    with pytest.raises(UserError, match=r"no tokenizer\.json"):
        Tokenizer.load(tmp_path)


def test_a_hugging_face_folder_loads(tmp_path, small):
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 258}))
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"eos_token": {"content": "</s>"}}))
    small.save(str(tmp_path / "tokenizer.json"))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.eos_id == 257 and tokenizer.token_id("[VID15]") == 258 + 33


@pytest.mark.parametrize(
    ("change", "says"),
    [({"tokenizer.ggml.model": "bert"}, "bert"), ({"tokenizer.ggml.pre": "surprise"}, "surprise")],
)
def test_a_gguf_tokenizer_of_another_kind_is_refused(change, says):
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.tokens": ["a"],
        "tokenizer.ggml.token_type": [1],
        "tokenizer.ggml.merges": [],
    }
    with pytest.raises(UserError, match=says):
        tokenizer_files(metadata | change)


@pytest.mark.parametrize(("rule", "ids"), [("llama-bpe", [4]), ("gpt-2", [3, 2])])
def test_a_word_of_llama_3s_vocabulary_is_one_token_whatever_its_merges_give(tmp_path, rule, ids):
    """llama.cpp and the release's own tokenizer.json (`ignore_merges`) look a whole word up before they merge its letters."""
    metadata = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": rule,
        "tokenizer.ggml.tokens": ["a", "b", "c", "ab", "abc", "<s>"],
        "tokenizer.ggml.token_type": [1, 1, 1, 1, 1, 3],
        "tokenizer.ggml.merges": ["a b"],
        "tokenizer.ggml.bos_token_id": 5,
    }
    for name, content in tokenizer_files(metadata).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 6}))
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("abc") == ids
    assert tokenizer.frame[0] == ((5,) if rule == "llama-bpe" else ())  # llama.cpp's own defaults


def test_the_smollm2_tokenizer_equals_the_librarys_own(tmp_path):
    transformers = pytest.importorskip("transformers")
    from converters.sources import open_source

    try:
        path = smollm2_file()
    except UserError as error:
        pytest.skip(str(error))
    for name, content in tokenizer_files(open_source(path).metadata).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps({"vocab_size": 49152}))
    ours = Tokenizer.load(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(path.parent, gguf_file=path.name)
    for text in TEXTS:
        # the library's GGUF reader does not know that this tokenizer splits digits; the release's tokenizer does
        assert ours.decode(ours.encode(text), skip_special=False) == text
        if not any(c.isdigit() for c in text):
            assert ours.encode(text) == theirs(text, add_special_tokens=False).input_ids
    assert [ours.decode([i]) for i in ours.encode("12 345")] == ["1", "2", " ", "3", "4", "5"]
    messages = [{"role": "user", "content": "I lost my dog."}]
    assert ours.chat(messages) == theirs.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert (ours.bos_id, ours.eos_id, ours.pad_id) == (1, 2, 2)


def test_the_first_of_several_stop_strings_is_found():
    assert contains_any("abc###def\n", ["\n", "###"]) == 3
    assert contains_any("abc", ["x"]) is None


@pytest.mark.parametrize("text", ["\ud800 hi", "an invalid byte: \udcff"])
def test_what_is_no_character_is_one_line(text):
    tokenizer = tiny.tokenizer()
    for encode in (tokenizer.encode, lambda text: tokenizer.encode_parts([("hi ", True), (text, False)])):
        with pytest.raises(UserError, match="lone surrogate .*, which is no character") as caught:
            encode(text)
        assert "\n" not in str(caught.value)
