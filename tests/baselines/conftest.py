"""What the tests of the baselines share: a few dialogues, knowledge of them, and tiny networks."""

from __future__ import annotations

import json

import jax
import numpy as np
import pytest
from flax import nnx

from configs import baselines, debug
from empatheia_jax import weights
from empatheia_jax.baselines import knowledge
from empatheia_jax.baselines.encoding import Encoder, Said, turns
from empatheia_jax.baselines.networks import NETWORKS
from empatheia_jax.baselines.settings import BaselineConfig, BaselineTraining
from empatheia_jax.baselines.words import Vocabulary
from empatheia_jax.settings import read

SPOKEN = (
    (
        "joyful",
        ("I won the race. My legs hurt!", "That is wonderful news.", "Thank you, I trained for months.", "Great!"),
    ),
    ("sad", ("My dog died last night.", "I am so sorry for your loss.")),
    ("afraid", ("I can't sleep, there's a noise in the house.", "Is somebody with you?")),
    ("proud", ("My daughter won a prize.", "You must be happy for her.")),
)
INFERRED = {
    "I won the race. My legs hurt!": ("to win", "to train", "to rest", "gets a prize", "happy"),
    "I won the race": ("to be the best", "to run", "to celebrate", "is tired", "proud"),
    "My dog died last night.": ("none", "to have a dog", "to cry", "is alone", "sad"),
}


def config_for(kind: str, data, **changes):
    """The shipped config at test size."""
    config = baselines.get_config(kind)
    config.data = str(data)
    config.network.update({"width": 16, "depth": 8, "filter": 12, "dropout": 0.0})
    config.shapes.update({"context": 32, "reply": 10, "relation": 12, "concepts": 4, "sentences": 2, "event": 10})
    config.update(
        {"batch": 4, "steps": 40, "warmup": 4, "rate": 0.1, "log_every": 5, "save_every": 40, "eval_every": 20}
    )
    config.pretrain_steps = 4 if kind == "case" else 0
    config.mesh.data = 1
    config.compiler_options = debug.get_config().compiler_options
    config.update(changes)
    return config


def training(kind: str, data, **changes) -> BaselineTraining:
    """Its settings."""
    return read(BaselineTraining, config_for(kind, data, **changes))


def _dialogues():
    for number, (emotion, said) in enumerate(SPOKEN, 1):
        roles = ("speaker", "listener")
        history = [{"index": k, "role": roles[k % 2], "utterance": each} for k, each in enumerate(said)]
        chain = {"speaker_emotion": emotion, "event_scenario": "x", "emotion_cause": "x", "goal_to_response": "x"}
        asked = [
            {"turn_id": str(k // 2), "dialogue_history": history[:k], "response": said[k], "chain_of_empathy": chain}
            for k in range(1, len(said), 2)
        ]
        yield {"conversation_id": f"{number:05d}", "turns": asked}


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """Four dialogues in the released layout; all splits hold the same."""
    folder = tmp_path_factory.mktemp("dialogues")
    for split in ("train", "valid", "test"):
        (folder / f"{split}.json").write_text(json.dumps(list(_dialogues())))
    return folder


@pytest.fixture(scope="session")
def known(tmp_path_factory):
    """A folder of knowledge in the released forms."""
    folder = tmp_path_factory.mktemp("knowledge")
    lines = [
        json.dumps({"utterance": said, **{name: [each] for name, each in zip(knowledge.RELATIONS, found)}})
        for said, found in INFERRED.items()
    ]
    (folder / knowledge.COMET).write_text("\n".join(lines) + "\n")
    rows = [("RelatedTo", "race", "prize", 2.0), ("Causes", "died", "loss", 1.0), ("Antonym", "race", "happy", 3.0)]
    rows += [("RelatedTo", "house", "noise", 0.5), ("RelatedTo", "race", "legs", 1.0)]
    (folder / knowledge.CONCEPTNET).write_text(
        "".join(f'/a/x\t/r/{r}\t/c/en/{a}/n\t/c/en/{b}\t{{"weight": {w}}}\n' for r, a, b, w in rows)
    )
    (folder / knowledge.VAD).write_text(
        "Word\tValence\tArousal\tDominance\nrace\t0.6\t0.8\t0.5\nprize\t0.95\t0.9\t0.7\nloss\t0.05\t0.6\t0.2\n"
        "legs\t0.5\t0.3\t0.5\nhappy\t1.0\t0.7\t0.8\ndied\t0.02\t0.8\t0.1\n"
    )
    return folder


@pytest.fixture(scope="session")
def said(data):
    """The turns of the dialogues in words."""
    return [Said.of(*each) for each in turns(data / "test.json")]


@pytest.fixture(scope="session")
def vocabulary(said):
    """Every word of theirs."""
    return Vocabulary.of([words for each in said for words in (*each.history, each.reply)], 1000)


@pytest.fixture(scope="session")
def encoder(data, known, vocabulary):
    """`encoder(kind, …changes of the shapes)` with knowledge."""

    def make(kind, reduced=False, **shapes):
        config = config_for(kind, data)
        config.shapes.update(shapes)
        found = knowledge.NONE if reduced else knowledge.read(known, kind, vocabulary)
        return Encoder(kind, read(BaselineTraining, config).shapes, vocabulary, found)

    return make


@pytest.fixture(scope="session")
def network(data, vocabulary):
    """`network(kind)`: a tiny network with random weights."""
    made = {}

    def make(kind):
        if kind not in made:
            shape = BaselineConfig(len(vocabulary), training(kind, data).network)
            graph, state = nnx.split(weights.abstract(lambda: NETWORKS[kind](shape, rngs=nnx.Rngs(0))))
            random = np.random.default_rng(0)
            filled = jax.tree.map(lambda leaf: random.normal(0, 0.3, leaf.shape).astype(np.float32), state)
            made[kind] = nnx.merge(graph, filled)
        return made[kind]

    return make


@pytest.fixture(scope="session")
def run():
    """`run(network, function, *arrays)`: `function(network, *arrays)`, compiled without much effort."""

    def call(network, function, *arrays):
        graph, state = nnx.split(network)
        options = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
        return jax.jit(lambda state, *given: function(nnx.merge(graph, state), *given), compiler_options=options)(
            state, *arrays
        )

    return call
