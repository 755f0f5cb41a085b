"""Real dialogues and real recordings become a tree that every pipeline reads."""

from __future__ import annotations

import json

import numpy as np
import pytest

from data_pipeline import check, importer
from data_pipeline.batches import BatchMaker, Settings
from data_pipeline.examples import examples_of, read_conversations
from data_pipeline.features import TARGETS, MadeUpFeatures
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from data_pipeline.stream import Stream
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import SLOTS
from tests.data_pipeline.test_loader import SHAPES
from tests.data_pipeline.trees import change, small_tree
from tests.data_pipeline.words import Words


def test_withheld_responses_are_taken_from_the_history_and_the_answers(tmp_path):
    source = small_tree(tmp_path / "source")

    def withhold(value):
        for conversation in value:
            conversation.pop("speaker_profile")
            for turn in conversation["turns"]:
                turn.pop("response")
                turn.pop("chain_of_empathy")

    full = {each.conversation_id: each for each in schema.read(source / "train.json")}
    change(source / "train.json", withhold)
    answers = tmp_path / "answers.json"
    answer = {"conversation_id": sorted(full)[0], "ed_emotion": "sad"}
    answer["ed_gold_utterances_lowercased_tokenised"] = ["a", "b", "c", "d ."]
    answers.write_text(json.dumps([answer]))
    counts = importer.import_tree(source / "train.json", source, tmp_path / "out", answers)
    assert sum(counts.values()) == 4
    found = schema.read(tmp_path / "out" / "train.json")
    assert found[0].turns[0].response == full[found[0].conversation_id].turns[0].response
    assert found[0].turns[1].response == "d ." and found[0].extra["emotion"] == "sad"
    assert found[1].turns[1].response is None and found[1].speaker is not None
    clips = Tree(tmp_path / "out").clips(found[0])
    assert len(clips) == 4 and all(clip.audio and clip.video for clip in clips)
    with pytest.raises(UserError, match="not empty"):
        importer.import_tree(source / "train.json", source, tmp_path / "out")


def test_real_dialogues_and_recordings_go_through_every_stage(shared, tmp_path):
    quarantine = Quarantine(0.05)
    counts = importer.import_tree(
        shared / "dialogues" / "avamerg_test_half.json",
        shared / "media",
        tmp_path / "tree",
        shared / "dialogues" / "avamerg_test_ed_gold.json",
        count=20,
        quarantine=quarantine,
    )
    assert counts == {"train": 16, "valid": 2, "test": 2}
    assert quarantine.counts == {"no turns": 414} and quarantine.seen == 1990
    quarantine.enforce()

    checked = Quarantine(0.0)
    check.check_tree(tmp_path / "tree", checked, headers_only=True)
    assert checked.bad == 0

    tree = Tree(tmp_path / "tree")
    conversations = read_conversations(tree.split_file("train"), checked)
    examples = examples_of(conversations, checked)
    assert len(examples) > 25
    for stage, targets in TARGETS.items():
        settings = Settings(PromptPolicy(700, instruction="short"), batch=4, seed=1, targets=targets)
        features = MadeUpFeatures(SHAPES, SLOTS)
        maker = BatchMaker(examples, tree, features, Words(), settings, Quarantine(0.0))
        batch = next(Stream(maker))
        assert batch.weight.sum() == 4 and np.isfinite(batch.speech).all(), stage
        assert (batch.emotion32 >= 0).any()


def test_the_whole_real_half_of_the_test_split_is_read_without_a_crash(shared):
    quarantine = Quarantine(0.05)
    conversations = read_conversations(shared / "dialogues" / "avamerg_test_half.json", quarantine)
    assert len(conversations) == 1576 and quarantine.counts == {"no turns": 414} and quarantine.bad == 0
    assert {entry.id for entry in quarantine.entries} >= {"00075", "00197"}
    examples = examples_of(conversations, quarantine, replies=False)
    assert len(examples) == 3152
    assert [entry.id for entry in quarantine.entries if entry.kind == "wrong order"] == ["00113 turn 1"]
    with pytest.raises(UserError, match="no example"):
        usable = examples_of(conversations, quarantine)  # a test file: no turn has its response
        BatchMaker(usable, None, None, Words(), Settings(PromptPolicy(512, modalities=()), 4), quarantine)
