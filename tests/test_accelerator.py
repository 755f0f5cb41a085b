"""The accelerator's benchmark runs on a CPU at small size, writes after each row, and survives a row that does not end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.accelerator.rows import ROWS
from benchmarks.accelerator.run import Worker, judged, run

BY_NAME = {row.name: row for row in ROWS}
NOWHERE = Path("no-such-vectors")


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """(exit code, folder) of a few rows."""
    output = tmp_path_factory.mktemp("accelerator")
    rows = [BY_NAME[name] for name in ("card", "parity", "attention", "decode_1_int8", "lora")]
    return run(rows, output, True, 900, ["ours"], NOWHERE), output


def test_rows_have_a_value_a_roof_and_a_share_of_it(results):
    code, output = results
    found = json.loads((output / "results.json").read_text())
    rows = {entry["row"]: entry for entry in found["rows"]}
    assert code == 0 and found["card"]["flops"] > 0 and not any(entry["failed"] for entry in found["rows"])
    assert rows["attention"]["ours"]["error"] < rows["attention"]["ours"]["bound"]
    for name in ("decode_1_int8", "lora"):
        assert rows[name]["ours"]["rate"] > 0 and rows[name]["roof"] > 0 and 0 < rows[name]["share"] < 1
    assert rows["lora"]["ours"]["predicted"] > 0


def test_a_row_that_cannot_be_measured_says_why_and_the_next_one_runs(results):
    text = (results[1] / "results.md").read_text()
    assert f"there is no {NOWHERE}" in text
    assert text.count("\n| ") == 6 and text.index(BY_NAME["parity"].title) < text.index(BY_NAME["lora"].title)


def test_a_row_that_takes_too_long_is_cut_off(tmp_path):
    worker = Worker("ours", ["--tiny", f"--parity={NOWHERE}"], tmp_path / "log.txt")
    answer = worker.ask("decode_1", 0.05)
    assert answer["failed"] and answer["measurement"]["left_out"] == "cut off after 0.05 s"
    assert worker._process is None


def test_a_check_beyond_its_bound_fails_and_not_a_number_does_too():
    entry = lambda error: {"ours": {"error": error, "bound": 1e-2}, "goal": ""}  # noqa: E731
    assert not judged(entry(1e-3), {})["failed"]
    assert judged(entry(1e-1), {})["failed"] and judged(entry(float("nan")), {})["failed"]


def test_every_row_has_a_limit_and_all_of_them_fit_one_run():
    assert len(BY_NAME) == len(ROWS) and all(0 < row.seconds <= 120 for row in ROWS)
