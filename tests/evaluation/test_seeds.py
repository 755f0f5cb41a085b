"""Several trainings of one system: both intervals, and the majority class beside them."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from scipy import stats

from evaluation import seeds
from evaluation.__main__ import main
from tests.evaluation.sets import text_system


def trained(folder, asked, seed, right, wrong="proud"):
    """A folder of replies that names the true emotion in the turns `right` and another one elsewhere."""
    words = [each.emotion if place in right else wrong for place, each in enumerate(asked.values())]
    text_system(folder, folder.name, asked, words)
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "seed": seed, "config": "0" * 64}))
    return folder


def numbers(folder):
    with (folder / "seeds.csv").open() as file:
        return {(each["row"], each["column"]): each for each in csv.DictReader(file)}


def test_seeds_are_averaged_with_an_interval_over_them_and_one_over_dialogues(data, asked, tmp_path):
    folders = [
        trained(tmp_path / f"s{seed}", asked, seed, right) for seed, right in enumerate(({0}, {0, 1}, {0, 1, 2}))
    ]
    command = ["seeds", f"--data={data}", f"--output={tmp_path}", *(f"KEMP={each}" for each in folders)]
    assert main(command) == 0
    found = numbers(tmp_path)
    over_seeds, over_dialogues = found["KEMP", "Acc 32, over seeds"], found["KEMP", "Acc 32, over dialogues"]
    assert over_seeds["n"] == "3" and float(over_seeds["value"]) == float(over_dialogues["value"]) == 50
    half = stats.t.ppf(0.975, 2) * 25 / np.sqrt(3)
    assert float(over_seeds["high"]) == pytest.approx(50 + half, abs=1e-3)
    # Two dialogues of two turns: 1 and 2/3 right, 1/3 and 0 right.
    assert over_dialogues["n"] == "4"
    assert float(over_dialogues["high"]) - 50 == pytest.approx(
        stats.t.ppf(0.975, 1) * 100 * np.sqrt(2 * 2 * (4 / 6) ** 2) / 4, rel=1e-3
    )


def test_the_majority_class_is_that_of_the_training_split(data, asked, tmp_path):
    training = json.loads((data / "train.json").read_text())
    words = [turn["chain_of_empathy"]["speaker_emotion"] for each in training for turn in each["turns"]]
    folder = trained(tmp_path / "s", asked, 0, set(range(4)))
    assert main(["seeds", f"--data={data}", f"--output={tmp_path}", f"CEM={folder}"]) == 0
    (row,) = {row for row, _ in numbers(tmp_path) if row.startswith("majority class")}
    most = row.removeprefix("majority class (").removesuffix(")")
    assert words.count(most) == max(map(words.count, words))
    share = 100 * np.mean([each.emotion == most for each in asked.values()])
    assert float(numbers(tmp_path)[row, "Acc 32, over dialogues"]["value"]) == pytest.approx(share)
    assert float(numbers(tmp_path)["CEM", "Acc − majority class"]["value"]) == pytest.approx(100 - share)


def test_one_training_twice_and_a_folder_without_a_name_are_refused(data, asked, tmp_path, capsys):
    first = trained(tmp_path / "a", asked, 7, {0})
    again = trained(tmp_path / "b", asked, 7, {0})
    common = ["seeds", f"--data={data}", f"--output={tmp_path / 'out'}"]
    assert main([*common, f"CEM={first}", f"CEM={again}"]) == 2
    assert "same seed and settings" in capsys.readouterr().err
    assert main([*common, str(first)]) == 2 and "whose training" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_one_seed_has_no_interval_over_seeds():
    cell = seeds.over_seeds([40.0])
    assert (cell.value, cell.n, cell.low) == (40.0, 1, None) and "one seed" in cell.note
