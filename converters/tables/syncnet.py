"""SyncNet's released file, `syncnet_v2.model`: the judge of lip synchrony."""

from __future__ import annotations

from converters.conversion import Conversion
from converters.table import Ignore, Row, Table, Transform, conv2d, conv3d, transpose
from evaluation.syncnet import KIND, SyncNet, SyncNetConfig

_CONVOLUTIONS = (0, 4, 8, 11, 14, 18)
"""Numbers of the convolutions in both of the released towers; each is followed by its batch norm."""


def norm_rows(source: str, target: str) -> list[Row | Ignore]:
    """Rows of a batch norm (`evaluation.syncnet.Norm`)."""
    parts = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"}
    rows: list[Row | Ignore] = [Row(f"{source}.{theirs}", f"{target}.{ours}") for theirs, ours in parts.items()]
    return [*rows, Ignore(f"{source}.num_batches_tracked", "a counter of training")]


def _with_bias(source: str, target: str, transform: Transform) -> list[Row]:
    return [Row(f"{source}.weight", f"{target}.kernel", transform), Row(f"{source}.bias", f"{target}.bias")]


def table(config: SyncNetConfig) -> Table:
    """Rows of both towers and both heads."""
    rows: list[Row | Ignore] = []
    for theirs, ours, transform in (("netcnnaud", "audio", conv2d), ("netcnnlip", "lips", conv3d)):
        for i, number in enumerate(_CONVOLUTIONS):
            rows += _with_bias(f"{theirs}.{number}", f"{ours}.{i}.conv", transform)
            rows += norm_rows(f"{theirs}.{number + 1}", f"{ours}.{i}.norm")
    for theirs, ours in (("netfcaud", "audio_head"), ("netfclip", "lip_head")):
        rows += _with_bias(f"{theirs}.0", f"{ours}.linear1", transpose)
        rows += norm_rows(f"{theirs}.1", f"{ours}.norm")
        rows += _with_bias(f"{theirs}.3", f"{ours}.linear2", transpose)
    return Table(rows)


CONVERSIONS = [
    Conversion(
        name="syncnet",
        kind=KIND,
        about="SyncNet, the judge of lip synchrony (syncnet_v2.model of joonson/syncnet_python)",
        config=lambda path, source: SyncNetConfig(),
        construct=lambda config: SyncNet,
        table=table,
        recognizes=lambda path, source: "netcnnlip.0.weight" in source,
        tensor_file="syncnet_v2.model",
        config_class=SyncNetConfig,
    )
]
