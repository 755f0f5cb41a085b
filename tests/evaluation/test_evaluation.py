"""An evaluation from folders to tables: every metric sees what it should, nothing is measured twice, nothing is left out
silently.
"""

from __future__ import annotations

import csv
import io
import json
import shutil

import numpy as np
import pytest

from empatheia_jax.errors import UserError
from evaluation import cells, consistency_scores, emotions, figures, measures, paper, report, results, run, tables, text
from evaluation.__main__ import main
from evaluation.judges import Judges
from tests.evaluation.sets import text_system


def means(evaluation, column):
    found = {row: list(measures.collect(each, column).values()) for row, each in evaluation.values.items()}
    return {row: float(np.mean(each)) for row, each in found.items() if each}


def by_key(evaluation):
    return {each.key: each for each in results.all_tables(evaluation)}


def cell(table, row, column):
    return next(each for each in table.rows if each.key == row).cells[column]


def test_recordings_score_better_than_systems_with_faults(evaluation):
    cpbd, ssim, lips, offset = (means(evaluation, column) for column in ("cpbd", "ssim", "lips_score", "lips_offset"))
    assert cpbd["ground-truth"] > cpbd["pipeline"] + 0.02  # without detail
    assert ssim["ground-truth"] == pytest.approx(1.0, abs=1e-5)
    assert max(value for row, value in ssim.items() if row != "ground-truth") < 0.99
    assert lips["ground-truth"] > max(lips["shuffled"], lips["empatheia"]) + 20  # other sounds, late sounds
    assert offset["ground-truth"] == 0


def test_the_lips_of_recordings_fit_their_own_speech_better_than_that_of_another_dialogue(evaluation):
    _, pairs = consistency_scores.consistency_scores(evaluation)
    true, shuffled = np.array(pairs["VCA"]).T
    assert len(true) == 4 and true.mean() > shuffled.mean() + 20 and np.sum(true > shuffled) >= 3


def test_a_system_that_says_one_sentence_is_less_distinct(evaluation):
    table = by_key(evaluation)["table2"]
    one = next(each for each in evaluation.systems if each.row == "pipeline")
    said = [text.normalise(one.replies[name].response) for name in evaluation.questions]
    assert cells.distinct(said, 1).value == pytest.approx(100 * text.distinct_corpus(said, 1))
    assert cells.distinct(said, 1).value < 30
    assert cell(table, "empatheia", "distinct1").value > 60


def test_a_word_that_is_no_label_is_wrong_and_synonyms_are_told_apart(evaluation):
    found = by_key(evaluation)
    half = cell(found["table2"], "without-media", "accuracy")
    assert half.value == 50 and half.n == 4 and half.low < 50 < half.high
    assert cell(found["table2"], "empatheia", "accuracy").value == 100
    system = evaluation.system("empatheia")
    name = next(iter(evaluation.questions))
    reply = type(system.replies[name])(name, {"response": "Yes.", "speaker_emotion": "worried"})
    assert emotions.exact_label(reply) is None and emotions.mapped_label(reply) == "anxious"


def test_every_row_of_the_paper_is_there_or_said_to_be_missing(evaluation):
    found = by_key(evaluation)
    for each in paper.TABLES:
        table = found[each.key]
        assert {row.key for row in table.rows} >= set(each.rows)
        for row in each.rows:
            given = evaluation.system(row) is not None
            assert bool(next(r for r in table.rows if r.key == row).missing) == (not given)
            for column in each.columns:
                assert cell(table, row, column.key).paper == each.number(row, column.key)
                if given and cell(table, row, column.key).value is None:
                    assert cell(table, row, column.key).note
    assert "KEMP" in tables.as_text(found["table2"]).split("Missing rows")[1]
    assert cell(found["table3"], "empatheia", "sync_confidence").note.startswith("not asked for")
    assert "shuffled" in {row.key for row in found["table3"].rows}  # a system that the paper does not have


def test_numbers_of_the_paper_are_those_that_it_prints():
    assert (
        paper.TABLE_2.number("empatheia", "distinct2") == 14.76 and paper.TABLE_3.number("ground-truth", "SMOS") == 4.81
    )
    assert paper.TABLE_4.number("cem", "Flu") == 4.39 and paper.TABLE_5.number("without-joint", "MSC") == 3.70
    for each in paper.TABLES:
        assert all(len(numbers) == len(each.columns) for numbers in each.numbers.values())
        assert set(each.numbers) <= set(each.rows)


def test_what_was_measured_is_not_measured_again_and_a_changed_file_is(
    data, truth, others, cache, judges, evaluation, tmp_path
):
    pairs = [("ground-truth", truth), ("empatheia", others["late"])]
    again = run.evaluate(pairs, data / "test.json", cache, judges=judges)
    assert again.store.measured == 0
    assert again.values["empatheia"] == evaluation.values["empatheia"]
    shutil.copytree(others["late"], tmp_path / "late")
    first = next(iter(evaluation.questions))
    shutil.copyfile(truth / first / "reply.wav", tmp_path / "late" / first / "reply.wav")
    changed = run.evaluate([pairs[0], ("empatheia", tmp_path / "late")], data / "test.json", cache, judges=judges)
    assert (
        changed.store.measured == 3
    )  # the lips twice, and lengths; the voice is that of the recording, which was measured
    assert changed.values["empatheia"][first]["ssim"] == evaluation.values["empatheia"][first]["ssim"]


def test_a_film_that_cannot_be_decoded_is_refused_or_left_out_for_all(data, truth, others, cache, tmp_path):
    shutil.copytree(others["late"], tmp_path / "late")
    name = sorted(each.name for each in truth.iterdir() if each.is_dir())[1]
    film = tmp_path / "late" / name / "reply.mp4"
    film.write_bytes(film.read_bytes()[:900])
    pairs, judges = [(None, truth), (None, tmp_path / "late")], Judges(chosen=())
    with pytest.raises(UserError, match="mend the files"):
        run.evaluate(pairs, data / "test.json", cache, judges=judges)
    found = run.evaluate(pairs, data / "test.json", cache, judges=judges, common=True)
    assert name not in found.questions and name in found.left_out and len(found.questions) == 3
    assert all(set(each.replies) == set(found.questions) for each in found.systems)


def test_tables_are_written_as_text_markdown_csv_latex_and_one_page(evaluation, data, tmp_path):
    said = report.write(evaluation, tmp_path, data)
    assert "Table 3" in said and "0.15" in said
    lines = list(csv.DictReader(io.StringIO((tmp_path / "tables.csv").read_text())))
    ours = next(
        each
        for each in lines
        if (each["table"], each["row"], each["column"]) == ("table3", "Empatheia (Vicuna)", "SSIM")
    )
    assert (
        0 < float(ours["low"]) < float(ours["value"]) < float(ours["high"])
        and ours["n"] == "4"
        and ours["paper"] == "0.49"
    )
    assert any(each["row"] == "KEMP" and each["note"] == tables.MISSING_ROW for each in lines)
    latex = (tmp_path / "tables.tex").read_text()
    assert latex.count("\\begin{table}") == latex.count("\\end{table}") > 5
    markdown = (tmp_path / "tables.md").read_text()
    table3 = markdown.split("### Table 3")[1].split("###")[0]
    assert f"| {float(ours['value']):.3f} [" in table3 and "| KEMP |" not in table3  # rows of nobody stay out of a card
    assert "- turns: 4 evaluated" in markdown
    page = (tmp_path / "report.html").read_text()
    assert page.count("data:video/mp4;base64,") == 8 and "http" not in page.replace("http-equiv", "")
    values = json.loads((tmp_path / "values.json").read_text())
    assert set(values["empatheia"]) == set(evaluation.questions)


def test_runs_of_one_config_are_told_apart_by_their_rows(data, asked, tmp_path):
    rows = ("empatheia", "pipeline", "without-cs")
    for row in rows:  # `--mode=reply` names the system after its config, which rows share
        folder = text_system(tmp_path / row, "quickstart", asked, response=f"I hear you, says {row}.")
        manifest = json.loads((folder / "manifest.json").read_text())
        (folder / "manifest.json").write_text(json.dumps({**manifest, "language_model": "smollm2"}))
    found = run.evaluate(
        [(row, tmp_path / row) for row in rows], data / "test.json", tmp_path / "cache", judges=Judges(chosen=())
    )
    said = report.facts(found)
    assert {"Empatheia (Vicuna)", "Pipeline", "w/o CS"} <= set(said) and "row pipeline" in said["Pipeline"]
    page = report.page(found, results.all_tables(found), figures.all_figures(found, None))
    assert "Language model of Pipeline, Empatheia (Vicuna), w/o CS: smollm2." in page
    assert (
        "<b>Pipeline</b>" in page and "Empatheia (Vicuna) minus each other system" in page and "quickstart" not in page
    )


def test_turns_of_one_dialogue_widen_the_interval():
    values = {f"{d}_{t}": float(d % 2) for d in range(8) for t in range(4)}
    together = cells.mean(values, {name: name.split("_")[0] for name in values})
    apart = cells.mean(values, {name: name for name in values})
    assert together.n == apart.n == 32 and together.value == apart.value
    assert together.high - together.low > 1.8 * (apart.high - apart.low)


def test_lips_are_not_learned_from_the_split_that_is_scored(data, tmp_path, monkeypatch):
    learned_from = []

    def evaluate(*folders, judges, **options):
        learned_from.append(judges.recordings)
        raise UserError("enough")

    monkeypatch.setattr(run, "evaluate", evaluate)
    for more in ([], ["--split=train"], [f"--recordings={tmp_path}"]):
        assert main(["tables", f"--data={data}", f"--output={tmp_path}", *more, str(tmp_path)]) == 2
    assert learned_from == [data, None, tmp_path]


def test_an_unknown_command_and_a_missing_folder_are_one_line(tmp_path, capsys, data):
    assert main(["fly"]) == 2 and "no command" in capsys.readouterr().err
    assert main(["tables", f"--data={data}", f"--output={tmp_path}", str(tmp_path / "none")]) == 2
    said = capsys.readouterr().err
    assert "is no folder" in said and "Traceback" not in said
