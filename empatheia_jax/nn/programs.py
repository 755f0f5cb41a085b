"""Programs that a later process takes as they are, without tracing them again.

JAX keeps what its compiler made (`jax_compilation_cache_dir`), but to find it there, it must trace a function and lower it first.
For a network of a thousand operations that takes seconds, every time a process starts. A `Program` is found by what it is made
from instead: the function and what is bound to it, kinds and places of its arguments, this package's source, the versions of
JAX, Flax and NumPy, JAX's settings, and the machine. What of it cannot be told (a function within a function, or a class of
another package, whose source may change) is never kept, and then a `Program` is `jax.jit`. The same holds where nobody called
`keep`, and for arguments that are not on one CPU.

A kept file is loaded as code, and folders of runs are passed on. So each file carries a code that only the secret of this user
makes: a file that somebody else wrote is none.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import io
import logging
import os
import pickle
import platform as machine
import shutil
import sys
import threading
import types
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import serialize_executable

from empatheia_jax.errors import UserError
from empatheia_jax.files import write_bytes
from empatheia_jax.nn.platform import platform

_LOG = logging.getLogger(__name__)
_PACKAGE = Path(__file__).resolve().parents[1]
_VERSIONS = ("jax", "jaxlib", "flax", "numpy", "ml_dtypes")
_KNOWN = {"empatheia_jax", *_VERSIONS, "builtins", "collections", "copyreg", "functools"}
"""Packages whose source or version is part of a program's name, and what Python itself pickles with."""
_FOLDER: Path | None = None
_SECRET = b""
_CODE = hashlib.sha256().digest_size


class _Seen(threading.local):
    """What JAX told of this thread: programs made ready, and how many of them were read from JAX's own folder."""

    compiled = 0
    read = 0


_SEEN = _Seen()


def _see(event: str, *_: float, **__: Any) -> None:
    _SEEN.compiled += event == "/jax/core/compile/backend_compile_duration"
    _SEEN.read += event == "/jax/compilation_cache/cache_hits"


jax.monitoring.register_event_listener(_see)
jax.monitoring.register_event_duration_secs_listener(_see)


def keep(folder: str | os.PathLike | None, secret: bytes = b"") -> None:
    """From now on, programs are kept in `folder` and taken from there; None = from now on they are not.

    secret: what nobody else knows; files that were written with another one are not read. Raises ValueError where it is short.
    """
    global _FOLDER, _SECRET
    if folder is not None and len(secret) < 16:
        raise ValueError(f"a secret of {len(secret)} bytes; expected at least 16")
    _FOLDER, _SECRET = None if folder is None else Path(folder), secret


class Program:
    """`jax.jit` of `function(*bound, *arguments, **static)`, kept where `keep` says.

    Args:
      function: it stands at the top level of a module.
      bound: what never changes, and decides what is computed: graphs of modules, settings.
      static: names of the keyword arguments, all of which shape the program.
      donate: numbers of the arguments (behind the bound ones) whose memory the result may take.
    """

    def __init__(
        self, function: Callable[..., Any], *bound: Any, static: Sequence[str] = (), donate: Sequence[int] = ()
    ):
        self._of = function, bound
        self._jit: Any = jax.jit(
            functools.partial(function, *bound), static_argnames=tuple(static), donate_argnums=tuple(donate)
        )
        self._ready: dict[Any, jax.stages.Compiled | None] = {}

    @property
    def compilations(self) -> int:
        """Programs of other shapes so far, compiled or taken from the folder."""
        return self._jit._cache_size() + sum(program is not None for program in self._ready.values())

    def __call__(self, *arguments: Any, **static: Any) -> Any:
        if _FOLDER is None or not _may_keep():
            return self._jit(*arguments, **static)
        leaves, tree = jax.tree.flatten(arguments)
        of = tree, tuple(map(_kind, leaves)), tuple(sorted(static.items()))
        if of not in self._ready:
            self._ready[of] = self._made(_FOLDER, of, arguments, static)
        program = self._ready[of]
        return self._jit(*arguments, **static) if program is None else program(*arguments)

    def _made(self, folder: Path, of: tuple, arguments: tuple, static: dict[str, Any]) -> jax.stages.Compiled | None:
        """The program from the folder, else compiled and put there; None where it has no name."""
        tree, kinds, options = of
        try:
            content = _pickled((self._of, tree, [_described(kind) for kind in kinds], options, _settings()))
        except Exception as error:  # what cannot be pickled says so in many ways
            _LOG.info("%r is not kept: %s", self._of[0], error)
            return None
        path = folder / _build() / hashlib.sha256(content).hexdigest()
        program = _read(path)
        if program is None:
            before = _SEEN.compiled - _SEEN.read
            program = self._jit.lower(*arguments, **static).compile()
            if _SEEN.compiled - _SEEN.read > before:
                _write(path, program)
            # Otherwise it came out of JAX's own folder. Such a program runs, but what is written of it does not.
        return program


def _may_keep() -> bool:
    """Whether this process computes on a CPU, alone, and by whole programs."""
    one_by_one = jax.config.jax_disable_jit  # type: ignore[attr-defined]
    return jax.default_backend() == "cpu" and jax.process_count() == 1 and not one_by_one


def _kind(leaf: Any) -> tuple:
    """What of an argument decides which program takes it."""
    if isinstance(leaf, jax.Array) and not isinstance(leaf, jax.core.Tracer):
        weak = getattr(leaf, "weak_type", False)  # keys of random numbers have none
        return leaf.shape, leaf.dtype, weak, leaf.sharding if leaf.committed else None
    if isinstance(leaf, np.ndarray | np.generic):
        return leaf.shape, leaf.dtype
    return (type(leaf),)


def _described(kind: tuple) -> str:
    """A kind in words that are the same in every process. Raises `ValueError` where no kept program takes it."""
    if len(kind) == 1:
        raise ValueError(f"an argument is a {kind[0].__name__}")
    if len(kind) == 4 and kind[3] is not None and kind[3].device_set != {jax.devices()[0]}:
        raise ValueError("an argument lies elsewhere than on the first device")
    return repr(kind)


class _Pickler(pickle.Pickler):
    """Refuses functions and classes that may change without a change in what `_build` sees."""

    def persistent_id(self, obj: Any) -> None:
        if isinstance(obj, type | types.FunctionType | types.BuiltinFunctionType):
            package = (getattr(obj, "__module__", None) or "").split(".")[0]
            if package not in _KNOWN:
                raise pickle.PicklingError(f"{obj!r} is of another package")


def _pickled(value: Any) -> bytes:
    """The bytes of a value: equal for equal values, whether or not parts of them are one object."""
    with io.BytesIO() as file:
        pickler = _Pickler(file, protocol=5)
        pickler.fast = True  # no references to what was written before
        pickler.dump(value)
        return file.getvalue()


def _settings() -> list:
    """JAX's settings as they are now, but for folders and what says how much is logged, and the target of `nn.platform`."""
    plain = (bool, int, float, str, type(None))
    values = {name: getattr(jax.config, name, value) for name, value in jax.config.values.items()}
    left = ("cache", "dir", "log", "traceback")
    kept = {
        name: value
        for name, value in values.items()
        if isinstance(value, plain) and not any(word in name for word in left)
    }
    return [platform(), sorted(kept.items())]


@functools.cache
def _build() -> str:
    """A hash of everything that is the same for all programs of a process: source, versions, machine."""
    found = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        found.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    facts = [sys.version, *map(version, _VERSIONS), machine.platform(), machine.machine(), os.cpu_count()]
    facts += [os.environ.get("XLA_FLAGS"), jax.devices("cpu")[0].client.platform_version, *_processor()]
    found.update(repr(facts).encode())
    return found.hexdigest()[:32]


def _processor() -> list[str]:
    """What Linux says of the first processor's model and abilities."""
    try:
        lines = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
    except OSError:
        return [machine.processor()]
    return [line for line in lines if line.split("\t")[0].strip() in ("model name", "flags", "Features", "CPU part")]


def _read(path: Path) -> jax.stages.Compiled | None:
    """The program of a file; None where there is none, or it is damaged."""
    try:
        content = path.read_bytes()
        if not hmac.compare_digest(content[:_CODE], hmac.digest(_SECRET, content[_CODE:], "sha256")):
            return None
        payload, taken, given = pickle.loads(content[_CODE:])
        return serialize_executable.deserialize_and_load(payload, taken, given, "cpu", jax.devices("cpu")[:1])
    except FileNotFoundError:
        return None
    except Exception as error:  # a file of another kind may fail in any way
        _LOG.info("%s is compiled again: %s", path, error)
        return None


def _write(path: Path, program: jax.stages.Compiled) -> None:
    """Keeps a program. Programs of other builds in the folder, which nothing will read again, are removed."""
    try:
        content = pickle.dumps(serialize_executable.serialize(program))
        write_bytes(path, hmac.digest(_SECRET, content, "sha256") + content)
        for other in path.parent.parent.iterdir():
            if other != path.parent:
                shutil.rmtree(other, ignore_errors=True)
    except (UserError, OSError) as error:
        _LOG.info("%s is not kept: %s", path, error)
    except Exception as error:  # not all programs can be written down
        _LOG.info("a program is not kept: %s", error)
