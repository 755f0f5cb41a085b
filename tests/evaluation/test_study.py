"""The study with people: blind and balanced pages, answers collected without trust, and how many items are enough."""

from __future__ import annotations

import json
import shutil
from collections import Counter

import numpy as np
import pytest

from empatheia_jax.errors import UserError
from evaluation import opinion, questions, ratings, systems
from evaluation.__main__ import main
from evaluation.study import collect, pages


@pytest.fixture(scope="module")
def matched(data, truth, tmp_path_factory):
    """The recordings, and the same words under two other names."""
    folder = tmp_path_factory.mktemp("rated")
    for name in ("alpha", "beta"):
        shutil.copytree(truth, folder / name)
        manifest = json.loads((truth / "manifest.json").read_text())
        (folder / name / "manifest.json").write_text(json.dumps({**manifest, "system": name, "row": name}))
    found = [systems.read(each) for each in (truth, folder / "alpha", folder / "beta")]
    return systems.matched(found, questions.read(data / "test.json"))


@pytest.fixture(scope="module")
def study(matched, tmp_path_factory):
    folder = tmp_path_factory.mktemp("study") / "pages"
    pages.write(matched, folder, scales=("SMOS", "Emp"), raters=4, seed=3)
    return opened(folder)


def opened(folder):
    """The folder of a study, what its page knows, and its key."""
    text = (folder / "study.js").read_text().removeprefix("const STUDY = ").rstrip().removesuffix(";")
    return folder, json.loads(text), json.loads((folder / "key.json").read_text())


@pytest.mark.parametrize("count", [2, 3, 4, 5])
def test_every_condition_stands_at_every_place_and_behind_every_other_equally_often(count):
    orders = pages.latin_orders(count)
    assert all(sorted(each) == list(range(count)) for each in orders)
    for place in range(count):
        assert len(set(Counter(each[place] for each in orders).values())) == 1
    behind = Counter((a, b) for each in orders for a, b in zip(each, each[1:]))
    assert len(set(behind.values())) == 1 and len(behind) == count * (count - 1)


def test_pages_name_no_system_and_every_rater_rates_everything_once(study):
    folder, page, key = study
    said = (folder / "study.js").read_text() + (folder / "index.html").read_text()
    assert "alpha" not in said and "beta" not in said and "ground-truth" not in said.lower()
    assert "http" not in said  # works from a disk
    for tasks in page["plans"]:
        codes = Counter(each["code"] for each in tasks if "code" in each)
        assert set(codes.values()) == {1} and len(codes) == 8
        assert all(key["codes"][each["reference"]]["system"] == "ground-truth" for each in tasks if "code" in each)
    for stimulus in page["stimuli"].values():
        assert (folder / stimulus["media"]).is_file()
    firsts = Counter(key["codes"][tasks[0]["code"]]["system"] for tasks in page["plans"])
    assert firsts == {"alpha": 2, "beta": 2}


def test_long_studies_have_attention_checks(matched, tmp_path):
    assert pages.write(matched, tmp_path / "pages", scales=("Emp",), raters=1) == 4 * 3 + 1


def answers(study, number, rater, miss=False):
    _, page, key = study
    found = []
    for task in page["plans"][number]:
        if "check" in task:
            found.append(
                {"check": task["check"], "values": {"check": task["check"] % 5 + 1 if miss else task["check"]}}
            )
            continue
        better = key["codes"][task["code"]]["system"] == "beta"
        found.append(
            {"code": task["code"], "item": task["item"], "values": {"SMOS": 3 + better, "Emp": 2 + 2 * better}}
        )
    return {
        "format": "empatheia-answers",
        "version": 1,
        "study": page["study"],
        "number": number,
        "rater": rater,
        "answers": found,
    }


def saved(folder, **files):
    paths = []
    for name, values in files.items():
        paths.append(folder / f"{name}.json")
        paths[-1].write_text(json.dumps(values))
    return paths


def test_answers_become_ratings_of_systems_and_a_table(study, tmp_path):
    files = saved(tmp_path, one=answers(study, 0, "Ann"), two=answers(study, 1, "Bo"))
    code = main(
        ["collect", f"--key={study[0] / 'key.json'}", f"--output={tmp_path / 'ratings.json'}", *map(str, files)]
    )
    assert code == 0
    found = ratings.Ratings.read(tmp_path / "ratings.json")
    assert found.systems() == ["alpha", "beta"] and len(found.ratings) == 2 * 8 * 2
    cell = found.cell("beta", "Emp")
    assert (cell.value, cell.n) == (4.0, 8) and found.cell("alpha", "Emp").value == 2.0
    assert found.agreement("Emp")["krippendorff"] == pytest.approx(1.0)
    assert found.compared("beta", "alpha", "Emp").mean_difference == 2.0


def csv_of(values):
    lines = ["study,number,rater,code,item,scale,value,seconds,check"]
    for each in values["answers"]:
        for scale, value in each["values"].items():
            code, item, check = each.get("code", ""), each.get("item", ""), each.get("check", "")
            lines.append(f"{values['study']},0,{values['rater']},{code},{item},{scale},{value},1.0,{check}")
    return "\n".join(lines) + "\n"


def test_csv_and_json_give_the_same_ratings(study, tmp_path):
    values = answers(study, 0, "Ann")
    (tmp_path / "a.csv").write_text(csv_of(values))
    as_json, _ = collect.collect(study[0] / "key.json", saved(tmp_path, a=values))
    as_csv, _ = collect.collect(study[0] / "key.json", [tmp_path / "a.csv"])
    assert as_json.ratings == as_csv.ratings


def spoiled(made, **changes):
    return {**answers(made, 0, "Ann"), **changes}


def rated(study, value):
    values = answers(study, 0, "Ann")
    values["answers"][0]["values"]["Emp"] = value
    return values


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (lambda s: {"a": answers(s, 0, "Ann"), "b": answers(s, 1, " Ann ")}, "two raters need two names"),
        (lambda s: {"a": rated(s, 6)}, "expected a whole number from 1 to 5"),
        (lambda s: {"a": rated(s, 0)}, "expected a whole number from 1 to 5"),
        (lambda s: {"a": rated(s, "4")}, "expected a whole number from 1 to 5"),
        (lambda s: {"a": rated(s, True)}, "expected a whole number from 1 to 5"),
        (lambda s: {"a": spoiled(s, version=2)}, "no answers of version 1"),
        (lambda s: {"a": spoiled(s, study="another")}, "answers the study 'another'"),
        (lambda s: {"a": spoiled(s, rater=" ")}, "no rater"),
        (lambda s: {"a": spoiled(s, answers=[{"code": "bogus", "values": {"Emp": 3}}])}, "does not have"),
        (lambda s: {"a": spoiled(s, answers=[{"code": ["a"], "values": {"Emp": 3}}])}, "does not have"),
        (lambda s: {"a": spoiled(s, answers=[])}, "no rating is left"),
    ],
)
def test_answers_that_cannot_be_right_are_refused(files, message, study, tmp_path):
    with pytest.raises(UserError, match=message):
        collect.collect(study[0] / "key.json", saved(tmp_path, **files(study)))


def test_answers_that_are_cut_and_keys_that_lack_parts_are_one_line(study, tmp_path):
    whole = csv_of(answers(study, 0, "Ann"))
    for cut in (whole[: whole.rindex(",")], whole[: whole.rindex(",Ann,")], whole + "1,2,3,4,5,6,7,8,9,10\n"):
        (tmp_path / "a.csv").write_text(cut)
        with pytest.raises(UserError, match="has not the columns of the first"):
            collect.collect(study[0] / "key.json", [tmp_path / "a.csv"])
    values = json.loads((study[0] / "key.json").read_text())
    code = next(iter(values["codes"]))
    for spoilt in ({}, {"codes": [1]}, {"codes": {code: 5}}, {"codes": {code: {"system": "alpha"}}}):
        key = {name: value for name, value in values.items() if name != "codes"} | spoilt
        (tmp_path / "key.json").write_text(json.dumps(key))
        with pytest.raises(UserError, match="lacks the codes"):
            collect.collect(tmp_path / "key.json", saved(tmp_path, a=answers(study, 0, "Ann")))


def test_a_rater_who_misses_attention_checks_is_left_out_and_said(matched, tmp_path):
    folder = tmp_path / "pages"
    pages.write(matched, folder, scales=("SMOS", "Emp"), raters=2, seed=3)
    made = opened(folder)
    made[1]["plans"][1].append({"check": 4})
    files = saved(tmp_path, a=answers(made, 0, "Ann"), b=answers(made, 1, "Bo", miss=True))
    found, left_out = collect.collect(folder / "key.json", files)
    assert {each.rater for each in found.ratings} == {"Ann"} and "attention checks" in left_out["Bo"]


def test_ratings_of_another_version_or_rated_twice_are_refused(tmp_path):
    path = tmp_path / "r.json"
    path.write_text(json.dumps({"format": "empatheia-ratings", "version": 9, "ratings": []}))
    with pytest.raises(UserError, match="version 1"):
        ratings.Ratings.read(path)
    path.write_text(json.dumps({"format": "empatheia-ratings", "version": 1, "ratings": 5}))
    with pytest.raises(UserError, match="expected a list"):
        ratings.Ratings.read(path)
    one = {"rater": "a", "system": "s", "item": "1_0", "scale": "SEA", "value": 3}
    path.write_text(
        json.dumps({"format": "empatheia-ratings", "version": 1, "ratings": [one, {**one, "scale": "SSA"}]})
    )
    with pytest.raises(UserError, match="two raters with one name"):  # SEA and SSA are one scale
        ratings.Ratings.read(path)


def test_a_planned_sample_has_the_power_that_was_asked_for():
    n = ratings.sample_size(0.4, 0.8, power=0.8, level=0.05, comparisons=5)
    assert n > ratings.sample_size(0.4, 0.8) > ratings.sample_size(0.8, 0.8)
    rng, found = np.random.default_rng(0), 0
    for _ in range(300):
        first = rng.normal(0.4, 0.8, n)
        found += opinion.paired(first[None], np.zeros((1, n))).wilcoxon_p < 0.05 / 5
    assert 0.74 < found / 300 < 0.9
    with pytest.raises(UserError, match="between 0 and 1"):
        ratings.sample_size(0.4, 0.8, power=1.5)
