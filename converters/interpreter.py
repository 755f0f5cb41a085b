"""Reads a table in both directions: released tensors → our parameters, and back.

Nothing is guessed and nothing is dropped: an unmatched source key, a key that two rows claim, a parameter that no row
fills and a shape that does not fit are all collected from the names and shapes alone, and raised once, before any
tensor is read. Tensors then pass one at a time.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from converters.formats.source import Source
from converters.sources import as_source
from converters.table import Ignore, Row, Same, Table, compile_pattern, fill, match, placeholders
from empatheia_jax.errors import UserError
from empatheia_jax.weights import Lazy, read_leaf

MOST_SLICES = 100_000  # of one stacked parameter
TILE = 128  # rows and columns of a matrix that are copied together
SHOWN = 20  # lines of one kind of problem in a message; the count is always complete


class ConversionError(UserError):
    """A checkpoint and a model do not fit; holds every problem found."""


@dataclasses.dataclass
class Report:
    """What is wrong between a list of source tensors and a model; empty means that they fit exactly."""

    missing: dict[str, str] = dataclasses.field(default_factory=dict)
    unexpected: dict[str, str] = dataclasses.field(default_factory=dict)
    misshapen: dict[str, str] = dataclasses.field(default_factory=dict)
    unfilled: dict[str, str] = dataclasses.field(default_factory=dict)
    ambiguous: dict[str, str] = dataclasses.field(default_factory=dict)
    ignored: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not (self.missing or self.unexpected or self.misshapen or self.unfilled or self.ambiguous)

    def lines(self) -> list[str]:
        """One line a problem, each with its key and the reason."""
        result = []
        for kind in ("missing", "unexpected", "misshapen", "unfilled", "ambiguous"):
            problems = getattr(self, kind)
            result += [f"{kind}: {key}: {reason}" for key, reason in itertools.islice(problems.items(), SHOWN)]
            if len(problems) > SHOWN:
                result.append(f"{kind}: … and {len(problems) - SHOWN} more")
        return result

    def raise_if_bad(self, what: str) -> None:
        """Raises `ConversionError` with every problem."""
        if not self.ok:
            lines = self.lines()
            raise ConversionError(f"{what} does not fit the model ({len(lines)} problems):\n  " + "\n  ".join(lines))


@dataclasses.dataclass(frozen=True)
class _Slot:
    """One index of a row: the tensors that make one slice of its targets."""

    position: tuple[int, ...]
    spellings: tuple[tuple[str, ...], ...]


@dataclasses.dataclass(frozen=True)
class _Group:
    """One row at one set of target paths, with all slices along the stacked axes."""

    row: Row
    targets: tuple[str, ...]
    stack: tuple[int, ...]
    source_shapes: tuple[tuple[int, ...], ...]
    slots: tuple[_Slot, ...]


def _plan(table: Table, abstract: Mapping[str, Any], report: Report) -> list[_Group]:
    """Every row joined with the parameters that it fills; problems go to `report`."""
    groups: list[_Group] = []
    filled: dict[str, Row] = {}
    for row in (row for row in table.rows if isinstance(row, Row)):
        first = compile_pattern(row.targets[0])
        for path in abstract:
            index = match(first, path)
            if index is None:
                continue
            targets = tuple(fill(t, index) for t in row.targets)
            absent = [t for t in targets if t not in abstract]
            for target in absent:
                report.unfilled[target] = f"the row [{row}] needs this parameter, and the model does not have it"
            for target in targets:
                if target in filled:
                    report.ambiguous[target] = f"filled by two rows, [{filled[target]}] and [{row}]"
                filled[target] = row
            if not absent:
                groups += _group(row, targets, index, abstract, report)
    for path, leaf in abstract.items():
        if path not in filled:
            report.unfilled[path] = f"our parameter {tuple(leaf.shape)}; no row of the table fills it"
    return groups


def _group(row: Row, targets, index: dict[str, int], abstract: Mapping[str, Any], report: Report) -> list[_Group]:
    depth = len(row.stacked)
    shapes = [tuple(abstract[t].shape) for t in targets]
    stacks = {shape[:depth] for shape in shapes}
    if len(stacks) != 1 or len(next(iter(stacks))) != depth:
        report.misshapen[targets[0]] = f"shapes {shapes} cannot be stacked over {row.stacked} as the row [{row}] says"
        return []
    stack = next(iter(stacks))
    try:
        source_shapes = tuple(tuple(s) for s in row.transform.source_shapes([shape[depth:] for shape in shapes]))
    except (ValueError, IndexError) as error:
        report.misshapen[targets[0]] = f"{error} (row [{row}])"
        return []
    if math.prod(stack) > MOST_SLICES:
        report.misshapen[targets[0]] = f"{stack} slices along {row.stacked}; no network has as many (row [{row}])"
        return []
    slots = []
    for position in np.ndindex(*stack):
        full = index | dict(zip(row.stacked, position))
        slots.append(_Slot(position, tuple(tuple(fill(s, full) for s in sp) for sp in row.spellings)))
    return [_Group(row, targets, stack, source_shapes, tuple(slots))]


def _match_sources(
    groups: list[_Group], table: Table, manifest: Mapping[str, Mapping[str, Any]], report: Report
) -> list[tuple[_Group, list[tuple[str, ...]]]]:
    """Chooses the spelling of every slot that `manifest` holds; what does not fit goes to `report`."""
    seen = Counter(
        rank for g in groups for s in g.slots for rank, sp in enumerate(s.spellings) if all(k in manifest for k in sp)
    )
    common = seen.most_common(1)[0][0] if seen else 0
    used: dict[str, _Group] = {}
    chosen = []
    for group in groups:
        keys_of_slots = []
        for slot in group.slots:
            whole = [sp for sp in slot.spellings if all(key in manifest for key in sp)]
            part = [sp for sp in slot.spellings if any(key in manifest for key in sp)]
            usual = slot.spellings[common] if common < len(slot.spellings) else slot.spellings[0]
            keys = (whole or part or [usual])[0]
            keys_of_slots.append(keys)
            for key, shape in zip(keys, group.source_shapes):
                if key not in manifest:
                    report.missing[key] = f"expected {shape}, for our {' + '.join(group.targets)}"
                    continue
                if key in used:
                    report.ambiguous[key] = f"claimed by two rows, [{used[key].row}] and [{group.row}]"
                used[key] = group
                found = tuple(manifest[key]["shape"])
                if found != shape:
                    report.misshapen[key] = (
                        f"found {found}, expected {shape}, for our {' + '.join(group.targets)} ({group.row.transform})"
                    )
        chosen.append((group, keys_of_slots))
    _judge_rest(table, manifest, used, report)
    return chosen


def _judge_rest(table: Table, manifest: Mapping[str, Any], used: Mapping[str, Any], report: Report) -> None:
    known = [
        (compile_pattern(s), row) for row in table.rows if isinstance(row, Row) for sp in row.spellings for s in sp
    ]
    junk = [(compile_pattern(row.source), row.reason) for row in table.rows if isinstance(row, Ignore)]
    twins = [(compile_pattern(row.source), row) for row in table.rows if isinstance(row, Same)]
    for key, entry in manifest.items():
        if key in used:
            continue
        twin = next(((row, match(p, key)) for p, row in twins if p.fullmatch(key)), None)
        if twin is not None:
            original = fill(twin[0].as_source, twin[1] or {})
            if original not in manifest:
                report.missing[original] = f"{key} must equal it, and it is not there"
            continue
        reason = next((reason for p, reason in junk if p.fullmatch(key)), None)
        if reason is not None:
            report.ignored[key] = reason
            continue
        row = next((row for p, row in known if p.fullmatch(key)), None)
        why = "no row of the table knows it" if row is None else f"the model has no place for it (row [{row}])"
        report.unexpected[key] = f"{tuple(entry['shape'])}; {why}"


def check(manifest: Mapping[str, Mapping[str, Any]], table: Table, abstract_flat: Mapping[str, Any]) -> Report:
    """Compares names and shapes only.

    Args:
      manifest: {source key: {"shape": …}}.
      table: the correspondence.
      abstract_flat: {our path: anything with `.shape`}, for example `weights.flatten(nnx.eval_shape(…))`.
    """
    report = Report()
    _match_sources(_plan(table, abstract_flat, report), table, manifest, report)
    return report


def _prepare(source: Source, table: Table, abstract: Mapping[str, Any]):
    report = Report()
    manifest = source.manifest()
    chosen = _match_sources(_plan(table, abstract, report), table, manifest, report)
    report.raise_if_bad(str(source))
    return manifest, chosen


def _target_dtype(keys: Collection[str], manifest, dtype) -> np.dtype:
    found = {np.dtype(manifest[key]["dtype"]) for key in keys}
    if dtype is not None and all(_is_float(d) for d in found):
        return np.dtype(dtype)
    if len(found) != 1:
        raise ConversionError(
            f"{sorted(keys)[0]} and the tensors stacked with it have several types, {sorted(map(str, found))}; "
            "give one dtype to convert them to"
        )
    return found.pop()


def _is_float(dtype) -> bool:
    return np.dtype(dtype).kind == "f" or np.dtype(dtype).name.startswith(("bfloat", "float"))


def _integers_for_floats(chosen, manifest, abstract: Mapping[str, Any]) -> Iterator[str]:
    """One line per tensor of whole numbers where the network has floating-point ones: quantised weights without their scales."""
    for group, keys_of_slots in chosen:
        kinds = [np.dtype(getattr(abstract[target], "dtype", np.float32)) for target in group.targets]
        if not all(map(_is_float, kinds)):
            continue
        for key in (key for keys in keys_of_slots for key in keys):
            if not _is_float(manifest[key]["dtype"]):
                yield f"another type: {key}: {manifest[key]['dtype']}; the network computes with floating-point numbers"


_AT_ONCE = 1 << 20


def _read_finite(source: Source, key: str, dtype: np.dtype) -> np.ndarray:
    """A tensor. Raises UserError where it holds a number that is not finite, or would not be in `dtype` or in float32."""
    value = source.read(key)
    if not _is_float(value.dtype):
        return value
    largest = min(float(ml_dtypes.finfo(kind).max) for kind in (dtype, np.float32) if _is_float(kind))
    shrinks = float(ml_dtypes.finfo(value.dtype).max) > largest
    flat = value.reshape(-1)
    for begin in range(0, flat.size, _AT_ONCE):
        some = flat[begin : begin + _AT_ONCE]
        if some.dtype.name == "bfloat16":  # by its bits, which is many times faster than by its arithmetic
            broken = bool(((some.view(np.uint16) & 0x7F80) == 0x7F80).any())
        else:
            broken = not np.isfinite(some if some.dtype.kind == "f" else some.astype(np.float32)).all()
        if broken:
            raise UserError(
                f"{source}: {key} holds NaN or infinite numbers; the file is damaged, or its training failed"
            )
        if shrinks and np.abs(some if some.dtype.kind == "f" else some.astype(np.float32)).max() > largest:
            raise UserError(f"{source}: {key} holds numbers beyond ±{largest:.3g}, the largest of {dtype}")
    return value


def _read_group(source: Source, group: _Group, keys_of_slots, dtype: np.dtype, wanted: int) -> np.ndarray:
    """Target number `wanted` of a group; one source tensor (or one packed set) is held at a time."""
    result = None
    for slot, keys in zip(group.slots, keys_of_slots):
        value = group.row.transform.to_target([_read_finite(source, key, dtype) for key in keys])[wanted]
        if result is None:
            result = np.empty(group.stack + value.shape, dtype)
        result[slot.position] = value
    if result is None:
        raise ValueError("a group of rows without a slot")
    return result


def lazy(source: Any, table: Table, abstract_flat: Mapping[str, Any], dtype=None) -> dict[str, Lazy]:
    """Like `load`, but every parameter is read when its `read()` is called and is not kept.

    `empatheia_jax.weights.save` takes the result, so that a checkpoint of any size passes through memory one parameter
    at a time.
    """
    source = as_source(source)
    manifest, chosen = _prepare(source, table, abstract_flat)
    _check_twins(source, table)
    wrong = list(itertools.islice(_integers_for_floats(chosen, manifest, abstract_flat), SHOWN))
    if wrong:
        raise ConversionError(f"{source} does not fit the model:\n  " + "\n  ".join(wrong))
    result = {}
    for group, keys_of_slots in chosen:
        kind = _target_dtype({key for keys in keys_of_slots for key in keys}, manifest, dtype)
        for number, target in enumerate(group.targets):

            def read(group=group, keys=keys_of_slots, kind=kind, number=number):
                return _read_group(source, group, keys, kind, number)

            result[target] = Lazy(tuple(abstract_flat[target].shape), kind, read)
    return {path: result[path] for path in abstract_flat}


def load(
    source: Any,
    table: Table,
    abstract_flat: Mapping[str, Any],
    dtype=None,
    place: Callable[[str, np.ndarray], Any] | None = None,
) -> dict[str, Any]:
    """Reads every parameter.

    Args:
      source: a `Source`, a mapping of arrays, or a path that `sources.open_source` takes.
      table: the correspondence.
      abstract_flat: {our path: anything with `.shape`}.
      dtype: type of all floating-point parameters; None keeps each one's own.
      place: what to do with a parameter as soon as it is read, for example `jax.device_put` to its sharding. Its host
        copy is then free before the next one is read.

    Returns: {our path: NumPy array, or what `place` returned}.
    Raises: ConversionError with all problems, before anything is read.
    """
    place = place or (lambda path, array: array)
    return {path: place(path, leaf.read()) for path, leaf in lazy(source, table, abstract_flat, dtype).items()}


def _check_twins(source: Source, table: Table) -> None:
    for row in (row for row in table.rows if isinstance(row, Same)):
        pattern = compile_pattern(row.source)
        for key in source:
            index = match(pattern, key)
            if index is None or (original := fill(row.as_source, index)) not in source:
                continue
            if not np.array_equal(_bits(source.read(key)), _bits(source.read(original))):
                raise ConversionError(f"{key} differs from {original}; in this format both must be the same tensor")


def _bits(array: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def export(
    flat: Mapping[str, Any], table: Table, keys: Collection[str] | None = None, only: Collection[str] | None = None
) -> Iterator[tuple[str, np.ndarray]]:
    """Our parameters → (source key, array), one at a time; the exact inverse of `load`.

    Args:
      flat: {our path: array or `Lazy`}.
      table: the correspondence.
      keys: the key list wanted, which chooses between spellings and adds tensors that equal others (`Same`); None takes
        each row's first spelling. Keys that the table ignores are not written.
      only: those of the keys that are yielded; parameters that none of them needs are not read. None = all.
    Raises: ConversionError where `keys` cannot be served exactly, before anything is yielded.
    """
    report = Report()
    groups = _plan(table, flat, report)
    manifest = None
    if keys is None:
        chosen = [(group, [slot.spellings[0] for slot in group.slots]) for group in groups]
    else:
        manifest = {
            key: {"shape": shape}
            for group in groups
            for slot in group.slots
            for spelling in slot.spellings
            for key, shape in zip(spelling, group.source_shapes)
        }
        manifest = {key: manifest.get(key, {"shape": ()}) for key in keys}
        chosen = _match_sources(groups, table, manifest, report)
    report.raise_if_bad("the list of tensors to write" if keys is not None else "the table")
    return _export(flat, chosen, _twins_of(table, keys or ()), only)


def _twins_of(table: Table, keys: Collection[str]) -> dict[str, list[str]]:
    twins: dict[str, list[str]] = {}
    for row in (row for row in table.rows if isinstance(row, Same)):
        pattern = compile_pattern(row.source)
        for key in keys:
            index = match(pattern, key)
            if index is not None:
                twins.setdefault(fill(row.as_source, index), []).append(key)
    return twins


def _export(
    flat: Mapping[str, Any], chosen, twins: Mapping[str, list[str]], only: Collection[str] | None
) -> Iterator[tuple[str, np.ndarray]]:
    for group, keys_of_slots in chosen:
        written = [key for keys in keys_of_slots for key in keys]
        written += [twin for key in written for twin in twins.get(key, ())]
        if only is not None and not any(key in only for key in written):
            continue
        leaves = [read_leaf(flat[target]) for target in group.targets]
        for slot, keys in zip(group.slots, keys_of_slots):
            arrays = group.row.transform.to_source([leaf[slot.position] for leaf in leaves])
            for key, array in zip(keys, arrays):
                names = [each for each in (key, *twins.get(key, ())) if only is None or each in only]
                if names:
                    array = _contiguous(array)
                yield from ((name, array) for name in names)


def _contiguous(array: np.ndarray) -> np.ndarray:
    """The array in row-major order. A large transposed matrix is copied tile by tile, which takes a third of the time: both sides
    of a tile stay in the processor's cache.
    """
    if array.ndim != 2 or not array.flags.f_contiguous or array.nbytes <= TILE**2:
        return np.ascontiguousarray(array).reshape(array.shape)
    result = np.empty(array.shape, array.dtype)
    for row in range(0, array.shape[0], TILE):
        for column in range(0, array.shape[1], TILE):
            place = slice(row, row + TILE), slice(column, column + TILE)
            result[place] = array[place]
    return result


def export_groups(flat: Mapping[str, Any], table: Table) -> list[list[str]]:
    """Source keys in the order of `export`, those together that come from the same parameters."""
    report = Report()
    groups = _plan(table, flat, report)
    report.raise_if_bad("the table")
    return [[key for slot in group.slots for key in slot.spellings[0]] for group in groups]


def export_manifest(flat: Mapping[str, Any], table: Table, keys: Collection[str] | None = None) -> dict[str, dict]:
    """{source key: {"shape", "dtype"}} of what `export` would yield, without reading a parameter."""
    report = Report()
    result = {}
    groups = _plan(table, flat, report)
    wanted = set(keys) if keys is not None else None
    for group in groups:
        dtype = np.dtype(flat[group.targets[0]].dtype).name
        for slot in group.slots:
            spelling = slot.spellings[0]
            if wanted is not None:
                spelling = next((sp for sp in slot.spellings if all(k in wanted for k in sp)), spelling)
            for key, shape in zip(spelling, group.source_shapes):
                result[key] = {"shape": list(shape), "dtype": dtype}
    for original, others in _twins_of(table, keys or ()).items():
        for twin in others:
            result[twin] = result[original]
    report.raise_if_bad("the table")
    return result


__all__ = [
    "ConversionError",
    "Report",
    "check",
    "export",
    "export_groups",
    "export_manifest",
    "lazy",
    "load",
    "placeholders",
]
