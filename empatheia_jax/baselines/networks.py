"""The three networks by name."""

from __future__ import annotations

from collections.abc import Mapping

from empatheia_jax.baselines.case import CASE
from empatheia_jax.baselines.cem import CEM
from empatheia_jax.baselines.kemp import KEMP
from empatheia_jax.baselines.settings import Kind

Network = KEMP | CEM | CASE
NETWORKS: Mapping[Kind, type[KEMP] | type[CEM] | type[CASE]] = {"kemp": KEMP, "cem": CEM, "case": CASE}
TITLES: Mapping[Kind, str] = {"kemp": "KEMP", "cem": "CEM", "case": "CASE"}


def weights_kind(kind: Kind) -> str:
    """The kind of a weights folder that holds this baseline."""
    return f"baseline-{kind}"
