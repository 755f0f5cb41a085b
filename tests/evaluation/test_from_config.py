"""From a config to all tables by one command, and runs that share the stages they train alike."""

from __future__ import annotations

import pytest

from configs import baselines, debug, joint
from configs.tables import ROWS
from converters.release import card
from empatheia_jax.errors import UserError
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from evaluation import from_config
from evaluation.from_config import config_of
from evaluation.shared_stages import share
from tests.evaluation.sets import text_system
from tests.runs import folders


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    return folders.untrained(resolve(debug.get_config()), tmp_path_factory.mktemp("runs") / "empatheia")


def test_a_row_takes_the_stages_that_it_would_train_alike(full, tmp_path):
    base = debug.get_config()
    assert share(config_of(base, ROWS["without-cs"]), Run(tmp_path / "cs"), [full]) == {"coe": full.folder}
    assert Run(tmp_path / "cs").completion("coe")["step"] == 1
    assert share(config_of(base, ROWS["without-cs"]), Run(tmp_path / "cs"), [full]) == {}
    assert Run(tmp_path / "cs").load_into is not None
    for row in ("without-coe", "without-media", "pipeline"):
        assert share(config_of(base, ROWS[row]), Run(tmp_path / row), [full]) == {}
    assert share(config_of(base, ROWS["joint-only"]), Run(tmp_path / "joint"), [full]) == {}


def test_every_ablation_of_the_paper_is_a_row():
    assert {each for each in joint.ABLATIONS if each not in ("", "paper")} <= set(ROWS)
    for row in ROWS.values():
        config_of(joint.get_config(), row)


def test_one_command_trains_answers_and_evaluates_and_goes_on(data, asked, full, tmp_path):
    base = debug.get_config()
    base.data.path = str(data)
    given = []

    def command(arguments):
        given.append(arguments)
        for each in arguments:
            if each.startswith("--workdir=") and "--mode=reply" not in arguments and "--mode=extract" not in arguments:
                run = folders.untrained(config_of(base, ROWS["pipeline"]), Run(each.removeprefix("--workdir=")).folder)
                assert run.completion("coe")
            if each.startswith("--output=") and "--mode=reply" in arguments:
                text_system(tmp_path / "out" / "replies" / each.rsplit("/", 1)[1], "any", asked)
        if "tables" in arguments:
            (tmp_path / "out" / "tables.md").write_text("### Table 2\n")
        return 0

    flags = from_config.config_flags(
        ["launch.py", "--config=configs/debug.py", "--mode=evaluate", "--config.seed", "3"]
    )
    assert flags == ["--config=configs/debug.py", "--config.seed", "3"]
    done = from_config.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert done == 0
    kinds = [next((a for a in each if a.startswith("--mode") or a in ("truth", "tables")), "train") for each in given]
    assert kinds == ["--mode=extract", "train", "--mode=reply", "truth", "tables"]
    assert "--config.schedule=coe" in given[1] and "--config.decoding.style_clip=neutral" in given[2]
    answered = Run(tmp_path / "out" / "runs" / "pipeline")
    assert card.results(answered) == card.results(full) == "### Table 2"  # in the model card of `--mode=export`
    assert "was not evaluated" in card.results(Run(tmp_path / "another"))
    given.clear()
    from_config.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert [each[2] for each in given] == ["truth", "tables"]  # what is complete is not done again
    with pytest.raises(UserError, match="failed with exit code 3"):
        from_config.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=lambda _: 3)
    with pytest.raises(UserError, match="--rows names kempt"):
        from_config.run(base, flags, tmp_path / "out", rows=["kempt"])


def test_a_process_that_comes_late_starts_the_training_that_the_first_one_waits_in(
    data, asked, full, tmp_path, monkeypatch
):
    base = debug.get_config()
    base.data.path, base.schedule = str(data), "coe"
    trained = folders.untrained(config_of(base, ROWS["pipeline"]), tmp_path / "out" / "runs" / "pipeline")
    assert trained.completion("coe")  # as where the first process has linked the last stage of the row before
    given = []

    def command(arguments):
        given.append(arguments)
        for each in arguments:
            if each.startswith("--output=") and "--mode=reply" in arguments:
                text_system(tmp_path / "out" / "replies" / each.rsplit("/", 1)[1], "any", asked)
        return 0

    for name, value in (("COORDINATOR_ADDRESS", "localhost:1234"), ("NUM_PROCESSES", "2"), ("PROCESS_ID", "1")):
        monkeypatch.setenv(f"JAX_{name}", value)
    from_config.run(base, [], tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert [each[-1] for each in given if "--mode=reply" not in each][:2] == [
        "--mode=extract",
        f"--workdir={trained.folder}",
    ]


def test_the_text_baselines_are_rows_that_train_on_the_same_dialogues(data, tmp_path):
    base, given = debug.get_config(), []
    base.data.path, base.seed = str(data), 7
    begun = Run(tmp_path / "out" / "runs" / "cem")
    begun.write_config({**baselines.get_config("cem").to_dict(), "knowledge": "k"})

    def command(arguments):
        given.append(arguments)
        return 0

    from_config.run(base, ["--config=configs/debug.py"], tmp_path / "out", rows=["kemp", "cem"], run_command=command)
    train, answer, again, _, truth, tables = given
    assert train[1] == "--config=configs/baselines.py:kemp" and {f"--config.data={data}", "--config.seed=7"} <= {*train}
    assert answer[3:] == ["--mode=reply", f"--input={data}/test.json", f"--output={tmp_path}/out/replies/kemp"]
    assert "--config.knowledge=k" in again and "--config.seed=7" not in again  # a run that was begun keeps its settings
    assert "truth" in truth and f"cem={tmp_path}/out/replies/cem" in tables
