"""The accelerator's benchmark runs on a CPU at small size, writes after each row, and survives a row that does not end."""

from __future__ import annotations

import json
from pathlib import Path

from jax.profiler import ProfileData

from benchmarks.accelerator import profile
from benchmarks.accelerator.rows import PARITY, ROWS
from benchmarks.accelerator.run import Worker, judged, run
from converters.parity import run as parity

BY_NAME = {row.name: row for row in ROWS}
NOWHERE = Path("no-such-vectors")


def test_the_whole_script_runs_at_small_size_and_says_why_a_row_cannot_be_measured(tmp_path):
    """One test, so that it runs once. The vectors have tests of their own."""
    code = run(list(ROWS), tmp_path, True, 1800, ["ours"], NOWHERE)
    found = json.loads((tmp_path / "results.json").read_text())
    rows = {entry["row"]: entry for entry in found["rows"]}
    assert code == 0 and found["card"]["flops"] > 0 and not any(entry["failed"] for entry in found["rows"])
    assert set(rows) == set(BY_NAME)
    for name in set(BY_NAME) - {"card"} - {f"parity_{network}" for network in PARITY}:
        ours = rows[name]["ours"]
        assert ours["error"] < ours["bound"] if BY_NAME[name].check or name == "processes" else ours["rate"] > 0
    for name in ("decode_1_int8", "lora"):
        assert rows[name]["roof"] > 0 and rows[name]["share"] > 0
    assert rows["lora"]["ours"]["predicted"] > 0

    text = (tmp_path / "results.md").read_text()
    assert f"there is no {NOWHERE}" in text and text.count("\n| ") == len(ROWS) + 1
    assert text.index(BY_NAME["parity_t5"].title) < text.index(BY_NAME["lora"].title)


def test_a_row_that_takes_too_long_is_cut_off(tmp_path):
    worker = Worker("ours", ["--tiny", f"--parity={NOWHERE}"], tmp_path / "log.txt")
    answer = worker.ask("decode_1", 0.05)
    assert answer["failed"] and answer["measurement"]["left_out"] == "cut off after 0.05 s"
    assert worker._process is None


def test_a_check_beyond_its_bound_fails_and_not_a_number_does_too():
    entry = lambda error: {"ours": {"error": error, "bound": 1e-2}, "goal": ""}  # noqa: E731
    assert not judged(entry(1e-3), {})["failed"]
    assert judged(entry(1e-1), {})["failed"] and judged(entry(float("nan")), {})["failed"]


def test_every_network_with_vectors_has_a_row():
    assert [f"{network.__name__.rsplit('.', 1)[1]}" for network in parity.networks()] == list(PARITY)


def test_every_row_has_a_limit_of_its_own():
    assert len(BY_NAME) == len(ROWS) and all(0 < row.seconds <= 300 for row in ROWS)


def test_a_profile_is_told_by_its_kernels():
    space = """
    planes { name: "/host:CPU" }
    planes {
      name: "/device:GPU:0"
      event_metadata { key: 1 value { id: 1 name: "gemm_fusion_dot_3" } }
      event_metadata { key: 2 value { id: 2 name: "gemm_fusion_dot.4" } }
      event_metadata { key: 3 value { id: 3 name: "loop_add_fusion" } }
      lines { name: "Stream #1(compute)"
        events { metadata_id: 1 offset_ps: 0 duration_ps: 2000000000 }
        events { metadata_id: 2 offset_ps: 1000000000 duration_ps: 2000000000 }
        events { metadata_id: 3 offset_ps: 4000000000 duration_ps: 1000000000 } }
      lines { name: "XLA Ops" events { metadata_id: 3 offset_ps: 0 duration_ps: 9000000000 } }
    }"""
    lines = profile.summary(ProfileData.from_text_proto(space)).splitlines()
    assert " ".join(lines[0].split()) == "5.000 ms from the first kernel to the last, 1.000 of it idle"
    assert " ".join(lines[1].split()) == "4.000 ms 80.0 % 2 × gemm_fusion_dot"  # two names, one kind
    assert " ".join(lines[2].split()) == "1.000 ms 20.0 % 1 × loop_add_fusion"
