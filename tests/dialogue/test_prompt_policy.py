"""Training and reply read one policy: their prompts are equal, token by token, whatever is switched on or off."""

from __future__ import annotations

import dataclasses
import functools
import json
import tempfile
from pathlib import Path

import pytest

from configs import debug, quickstart
from converters.sources import open_source
from converters.tables.llama import smollm2_file
from converters.tokenizer_files import gguf
from data_pipeline import toy
from data_pipeline.batches import BatchMaker
from data_pipeline.examples import examples_of, read_conversations
from data_pipeline.extract import clips_of
from data_pipeline.features import MadeUpFeatures
from data_pipeline.layout import Tree
from data_pipeline.loader import settings_of
from data_pipeline.quarantine import Quarantine
from empatheia_jax import tiny
from empatheia_jax.conversation import prompt
from empatheia_jax.conversation.policy import MODALITIES, PromptPolicy
from empatheia_jax.conversation.schema import Profile, Utterance
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.dialogue.writer import Question, prompt_of
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from empatheia_jax.tokens import SLOTS
from tests.data_pipeline.trees import small_tree
from tests.tokenizers_of_families import tokenizer_of

CONFIGS = {"debug": debug, "quickstart": quickstart}


@functools.cache
def tokenizer_for(name: str):
    """The config's own: bytes, or SmolLM2's where it is installed (a byte-level one of its kind otherwise)."""
    if name == "debug":
        return tiny.tokenizer()
    try:
        files = gguf.tokenizer_files(open_source(smollm2_file()).metadata)
    except UserError:
        return tokenizer_of("gguf")
    with tempfile.TemporaryDirectory() as folder:
        for file, content in files.items():
            Path(folder, file).write_bytes(content)
        Path(folder, "config.json").write_text(json.dumps({"vocab_size": 49152}))
        return Tokenizer.load(folder)


def settings_for(name: str, **changes):
    config = CONFIGS[name].get_config()
    config.data.update({"path": "debug", **changes})
    return resolve(config)


SWITCHES = [
    *({"modalities": text} for text in ("", "speech", "video", "speech,video")),
    {"persona": False},
    {"listener_media": True},
    {"slots": 1},
    {"utterances": 1},
    {"chain_of_empathy": False, "instruction": "plain"},
    {"chat_template": "human_assistant"},
]


def prompts(name: str, switches: dict):
    """(training's prompt, reply's prompt, example) of every example of the toy set."""
    settings = settings_for(name, **switches)
    tokenizer = tokenizer_for(name)
    examples = examples_of(toy.conversations("train"), Quarantine(0.0))
    widths = {"speech": (3,), "video": (3,)}
    maker = BatchMaker(
        examples,
        None,
        MadeUpFeatures(widths, SLOTS),
        tokenizer,
        settings_of(settings, "coe", training=False),
        Quarantine(1.0),
    )
    for example in maker.examples:
        yield maker.encode(example), reply_to(example, settings, tokenizer), example


def reply_to(example, settings, tokenizer):
    """The reply's prompt; every utterance has recordings."""
    media = {said.index: {kind: Path(kind) for kind in MODALITIES} for said in example.turn.history}
    question = Question(example.turn.history, media, example.conversation.listener)
    return prompt_of(PromptPolicy.of(settings.data), tokenizer, question)


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
@pytest.mark.parametrize("name", CONFIGS)
def test_prompts_of_training_and_reply_are_equal_token_by_token(name, switches):
    count = 0
    for trained, replied, example in prompts(name, switches):
        assert trained.tokens[: trained.prompt_length].tolist() == replied.tokens.tolist(), example.id
        assert (trained.speech, trained.video, trained.first) == (replied.speech, replied.video, replied.first)
        count += 1
    assert count > 50


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("text", ["", "speech", "video", "speech,video"])
def test_a_reply_hears_and_sees_what_the_modalities_say(name, text):
    tokenizer, settings = tokenizer_for(name), settings_for(name, modalities=text)
    for example in examples_of(toy.conversations("train"), Quarantine(0.0)):
        replied = reply_to(example, settings, tokenizer)
        said = min(settings.data.utterances, len(prompt.speaker_indices(example.turn.history[replied.first :])))
        for run, kind in (("<Aud>", "speech"), ("<Vid>", "video")):
            places = int((replied.tokens == tokenizer.token_id(run)).sum())
            assert places == (SLOTS * said if kind in text else 0)


def test_the_persona_is_said_only_where_the_policy_says_so():
    history, listener = [Utterance(0, "speaker", "I am sad.")], Profile.of(3)
    tokenizer = tiny.tokenizer()
    for persona in (True, False):
        policy = PromptPolicy(900, instruction="short", persona=persona)
        text = tokenizer.decode(prompt_of(policy, tokenizer, Question(history, {}, listener)).tokens)
        assert ("You speak as" in text) == persona
    assert "You speak as" not in tokenizer.decode(prompt_of(policy, tokenizer, Question(history, {}, None)).tokens)


def test_the_listeners_own_recordings_are_heard_where_the_policy_says_so():
    history = [Utterance(i, ("speaker", "listener")[i % 2], "words") for i in range(5)]
    assert PromptPolicy(900, utterances=2).heard(history) == (2, 4)
    assert PromptPolicy(900, utterances=2, listener_media=True).heard(history) == (3, 4)
    assert PromptPolicy(900, modalities=()).heard(history) == ()


def test_what_is_dropped_for_length_is_not_heard():
    """The kept utterances get their own recordings, not those of the dropped ones."""
    history = [Utterance(i, ("speaker", "listener")[i % 2], f"words {'of it ' * 20}") for i in range(7)]
    media = {i: {"speech": Path(f"{i}.wav")} for i in (0, 2, 6)}
    policy = PromptPolicy(600, utterances=4, instruction="short", slots=1)
    encoded = prompt_of(policy, tiny.tokenizer(), Question(history, media, None))
    assert encoded.first > 2 and encoded.speech == (6,)


def test_chatglm3_is_prompted_in_its_own_format_and_other_cores_in_the_baselines():
    history = [Utterance(0, "speaker", "hello")]
    for family, begins in (("chatglm", ["[gMASK]", "sop", "<|system|>"]), ("llama", ["<s>"])):
        tokenizer = tokenizer_of(family)
        tokens = prompt_of(
            PromptPolicy(900, instruction="short"), tokenizer, Question(history, {}, None)
        ).tokens.tolist()
        assert tokens[: len(begins)] == [tokenizer.token_id(token) for token in begins]
        assert tokens.count(tokens[0]) == 1
    glm = tokenizer_of("chatglm")
    tokens = prompt_of(PromptPolicy(900, instruction="short"), glm, Question(history, {}, None)).tokens.tolist()
    assert tokens[-1] == glm.token_id("<|assistant|>") and glm.token_id("<|user|>") in tokens
    other = prompt_of(PromptPolicy(900, template="human_assistant"), glm, Question(history, {}, None)).tokens
    assert glm.token_id("<|user|>") not in other and "### Human:" in glm.decode(other)


@pytest.mark.parametrize("change", [{"slots": 5}, {"modalities": ("smell",)}, {"utterances": 0}, {"label_map": "x"}])
def test_a_policy_that_makes_no_sense_is_one_line(change):
    with pytest.raises(UserError, match=next(iter(change))):
        dataclasses.replace(PromptPolicy(900), **change)


def test_what_the_policy_hears_is_what_extraction_makes(tmp_path):
    tree = Tree(small_tree(tmp_path, media=False))
    examples = examples_of(read_conversations(tree.split_file("train"), Quarantine(0.0)), Quarantine(0.0))
    for heard, roles in ((False, ("speaker",)), (True, ("speaker", "history"))):
        made = {clip.id for clip in clips_of(examples, tree, roles)}
        policy = PromptPolicy(900, utterances=9, listener_media=heard)
        wanted = {
            tree.clip(each.conversation, said.index, said.role, said.text).id
            for each in examples
            for said in (each.turn.history[i] for i in policy.heard(each.turn.history))
        }
        assert made == wanted
