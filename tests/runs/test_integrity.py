"""A step is sealed when everything in it is written, and what was written is what is compared."""

from __future__ import annotations

import json
import time

import jax
import jax.numpy as jnp
import pytest
from orbax.checkpoint._src.metadata import checkpoint as notes

from empatheia_jax.runs import integrity
from empatheia_jax.training.checkpoints import Checkpoints
from empatheia_jax.training.step import TrainState


def save(folder):
    """A small step of a run."""
    state = TrainState(
        trainable={"a": jnp.ones(3)},
        optimizer={"none": jnp.zeros(())},
        step=jnp.asarray(1, jnp.int32),
        rng=jax.random.key_data(jax.random.key(0)),
        bad_step=jnp.asarray(-1, jnp.int32),
        ema=None,
    )
    with Checkpoints(folder, fingerprint={}) as checkpoints:
        checkpoints.save(state, None, step=1, wait=True)
    return folder / "1"


def test_a_step_is_whole_though_orbax_writes_its_notes_late(tmp_path, monkeypatch):
    """Orbax writes them in a thread of its own; on a busy machine that was later than our checksums."""
    update = notes._NonBlockingMetadataStore._update_and_log

    def late(self, file, **values):
        time.sleep(0.5)
        update(self, file, **values)

    monkeypatch.setattr(notes._NonBlockingMetadataStore, "_update_and_log", late)
    step = save(tmp_path / "stage")
    integrity.check_step(step)
    assert json.loads((step / "orbax_notes.json").read_text())["item_handlers"]


def test_notes_are_compared_with_all_that_was_known_of_them(tmp_path):
    values = {"item_handlers": {"a": "x"}, "metrics": {}, "init_timestamp_nsecs": 5, "commit_timestamp_nsecs": None}
    later = values | {"commit_timestamp_nsecs": 7}

    def check(found, kept):
        (tmp_path / "_CHECKPOINT_METADATA").write_text(json.dumps(found))
        (tmp_path / "orbax_notes.json").write_text(json.dumps(kept))
        integrity.check_notes(tmp_path)

    check(later, values)
    check(later, values | {"item_handlers": None})  # saved while orbax had not written it
    for other in ({"init_timestamp_nsecs": 6}, {"item_handlers": {"a": "y"}}, {"metrics": {"b": 1}}, {"more": 1}):
        with pytest.raises(integrity.Damaged, match="is not what was written"):
            check(later | other, values)
