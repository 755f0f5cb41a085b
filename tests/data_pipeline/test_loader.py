"""The stream of batches: what is in it, that it resumes, and that the number of hosts and workers does not matter."""

from __future__ import annotations

import dataclasses
import pickle

import numpy as np
import pytest

from data_pipeline import toy
from data_pipeline.batches import BatchMaker, Settings
from data_pipeline.examples import examples_of
from data_pipeline.features import ENCODED, TARGETS, MadeUpFeatures
from data_pipeline.quarantine import Quarantine
from data_pipeline.stream import Stream
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import WHOLE, Part
from empatheia_jax.tokens import SLOTS
from tests.data_pipeline.words import Words

SHAPES = {
    "speech": (6,),
    "video": (5,),
    "speech_content": (8,),
    "video_content": (11, 4),
    "speech_style": (256,),
    "video_style": (7,),
}
TEXT = Settings(PromptPolicy(512, modalities=(), instruction="short"), batch=8, seed=3)
MEDIA = Settings(
    PromptPolicy(512, utterances=2, instruction="short"),
    batch=4,
    buckets=(300, 400),
    seed=3,
    targets=TARGETS["ccl"] + TARGETS["sac"],
    phonemes=80,
    frames=120,
    modality_dropout=0.5,
)
PACKED = dataclasses.replace(TEXT, packing=True, policy=dataclasses.replace(TEXT.policy, max_length=1024), batch=4)


def maker(settings, part=WHOLE, split="train", count=None):
    quarantine = Quarantine(0.0)
    examples = examples_of(toy.conversations(split, count), quarantine)
    features = MadeUpFeatures(SHAPES, SLOTS)
    return BatchMaker(examples, None, features, Words(), settings, quarantine, part=part)


def fields(batch):
    return {f.name: getattr(batch, f.name) for f in dataclasses.fields(batch) if getattr(batch, f.name) is not None}


def same(one, other):
    one, other = fields(one), fields(other)
    assert one.keys() == other.keys()
    for name in one:
        np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def joined(parts):
    return {name: np.concatenate([fields(part)[name] for part in parts]) for name in fields(parts[0])}


@pytest.mark.parametrize("settings", [TEXT, MEDIA, PACKED], ids=["text", "media", "packed"])
@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_a_stream_killed_anywhere_and_restored_is_the_uninterrupted_stream(settings, hosts):
    random = np.random.default_rng([hosts, settings.batch])
    killed = int(random.integers(1, 20))
    for host in range(hosts):
        part = Part((host,), hosts)
        whole = Stream(maker(settings, part))
        expected = [next(whole) for _ in range(killed + 4)]
        first = Stream(maker(settings, part))
        for _ in range(killed):
            next(first)
        state = first.get_state()
        again = Stream(maker(settings, part))
        again.set_state(state)
        for batch in expected[killed:]:
            same(next(again), batch)
        assert again.get_state()["batches"] == killed + 4


@pytest.mark.parametrize("settings", [TEXT, MEDIA, PACKED], ids=["text", "media", "packed"])
@pytest.mark.parametrize("hosts", [2, 4])
def test_hosts_together_hold_the_batches_of_one_host(settings, hosts):
    alone = maker(settings)
    parts = [maker(settings, Part((host,), hosts)) for host in range(hosts)]
    for position in (0, 7, 31):
        whole = fields(alone[position])
        for name, value in joined([part[position] for part in parts]).items():
            np.testing.assert_array_equal(value, whole[name], err_msg=name)


@pytest.mark.parametrize("hosts", [1, 2, 4])
def test_the_union_over_hosts_is_the_whole_set_each_once_and_evaluation_drops_nobody(hosts):
    for settings in (dataclasses.replace(MEDIA, seed=None), MEDIA):
        makers = [maker(settings, Part((host,), hosts)) for host in range(hosts)]
        steps = len(makers[0].plan.epoch(0))
        batches = [each[position] for each in makers for position in range(steps)]
        numbers = np.concatenate([batch.example_id for batch in batches])
        weights = np.concatenate([batch.weight for batch in batches])
        assert sorted(numbers[weights == 1]) == list(range(116))
        assert (numbers[weights == 0] == -1).all()
        if settings.seed is None:
            assert len(list(Stream(makers[0]))) == steps == len(makers[0])


def test_worker_processes_give_the_same_batches():
    expected = Stream(maker(TEXT))
    workers = Stream(maker(TEXT), workers=2)
    for _ in range(5):
        same(next(workers), next(expected))


def test_what_is_in_a_batch():
    batch = maker(dataclasses.replace(MEDIA, modality_dropout=0.0))[0]
    words = Words()
    length = batch.tokens.shape[1]
    assert length in (300, 400, 512)
    assert batch.speech.shape == (4, 2 * SLOTS, 6) and batch.video.shape == (4, 2 * SLOTS, 5)
    assert batch.speech_content.shape == (4, 80, 8) and batch.video_content.shape == (4, 120, 11, 4)
    assert batch.speech_style.shape == (4, 256) and batch.video_style.shape == (4, 7)
    for row in range(4):
        runs = np.sum(batch.tokens[row] == words.token_id("<Aud>"))
        assert runs == np.sum(batch.tokens[row] == words.token_id("<Vid>")) and runs in (SLOTS, 2 * SLOTS)
        filled = np.any(batch.speech[row] != 0, axis=-1)
        assert filled[:runs].all() and not filled[runs:].any()
        size = batch.lengths[row]
        assert batch.loss_mask[row, size - 1] and not batch.loss_mask[row, size:].any()
        assert batch.tokens[row, size - 1] == words.token_id("[VID15]")
        valid = batch.speech_content_lengths[row]
        assert 0 < valid <= 80 and not batch.speech_content[row, valid:].any()
        assert np.sum(batch.reply_mask[row]) > 3 and (batch.loss_mask[row] | ~batch.reply_mask[row]).all()
    assert ((batch.emotion32 >= 0) & (batch.emotion7 >= 0) & (batch.age >= 0) & (batch.tone >= 0)).all()


def test_the_label_of_the_emotion_is_marked_where_a_loss_asks_for_it():
    plain, marked = maker(TEXT)[0], maker(dataclasses.replace(TEXT, emotion_mask=True))[0]
    assert plain.emotion_mask is None and (marked.emotion_mask.sum(axis=1) == 1).all()  # Words: a label is one token
    np.testing.assert_array_equal(plain.tokens, marked.tokens)
    assert marked.loss_mask[marked.emotion_mask].all()


def test_an_emotion_that_is_known_without_a_chain_is_learnt_where_no_steps_are_asked_for():
    told = [dataclasses.replace(each, extra={"emotion": "proud"}) for each in toy.conversations("train")]
    bare = [
        dataclasses.replace(each, turns=tuple(dataclasses.replace(turn, chain=None) for turn in each.turns))
        for each in told
    ]
    plain = dataclasses.replace(TEXT.policy, chain_of_empathy=False)

    def learnt(conversations, policy):
        settings = dataclasses.replace(TEXT, policy=policy, emotion_mask=True)
        return BatchMaker(examples_of(conversations, Quarantine(0.0)), None, None, Words(), settings, Quarantine(0.0))[
            0
        ]

    batch = learnt(bare, plain)
    assert (batch.emotion_mask.sum(axis=1) == 1).all()
    assert set(batch.tokens[batch.emotion_mask]) == {Words().token_id("proud")}
    assert not learnt(bare, TEXT.policy).emotion_mask.any()  # with steps there is no chain to learn: the reply is all
    same(learnt(told, plain), learnt(toy.conversations("train"), plain))  # a chain's own emotion goes first


def test_an_example_is_where_its_id_says():
    examples = examples_of(toy.conversations("train"), Quarantine(0.0))
    batches = maker(MEDIA)
    for position in range(3):
        batch = batches[position]
        for row, number in enumerate(batch.example_id):
            ids = examples[number].class_ids()
            assert {name: int(getattr(batch, name)[row]) for name in ids} == ids
            reply = MadeUpFeatures(SHAPES, SLOTS).get("speech_style", batches._reply(examples[number]))
            np.testing.assert_array_equal(batch.speech_style[row], reply)


def test_dropout_of_modalities_takes_one_or_all_in_training_only():
    words, lost = Words(), []
    batches = maker(MEDIA)
    for position in range(29):
        batch = batches[position]
        for tokens in batch.tokens:
            lost.append(tuple(bool(np.any(tokens == words.token_id(run))) for run in ("<Aud>", "<Vid>")))
    assert set(lost) == {(True, True), (True, False), (False, True), (False, False)}
    assert 0.3 < 1 - lost.count((True, True)) / len(lost) < 0.7
    batch = maker(dataclasses.replace(MEDIA, seed=None))[0]
    assert all(np.any(tokens == words.token_id("<Aud>")) for tokens in batch.tokens)


def test_packed_rows_hold_whole_examples_with_their_own_positions():
    packed = maker(PACKED)
    plain = maker(dataclasses.replace(PACKED, packing=False))
    batch = packed[0]
    _, planned = packed.plan[0]
    for row, members in enumerate(planned.rows):
        assert len(members) > 1
        for segment, index in enumerate(members, 1):
            here = batch.segments[row] == segment
            encoded = plain.encode(plain.examples[index])
            np.testing.assert_array_equal(batch.tokens[row, here], encoded.tokens)
            np.testing.assert_array_equal(batch.loss_mask[row, here], encoded.loss_mask)
            np.testing.assert_array_equal(batch.positions[row, here], np.arange(len(encoded.tokens)))
    assert not batch.tokens[batch.segments == 0].any()


def test_a_position_of_another_set_is_refused():
    state = Stream(maker(TEXT)).get_state()
    other = Stream(maker(TEXT, count=20))
    with pytest.raises(UserError, match="other data"):
        other.set_state(state)


def test_a_maker_survives_the_way_to_a_worker():
    one = maker(MEDIA)
    same(pickle.loads(pickle.dumps(one))[3], one[3])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (dict(packing=True), "text-only"),
        (dict(buckets=(4096,)), "buckets"),
        (dict(modality_dropout=2.0), "modality_dropout"),
    ],
)
def test_settings_that_make_no_sense_are_one_line(settings, message):
    with pytest.raises(UserError, match=message):
        dataclasses.replace(MEDIA, **settings)


@pytest.mark.parametrize("slots", [1, 6, 24])
def test_a_recording_takes_as_many_places_as_the_policy_says(slots):
    few = dataclasses.replace(MEDIA, modality_dropout=0.0, policy=dataclasses.replace(MEDIA.policy, slots=slots))
    batches, words = maker(few), Words()
    batch = batches[0]
    assert batch.speech.shape == (4, 2 * slots, 6)
    example = batches.examples[batches.numbers.index(batch.example_id[0])]
    heard = few.policy.heard(example.turn.history)
    assert np.sum(batch.tokens[0] == words.token_id("<Aud>")) == slots * len(heard)
    rows = MadeUpFeatures(SHAPES, SLOTS).get("speech", batches._clip(example, heard[0]))
    means = rows.reshape(slots, SLOTS // slots, -1).mean(axis=1)
    np.testing.assert_allclose(batch.speech[0, :slots], means, atol=1e-6)


def test_a_batch_that_does_not_divide_and_a_row_that_is_too_short_are_errors():
    with pytest.raises(UserError, match="use a multiple of 3"):
        maker(MEDIA, Part((0,), 3))
    with pytest.raises(UserError, match="set aside"):
        maker(dataclasses.replace(MEDIA, policy=dataclasses.replace(MEDIA.policy, max_length=100), buckets=()))


def test_features_are_encoded_or_targets_of_a_stage():
    every = set(TARGETS["ccl"] + TARGETS["sac"])
    assert set(ENCODED).isdisjoint(every) and set(SHAPES) == set(ENCODED) | every
