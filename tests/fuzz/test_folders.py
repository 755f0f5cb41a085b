"""A damaged checkpoint or folder of weights is read as what was written, or one line says what is damaged."""

from __future__ import annotations

import shutil
from pathlib import Path

import jax
import pytest
from flax import nnx
from hypothesis import strategies as st

from empatheia_jax import weights
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.training import optimizers, step
from empatheia_jax.training.checkpoints import Checkpoints
from tests import test_weights
from tests.fuzz.damage import check, damaged
from tests.fuzz.sandbox import Sandbox
from tests.training import tiny


@pytest.fixture(scope="module")
def call():
    """Calls a reader by its name in a process of its own: `call("stage", path)`."""
    with Sandbox("tests.fuzz.folder_readers:read") as sandbox:
        yield lambda reader, path: sandbox.call(f"{reader}:{path}")


def stage(folder: Path) -> None:
    """Two steps of a stage that is complete."""
    split, mesh = tiny.split(), make_mesh(devices=jax.devices()[:1])
    optimizer = optimizers.build(optimizers.OptimizerConfig(learning_rate=1e-2, steps=2))
    built = step.build(split, tiny.loss, optimizer, mesh, coefficients=tiny.COEFFICIENTS, ema=0.5)
    state, frozen = built.init(split.trainable, 0), built.place_frozen(split.frozen)
    with Checkpoints(folder, fingerprint={"lora.rank": 2}) as checkpoints:
        for number in (1, 2):
            state, _ = built(state, frozen, built.place_batch(tiny.batch(number)))
            checkpoints.save(state, {"batches": number}, step=number, wait=True, first_loss=1.0)
        checkpoints.mark_complete(2, first_loss=1.0, last_loss=0.5, seconds=1.0)


def network(folder: Path) -> None:
    """Converted weights of a small network, with a file beside them."""
    model = test_weights.Model(test_weights.CONFIG, rngs=nnx.Rngs(7))
    weights.save(folder, model, test_weights.CONFIG, "toy", {"source": "test"}, {"voice.txt": b"hello"})


@pytest.mark.parametrize("make", [stage, network])
def test_a_damaged_folder_is_what_was_written_or_one_line(call, tmp_path, make):
    whole, folder = tmp_path / "whole", tmp_path / "copy"
    make(whole)
    expected = call(make.__name__, whole)
    assert expected.digest is not None
    files = {str(path.relative_to(whole)): path.read_bytes() for path in whole.rglob("*") if path.is_file()}
    places = sorted({*files, *(str(path.relative_to(whole)) for path in whole.rglob("*") if path.is_dir())})
    damage = st.one_of(
        st.sampled_from(sorted(files)).flatmap(lambda name: damaged(files[name]).map(lambda copy: (name, copy))),
        st.tuples(st.sampled_from(places), st.sampled_from(["remove", "empty"])),
        st.tuples(st.sampled_from(places), st.sampled_from(places)),  # the first becomes a copy of the second
    )

    def claim(change) -> None:
        name, how = change
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(whole, folder)
        if not isinstance(how, str):
            (folder / name).write_bytes(how.data)
        else:
            change_place(folder / name, whole / how if how in places else None, how == "empty")
        outcome = call(make.__name__, folder)
        assert outcome.refusal or outcome.digest == expected.digest

    check(claim, damage, examples=60)


def change_place(path: Path, other: Path | None, empty: bool) -> None:
    """Removes or empties a file or folder, or puts a copy of another there."""
    was_folder = path.is_dir()
    shutil.rmtree(path) if was_folder else path.unlink()
    if other is not None:
        (shutil.copytree if other.is_dir() else shutil.copyfile)(other, path)
    elif empty:
        path.mkdir() if was_folder else path.touch()
