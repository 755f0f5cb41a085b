"""A run can be stopped anywhere and goes on with the same bits; what goes wrong is said, and the last good save stays."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs import checkpoint, metrics
from empatheia_jax.training import checkpoints, loop, optimizers, step
from empatheia_jax.training.metrics import Metrics
from tests.training import tiny, tiny_run

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "JAX_PLATFORMS": "cpu"}


class Interrupted(Exception):
    """Stands for whatever ends a process."""


class Batches(tiny.Batches):
    """Does something before the batch of one step."""

    def __init__(self, at=None, what=None):
        super().__init__()
        self.at, self.what = at, what

    def __next__(self):
        batch = super().__next__()
        if self.position == self.at:
            self.what(batch)
        return batch


def poison(batch):
    batch.style[0] = np.nan


def interrupt(_):
    raise Interrupted


@pytest.fixture(scope="module")
def built():
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=12)
    mesh = make_mesh(devices=jax.devices()[:1])
    cut = tiny.split()
    return cut, step.build(
        cut, tiny.loss, optimizers.build(config), mesh, coefficients=tiny.COEFFICIENTS, accumulation=2, ema=0.9
    )


def run(built, folder, batches, steps=12, fingerprint=None, **options):
    cut, compiled = built
    with checkpoints.Checkpoints(folder / "checkpoints" / "coe", fingerprint=fingerprint or {"lora": 8}) as saved:
        return loop.run(
            "coe",
            compiled,
            compiled.init(cut.trainable, 0),
            compiled.place_frozen(cut.frozen),
            batches,
            saved,
            Metrics(folder / "metrics", tensorboard=False),
            steps,
            **{"log_every": 2, "save_every": 4, "progress": False, **options},
        )


@pytest.fixture(scope="module")
def whole(built, tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    return folder, run(built, folder, Batches())


def same(one, other):
    return all(np.array_equal(one[path], other[path]) for path in one)


def test_the_loss_falls_and_the_log_holds_every_line_once(whole):
    folder, result = whole
    assert result.last_loss < result.first_loss
    entries = metrics.read(folder / "metrics" / "metrics.jsonl")
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]
    assert {"loss", "ce", "grad_norm", "tokens_per_second", "time_data_ms", "time_compute_ms"} <= entries[-1].keys()


def test_the_step_that_compiles_says_nothing_about_speed(built, tmp_path):
    cut, _ = built
    fresh = step.build(
        cut, tiny.loss, optimizers.build(optimizers.OptimizerConfig(1e-2, 12)), make_mesh(devices=jax.devices()[:1])
    )
    run((cut, fresh), tmp_path, Batches(), steps=2, log_every=1)
    first, second = metrics.read(tmp_path / "metrics" / "metrics.jsonl")
    assert "time_compile_ms" in first and "tokens_per_second" not in first
    assert second["tokens_per_second"] > 0


def test_resume_gives_the_same_bits(built, whole, tmp_path):
    with pytest.raises(Interrupted):
        run(built, tmp_path, Batches(at=7, what=interrupt))
    assert checkpoint.steps_on_disk(tmp_path / "checkpoints" / "coe") == [4]
    result = run(built, tmp_path, Batches())
    assert same(result.state.trainable, whole[1].state.trainable) and same(result.state.ema, whole[1].state.ema)
    assert result.first_loss == whole[1].first_loss
    entries = metrics.read(tmp_path / "metrics" / "metrics.jsonl")
    assert [entry["step"] for entry in entries] == [2, 4, 6, 8, 10, 12]


def test_a_complete_stage_is_skipped_and_its_weights_come_back(built, whole):
    folder, result = whole
    again = run(built, folder, Batches(at=1, what=interrupt))
    assert again.skipped and again.last_loss == result.last_loss
    assert same(again.state.trainable, result.state.trainable)
    alone = checkpoint.load_trainable(folder / "checkpoints" / "coe", average=False)
    assert same(alone, result.state.trainable)
    assert same(checkpoint.load_trainable(folder / "checkpoints" / "coe"), result.state.ema)


def test_a_loss_that_is_not_finite_stops_with_the_steps_and_keeps_the_last_good_checkpoint(built, tmp_path):
    with pytest.raises(loop.NonFiniteLoss, match=r"at step 6 \(seen while checking steps 5 to 6\).*step 4 is good"):
        run(built, tmp_path, Batches(at=6, what=poison))
    assert checkpoint.steps_on_disk(tmp_path / "checkpoints" / "coe") == [4]


def test_sigterm_saves_and_exits_with_code_0(built, whole, tmp_path):
    with pytest.raises(SystemExit) as exit_:
        run(built, tmp_path, Batches(at=6, what=lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    assert exit_.value.code == 0
    assert checkpoint.steps_on_disk(tmp_path / "checkpoints" / "coe") == [4, 6]
    assert same(run(built, tmp_path, Batches()).state.trainable, whole[1].state.trainable)


def test_a_sigterm_in_the_last_step_of_a_stage_starts_no_further_one(built, whole, tmp_path):
    folder = tmp_path / "more"
    with pytest.raises(SystemExit) as exit_:
        run(built, folder, Batches(at=12, what=lambda _: os.kill(os.getpid(), signal.SIGTERM)), later=3.0)
    assert exit_.value.code == 0
    assert run(built, folder, Batches()).skipped  # it is complete
    last = run(built, tmp_path / "last", Batches(at=12, what=lambda _: os.kill(os.getpid(), signal.SIGTERM)))
    assert same(last.state.trainable, whole[1].state.trainable)


def test_several_processes_count_their_questions_over_all_stages(monkeypatch):
    """JAX stops them all at the number behind the highest so far; a stage that began at 1 again would never come to it."""
    asked = []
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    monkeypatch.setattr(loop.multihost_utils, "reached_preemption_sync_point", lambda number: asked.append(number))
    for _ in range(2):
        with loop._Signals() as signals:
            for _ in range(3):
                signals.stop()
    assert asked == list(range(asked[0], asked[0] + 6))


def test_data_that_ends_early_is_explained(built, tmp_path):
    class Short(Batches):
        def __next__(self):
            if self.position == 3:
                raise StopIteration
            return super().__next__()

    with pytest.raises(UserError, match="ended before step 4 of 12"):
        run(built, tmp_path, Short())


def test_a_folder_of_another_run_is_refused(built, whole):
    with pytest.raises(UserError, match="another run \\(lora: 8 there, 16 here\\)"):
        run(built, whole[0], Batches(), fingerprint={"lora": 16})


def test_only_the_newest_checkpoints_stay(whole):
    assert checkpoint.steps_on_disk(whole[0] / "checkpoints" / "coe") == [8, 12]


def copy_of(whole, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(whole[0], folder)
    return folder, folder / "checkpoints" / "coe"


def flip(path):
    """One bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def test_a_damaged_newest_step_is_named_and_the_one_before_it_offered(built, whole, tmp_path):
    copy, folder = copy_of(whole, tmp_path)
    (folder / "complete.json").unlink()
    flip(next(path for path in sorted((folder / "12" / "trainable" / "d").iterdir())))
    with pytest.raises(checkpoints.CheckpointError, match=r"12 is damaged: trainable/d/.*go on from step 8") as caught:
        run(built, copy, Batches())
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="go on from step 8"):
        checkpoint.load_trainable(folder, average=False)
    assert checkpoint.load_trainable(folder)  # the average has files of its own
    shutil.rmtree(folder / "12")
    assert same(run(built, copy, Batches()).state.trainable, whole[1].state.trainable)


def test_damaged_notes_of_orbax_never_reach_it(built, whole, tmp_path):
    copy, folder = copy_of(whole, tmp_path)
    notes = folder / "12" / "_CHECKPOINT_METADATA"
    for text in ("", "[]", notes.read_text().replace("PyTree", "PyTrea")):
        notes.write_text(text)
        with pytest.raises(UserError, match="_CHECKPOINT_METADATA is not what was written"):
            checkpoint.load_trainable(folder)
        with pytest.raises(UserError, match="_CHECKPOINT_METADATA is not what was written"):
            run(built, copy, Batches())


def test_a_lost_last_step_is_not_believed_to_be_complete(built, whole, tmp_path, capsys):
    copy, folder = copy_of(whole, tmp_path)
    shutil.rmtree(folder / "12")
    assert checkpoint.completion(folder) is None and checkpoint.lost_step(folder) == 12
    with pytest.raises(UserError, match="step 12, which completed the stage, is lost .the newest there is 8"):
        checkpoint.load_trainable(folder)
    result = run(built, copy, Batches())
    assert "step 12, which completed the stage, is lost; going on from step 8" in capsys.readouterr().err
    assert not result.skipped and same(result.state.trainable, whole[1].state.trainable)
    assert checkpoint.completion(folder)["step"] == 12


RECORDS = {
    "empty": lambda text: "",
    "halved": lambda text: text[: len(text) // 2],
    "of another type": lambda text: "[1]",
    "of other values": lambda text: text.replace("12", "8").replace("lora", "lorb"),
    "nested too deep": lambda text: "[" * 100_000,
}


@pytest.mark.parametrize("name", ["run.json", "complete.json"])
@pytest.mark.parametrize("damage", RECORDS)
def test_a_damaged_record_is_one_line(built, whole, tmp_path, name, damage):
    copy, folder = copy_of(whole, tmp_path)
    (folder / name).write_text(RECORDS[damage]((folder / name).read_text()))
    with pytest.raises(UserError, match=f"{name} is damaged") as caught:
        run(built, copy, Batches())
    assert "\n" not in str(caught.value)


def test_what_is_not_finite_is_never_saved(built, tmp_path, monkeypatch):
    cut, _ = built
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=4)
    broken = optax.chain(optimizers.build(config), optax.stateless(lambda updates, params: poisoned(updates)))
    mesh = make_mesh(devices=jax.devices()[:1])
    bad = step.build(cut, tiny.loss, broken, mesh, coefficients=tiny.COEFFICIENTS)
    average = step.build(
        cut, tiny.loss, optimizers.build(config), mesh, coefficients=tiny.COEFFICIENTS, ema=lambda done: done * jnp.nan
    )
    for name, in_memory in (("read by NumPy", True), ("read by the devices", False)):
        monkeypatch.setattr(loop, "_in_memory", lambda in_memory=in_memory: in_memory)
        folder = tmp_path / name / "checkpoints" / "coe"
        with pytest.raises(loop.NonFiniteLoss, match="step 1 .*not finite; there is no checkpoint yet"):
            run((cut, bad), tmp_path / name, Batches(), steps=1)
        assert checkpoint.steps_on_disk(folder) == []
        assert checkpoint.completion(folder) is None
        with pytest.raises(loop.NonFiniteLoss, match="moving average"):
            run((cut, average), tmp_path / name, Batches(), steps=1)
        assert checkpoint.steps_on_disk(folder) == []


def poisoned(updates):
    return jax.tree.map(lambda update: update * jnp.nan, updates)


def test_too_little_space_is_said_before_anything_is_written(built, whole, tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 100})
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(checkpoints.CheckpointError, match="is full"):
        run(built, tmp_path, Batches())
    assert checkpoint.steps_on_disk(tmp_path / "checkpoints" / "coe") == []


def test_metrics_survive_a_line_that_a_kill_cut_short_or_a_disk_damaged(tmp_path):
    log = Metrics(tmp_path)
    log.write("coe", 1, {"loss": 2.0})
    with log.path.open("ab") as file:
        # what a disk gives back after a loss of power, and what breaks readers of JSON
        file.write(b"\0" * 40 + b"\n\xff\xfe\n" + b"[" * 100_000 + b"\n" + b"9" * 5000 + b"\n")
        file.write(b'{"stage": "coe", "st')
    assert [entry["loss"] for entry in metrics.read(log.path, "coe")] == [2.0]
    log.resume("coe", 1)
    log.write("coe", 2, {"loss": 1.0})
    assert [entry["loss"] for entry in metrics.read(log.path, "coe")] == [2.0, 1.0]
    assert len([json.loads(line) for line in log.path.read_text().splitlines()]) == 2
    log.close()
    assert list((tmp_path / "coe").glob("events.*"))


# --- as processes of their own ----------------------------------------------------------------------------------


def command(folder, *options):
    return [sys.executable, "-m", "tests.training.tiny_run", str(folder), *map(str, options)]


def start(folder, *options):
    return subprocess.Popen(
        command(folder, *options),
        cwd=ROOT,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def digest(process):
    out, error = process.communicate(timeout=240)
    assert process.returncode == 0, error[-2000:]
    return digest_in(out)


def digest_in(said):
    return re.search(r"digest (\w+)", said).group(1)


def wait_for_step(folder, number, process, seconds=120):
    deadline = time.monotonic() + seconds
    while max(checkpoint.steps_on_disk(folder / "checkpoints" / "coe"), default=0) < number:
        assert process.poll() is None and time.monotonic() < deadline, "the run did not get that far"
        time.sleep(0.02)


def test_kill_9_and_a_full_disk_lose_nothing_that_was_saved(tmp_path, capsys):
    """A kill at a random moment, a disk that fills up during a save, and the end is bit-identical."""
    assert tiny_run.main([str(tmp_path / "straight")]) == 0  # nothing happens to this one, so it needs no process
    straight, hurt = digest_in(capsys.readouterr().out), tmp_path / "hurt"
    on_disk = lambda: checkpoint.steps_on_disk(hurt / "checkpoints" / "coe")  # noqa: E731
    full = start(hurt, "--file_limit", 2000, "--log_every", 20)
    _, error = full.communicate(timeout=120)
    assert full.returncode == 2, error[-2000:]
    # Saves run in the background, so the one that the disk refuses is that of step 4 or of step 6.
    assert on_disk() in ([2], [2, 4])
    assert "Traceback" not in error, error[:2000]
    last = error.splitlines()[-1]
    assert last.startswith("error: the disk of ") and f"the checkpoint of step {on_disk()[-1]} is intact" in last

    process = start(hurt, "--pause", 0.05)
    wait_for_step(hurt, 6, process)
    time.sleep(random.uniform(0.0, 0.3))
    process.kill()
    process.communicate()
    assert on_disk()[-1] >= 6
    assert digest(start(hurt)) == straight


@pytest.mark.slow  # six processes; tests/parallel/test_distributed.py kills one of two, test_kill_9 above resumes
def test_two_processes_train_and_the_survivor_of_a_kill_ends_with_a_clear_line(tmp_path):
    def port():
        with socket.socket() as free:
            free.bind(("localhost", 0))
            return free.getsockname()[1]

    def pair(folder, *options):
        number = port()
        return [start(folder, "--processes", 2, "--process", i, "--port", number, *options) for i in (0, 1)]

    straight = [digest(process) for process in pair(tmp_path / "straight")]
    assert straight[0] == straight[1]
    hurt = tmp_path / "hurt"
    processes = pair(hurt, "--pause", 0.2)
    wait_for_step(hurt, 4, processes[0])
    processes[1].kill()
    killed = time.monotonic()
    _, error = processes[0].communicate(timeout=60)
    assert time.monotonic() - killed < 60
    assert processes[0].returncode == 75 and "lost a peer" in error and "start all processes again" in error
    processes[1].communicate()
    assert [digest(process) for process in pair(hurt)] == straight
