"""The fixed form of an answer as arrays in a file, for decoders that are not ours (`core.form.Form` says what each means)."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import numpy as np

from converters.formats.safetensors_writer import write_safetensors
from empatheia_jax.core.form import Form

ARRAYS = (
    *("fixed", "after_fixed", "slot_of_node", "limits", "kinds", "blank", "closing", "trie_tokens"),
    "trie_following",
)


def form_file(form: Form) -> bytes:
    """A form as the bytes of a safetensors file, the same for the same form; names, length and first node are its metadata."""
    said = {"names": json.dumps(form.names), "longest": str(form.longest), "first": str(form.first)}
    arrays = {name: np.asarray(getattr(form, name)) for name in ARRAYS}
    manifest = {name: {"shape": list(array.shape), "dtype": array.dtype.name} for name, array in arrays.items()}
    # The reference library writes metadata in no fixed order.
    with tempfile.TemporaryDirectory() as folder:
        (path,) = write_safetensors(Path(folder), arrays.items(), manifest, "form.safetensors", metadata=said)
        return path.read_bytes()
