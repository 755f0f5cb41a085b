"""A checkpoint passes through memory piece by piece."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.convert_memory import SIZES, measure


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux to measure the peak")
def test_converting_takes_less_than_one_and_a_half_times_the_largest_shard(tmp_path):
    found = measure(SIZES["small"], tmp_path)
    assert found["checkpoint"] > 1.3 * found["largest_shard"]  # else this would show nothing
    assert found["above_idle"] < 1.5 * found["largest_shard"], found
