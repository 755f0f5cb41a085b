"""PerTh's watermark networks (MIT), from the package that ships them: `pip install resemble-perth`.

`--source=perth` without `--input` reads the installed package, whose code is not imported (it wants torchaudio).
"""

from __future__ import annotations

from pathlib import Path

import yaml

from converters.conversion import Conversion, packaged
from converters.formats.source import Source
from converters.table import Ignore, Row, Table, conv1d
from empatheia_jax.provenance.perth import DEPTH, KIND, Perth, PerthConfig

_STACKS = {
    "encoder": "encoder.layers",
    "slow": "decoder.slow_layers",
    "normal": "decoder.normal_layers",
    "fast": "decoder.fast_layers",
}
_HPARAMS = "hparams.yaml"


def table(config: PerthConfig) -> Table:
    """Rows for the four stacks."""
    rows: list[Row | Ignore] = [
        Ignore("model.ap.*", "windows of the transforms, which their formula gives"),
        Ignore("step", "of its training"),
    ]
    for ours, theirs in _STACKS.items():
        for n in range(DEPTH + 2):
            rows.append(Row(f"model.{theirs}.{n}.conv.weight", f"{ours}.layers.{n}.kernel", conv1d))
            rows.append(Row(f"model.{theirs}.{n}.conv.bias", f"{ours}.layers.{n}.bias"))
    return Table(rows)


def _config(path: Path, source: Source) -> PerthConfig:
    with open(path.parent / _HPARAMS, encoding="utf-8") as file:
        return PerthConfig.from_source(yaml.safe_load(file))


CONVERSIONS = [
    Conversion(
        name=KIND,
        kind=KIND,
        about="PerTh's watermark of sound (perth_net_*.pth.tar with hparams.yaml; by default of the package resemble-perth)",
        config=_config,
        construct=lambda config: Perth,
        table=table,
        recognizes=lambda path, source: path.is_file() and (path.parent / _HPARAMS).is_file() and "perth" in path.name,
        config_class=PerthConfig,
        default_input=lambda: packaged("resemble-perth", ".pth.tar", "pip install 'empatheia-jax[marks]'"),
    )
]
