"""Two processes compute what one does, whichever axis of the mesh crosses them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest

from empatheia_jax.parallel.mesh import WHOLE, make_mesh
from tests.parallel import across_processes
from tests.parallel.across_processes import AXES

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """What both processes found, and the folder."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.parallel.across_processes", *map(str, (folder, 2, number, port))],
            cwd=ROOT,
            env={**os.environ, "JAX_PLATFORMS": "cpu"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for number in (0, 1)
    ]
    for process in processes:
        _, error = process.communicate(timeout=500)
        assert process.returncode == 0, error[-2000:]
    return folder, [json.loads((folder / f"{number}.json").read_text()) for number in (0, 1)]


@pytest.fixture(scope="module")
def one():
    return across_processes.train(make_mesh(devices=jax.devices()[:1]), WHOLE)


@pytest.mark.parametrize("axis", AXES)
def test_training_and_evaluation_on_an_axis_that_crosses_processes_equal_one_process(two, one, axis):
    folder, found = two
    losses, held, trained, _ = one
    for number, process in enumerate(found):
        np.testing.assert_allclose(process[axis]["losses"], losses, rtol=1e-5)
        for name, pair in held.items():
            np.testing.assert_allclose(process[axis]["evaluation"][name], pair, rtol=1e-5, atol=1e-6)
        with np.load(folder / f"{axis}-{number}.npz") as values:
            for path, value in trained.items():
                np.testing.assert_allclose(values[path], value, atol=1e-5, err_msg=path)


def test_no_process_takes_a_kept_program_where_another_compiles_its_own(two):
    """On CPUs these would run their collectives in different orders, and wait for each other for ever."""
    assert [process["kept programs"] for process in two[1]] == [False, False]


@pytest.mark.parametrize("axis", AXES)
def test_the_rows_of_the_loader_come_to_their_places(two, axis):
    assert [process[axis]["batches"] for process in two[1]] == [True, True]


@pytest.mark.parametrize("axis", AXES)
def test_what_all_processes_save_one_reads_alone_and_what_one_writes_all_read(two, axis):
    assert [process[axis]["files"] for process in two[1]] == [{"alone": True, "spread": True}] * 2
