"""What the starter was trained by: the quickstart's networks on our whole corpus.

    python -m data_pipeline.corpus --output=data/corpus
    python launch.py --config=configs/starter.py                      # stage coe, in text: minutes on a GPU, a day on a CPU
    python -m empatheia_jax.runs.start --run=runs/starter --adapter-scale=0.7 --output=empatheia_jax/assets/starter

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
    config.networks.dtype = "bfloat16"  # on a CPU float32 is faster: --config.networks.dtype=float32
    config.data.update({"path": "data/corpus", "modalities": "", "buckets": "352", "workers": 3})
    config.objective.emotion_weight = 3.0
    # About three epochs. With twice the rate of the core the loss on the validation split rises again in the fifth.
    config.coe.update({"steps": 450, "batch": 16, "learning_rate": 2e-3, "warmup": 20, "decay": "linear"})
    config.coe.group_rates = "core.*=0.25"
    config.coe.update({"save_every": 75, "eval_every": 75})
    return config
