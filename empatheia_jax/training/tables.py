"""What trains, as a table at the start of a run."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from flax import nnx
from jax.sharding import Mesh

from empatheia_jax.parallel import rules
from empatheia_jax.training.partition import Filter, Partition, split


def format_table(header: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[int] = ()) -> str:
    """Plain text, columns joined by " | "; the columns numbered in `right` are flushed right."""
    widths = [max(len(str(row[i])) for row in (header, *rows)) for i in range(len(header))]

    def line(row):
        cells = (str(c).rjust(w) if i in right else str(c).ljust(w) for i, (c, w) in enumerate(zip(row, widths)))
        return " | ".join(cells).rstrip()

    return "\n".join([line(header), "-+-".join("-" * w for w in widths), *map(line, rows)])


def parameter_table(
    model: nnx.Module | Partition, trainable_filter: Sequence[Filter] | Filter = (), mesh: Mesh | None = None
) -> str:
    """Module | parameters | trainable | dtype | sharding, one row per module of the top level and a total.

    `model` may be abstract, or a partition already made (then `trainable_filter` is not needed). Random-number state is
    not counted.
    """
    partition = model if isinstance(model, Partition) else split(model, trainable_filter)
    where = rules.shardings(nnx.from_flat_state(partition.variables), mesh) if mesh is not None else {}
    groups: dict[str, list[tuple[str, nnx.Variable]]] = defaultdict(list)
    for path, variable in partition.variables:
        if not isinstance(variable, nnx.RngState):
            groups[str(path[0])].append((".".join(map(str, path)), variable))
    rows, total, trains = [], 0, 0
    for module, leaves in groups.items():
        every = {**partition.frozen, **partition.trainable}
        values = {name: every[name] for name, _ in leaves}
        count = sum(value.size for value in values.values())
        part = sum(value.size for name, value in values.items() if name in partition.trainable)
        dtypes = sorted({_dtype(value) for value in values.values()})
        specs = sorted({axis for name in values if name in where for axis in _axes(where[name])})
        rows.append([module, f"{count:,}", f"{part:,}", ", ".join(dtypes), ", ".join(specs) or "replicated"])
        total, trains = total + count, trains + part
    rows.append(["total", f"{total:,}", f"{trains:,}", "", ""])
    return format_table(("module", "parameters", "trainable", "dtype", "sharding"), rows, right=(1, 2))


def _dtype(value) -> str:
    values = getattr(value, "values", None)
    return str(value.dtype) if values is None or callable(values) else f"{values.dtype} (as {value.dtype})"


def _axes(sharding):
    for axis in sharding.spec:
        if axis is not None:
            yield from axis if isinstance(axis, tuple) else (axis,)
