"""The one trainer: what is evaluated, handed on and exported is one thing; data are opened once; a folder is held alone."""

from __future__ import annotations

import time

import jax
import numpy as np
import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs import checkpoint, report
from empatheia_jax.runs.lock import Lock
from empatheia_jax.runs.run import Run
from empatheia_jax.training import optimizers, partition, schedule, stages, step, trainer
from tests.training import tiny


class Data:
    """Endless batches and one to evaluate on."""

    def train(self):
        return tiny.Batches()

    def validation(self):
        return iter([tiny.batch(100)])


def phase(name="coe", steps=3, **values):
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=steps)
    fields = {
        "trainable": tiny.TRAINABLE,
        "loss": tiny.loss,
        "coefficients": tiny.COEFFICIENTS,
        "optimizer": optimizers.build(config),
        "data": Data(),
        "fingerprint": {"model": "tiny"},
        "save_every": 1,
    }
    return trainer.Phase(name=name, steps=steps, **{**fields, **values})


def run(folder, *phases, model=None):
    mesh = make_mesh(devices=jax.devices()[:1])
    model = tiny.model() if model is None else model
    results = trainer.run_phases(phases, model, folder, mesh, config={"name": "tiny"}, log_every=1)
    return model, results


def leaves(model):
    return {path: np.asarray(value) for path, value in partition.split(model, tiny.TRAINABLE).trainable.items()}


def test_the_average_is_evaluated_handed_on_and_exported(tmp_path):
    model, _ = run(tmp_path, phase(ema=0.9, eval_every=3), phase("content", steps=1))
    folder = Run(tmp_path)
    average = checkpoint.load_trainable(folder.stage_folder("coe"))
    raw = checkpoint.load_trainable(folder.stage_folder("coe"), average=False)
    assert any(not np.array_equal(raw[path], value) for path, value in average.items())

    fresh = tiny.model()
    assert Run(tmp_path).load_into(fresh) == ["coe", "content"]
    assert all(np.array_equal(leaves(fresh)[path], value) for path, value in leaves(model).items())

    # The second phase began with the average: one step of Adam moves nothing further than its rate.
    second = checkpoint.load_trainable(folder.stage_folder("content"))
    assert max(float(np.abs(second[path] - average[path]).max()) for path in average) <= 1.01e-2
    cut = partition.split(tiny.model(), tiny.TRAINABLE)
    built = phase().build_step(cut, make_mesh(devices=jax.devices()[:1]), {})
    frozen = built.place_frozen(cut.frozen)
    pairs = built.evaluate(built.init(average, 0), frozen, built.place_batch(tiny.batch(100)))
    logged = next(entry for entry in folder.metrics("coe") if "eval/ce" in entry)
    np.testing.assert_allclose(logged["eval/ce"], float(pairs["ce"][0] / pairs["ce"][1]), rtol=1e-6)


def test_a_deadline_stops_the_run_and_the_same_command_goes_on(tmp_path):
    stopped, (result,) = run(tmp_path / "a", phase(deadline=time.monotonic()), phase("content"))
    assert result.stopped and result.steps == 1 and Run(tmp_path / "a").trained_stages() == ["coe"]
    resumed, _ = run(tmp_path / "a", phase(), phase("content"))
    straight, _ = run(tmp_path / "b", phase(), phase("content"))
    assert all(np.array_equal(leaves(resumed)[path], value) for path, value in leaves(straight).items())


def test_a_second_training_in_a_folder_is_refused_before_anything_is_written(tmp_path):
    with Lock(tmp_path), pytest.raises(UserError, match="in use by another training"):
        run(tmp_path, phase())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lock"]


def test_a_report_that_fails_costs_the_run_nothing(tmp_path, monkeypatch, capsys):
    def fails(_):
        raise ZeroDivisionError("no curve")

    monkeypatch.setattr(report, "write", fails)
    _, (result,) = run(tmp_path, phase(steps=1))
    assert result.steps == 1 and Run(tmp_path).completion("coe")
    assert "there is no report: ZeroDivisionError: no curve" in capsys.readouterr().err


def test_the_validation_split_is_opened_once_for_all_evaluations():
    class Stream:
        def __init__(self):
            self.position = 0

        def __iter__(self):
            return self

        def __next__(self):
            if self.position == 2:
                raise StopIteration
            self.position += 1
            return self.position

        def get_state(self):
            return self.position

        def set_state(self, state):
            self.position = state

    opened = []
    data = schedule.StageData(lambda split: opened.append(split) or Stream())
    assert [list(data.validation()) for _ in range(3)] == [[1, 2]] * 3
    assert opened == ["valid"]


def test_the_average_may_follow_the_step():
    cut, mesh = tiny.split(), make_mesh(devices=jax.devices()[:1])
    config = optimizers.OptimizerConfig(learning_rate=1e-2, steps=2)

    def trained(ema):
        built = step.build(cut, tiny.loss, optimizers.build(config), mesh, coefficients=tiny.COEFFICIENTS, ema=ema)
        state, _ = built(built.init(cut.trainable, 0), built.place_frozen(cut.frozen), built.place_batch(tiny.batch(1)))
        return jax.device_get((state.ema, state.trainable))

    at_once, parameters = trained(lambda done: 0.0 * done)
    assert all(np.array_equal(at_once[path], value) for path, value in parameters.items())


def test_every_stage_has_its_row_in_each_table():
    assert tuple(stages.TRAINABLE) == stages.STAGES
