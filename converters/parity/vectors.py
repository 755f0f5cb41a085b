"""Vector sets: arrays of a reference beside the config and the list of tensors of its network.

A folder of vectors may hold a `set.json`, an object with any of these entries:

    seed      of the stand-in weights, where it is not 0
    slices    {array: "axis, axis, …"} with Python slices: which part of ours an array holds, ":, ::16"
    bases     {adapter's set: set of its base model}
    mean, std of the picture preprocessing
    media     folder of pictures and clips, relative to the vectors (default: `media` beside one of the folders above)
    configs   {name: `model_params` of StyleTTS 2}, in the order of the sets, and "plbert": PL-BERT's parameters

Without it, the arrays' own shapes, names and contents say everything that they can.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from converters.parity.result import Result
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, require_regular

SET_FILE = "set.json"
_ENTRIES = {
    "seed": int, "slices": dict, "bases": dict, "mean": list, "std": list, "media": str, "configs": dict, "plbert": dict
}  # fmt: skip
_SLICE = re.compile(r"(-?\d*):(-?\d*)(?::(\d+))?")


class Arrays(dict[str, np.ndarray]):
    """The arrays of one file; one that is not there is a `UserError` that names it.

    Attributes:
        asked: the names of the arrays that somebody asked for.
    """

    _noted: ClassVar[list[Arrays] | None] = None

    @classmethod
    @contextlib.contextmanager
    def noted(cls) -> Iterator[list[Arrays]]:
        """All that are opened within the block."""
        found: list[Arrays] = []
        cls._noted = found
        try:
            yield found
        finally:
            cls._noted = None

    def __init__(self, path: Path):
        self.path = path
        self.asked: set[str] = set()
        require_regular(path, "a file of reference arrays")
        try:
            with np.load(path, allow_pickle=False) as arrays:
                super().__init__({key: arrays[key] for key in arrays.files})
        except Exception as error:  # NumPy fails in many ways on what is damaged
            raise UserError(f"{path} cannot be read: {str(error)[:100]}") from error
        if self._noted is not None:
            self._noted.append(self)

    def __getitem__(self, key: str) -> np.ndarray:
        self.asked.add(key)
        return super().__getitem__(key)

    def get(self, key: str, default: Any = None) -> Any:
        """As a dictionary's."""
        self.asked.add(key)
        return super().get(key, default)

    def items(self) -> Any:
        """As a dictionary's; all count as asked for."""
        self.asked |= set(self)
        return super().items()

    def __missing__(self, key: str) -> np.ndarray:
        raise UserError(f"{self.path.name} has no array {key!r}")


def read_manifest(path: Path) -> dict[str, dict[str, Any]]:
    """{key: {"shape", "dtype"}} of the stand-in weights."""
    manifest = read_json_object(path, "the list of tensors of a vector set")
    if not all(isinstance(entry, dict) and isinstance(entry.get("shape"), list) for entry in manifest.values()):
        raise UserError(f"{path} is no list of tensors: every entry needs a shape")
    return manifest


def read_settings(folder: Path) -> dict[str, Any]:
    """What `set.json` of a folder says; nothing where there is none.

    Raises: UserError for an entry that is not known or of another type.
    """
    path = folder / SET_FILE
    if not path.exists():
        return {}
    settings = read_json_object(path, "the settings of a vector set")
    wrong = [key for key, value in settings.items() if not isinstance(value, _ENTRIES.get(key, ()))]
    if wrong:
        raise UserError(f"{path}: {', '.join(wrong)} is not known or of another type; known are {', '.join(_ENTRIES)}")
    return settings


def part(settings: dict[str, Any], array: str, default: str) -> tuple[slice, ...]:
    """The slices by which `array` was taken: those of the settings, else the default, ":, ::16".

    Raises: UserError for what are no slices.
    """
    text = str(settings.get("slices", {}).get(array, default))
    found = [_SLICE.fullmatch(each.strip()) for each in text.split(",")]
    if not all(found):
        raise UserError(f"{SET_FILE}: the slices {text!r} of {array} cannot be read; expected the form ':, ::16'")
    return tuple(slice(*(int(n) if n else None for n in match.groups())) for match in found if match)


@dataclasses.dataclass(frozen=True)
class VectorSet:
    """`NAME.npz` with its `NAME.config.json` and `NAME.manifest.json`."""

    folder: Path
    name: str
    config: dict[str, Any]
    settings: dict[str, Any]

    @property
    def file(self) -> str:
        return f"{self.name}.npz"

    @cached_property
    def manifest(self) -> dict[str, dict[str, Any]]:
        return read_manifest(self.folder / f"{self.name}.manifest.json")

    @cached_property
    def arrays(self) -> Arrays:
        return Arrays(self.folder / self.file)


def is_set_of(folder: Path, *model_types: str) -> bool:
    """Whether a folder holds a vector set whose config has one of the `model_types`."""
    return any(True for _ in _names_of(folder, *model_types))


def _names_of(folder: Path, *model_types: str) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in sorted(folder.glob("*.config.json")):
        name = path.name.removesuffix(".config.json")
        if not (folder / f"{name}.npz").exists():
            continue  # the key list of a release, without vectors
        with contextlib.suppress(UserError):  # reported by `unreadable`, once for all networks
            config = read_json_object(path, "the config of a vector set")
            if config.get("model_type") in model_types:
                yield name, config


def unreadable(folder: Path) -> Iterator[Result]:
    """One failed result for each config of a vector set in `folder` that cannot be read, so that no network claims it."""
    for path in sorted(folder.glob("*.config.json")):
        name = path.name.removesuffix(".config.json")
        try:
            read_json_object(path, "the config of a vector set")
        except UserError as error:
            if (folder / f"{name}.npz").exists():
                yield Result(f"{name}.npz", "refused", np.inf, np.inf, 0.0, str(error))


def vector_sets(folder: Path, *model_types: str) -> Iterator[VectorSet]:
    """The vector sets of `folder` whose `NAME.config.json` has one of the `model_types`, by name."""
    settings = read_settings(folder)
    for name, config in _names_of(folder, *model_types):
        yield VectorSet(folder, name, config, settings)


def guarded(file: str, results: Iterable[Result]) -> Iterator[Result]:
    """The results; where the vectors are at odds with the command, one failed result says so and the next set runs."""
    try:
        yield from results
    except UserError as error:
        yield Result(file, "refused", np.inf, np.inf, 0.0, str(error).split("\n")[0])
    except (LookupError, ValueError, TypeError, OSError, ArithmeticError, AttributeError, MemoryError) as error:
        reason = f"{type(error).__name__}: {error}".split("\n")[0][:200]
        yield Result(file, "refused", np.inf, np.inf, 0.0, f"the vectors do not fit this comparison ({reason})")
