"""Whatever happens to the files of a run, its numbers are read as they were written, or one line says what is damaged."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path

import jax
import numpy as np
import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs import checkpoint, metrics
from empatheia_jax.runs.run import Run
from empatheia_jax.training import optimizers, partition, trainer
from tests.training import tiny

FULL = os.environ.get("EMPATHEIA_DAMAGE", "")
"""`EMPATHEIA_DAMAGE=200,50,50`: bits flipped, files deleted, files cut short; a few of each by default."""
COUNTS = dict(zip(("flip", "delete", "cut"), map(int, FULL.split(",") if FULL else (24, 8, 8))))


class Data:
    """Endless batches and one to evaluate on."""

    def train(self):
        return tiny.Batches()

    def validation(self):
        return iter([tiny.batch(100)])


def train(folder: Path, steps: int = 2) -> dict[str, np.ndarray]:
    """Trains the tiny network by the trainer; its parameters at the end."""
    model = tiny.model()
    phase = trainer.Phase(
        name="coe",
        trainable=tiny.TRAINABLE,
        loss=tiny.loss,
        coefficients=tiny.COEFFICIENTS,
        optimizer=optimizers.build(optimizers.OptimizerConfig(learning_rate=1e-2, steps=steps)),
        steps=steps,
        data=Data(),
        fingerprint={"lora.rank": 2},
        ema=0.5,
        save_every=1,
        eval_every=1,
    )
    mesh = make_mesh(devices=jax.devices()[:1])
    trainer.run_phases([phase], model, folder, mesh, config={"name": "tiny", "lora": {"rank": 2}}, log_every=1)
    return leaves(model)


def leaves(model) -> dict[str, np.ndarray]:
    return {path: np.asarray(value) for path, value in partition.split(model, tiny.TRAINABLE).trainable.items()}


def use(folder: Path) -> dict[str, np.ndarray]:
    """What a reply does: the run's config and its trained parameters in a model."""
    run, model = Run(folder), tiny.model()
    assert run.config() == {"name": "tiny", "lora": {"rank": 2}}
    assert run.load_into(model) == ["coe"]
    return leaves(model)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole")
    trained = train(folder)
    assert all(np.array_equal(use(folder)[path], value) for path, value in trained.items())
    return folder, trained


def flip(path: Path, rng: random.Random) -> None:
    content = bytearray(path.read_bytes())
    if content:
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.write_bytes(content)


def cut(path: Path, rng: random.Random) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: rng.randrange(len(content))] if content else b"")


DAMAGES = {"flip": flip, "delete": lambda path, rng: path.unlink(), "cut": cut}


@pytest.mark.parametrize("kind", DAMAGES)
def test_no_damage_is_read_as_other_numbers(whole, tmp_path, kind):
    folder, trained = whole
    rng, outcomes = random.Random(kind), {"as written": 0, "one line": 0}
    for _ in range(COUNTS[kind]):
        copy = tmp_path / "copy"
        shutil.copytree(folder, copy)
        files = sorted(p for p in copy.rglob("*") if p.is_file() and "compilation_cache" not in p.parts)
        damaged = rng.choice(files)
        DAMAGES[kind](damaged, rng)
        for attempt in (use, train):
            where = f"{kind} {damaged.relative_to(copy)}, {attempt.__name__}"
            try:
                found = attempt(copy)
            except UserError as error:
                assert "\n" not in str(error), where
                outcomes["one line"] += 1
            else:
                assert all(np.array_equal(found[path], value) for path, value in trained.items()), where
                outcomes["as written"] += 1
        shutil.rmtree(copy)
    print(kind, outcomes)
    assert outcomes["one line"] > 0


def test_a_moving_average_that_is_gone_is_not_replaced_by_the_raw_parameters(whole, tmp_path):
    copy = shutil.copytree(whole[0], tmp_path / "copy")
    shutil.rmtree(copy / "checkpoints" / "coe" / "2" / "ema")
    for attempt in (use, train):
        with pytest.raises(UserError, match="ema/.* is missing"):
            attempt(copy)


def test_a_step_under_the_name_of_another_is_not_that_step(whole, tmp_path):
    copy = shutil.copytree(whole[0], tmp_path / "copy")
    steps = copy / "checkpoints" / "coe"
    shutil.rmtree(steps / "2")
    shutil.copytree(steps / "1", steps / "2")
    for attempt in (use, train):
        with pytest.raises(UserError, match="holds step 1"):
            attempt(copy)


@pytest.mark.parametrize("name", ["complete.json", "run.json", "config.json", "metrics.jsonl"])
def test_a_pipe_in_place_of_a_record_is_not_waited_for(tmp_path, name):
    """A thread asks, since opening a pipe waits for ever."""
    os.mkfifo(tmp_path / name)
    asked = {
        "complete.json": lambda: checkpoint.completion(tmp_path),
        "run.json": lambda: checkpoint.belongs_to(tmp_path),
        "config.json": lambda: Run(tmp_path).config(),
        "metrics.jsonl": lambda: metrics.read(tmp_path / name),
    }[name]
    found: list = []

    def ask():
        try:
            found.append(asked())
        except UserError as error:
            found.append(str(error))

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(10)
    assert found and (found == [[]] if name == "metrics.jsonl" else "\n" not in found[0])
