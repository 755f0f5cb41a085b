"""The fixed form of an answer as arrays in a file, for decoders that are not ours (`core.form.Form` says what each means)."""

from __future__ import annotations

import json

import numpy as np
from safetensors.numpy import save

from empatheia_jax.core.form import Form

ARRAYS = (
    *("fixed", "after_fixed", "slot_of_node", "limits", "kinds", "blank", "closing", "trie_tokens"),
    "trie_following",
)


def form_file(form: Form) -> bytes:
    """A form as the bytes of a safetensors file; names, length and first node are its metadata."""
    said = {"names": json.dumps(form.names), "longest": str(form.longest), "first": str(form.first)}
    return save({name: np.asarray(getattr(form, name)) for name in ARRAYS}, metadata=said)
