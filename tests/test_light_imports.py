"""The networks and their training step import on a machine that has JAX, Flax and Optax, and none of the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = """
import importlib, sys
for name in "array_record av gguf grain ml_collections soundfile soxr tensorboardX tensorflow_datasets".split():
    sys.modules[name] = None
for name in ("checks", "language", "media", "run", "theirs", "worker"):
    importlib.import_module(f"benchmarks.accelerator.{name}")
from converters.parity.run import networks
networks()
"""


def test_the_networks_ask_for_no_reader_of_files_and_no_config_library():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]


METRICS = """
import importlib.util, sys
from empatheia_jax.training.metrics import Metrics
metrics = Metrics(sys.argv[1])
metrics.write("coe", 1, {"loss": 1.0})
metrics.close()
assert "torch" not in sys.modules
assert importlib.util.find_spec("torch") is not None
"""


def test_the_numbers_of_a_training_are_written_without_pytorch(tmp_path):
    done = subprocess.run([sys.executable, "-c", METRICS, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
    assert list((tmp_path / "coe").glob("events.*"))
