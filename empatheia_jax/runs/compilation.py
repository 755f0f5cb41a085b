"""Compiled programs are kept in a run's folder, so that a restart does not compile again."""

from __future__ import annotations

import contextlib
import os
import secrets
import tempfile
from pathlib import Path

import jax

from empatheia_jax.nn import programs
from empatheia_jax.weights.sums import cache_folder


def keep_programs(workdir: str | os.PathLike) -> None:
    """Keeps compiled programs in `<workdir>/compilation_cache`; `JAX_COMPILATION_CACHE_DIR`, where it is set, comes first.

    Those of the networks that reply are kept in its folder `programs` once more, as `nn.programs` needs them; only who wrote them
    takes them from there.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    path = Path(workdir).absolute() / "compilation_cache"
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError:  # a run of somebody else's, or a full disk: what is there is read
        if not path.is_dir():
            return
        never = 1e9  # JAX would warn of each program that it cannot write
        jax.config.update("jax_compilation_cache_dir", str(path))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", never)
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Small programs too: a reply loads some 120 of them, which together take seconds to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    if secret := _secret():
        programs.keep(path / "programs", secret)


def _secret() -> bytes | None:
    """Random bytes that this user alone can read, made when they are first needed; None where they cannot be kept."""
    path = cache_folder() / "secret"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            # whole before it has its name, and never in the place of one that another process has just made
            with tempfile.NamedTemporaryFile(dir=path.parent) as file, contextlib.suppress(FileExistsError):
                file.write(secrets.token_bytes(32))
                file.flush()
                os.link(file.name, path)
        found = path.read_bytes()
    except OSError:
        return None
    return found if len(found) == 32 else None
