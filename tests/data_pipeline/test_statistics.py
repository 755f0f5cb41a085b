"""Table 1 and Figure 2 count what is there, beside the paper's numbers."""

from __future__ import annotations

import json
import shutil

import pytest

from data_pipeline import statistics
from data_pipeline.quarantine import Quarantine
from tests.data_pipeline.trees import small_tree


def test_the_papers_own_numbers_agree_with_each_other():
    paper = statistics.PAPER
    assert sum(paper[f"dialogues, {split}"] for split in ("train", "valid", "test")) == paper["dialogues, total"]
    assert paper["utterances with text"] / paper["dialogues, total"] == pytest.approx(
        paper["utterances per dialogue"], abs=0.01
    )
    assert paper["utterances with text"] * paper["seconds per recording"] / 3600 == pytest.approx(
        paper["hours of speech"], abs=0.05
    )


def test_a_set_is_counted(tmp_path, capsys):
    root = small_tree(tmp_path / "set")
    assert statistics.main([str(root)]) == 0
    printed = capsys.readouterr().out
    assert "dialogues, train" in printed and "24,696" in printed
    table = json.loads((root / "statistics" / "statistics.json").read_text())["table"]
    assert table["dialogues, train"] == 4 and table["dialogues, total"] == 6
    assert table["utterances with text"] == table["utterances with speech"] == table["utterances with video"] == 24
    assert table["seconds per recording"] == 0.25 and table["utterances per dialogue"] == 4.0
    page = (root / "statistics" / "statistics.html").read_text()
    assert "data:image/png;base64," in page and "33,048" in page
    assert (root / "statistics" / "statistics.png").read_bytes()[:4] == b"\x89PNG"
    assert set(table) == set(statistics.PAPER)


def test_without_media_nothing_is_opened(tmp_path):
    root = small_tree(tmp_path / "set")
    for path in (root / "audio_v5_0").iterdir():
        path.write_bytes(b"")
    found = statistics.collect(root, Quarantine(1.0), open_media=False)
    assert not found.seconds and found.table()["seconds per recording"] is None


def test_the_real_half_is_counted_with_the_empty_conversations_by_id(shared, tmp_path, capsys):
    shutil.copyfile(shared / "dialogues" / "avamerg_test_half.json", tmp_path / "test.json")
    assert statistics.main([str(tmp_path), "--no-media"]) == 0
    printed = capsys.readouterr().out
    assert "414 × no turns" in printed and "no turns: 00075, 00197" in printed
    table = json.loads((tmp_path / "statistics" / "statistics.json").read_text())["table"]
    assert table["dialogues, test"] == 1576 and table["utterances with text"] > 4000
