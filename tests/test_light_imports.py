"""The networks and their training step import on a machine that has JAX, Flax and Optax, and none of the rest."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ABSENT = ("array_record av gguf grain librosa ml_collections soundfile soxr tensorboardX tensorflow_datasets torch").split()
MODULES = """
    benchmarks.accelerator.run converters.parity.run empatheia_jax.core.decoding empatheia_jax.dreamtalk.compiled
    empatheia_jax.empatheia empatheia_jax.encoders.clip_vision empatheia_jax.encoders.wav2vec2 empatheia_jax.parallel.preflight
    empatheia_jax.styletts2.model empatheia_jax.training.optimizers empatheia_jax.training.stages empatheia_jax.training.step
""".split()
PROGRAM = f"""
import importlib, sys
for name in {ABSENT}:
    sys.modules[name] = None
for name in {MODULES}:
    importlib.import_module(name)
from converters.parity.run import networks
networks()
"""


def test_the_networks_ask_for_no_reader_of_files_and_no_config_library():
    done = subprocess.run([sys.executable, "-c", PROGRAM], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1500:]
