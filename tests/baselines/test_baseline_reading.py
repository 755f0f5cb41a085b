"""Words, knowledge and the arrays of a turn."""

from __future__ import annotations

import json

import numpy as np
import pytest

from empatheia_jax.baselines import encoding, knowledge, vectors, words
from empatheia_jax.baselines.words import CLS, PAD, SEP, SYS, USR, Vocabulary
from empatheia_jax.errors import UserError


def test_words_are_lower_case_with_contractions_written_out_and_marks_apart():
    assert words.split("I can't sleep, it’s Bob's dog!") == [
        *("i", "cannot", "sleep", ",", "it", "is", "bob", "'s", "dog", "!"),
    ]
    assert words.join(["i", "am", "so", "sorry", ".", "bob", "'s", "dog", "?"]) == "i am so sorry. bob's dog?"


def test_a_vocabulary_numbers_the_most_frequent_words_behind_the_marks(tmp_path):
    known = Vocabulary.of([["b", "a", "b"], ["c"]], 2)
    assert known.words[len(words.MARKS) :] == ("b", "a")
    assert known.numbers(["b", "UNK", "c"]) == [len(words.MARKS), words.UNK, words.UNK]
    known.write(tmp_path / "v.json")
    assert Vocabulary.read(tmp_path / "v.json").words == known.words


def test_intensity_is_that_of_kemps_own_function():
    # data/preprocess.py: (‖(v, a/2) − (0.5, 0)‖ − 0.06467) / 0.607468
    v, a = 0.9, 0.6
    assert knowledge.intensity(v, a) == pytest.approx((np.linalg.norm([v - 0.5, a / 2]) - 0.06467) / 0.607468)


def test_concepts_are_intense_linked_with_weight_and_ranked(known, vocabulary):
    found = knowledge.read(known, "kemp", vocabulary)
    # "happy" hangs on an antonym, "noise" on a weight below 1, and "legs" moves nobody.
    assert found.concepts == {"race": ("prize",), "died": ("loss",), "loss": ("died",)}
    assert not found.inferences


def test_each_baseline_reads_its_own_files_and_refuses_in_a_line_where_one_is_missing(known, tmp_path, vocabulary):
    (tmp_path / knowledge.VAD).write_text((known / knowledge.VAD).read_text())
    with pytest.raises(UserError, match=r"has no comet\.jsonl and no assertions\.csv, which CASE reads.*reduced mode"):
        knowledge.read(tmp_path, "case", vocabulary)
    with pytest.raises(UserError, match=r"no comet\.jsonl, which CEM reads"):
        knowledge.read(tmp_path, "cem", vocabulary)


@pytest.mark.parametrize(
    ("name", "line", "complaint"),
    [
        (knowledge.COMET, '{"utterance": "hello"}', "line 1: expected lines of JSON"),
        (knowledge.VAD, "word\tValence\tArousal\tDominance\nhappy\t7\t1\t1", "line 2: .*numbers of 0 to 1"),
        (knowledge.CONCEPTNET, "/a/x\t/r/RelatedTo", "line 1: .*five columns"),
    ],
)
def test_a_malformed_line_is_named(known, tmp_path, vocabulary, name, line, complaint):
    for each in known.iterdir():
        (tmp_path / each.name).write_bytes(each.read_bytes())
    (tmp_path / name).write_text(line + "\n")
    with pytest.raises(UserError, match=complaint):
        knowledge.read(tmp_path, "case", vocabulary)


def test_a_context_has_its_root_its_roles_and_loses_its_oldest_words(encoder, said, vocabulary):
    example = encoder("cem")(said[1])
    count = sum(map(len, said[1].history)) + 1
    assert example.context[0] == example.roles[0] == CLS
    assert (example.context[count:] == PAD).all() and (example.roles[count:] == PAD).all()
    first, second, _ = map(len, said[1].history)
    assert example.roles[1 : first + second + 1].tolist() == [USR] * first + [SYS] * second
    short = encoder("cem", context=4)(said[1])
    assert short.context[1:].tolist() == vocabulary.numbers(said[1].history[-1][-3:])


def test_a_relation_without_inferences_is_its_root(encoder, said):
    example = encoder("cem")(said[1])  # COMET was not asked of its last utterance
    assert example.relations[:, 0].tolist() == [CLS] * 5 and (example.relations[:, 1:] == PAD).all()
    assert encoder("cem", reduced=True)(said[0]).relations.shape == (5, 1)


def test_kemps_graph_links_words_with_the_root_the_word_before_and_their_concepts():
    found = encoding.links("kemp", 3, 4, 3, [2])
    expected = {(0, 0), (0, 1), (0, 2), (1, 0), (2, 0), (2, 1), (2, 5), (0, 5)}
    assert set(zip(*map(np.ndarray.tolist, np.nonzero(found)))) == expected | {(1, 0)}
    both = encoding.links("case", 3, 4, 3, [2])
    assert (both == both.T).all() and both.diagonal().all() and both[5, 2]


def test_the_graph_of_events_has_every_kind_of_edge(encoder, said, vocabulary):
    example = encoder("case")(said[0]).events
    assert (example.events[:, 0] == [CLS, CLS, CLS]).all()  # the utterance and its two sentences
    edges = example.edges
    assert (edges == edges.T).all() and (edges.diagonal() == 1).all()
    assert edges[0, 1:3].tolist() == [2, 2] and edges[1, 2] == 3
    places = 3 + np.arange(len(example.inferences))
    there = example.inferences[:, 0] != PAD
    assert (edges[0, places[there][:4]] == [4, 5, 6, 7]).all()  # what follows from the utterance
    assert (edges[1, places[there][4:]] == [4, 5, 6, 7]).all()  # and from its first sentence
    assert not edges[np.ix_(places[~there], range(3))].any()
    assert vocabulary.text(example.reactions[0][example.reactions[0] != PAD]) == "happy"


def test_concepts_stand_behind_their_root_with_their_intensity(encoder, said, vocabulary):
    example = encoder("kemp")(said[0]).concepts
    assert example.words[0] == SEP and vocabulary.words[example.words[1]] == "prize"
    assert example.intensity[33] == pytest.approx(knowledge.intensity(0.95, 0.9))
    place = 1 + said[0].history[0].index("race")
    assert example.intensity[place] == pytest.approx(knowledge.intensity(0.6, 0.8)) and example.links[place, 33]


def test_dialogues_without_a_chain_have_no_emotion(tmp_path):
    history = [{"index": 0, "role": "speaker", "utterance": "hello"}]
    path = tmp_path / "x.json"
    path.write_text(json.dumps([{"conversation_id": "1", "turns": [{"turn_id": "0", "dialogue_history": history}]}]))
    (found,) = [encoding.Said.of(*each) for each in encoding.turns(path)]
    assert found.emotion == -1 and found.reply == ()


def test_vectors_of_a_file_take_the_place_of_the_rows_of_known_words(tmp_path):
    known = Vocabulary.of([["good", "day", "unheard"]], 10)
    (tmp_path / "glove.txt").write_text("2 3\ngood 1 2 3\nother x y z\nday 4 5 6\n")  # word2vec's form: the size first
    table = np.zeros((len(known), 3), np.float32)
    assert vectors.read(str(tmp_path / "glove.txt"), known, table) == 2
    assert {each: table[known.numbers([each])[0]].tolist() for each in ("good", "day", "unheard")} == {
        "good": [1, 2, 3],
        "day": [4, 5, 6],
        "unheard": [0, 0, 0],
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("good 1 2\n", "line 1 has 2 numbers; expected network.width=3"),
        ("good 1 2 x\n", "line 1 is no word with its numbers"),
        ("bad 1 2 3\n", "knows none of the"),
    ],
)
def test_vectors_that_do_not_fit_are_one_line(text, message, tmp_path):
    known = Vocabulary.of([["good", "day"]], 10)
    (tmp_path / "glove.txt").write_text(text)
    with pytest.raises(UserError, match=message):
        vectors.read(str(tmp_path / "glove.txt"), known, np.zeros((len(known), 3), np.float32))


def test_the_package_of_vectors_is_read_or_its_command_said(tmp_path, monkeypatch):
    pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    known, table = Vocabulary.of([["good", "day"]], 10), np.zeros((11, 4), np.float32)
    package = tmp_path / "a_set_of_vectors"
    monkeypatch.setattr(vectors, "PACKAGE", "a-set-of-vectors")
    with pytest.raises(UserError, match="pip install a-set-of-vectors"):
        vectors.read("a-set-of-vectors", known, table)
    (package / "data").mkdir(parents=True)
    (package / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    parquet.write_table(pyarrow.table({"index": ["the", "day"]}), package / "data" / "glove_6B_index.parquet")
    np.save(package / "data" / "glove_6B_50d_emb.npy", np.array([[9, 9, 9, 9], [1, 2, 3, 4]], np.float32))
    assert vectors.read("a-set-of-vectors", known, table) == 1
    assert table[known.numbers(["day"])[0]].tolist() == [1, 2, 3, 4]
