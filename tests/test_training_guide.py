"""The commands of `docs/training.md` run, in their order, on tiny checkpoints in the file forms of the originals.

`EMPATHEIA_GUIDE=1` runs all of them, and prints each with its time; by default those from the extraction on are left out, which
take minutes.
"""

from __future__ import annotations

import os
import re
import shlex
import time
from configparser import ConfigParser
from pathlib import Path

import pytest

import launch
from converters import convert
from data_pipeline import check, fit_motion
from empatheia_jax import requirements, settings
from empatheia_jax.dreamtalk import released
from empatheia_jax.media import face_landmarks
from empatheia_jax.media.video import video_info
from empatheia_jax.runs.run import Run
from tests import originals

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "training.md").read_text()
COMMANDS = [line for block in re.findall(r"```bash\n(.*?)```", GUIDE, re.DOTALL) for line in block.splitlines() if line]
CHECK = "python -m data_pipeline.check data/avamerg --headers-only"
FULL = bool(os.environ.get("EMPATHEIA_GUIDE"))
CONFIG = '''"""The config of the guide at toy size."""
from configs import debug, joint

def get_config(variant=""):
    config, tiny = joint.get_config(variant), debug.get_config()
    for block in ("bridge", "decoding"):
        config[block] = tiny[block]
    config.networks.update({"dtype": "float32", "remat": "nothing", "attention": "xla"})
    data = {name: tiny.data[name] for name in ("max_length", "answer_length", "reply_tokens", "instruction", "workers")}
    config.data.update({**data, "phonemes": 128, "frames": 64, "utterances": 1})
    for stage in config.schedule.split(","):
        config[stage].update({"steps": 2, "batch": 2, "accumulation": 1, "save_every": 2, "eval_every": 0})
    config.log_every, config.compiler_options = 1, tiny.compiler_options
    return config
'''


def run(line: str) -> int:
    """A command of the guide, in this process."""
    words = shlex.split(line)
    match words:
        case ["python", "-m", "converters.convert", *arguments]:
            return convert.main(arguments)
        case ["python", "-m", "data_pipeline.check", *arguments]:
            return check.main(arguments)
        case ["python", "-m", "data_pipeline.fit_motion", *arguments]:
            return fit_motion.main(arguments)
        case ["python", "launch.py", *arguments] | ["sbatch", "scripts/slurm_a100.sh", *arguments]:
            return launch.main(["launch.py", *arguments])
    raise AssertionError(f"nothing runs {line!r}")


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A folder as a lab has it after section 1: the downloads, the data set, and the guide's config at toy size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(released, "DENOISER", originals.DENOISER)
    monkeypatch.setattr(released, "RENDERER", originals.RENDERER)
    originals.vicuna(tmp_path / "downloads" / "vicuna-7b-v1.5")
    names = ("hubert-large-ls960-ft", "clip-vit-large-patch14-336")
    originals.encoders(*(tmp_path / "downloads" / name for name in names))
    originals.styletts2(tmp_path / "downloads" / "styletts2")
    originals.dreamtalk(tmp_path / "downloads" / "dreamtalk")
    originals.avamerg(tmp_path / "data" / "avamerg")
    originals.style_clips(tmp_path / "downloads" / "style_clips")
    originals.faces(tmp_path / "faces")
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "joint.py").write_text(CONFIG)
    return tmp_path


def test_the_guide_leads_from_downloads_to_a_reply(lab, capsys):
    until = len(COMMANDS) if FULL else next(n for n, line in enumerate(COMMANDS) if "--mode=extract" in line)
    for line in COMMANDS[:until]:
        if "fit_motion" in line:
            if " fit " in line:
                assert run(f"{CHECK} --stages=style") == 1 and "has no face coefficients" in capsys.readouterr().out
            if not face_landmarks.is_installed():
                originals.motion(lab / "data" / "avamerg")  # what the fitter would write
                continue
        began = time.perf_counter(), time.process_time()
        code = run(line)
        said = capsys.readouterr()
        if FULL:
            wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
            with capsys.disabled():
                print(f"\n$ {line}\n  exit {code}, {wall:.0f} s, {cpu:.0f} s of CPU", flush=True)
        if "--mode=check" in line and not (lab / "data" / "avamerg" / "features").exists():
            assert (
                code == 2 and said.err.count("error:") == said.err.count("\n") == said.err.count("--mode=extract") == 1
            )
            continue
        assert code == 0, f"{line}\n{said.out}\n{said.err}"
        if line == CHECK:
            assert "no utterance has face coefficients" in said.out
        if "--mode=check" in line:
            assert "nothing is missing" in said.out
    assert {each.name for each in (lab / "weights").iterdir() if each.is_dir()} == {
        "vicuna-7b-v1.5",
        "hubert-large-ls960-ft",
        "clip-vit-large-patch14-336",
        "styletts2-libritts",
        "dreamtalk",
    }
    if not FULL:
        return
    run_folder = Run(lab / "runs" / "joint")
    assert run_folder.trained_stages() == ["coe", "content", "style", "joint"]
    assert "joint" in (run_folder.folder / "report.html").read_text()
    assert video_info(lab / "out" / "reply.mp4").frames > 0
    assert (lab / "out" / "test" / "replies.jsonl").read_text().count("\n") >= 1
    assert (lab / "releases" / "joint" / "README.md").is_file()


def test_the_commands_for_a_cluster_have_flags_that_exist_and_train_as_many_dialogues():
    shown = "\n".join(re.findall(r"```console\n(.*?)```", GUIDE, re.DOTALL)).replace("\\\n", "")
    lines = [shlex.split(line) for line in shown.splitlines() if "scripts/slurm_a100.sh" in line]
    configs = []
    for words in lines:
        given, wrong = launch.read_flags(words[words.index("scripts/slurm_a100.sh") :])
        configs.append(settings.read(settings.Experiment, given.config, wrong))
    one, eight = configs
    assert "--gpus-per-node=1" in lines[0] and requirements.batches(one, 1) == requirements.idle_devices(one, 1) == []
    assert requirements.batches(eight, 8) == requirements.idle_devices(eight, 8) == []
    for stage in one.schedule:
        ratio = eight[stage].batch / one[stage].batch
        assert one[stage].steps == ratio * eight[stage].steps
        assert eight[stage].learning_rate == pytest.approx(ratio**0.5 * one[stage].learning_rate, rel=0.02)


def test_what_the_guide_installs_exists():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    extras = set(setup["options.extras_require"])
    named = {extra for found in re.findall(r"\.\[([\w,]+)\]", GUIDE) for extra in found.split(",")}
    assert named and named <= extras
    table = GUIDE[GUIDE.index("| extra |") : GUIDE.index("One machine without SLURM")]
    assert set(re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|\n)", table)) <= extras
