"""Orbax's reader and writer of `params`, for one process."""

from __future__ import annotations

from typing import Any

import jax
import orbax.checkpoint as ocp


def checkpointer(**handler: Any) -> ocp.Checkpointer:
    """Reads or writes a tree in this process alone: of several, orbax would wait for the others. Close it, or use `with`."""
    me = jax.process_index()
    alone = ocp.options.MultiprocessingOptions(
        primary_host=me, active_processes={me}, barrier_sync_key_prefix=f"weights{me}"
    )
    return ocp.Checkpointer(
        ocp.PyTreeCheckpointHandler(**handler, multiprocessing_options=alone), multiprocessing_options=alone
    )
