"""One file per training run: a step and a tree of arrays, replaced whole, so that a kill never leaves half of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from empatheia_jax.errors import UserError


def save(path: Path, step: int, tree: Any) -> None:
    """Writes the tree's leaves in order."""
    arrays = {f"leaf{i:05d}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(tree))}
    temporary = path.with_suffix(".tmp.npz")
    np.savez(temporary, step=step, **arrays)
    temporary.rename(path)


def restore(path: Path, tree: Any) -> tuple[int, Any]:
    """The step and the tree of a checkpoint, shaped like `tree`; step 0 and `tree` itself if there is no file.

    Raises:
        UserError: the file belongs to a network of other shapes.
    """
    if not path.exists():
        return 0, tree
    leaves, structure = jax.tree.flatten(tree)
    with np.load(path) as file:
        arrays = [file[name] for name in sorted(file.files) if name.startswith("leaf")]
        step = int(file["step"])
    if [np.shape(a) for a in arrays] != [np.shape(leaf) for leaf in leaves]:
        raise UserError(f"{path} is a checkpoint of another network; remove it or choose another folder")
    return step, jax.tree.unflatten(structure, arrays)


def read_average(path: Path, params: Any) -> tuple[int, Any]:
    """The step and the averaged weights of a training's checkpoint, which holds (params, average, optimizer state)."""
    leaves, structure = jax.tree.flatten(params)
    with np.load(path) as file:
        names = sorted(name for name in file.files if name.startswith("leaf"))
        average = [file[name] for name in names[len(leaves) : 2 * len(leaves)]]
        step = int(file["step"])
    if [np.shape(a) for a in average] != [np.shape(leaf) for leaf in leaves]:
        raise UserError(f"{path} is a checkpoint of another network; train again with this config")
    return step, jax.tree.unflatten(structure, average)
