"""Flags, configs and modes of `launch.py`."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags
from ml_collections import config_flags

import launch
from configs import debug, joint
from empatheia_jax import requirements, tiny
from empatheia_jax.errors import UserError
from empatheia_jax.runs import fit
from empatheia_jax.settings import flags as mode_flags
from empatheia_jax.settings import resolve
from empatheia_jax.training import schedule, step
from tests.command_line import parse
from tests.dialogue.test_reply import DIALOGUE, recordings
from tests.runs import folders

ROOT = Path(__file__).resolve().parents[1]
DEBUG = "--config=configs/debug.py"


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "no config was given"),
        (["--config=configs/nowhere.py"], "does not exist"),
        (["--config=README.md"], "is no config file"),
        (["--config=configs/joint.py:bogus"], "bogus"),
        ([DEBUG, "--config.nokey=3"], "nokey is no key of the config; the nearest are"),
        ([DEBUG, "--config.seed=many"], "seed='many'; expected a whole number"),
        ([DEBUG, "--config.seed", "many"], "seed='many'; expected a whole number"),
        ([DEBUG, "--config.data={}"], "data={}; expected its keys one by one"),
        ([DEBUG, "--flagfile=/no/such/file"], "/no/such/file"),
        ([DEBUG, "--mode=fly"], "should be one of"),
        ([DEBUG, "--mod=reply"], "Did you mean: modalities, mode"),
        ([DEBUG, "reply"], "'reply' is not understood"),
        ([DEBUG, "--mode=serve", "--bind=here"], "expected an address and a port"),
        ([DEBUG, "--mode=serve", "--bind=:8080"], "--bind=:8080; expected an address and a port"),
        ([DEBUG, "--mode=serve", "--names=a b/c"], "'a b/c' is no name of a host"),
        ([DEBUG, "--mode=serve", f"--token={' ' * 20}"], "16 or more"),
        ([DEBUG, "--mode=serve", "--bind=0.0.0.0:8080"], "set a token in EMPATHEIA_TOKEN"),
        ([DEBUG, "--mode=serve", "--bind=0.0.0.0:8080", "--token=short"], "16 or more"),
        ([DEBUG, "--mode=serve", "--origins=lab.example"], "expected for example https://lab.example"),
        ([DEBUG, "--mode=evaluate"], "--mode=evaluate needs --output"),
        ([DEBUG, "--mode=evaluate", "--output=out", "--rows=moel"], "--rows names moel"),
        ([DEBUG, "--mode=reply"], "and either what you say"),
        ([DEBUG, "--mode=reply", "--output=out", "--text=hello", "--input=dialogue.json"], "either what you say"),
        ([DEBUG, "--mode=reply", "--output=out", "--profile=elderly male gentle"], "there is nothing to answer"),
        ([DEBUG, "--workdir=gs://bucket/run"], "mount the bucket as a folder"),
        ([DEBUG, "--workdir="], "--workdir is empty"),
        ([DEBUG, "--mode=reply", "--output=out", "--text=hello", "--speech="], "--speech is empty; leave it out"),
        ([DEBUG, "--mode=serve", "--token="], "--token is empty; leave it out"),
        ([DEBUG, "--mode=evaluate", "--output=out", "--rows="], "--rows is empty"),
        ([DEBUG, "--output=out"], "--output is not for --mode=train; expected it with reply or chat"),
        ([DEBUG, "--mode=serve", "--portrait=face.png"], "--portrait is not for --mode=serve"),
        ([DEBUG, "--mode=preflight", "--noverify"], "--verify is not for --mode=preflight"),
        ([DEBUG, "--config.data.path=s3://bucket/avamerg"], "a path of this machine"),
    ],
)
def test_a_wrong_flag_is_one_line_and_exit_code_2(arguments, message, capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    assert launch.main(["launch.py", f"--workdir={tmp_path}", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.startswith("error: ") and said.count("\n") == 1


def test_the_help_tells_of_every_flag(capsys):
    with pytest.raises(SystemExit) as ended:
        launch.main(["launch.py", "--help"])
    said, values = capsys.readouterr().out, flags.FlagValues()
    mode_flags.define(values)
    names = {values[name].name for name in values}  # `h` is short for `help`
    assert not ended.value.code and "Modes: " in said and len(names) > 20
    assert all(f"--{name}: " in said or f"--[no]{name}: " in said for name in names)


def test_everything_wrong_with_what_is_asked_is_said_at_once(capsys, monkeypatch, tmp_path):
    monkeypatch.chdir(ROOT)
    asked = ["--profile=ancient", "--speech=gone.wav", "--emotion=purple", "--text=hello"]
    assert launch.main(["launch.py", DEBUG, "--mode=reply", f"--workdir={tmp_path}", "--output=out", *asked]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert len(said) == 3 and all(any(part in line for line in said) for part in ("--profile: ", "gone.wav", "purple"))


def test_a_config_file_that_fails_is_one_line(tmp_path, capsys):
    for text, message in (("def get_config(", "never closed"), ("x = 1 / 0", "division by zero"), ("", "get_config")):
        (tmp_path / "mine.py").write_text(text)
        assert launch.main(["launch.py", f"--config={tmp_path / 'mine.py'}"]) == 2
        said = capsys.readouterr().err
        assert message in said and said.startswith("error: ") and said.count("\n") == 1


def test_a_variant_of_a_config_that_has_none_is_one_line(monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    assert launch.main(["launch.py", "--config=configs/debug.py:tiny", "--mode=check"]) == 2
    assert capsys.readouterr().err.startswith("error: --config: this config has no variants; leave out ")


def test_the_command_itself_ends_with_that_code():
    done = subprocess.run(
        [sys.executable, "launch.py", DEBUG, "--config.seed=-1"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stderr.startswith("error: seed=-1; expected ") and done.stderr.count("\n") == 1


def test_missing_weights_and_data_are_one_line_each_with_the_command():
    config = joint.get_config()
    config.networks.weights_dir, config.data.path = "no-such-weights", "no-such-data"
    lines = requirements.missing(resolve(config))
    assert len(lines) == 6
    assert sum("python -m converters." in line and "no-such-weights" in line for line in lines) == 5
    assert requirements.missing(resolve(debug.get_config())) == []


@pytest.mark.parametrize("variant", [*joint.ABLATIONS, "debug"])
def test_every_variant_resolves_to_a_schedule_of_known_stages(variant):
    config = resolve(joint.get_config(variant))
    for stage in config.schedule:
        assert schedule.optimizer_config(config[stage]).steps > 0
    schedule.objective(config)


def test_compiler_options_are_tried_on_xla_at_once():
    options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
    assert step.accepted_options(options) == options
    with pytest.raises(UserError, match="xla_no_such_option"):
        step.accepted_options({"xla_no_such_option": 1})


def test_made_up_networks_are_those_that_exist():
    assert set(requirements.MADE_UP) == set(tiny.CORES)


def test_a_reply_takes_the_runs_own_config_and_the_flags_alone(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    values = debug.get_config()
    values.lora.rank = 4
    run = folders.untrained(resolve(values), tmp_path / "run")
    given, config = parse(["launch.py", DEBUG, "--mode=reply", "--config.decoding.top_k=3"])
    ours = fit.as_trained(config, run.folder, config_flags.get_override_values(given["config"]))
    assert ours.lora.rank == 4 and ours.decoding.top_k == 3 and config.lora.rank == 8
    assert "config.json decides, not the config file, where they differ: lora.rank" in capsys.readouterr().out
    dialogue = tmp_path / "dialogue.json"
    dialogue.write_text(json.dumps([DIALOGUE]))
    command = ["launch.py", DEBUG, "--mode=reply", f"--workdir={run.folder}", f"--input={dialogue}"]
    command += [f"--output={tmp_path / 'out'}", "--config.lora.rank=16"]
    recordings(tmp_path, 0.2)
    assert launch.main(command) == 2
    said = capsys.readouterr().err
    assert "trained with other settings (lora.rank: 4 there, 16 here)" in said and said.count("\n") == 1


@pytest.mark.parametrize("mode", ["reply", "chat", "serve", "export"])
def test_a_run_that_is_a_file_or_is_not_there_is_one_line_and_leaves_nothing(mode, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    asked = ["--text=hello"] if mode == "reply" else ["--bind=127.0.0.1:0"] if mode == "serve" else []
    command = ["launch.py", DEBUG, f"--mode={mode}", f"--output={tmp_path / 'out'}", *asked]
    (tmp_path / "file").write_text("no run")
    for workdir, message in (("file", "is a file; expected the folder of a run"), ("absent", "train first")):
        assert launch.main([*command, f"--workdir={tmp_path / workdir}"]) == 2
        said = capsys.readouterr().err
        assert message in said and said.startswith("error: ") and said.count("\n") == 1
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_sample_that_fails_ends_the_run_with_its_report_and_code_0(tmp_path, capsys, monkeypatch):
    from empatheia_jax.dialogue import commands

    def trained(config, workdir, *_):
        folders.untrained(config, workdir)

    def fails(*_):
        raise ZeroDivisionError("no reply")

    monkeypatch.setattr(schedule, "run", trained)
    monkeypatch.setattr(commands, "sample", fails)
    assert launch.train(resolve(debug.get_config()), tmp_path / "run") == 0
    assert "no sample of a reply in its report: ZeroDivisionError: no reply" in capsys.readouterr().err


def test_a_training_answers_the_dialogue_that_is_given_and_refuses_a_wrong_one_before_it(tmp_path, monkeypatch):
    from empatheia_jax.dialogue import commands

    trained, answered = [], []

    def run(config, workdir, *_):
        trained.append(workdir)
        folders.untrained(config, workdir)

    monkeypatch.setattr(schedule, "run", run)
    monkeypatch.setattr(
        commands, "reply", lambda config, workdir, source, output, *_: answered.append((source, output))
    )
    config, workdir = resolve(debug.get_config()), tmp_path / "run"
    question = ROOT / "examples" / "question.json"
    assert launch.train(config, workdir, question) == 0
    assert answered == [(question, workdir / "samples" / "90001")] and (workdir / "report.html").is_file()
    (tmp_path / "wrong.json").write_text("[]")
    with pytest.raises(UserError, match="expected one to answer"):
        launch.train(config, tmp_path / "other", tmp_path / "wrong.json")
    assert trained == [workdir]
