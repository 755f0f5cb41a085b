"""Distill-MOS's weights (MIT), from the package that ships them: `pip install --no-deps distillmos`.

`--source=distillmos` without `--input` reads the installed package, whose code is not imported (it wants torchaudio).
"""

from __future__ import annotations

from pathlib import Path

from converters.conversion import Conversion, packaged
from converters.formats.source import Source
from converters.table import Ignore, Row, Table, conv2d, squeeze, transpose
from converters.tables.syncnet import norm_rows as batch_norm_rows
from converters.tables.transformer import linear_rows, norm_rows
from evaluation.distill_mos import KIND, DistillMos, DistillMosConfig

_HEAD = "model.transformer_pool_attn"
_FILE = "distill_mos_v7.pt"


def table(config: DistillMosConfig) -> Table:
    """Rows of the convolutions, the transformer and the pooling."""
    rows: list[Row | Ignore] = [Ignore("step", "of its training")]
    for i in range(len(config.channels)):
        source = f"model.cnn.cnn.{2 * i}"  # a leaky ReLU stands behind each
        rows.append(Row(f"{source}.weight", f"convolutions.{i}.kernel", conv2d))
        rows.append(Row(f"{source}.bias", f"convolutions.{i}.bias"))
    rows += batch_norm_rows(f"{_HEAD}.norm_input", "norm_input")
    rows += batch_norm_rows(f"{_HEAD}.transformer.norm", "norm")
    rows += batch_norm_rows(f"{_HEAD}.norm_trans", "norm_output")
    rows.append(Row(f"{_HEAD}.transformer.position_encoding.pe", "places", squeeze(0)))
    rows += linear_rows(f"{_HEAD}.transformer.linear_proj", "project")
    for i in range(config.layers):
        source, target = f"{_HEAD}.transformer.transformer_encoder.layers.{i}", f"layers.{i}"
        rows.append(Row(f"{source}.self_attn.in_proj_weight", f"{target}.into.kernel", transpose))
        rows.append(Row(f"{source}.self_attn.in_proj_bias", f"{target}.into.bias"))
        rows += linear_rows(f"{source}.self_attn.out_proj", f"{target}.out")
        rows += linear_rows(f"{source}.linear1", f"{target}.up") + linear_rows(f"{source}.linear2", f"{target}.down")
        rows += norm_rows(f"{source}.norm1", f"{target}.norm1") + norm_rows(f"{source}.norm2", f"{target}.norm2")
    for theirs, ours in (("linear1", "weigh1"), ("linear2", "weigh2"), ("linear3", "opinion")):
        rows += linear_rows(f"{_HEAD}.pool.{theirs}", ours)
    return Table(rows)


def _config(path: Path, source: Source) -> DistillMosConfig:
    shapes = {key.removeprefix("model."): entry["shape"] for key, entry in source.manifest().items()}
    return DistillMosConfig.of_shapes(shapes)


CONVERSIONS = [
    Conversion(
        name=KIND,
        kind=KIND,
        about="Distill-MOS, a judge of speech (distill_mos_*.pt; by default of the package distillmos)",
        config=_config,
        construct=lambda config: DistillMos,
        table=table,
        recognizes=lambda path, source: f"{_HEAD}.pool.linear1.weight" in source,
        place=lambda key: (_FILE, tuple(key.split(".", 1))),
        config_class=DistillMosConfig,
        default_input=lambda: packaged("distillmos", ".pt", "pip install --no-deps distillmos"),
    )
]
