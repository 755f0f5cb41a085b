"""The report of a run: readable curves, what it ran on, how fast it was."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest

from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.runs import report
from empatheia_jax.runs.run import Run


@pytest.fixture
def run(tmp_path):
    """A run of two stages by its files alone."""
    found = Run(tmp_path)
    found.write_config({"name": "<mine>", "seed": 1})
    found.write_environment({"devices": "8 × NVIDIA A100 (gpu)", "jax": "0.10.2"})
    lines = []
    for step in range(10, 210, 10):
        fine = {"learning_rate": 1e-4, "tokens_per_second": 1000.0 + step, "data_wait": 0.02, "mfu": 0.41}
        lines.append({"stage": "coe", "step": step, "loss": 4000 / step**2, "emp": 400 / step**2, **fine})
        lines.append({"stage": "style", "step": step, "loss": 2.0 - step / 200, "emotion_accuracy": step / 300})
        if step % 50 == 0:
            lines.append({"stage": "style", "step": step, "eval/loss": 2.1, "eval/emotion_accuracy": 0.4})
    found.metrics_path.parent.mkdir()
    found.metrics_path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    sample = found.samples / "00001"
    sample.mkdir(parents=True)
    (sample / "reply.json").write_text(json.dumps({"asked": "Hello?", "response": "Hello."}))
    with VideoWriter(sample / "reply.mp4", 25, (32, 32)) as film:
        film.write(np.full((5, 32, 32, 3), 200, np.uint8))
    return found


def test_it_tells_what_a_run_did_on_what_and_how_fast(run):
    page = report.write(run).read_text()
    for part in ("&lt;mine&gt;", "8 × NVIDIA A100 (gpu)", "1,105", "41.0%", "2%", 'poster="data:image/png', "Hello."):
        assert part in page, part
    for title in ("losses (logarithmic)", "accuracies", "learning rate", "tokens per second", "waiting for data"):
        assert title in page, title
    assert "http" not in page.replace("http://www.w3.org", "")


def test_evaluations_are_dashed_in_the_colour_of_what_they_evaluate(run):
    page = report.write(run).read_text()
    style = page[page.index("Stage style") :]
    (solid,) = set(re.findall(r'stroke="(#\w+)" stroke-width="1.8"/>', style[: style.index("accuracies")]))
    (dashed,) = set(
        re.findall(r'stroke="(#\w+)" stroke-width="1.8" stroke-dasharray', style[: style.index("accuracies")])
    )
    assert solid == dashed and "loss, validation" in style and "emotion accuracy, validation" in style


@pytest.mark.parametrize(
    "values", [[0.0, 0.0], [1e-9, 1e9], [-3.0, 5.0], [7.0], [float("nan"), 1.0], [0.999, 1.0], [1e6, 2e6], [0.0, 1e-7]]
)
def test_a_curve_of_any_numbers_lies_inside_its_picture(values):
    figure = report.curve({"loss": list(enumerate(values))}, "losses")
    places = [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', figure)[1].split()]
    assert all(report.LEFT - 1 <= x <= report.WIDTH and 0 <= y <= report.HEIGHT - report.BOTTOM + 1 for x, y in places)
    ticks = re.findall(r'text-anchor="end">([^<]*)</text>', figure)[:-1]  # the last one is the step
    assert 2 <= len(ticks) <= 14 and len(set(ticks)) == len(ticks)


def test_a_damaged_note_of_the_hardware_costs_no_report(run):
    run.environment_path.write_text("{")
    assert "Hardware" not in report.write(run).read_text()
