"""Stage "coe" alone; the stages before it are taken from the run's folder: `python launch.py --config=configs/coe.py`."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import joint


def get_config(variant: str = "") -> ConfigDict:
    """`configs/joint.py` with this one stage in its schedule."""
    config = joint.get_config(variant)
    config.schedule = "coe"
    return config
