"""The TFDS form holds everything that the released form holds, and is read without TensorFlow."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys

import pytest

from data_pipeline import avamerg
from data_pipeline.layout import file_hash
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError
from tests.conftest import ROOT
from tests.data_pipeline.trees import change, small_tree


def media(root):
    return {path.relative_to(root).as_posix(): file_hash(path) for path in root.glob("*_v5_0/*")}


def assert_equal_sets(one, other):
    for split in ("train", "valid", "test"):
        assert json.loads((one / f"{split}.json").read_text()) == json.loads((other / f"{split}.json").read_text())
    assert media(one) == media(other) and media(one)


def test_released_layout_to_tfds_and_back_loses_nothing(tmp_path):
    source = small_tree(tmp_path / "source")
    change(source / "train.json", lambda value: value[1].update(turns=[]))  # its recordings then belong to nobody
    change(source / "test.json", lambda value: value[0].update(emotion="sad", nobody_knows=[1, {"this": None}]))
    for path in source.glob("*_v5_0/dia00002*"):
        path.unlink()
    avamerg.build(source, tmp_path / "tfds")
    counts = avamerg.export(tmp_path / "tfds", tmp_path / "back")
    assert counts == {"train": 4, "valid": 1, "test": 1}
    assert_equal_sets(source, tmp_path / "back")


def test_records_are_random_access_and_typed(tmp_path):
    source = small_tree(tmp_path / "source")
    avamerg.build(source, tmp_path / "tfds")
    train = avamerg.open_data(tmp_path / "tfds")["train"]
    assert len(train) == 4
    wanted = {each.conversation_id: each for each in schema.read(source / "train.json")}
    for n in (3, 0):
        record = train[n]
        conversation = schema.conversation_from_json(json.loads(record["json"]))
        assert conversation == wanted[conversation.conversation_id]
        assert record["speaker_profile"] == conversation.speaker.profile_id
        assert record["turns"] == len(conversation.turns)


def test_the_real_half_goes_there_and_back(shared, tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    (source / "test.json").write_bytes((shared / "dialogues" / "avamerg_test_half.json").read_bytes())
    avamerg.build(source, tmp_path / "tfds")
    assert avamerg.export(tmp_path / "tfds", tmp_path / "back") == {"test": 1990}
    assert json.loads((tmp_path / "back" / "test.json").read_text()) == json.loads((source / "test.json").read_text())


def test_reading_needs_no_tensorflow(tmp_path):
    source = small_tree(tmp_path / "source", media=False)
    avamerg.build(source, tmp_path / "tfds")
    program = (
        "import sys; from data_pipeline import avamerg; "
        f"record = avamerg.open_data({str(tmp_path / 'tfds')!r})['train'][0]; "
        "print(len(record['json']) > 10 and 'tensorflow' not in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "True", done.stderr


def test_too_many_malformed_conversations_stop_the_preparation(tmp_path):
    source = small_tree(tmp_path / "source", media=False)
    change(source / "train.json", lambda value: value[0].pop("conversation_id"))
    with pytest.raises(UserError, match="1 of 4"):
        avamerg.build(source, tmp_path / "tfds")
    assert avamerg.build(source, tmp_path / "more", limit=0.3).quarantine.counts == {"malformed": 1}
    with pytest.raises(UserError, match="holds no avamerg"):
        avamerg.open_data(tmp_path / "nothing")


def test_the_command_says_what_it_needs(tmp_path, capsys):
    assert avamerg.main([f"--data_dir={tmp_path}"]) == 2
    assert "nothing to do" in capsys.readouterr().err
    for source in ("absent", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        assert avamerg.main([f"--data_dir={tmp_path / 'made'}", f"--source={tmp_path / source}"]) == 2
        assert not (tmp_path / "made").exists()  # nothing half-made


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs the extra `beam`")
def test_beam_on_the_local_runner_prepares_the_same_set(tmp_path):
    source = small_tree(tmp_path / "source")
    avamerg.build(source, tmp_path / "tfds", beam=True)
    avamerg.export(tmp_path / "tfds", tmp_path / "back")
    assert_equal_sets(source, tmp_path / "back")
