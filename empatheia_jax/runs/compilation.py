"""Compiled programs are kept in a run's folder, so that a restart does not compile again."""

from __future__ import annotations

import os
from pathlib import Path

import jax

from empatheia_jax.nn import programs


def keep_programs(workdir: str | os.PathLike) -> None:
    """Keeps compiled programs in `<workdir>/compilation_cache`; `JAX_COMPILATION_CACHE_DIR`, where it is set, comes first.

    Those of the networks that reply are kept in its folder `programs` once more, as `nn.programs` needs them.
    """
    if os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        return
    path = Path(workdir).absolute() / "compilation_cache"
    path.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(path))
    # Small programs too: a reply loads some 120 of them, which together take seconds to compile.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    programs.keep(path / "programs")
