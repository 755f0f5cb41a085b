"""Tables between a released checkpoint's tensors and our parameters, and the transforms that their rows name.

A table is a list of rows. `Row("encoder.layers.{i}.fc1.weight", "layers.mlp.up.kernel", transpose)` says: the tensor of
every layer `i`, transposed, is slice `i` of the leading axis of our stacked parameter. A row is read in both directions
by `converters.interpreter`, so every transform carries its exact inverse and a rule for shapes.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

Shape = tuple[int, ...]
Arrays = Sequence[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Transform:
    """Maps the tensors of one row to our parameters and back, without loss.

    Attributes:
      name: what error messages call it.
      to_target: source tensors (a sequence, usually of one) → target tensors.
      to_source: the exact inverse.
      source_shapes: shapes of the targets → shapes that the sources must have; raises `ValueError` with the reason
        where no source could give such targets.
    """

    name: str
    to_target: Callable[[Arrays], Arrays]
    to_source: Callable[[Arrays], Arrays]
    source_shapes: Callable[[Sequence[Shape]], Sequence[Shape]]

    def __repr__(self) -> str:
        return self.name


def _need_rank(name: str, shape: Shape, rank: int) -> None:
    if len(shape) != rank:
        raise ValueError(f"{name} fits parameters of {rank} axes, and ours has the shape {shape}")


def _each(name: str, forward, backward, shape: Callable[[Shape], Shape]) -> Transform:
    """A transform that treats every tensor of the row alike."""
    return Transform(
        name,
        lambda arrays: [forward(array) for array in arrays],
        lambda arrays: [backward(array) for array in arrays],
        lambda shapes: [shape(tuple(s)) for s in shapes],
    )


identity = _each("identity", lambda a: a, lambda a: a, lambda s: s)


def permute(*axes: int, name: str | None = None) -> Transform:
    """Reorders axes: target axis `k` is source axis `axes[k]`, as in `numpy.transpose`."""
    name = name or f"permute{axes}"
    inverse = tuple(int(k) for k in np.argsort(axes))

    def shape(target: Shape) -> Shape:
        _need_rank(name, target, len(axes))
        return tuple(target[k] for k in inverse)

    return _each(name, lambda a: np.transpose(a, axes), lambda a: np.transpose(a, inverse), shape)


transpose = permute(1, 0, name="transpose")
conv1d = permute(2, 1, 0, name="conv1d")  # (out, in, width) → (width, in, out)
conv2d = permute(2, 3, 1, 0, name="conv2d")  # (out, in, height, width) → (height, width, in, out)
conv3d = permute(2, 3, 4, 1, 0, name="conv3d")  # (out, in, depth, height, width) → (depth, height, width, in, out)


def reshape(source: Shape, target: Shape) -> Transform:
    """Reads a tensor of shape `source` as one of shape `target` (row-major, as `numpy.reshape`)."""
    source, target = tuple(source), tuple(target)
    name = f"reshape{source}→{target}"
    if math.prod(source) != math.prod(target):
        raise ValueError(f"{name}: the element counts differ")

    def shape(found: Shape) -> Shape:
        if tuple(found) != target:
            raise ValueError(f"{name} fits parameters of shape {target}, and ours has the shape {found}")
        return source

    return _each(name, lambda a: np.reshape(a, target), lambda a: np.reshape(a, source), shape)


def squeeze(axis: int) -> Transform:
    """Drops a source axis of size one; back again it is put in."""
    name = f"squeeze({axis})"
    return _each(
        name,
        lambda a: np.squeeze(a, axis),
        lambda a: np.expand_dims(a, axis),
        lambda s: np.expand_dims(np.broadcast_to(np.empty((), np.int8), s), axis).shape,
    )


def split(sizes: Sequence[int], axis: int = 0) -> Transform:
    """One packed source (query, key and value stacked on rows, say) → several targets of `sizes` along `axis`."""
    sizes = tuple(int(size) for size in sizes)
    name = f"split{sizes}@{axis}"
    borders = [int(b) for b in np.cumsum(sizes)[:-1]]

    def shapes(targets: Sequence[Shape]) -> Sequence[Shape]:
        rest = {tuple(np.delete(np.asarray(t), axis).tolist()) for t in targets}
        if len(targets) != len(sizes) or len(rest) != 1 or any(t[axis] != n for t, n in zip(targets, sizes)):
            raise ValueError(f"{name} does not fit parameters of shapes {[tuple(t) for t in targets]}")
        whole = list(targets[0])
        whole[axis] = sum(sizes)
        return [tuple(whole)]

    return Transform(
        name, lambda arrays: np.split(arrays[0], borders, axis), lambda arrays: [np.concatenate(arrays, axis)], shapes
    )


def pack(sizes: Sequence[int], axis: int = 0) -> Transform:
    """Several sources → one target in which they lie side by side along `axis`: the inverse of `split`."""
    sizes = tuple(int(size) for size in sizes)
    name = f"pack{sizes}@{axis}"
    borders = [int(b) for b in np.cumsum(sizes)[:-1]]

    def shapes(targets: Sequence[Shape]) -> Sequence[Shape]:
        if len(targets) != 1 or targets[0][axis] != sum(sizes):
            raise ValueError(f"{name} does not fit parameters of shapes {[tuple(t) for t in targets]}")
        parts = []
        for size in sizes:
            part = list(targets[0])
            part[axis] = size
            parts.append(tuple(part))
        return parts

    return Transform(
        name, lambda arrays: [np.concatenate(arrays, axis)], lambda arrays: np.split(arrays[0], borders, axis), shapes
    )


def chain(*steps: Transform) -> Transform:
    """Applies `steps` from source to target in the order given."""

    def to_target(arrays: Arrays) -> Arrays:
        for step in steps:
            arrays = step.to_target(arrays)
        return arrays

    def to_source(arrays: Arrays) -> Arrays:
        for step in reversed(steps):
            arrays = step.to_source(arrays)
        return arrays

    def shapes(targets: Sequence[Shape]) -> Sequence[Shape]:
        for step in reversed(steps):
            targets = step.source_shapes(targets)
        return targets

    return Transform(" then ".join(step.name for step in steps), to_target, to_source, shapes)


_PLACE = re.compile(r"\{(\w+)\}")


def placeholders(pattern: str) -> tuple[str, ...]:
    """Names of the `{index}` places in `pattern`, in order, each once."""
    return tuple(dict.fromkeys(_PLACE.findall(pattern)))


def match(pattern: re.Pattern[str], key: str) -> dict[str, int] | None:
    """Index of every place where `key` has the form of a compiled pattern, else None."""
    found = pattern.fullmatch(key)
    return None if found is None else {name: int(value) for name, value in found.groupdict().items()}


@functools.cache  # a table has more patterns than Python's own memory for them holds
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Regular expression of a pattern: `{name}` stands for a decimal index, `*` for any text, the rest for itself."""
    parts, seen, end = [], set(), 0
    for place in _PLACE.finditer(pattern):
        parts.append(re.escape(pattern[end : place.start()]).replace(r"\*", ".*"))
        name = place.group(1)
        parts.append(f"(?P={name})" if name in seen else f"(?P<{name}>0|[1-9][0-9]*)")
        seen.add(name)
        end = place.end()
    parts.append(re.escape(pattern[end:]).replace(r"\*", ".*"))
    return re.compile("".join(parts))


def fill(pattern: str, index: dict[str, int]) -> str:
    """`pattern` with its places filled."""
    return _PLACE.sub(lambda place: str(index[place.group(1)]), pattern)


def _tuple(value: str | Sequence[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@dataclasses.dataclass(frozen=True)
class Row:
    """One correspondence between source tensors and our parameters.

    Attributes:
      source: key pattern, or several where one parameter is made of several tensors. `{i}` stands for an index.
      target: parameter path pattern, or several where one tensor holds several parameters. An index that stands in
        `source` and not in `target` counts along the leading axis of the stacked parameter (several: leading axes, in
        order of appearance in `source`).
      transform: maps the sources of one index to its targets, without the stacked axes.
      aliases: other spellings under which the same sources are found in the wild (each of the form of `source`).
        Spellings do not mix inside one tensor's sources; an export uses the one that its key list names, else `source`.
    """

    source: str | Sequence[str]
    target: str | Sequence[str]
    transform: Transform = identity
    aliases: tuple[str | Sequence[str], ...] = ()

    def __post_init__(self):
        if any(set(placeholders(t)) - set(self.indices) for t in self.targets):
            raise ValueError(f"{self}: the target has an index that the source does not have")
        if len({frozenset(placeholders(t)) for t in self.targets}) != 1:
            raise ValueError(f"{self}: its targets differ in their indices")
        for spelling in self.spellings:
            if len(spelling) != len(self.sources) or {p for s in spelling for p in placeholders(s)} != set(
                self.indices
            ):
                raise ValueError(f"{self}: the spelling {spelling} does not have the form of {self.sources}")

    @property
    def sources(self) -> tuple[str, ...]:
        return _tuple(self.source)

    @property
    def targets(self) -> tuple[str, ...]:
        return _tuple(self.target)

    @property
    def spellings(self) -> tuple[tuple[str, ...], ...]:
        return (self.sources, *(_tuple(alias) for alias in self.aliases))

    @property
    def indices(self) -> tuple[str, ...]:
        """Index names of the source, in order of appearance."""
        return tuple(dict.fromkeys(p for s in self.sources for p in placeholders(s)))

    @property
    def stacked(self) -> tuple[str, ...]:
        """Index names that count along the leading axes of the target."""
        return tuple(p for p in self.indices if p not in placeholders(self.targets[0]))

    def __str__(self) -> str:
        return f"{' + '.join(self.sources)} → {' + '.join(self.targets)}"


@dataclasses.dataclass(frozen=True)
class Ignore:
    """Source tensors that are known and carry nothing we need. `*` in the pattern stands for any text."""

    source: str
    reason: str


@dataclasses.dataclass(frozen=True)
class Same:
    """A source tensor that may be present and must then equal another one, bit for bit (for example a tied head)."""

    source: str
    as_source: str


@dataclasses.dataclass(frozen=True)
class Table:
    """All rows of one source format; rows are usually built by a function of the model's config."""

    rows: tuple[Row | Ignore | Same, ...]

    def __init__(self, rows: Iterable[Row | Ignore | Same]):
        object.__setattr__(self, "rows", tuple(rows))

    def __add__(self, other: Table) -> Table:
        return Table(self.rows + other.rows)


def prefixed(rows: Iterable[Row | Ignore | Same], *prefixes: str) -> list[Row | Ignore | Same]:
    """The rows with their sources under any of `prefixes` (`""` allowed); an export uses the first unless told
    otherwise.
    """
    result: list[Row | Ignore | Same] = []
    for row in rows:
        if isinstance(row, Row):
            spellings = [tuple(prefix + s for s in spelling) for prefix in prefixes for spelling in row.spellings]
            result.append(dataclasses.replace(row, source=spellings[0], aliases=tuple(spellings[1:])))
        elif isinstance(row, Ignore):
            result.extend(Ignore(prefix + row.source, row.reason) for prefix in prefixes)
        else:
            result.extend(Same(prefix + row.source, prefix + row.as_source) for prefix in prefixes)
    return result
