"""Fixtures shared by all tests."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

import hypothesis
import pytest
from jaxtyping import install_import_hook

# Most of the time of the suite is compiling small programs that run once, so code must be quick to make, not quick to run. LLVM's
# passes, and how XLA turns its fusions into loops, do not change what is computed beyond the order of roundings; the benchmarks
# and the commands of `converters.parity` run without these flags. Set XLA_FLAGS (to "", say) to test otherwise.
QUICK_TO_COMPILE = ["--xla_backend_optimization_level=0", "--xla_llvm_disable_expensive_passes=true"]
if version("jaxlib").startswith("0.10."):  # XLA ends the process at a flag that it does not know
    # A program stays one piece for LLVM: the tests run beside each other, so many small pieces save no time.
    QUICK_TO_COMPILE += ["--xla_cpu_use_fusion_emitters=false", "--xla_cpu_parallel_codegen_split_count=1"]
os.environ.setdefault("XLA_FLAGS", " ".join(QUICK_TO_COMPILE))


# Tracing makes very many objects, and what the imports have made stays to the end. Python's collector of cycles took a fifteenth
# of the time of tests that train; it looks less often, and not at what was there before the first test.
gc.set_threshold(20_000, 10, 20)


def pytest_collection_finish() -> None:
    """Leaves what the imports made out of all later collections."""
    gc.collect()
    gc.freeze()


# How long an example takes says something about the machine's other work, not about the code.
hypothesis.settings.register_profile("no deadline", deadline=None)
hypothesis.settings.load_profile("no deadline")


def folder_of_this_run(variable: str) -> None:
    """Sets a variable to a new folder that is removed when the tests end; workers and commands that tests start inherit it."""
    os.environ[variable] = tempfile.mkdtemp(prefix="empatheia-tests-")
    atexit.register(shutil.rmtree, os.environ[variable], ignore_errors=True)


if "PYTEST_XDIST_WORKER" not in os.environ:
    # What a start remembers for the next one (checksums found right) goes to a folder of this run, not to the user's.
    folder_of_this_run("EMPATHEIA_CACHE")
    # All workers, and the commands that tests start, compile a program once among them.
    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        folder_of_this_run("JAX_COMPILATION_CACHE_DIR")
# No operation of a program carries the Python lines that it came from: no test reads them, and they are a twentieth of the time
# of a test that trains.
os.environ.setdefault("JAX_TRACEBACK_IN_LOCATIONS_LIMIT", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.05")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
# Shapes in signatures are checked wherever a network is called, so that a wrong axis fails where it happens.
ROOMS = ("nn", "core", "encoders", "bridge", "styletts2", "dreamtalk", "baselines", "training")
import tests.shapes  # noqa: E402  it imports JAX, which reads the variables above when it is imported

install_import_hook(
    tests.shapes.modules(ROOT, *(f"empatheia_jax.{room}" for room in ROOMS)),
    "tests.shapes.checked",
)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference vectors and real media beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference vectors and media in ../shared, which are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def data() -> Path:
    """Small numeric vectors that ship with the tests."""
    return ROOT / "tests" / "data"
