"""From a config to all tables by one command, and runs that share the stages they train alike."""

from __future__ import annotations

import pytest

from configs import baselines, debug, joint, quickstart
from configs.tables import ROWS, small_baseline
from converters.release import card
from data_pipeline.corpus import __main__ as corpora
from empatheia_jax import settings
from empatheia_jax.baselines.settings import BaselineTraining
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


def test_a_row_without_the_chain_does_not_begin_from_the_starter_that_has_learned_it():
    base = quickstart.get_config()
    for row in ("pipeline", "without-coe"):
        bare = config_of(base, ROWS[row])
        assert bare.start == "" and bare.coe == settings.resolve(quickstart.get_config("bare")).coe
        assert {"--config.start=", "--config.coe.steps=35"} <= {*from_config.overrides(base, ROWS[row])}
    assert config_of(base, ROWS["without-cs"]).start == "starter"
    assert "--config.start=" not in from_config.overrides(debug.get_config(), ROWS["pipeline"])


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
    assert f"--training={data}/train.json" in given[-1] and "--last-turns" not in given[-1]
    given.clear()
    base.data.last_turn_only = True
    from_config.run(base, flags, tmp_path / "out", rows=["pipeline"], workdir=full.folder, run_command=command)
    assert "--last-turns" in given[-1] and "--last-turns" in given[-2]
    base.data.last_turn_only = False
    (tmp_path / "other").symlink_to(data)  # another data set is evaluated: lips are learned from that of the training
    other = tmp_path / "other"
    from_config.run(
        base, flags, tmp_path / "out", data=other, rows=["pipeline"], workdir=full.folder, run_command=command
    )
    assert {f"--recordings={data}", f"--data={other}"} <= set(given[-1])
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


def test_replies_to_a_few_turns_are_continued_and_those_to_enough_are_kept(data, asked, full, tmp_path):
    base, given = debug.get_config(), []
    base.data.path = str(data)
    replies = tmp_path / "out" / "replies" / "pipeline"
    text_system(replies, "any", dict(list(asked.items())[:2]))
    folders.untrained(config_of(base, ROWS["pipeline"]), tmp_path / "out" / "runs" / "pipeline")
    (tmp_path / "out" / "tables.md").write_text("### Table 2\n")

    def answers(**chosen):
        given.clear()
        command = lambda arguments: given.append(arguments) or 0  # noqa: E731
        from_config.run(base, [], tmp_path / "out", rows=["pipeline"], run_command=command, **chosen)
        return [each for each in given if "--mode=reply" in each]

    assert not answers(limit=2)
    assert "--limit=3" in answers(limit=3)[0]
    assert len(answers()) == 1  # two replies are not the whole split


def test_beside_a_run_that_begins_from_the_starter_the_baselines_learn_from_its_dialogues_too(data, tmp_path):
    base, given = quickstart.get_config(), []
    base.data.path = str(data)

    def command(arguments):
        given.append(arguments)
        return 0

    out = tmp_path / "out"
    from_config.run(base, ["--config=configs/quickstart.py"], out, rows=["case"], run_command=command)
    corpus, train, answer, _, tables = given
    assert corpus == ["-m", "data_pipeline.corpus", f"--output={out}/corpus"]
    assert {f"--config.data={out}/corpus", "--config.seed=13", "--config.network.width=50"} <= {*train}
    assert f"--input={data}/test.json" in answer
    values = baselines.get_config("case")
    values.update_from_flattened_dict(dict(small_baseline("case")))  # every key is one of the config
    assert settings.read(BaselineTraining, values).steps == 500 and values.pretrain_steps == 250
    corpora.main([f"--output={out}/corpus"])
    given.clear()
    from_config.run(base, ["--config=configs/quickstart.py"], out, rows=["case"], run_command=command)
    assert given[0][1] == "--config=configs/baselines.py:case"  # written once
    assert f"--training={out}/corpus/train.json" in given[-1]
