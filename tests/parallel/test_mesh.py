"""The mesh comes from one line of the config, and a wrong line is explained."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from jax.sharding import AbstractMesh, AxisType, PartitionSpec

from empatheia_jax.errors import UserError
from empatheia_jax.parallel import mesh, rules


def test_one_axis_takes_what_the_others_leave():
    assert mesh.mesh_shape(-1, 1, 1, 8) == (8, 1, 1)
    assert mesh.mesh_shape(2, -1, 2, 8) == (2, 2, 2)


@pytest.mark.parametrize(
    ("sizes", "reason"), [((3, 1, 1), "needs 3 devices"), ((-1, 3, 1), "divide"), ((-1, -1, 1), "at most one")]
)
def test_sizes_that_do_not_fit_are_an_error(sizes, reason):
    with pytest.raises(UserError, match=reason):
        mesh.mesh_shape(*sizes, 8)


def test_axes_are_auto_and_one_device_is_a_mesh_too():
    found = mesh.make_mesh(devices=jax.devices()[:1])
    assert found.axis_names == ("data", "fsdp", "tensor")
    assert set(found.axis_types) == {AxisType.Auto}
    placed = mesh.put_batch({"x": np.arange(6).reshape(3, 2)}, found)
    np.testing.assert_array_equal(placed["x"], np.arange(6).reshape(3, 2))


def owned(owners):
    """A mesh of devices that belong to these processes."""
    devices = np.vectorize(lambda owner: SimpleNamespace(process_index=owner), otypes=[object])(np.asarray(owners))
    return SimpleNamespace(devices=devices, shape=dict(zip(mesh.AXES, devices.shape)))


@pytest.mark.parametrize(
    ("owners", "process", "expected"),
    [
        ([[[0]], [[1]]], 1, mesh.Part((1,), 2)),  # data=2: a half each
        ([[[0], [1]]], 1, mesh.Part((1,), 2)),  # fsdp=2: a half each
        ([[[0, 1]]], 1, mesh.Part((0,), 1)),  # tensor=2: both hold every row
        ([[[0, 1]], [[0, 1]]], 1, mesh.Part((0, 1), 2)),  # data=2, local; tensor=2 across
        ([[[0, 1]], [[2, 3]]], 1, mesh.Part((0,), 2)),  # four processes
        ([[[0], [1]], [[0], [1]]], 0, mesh.Part((0, 2), 4)),  # shards that are no neighbours
    ],
)
def test_a_process_builds_the_rows_of_the_shards_that_it_holds(owners, process, expected):
    assert mesh.batch_part(owned(owners), process) == expected


def test_rows_of_a_part_and_the_whole_from_its_rows():
    part = mesh.Part((0, 2), 4)
    assert part.rows(8) == [0, 1, 4, 5] and part.whole(4) == 8
    with pytest.raises(UserError, match="use a multiple of 4"):
        part.rows(6)
    with pytest.raises(UserError, match="use a multiple of 4"):
        part.whole(3)


def abstract(data, fsdp, tensor):
    return AbstractMesh((data, fsdp, tensor), mesh.AXES)


def test_weights_split_as_the_table_says():
    where = abstract(1, 4, 2)
    assert rules.partition_spec(("layers", "embed", "mlp"), (3, 16, 64), where) == PartitionSpec(None, "fsdp", "tensor")
    assert rules.partition_spec(("vocab", "embed"), (32, 16), where) == PartitionSpec("tensor", "fsdp")


def test_what_does_not_divide_stays_whole():
    assert rules.partition_spec(("embed", "heads"), (16, 9), abstract(1, 4, 2)) == PartitionSpec("fsdp")
    assert rules.partition_spec(("heads", "mlp"), (8, 8), abstract(1, 1, 2)) == PartitionSpec("tensor")


def test_an_unknown_name_is_an_error():
    with pytest.raises(ValueError, match="unknown logical axis 'mpl'"):
        rules.partition_spec(("mpl",), (4,), abstract(1, 1, 1))
