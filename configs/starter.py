"""What the starter was trained by: the quickstart's networks on our whole corpus.

    python -m data_pipeline.corpus --output=data/corpus
    python launch.py --config=configs/starter.py                      # stage coe, in text: hours on a CPU
    python -m empatheia_jax.runs.start --run=runs/starter --output=empatheia_jax/assets/starter

The card in `empatheia_jax/assets/starter/README.md` says which steps the shipped one took, on which machine, and what it can.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import quickstart


def get_config() -> ConfigDict:
    """Stage coe of the quickstart's networks on the corpus, without recordings."""
    config = quickstart.get_config()
    config.name = "starter"
    config.start = ""
    config.schedule = "coe"
    config.data.update({"path": "data/corpus", "modalities": "", "buckets": "224,288,352"})
    config.objective.emotion_weight = 6.0
    config.coe.update({"steps": 400, "batch": 8, "learning_rate": 2e-3, "warmup": 20, "decay": "linear"})
    config.coe.group_rates = "core.*=0.5"
    config.coe.update({"save_every": 25, "eval_every": 100})
    return config
