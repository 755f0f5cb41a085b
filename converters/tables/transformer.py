"""Rows of the Transformer layer that the encoders share (`empatheia_jax.encoders.transformer.Layer`)."""

from __future__ import annotations

from collections.abc import Mapping

from converters.table import Row, transpose


def layer_rows(source: str, target: str, names: Mapping[str, str]) -> list[Row]:
    """Rows of a layer's eight maps and norms.

    Args:
      source: key pattern of a layer, for example "encoder.layers.{i}".
      target: path of our layer.
      names: our sublayer path → the source's name below `source`.
    """
    rows = []
    for ours, theirs in names.items():
        of = norm_rows if ours.endswith("norm") else linear_rows
        rows += of(f"{source}.{theirs}", f"{target}.{ours}")
    return rows


def norm_rows(source: str, target: str) -> list[Row]:
    """Rows of a layer norm."""
    return [Row(f"{source}.weight", f"{target}.scale"), Row(f"{source}.bias", f"{target}.bias")]


def linear_rows(source: str, target: str) -> list[Row]:
    """Rows of a linear map with a bias."""
    return [Row(f"{source}.weight", f"{target}.kernel", transpose), Row(f"{source}.bias", f"{target}.bias")]
