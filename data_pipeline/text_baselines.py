"""Dialogues in the released layout → batches for the text baselines (`configs/baselines.py`).

Every turn of the split `train` that has a response is an example. The vocabulary is counted over `train` and `valid`.
A batch is a function of the seed and its number alone, so a run that was stopped goes on with the same batches.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax
import numpy as np

from data_pipeline.layout import Tree
from data_pipeline.talking_heads import Draws
from empatheia_jax.baselines import knowledge
from empatheia_jax.baselines.batch import TextBatch
from empatheia_jax.baselines.encoding import Encoder, Said, turns
from empatheia_jax.baselines.settings import BaselineTraining
from empatheia_jax.baselines.words import Vocabulary
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import WHOLE, Part


@dataclass(frozen=True)
class Dialogues:
    """What a training takes: endless batches, the batches of `valid`, and how a turn becomes arrays."""

    encoder: Encoder
    batches: Draws
    valid: tuple[Said, ...]
    count: int
    batch: int
    part: Part

    def train(self) -> Draws:
        """Endless batches of `train`."""
        return self.batches

    def validation(self) -> Iterator[TextBatch]:
        """The batches of `valid`, in its order."""
        rows = self.part.rows(self.batch)
        for start in range(0, len(self.valid), self.batch):
            some = self.valid[start : start + self.batch]
            # Every process builds its rows of the batch; what is beyond the last example has no weight.
            mine = [self.encoder(some[row]) if row < len(some) else self.encoder(some[-1], 0.0) for row in rows]
            yield jax.tree.map(lambda *leaves: np.stack(leaves), *mine)


def open_dialogues(config: BaselineTraining, part: Part = WHOLE) -> Dialogues:
    """The batches of a run.

    Args:
      config: with `data`, `knowledge`, `vocabulary`, `shapes`, `seed` and `batch`.
      part: which rows of a batch this process builds (`parallel.mesh.batch_part`).

    Raises:
      UserError: there is no such data set, no turn of it has a response, or knowledge is missing.
    """
    tree = Tree(config.data)

    def said(split: str) -> list[Said]:
        return [Said.of(conversation, turn) for conversation, turn in turns(tree.split_file(split)) if turn.response]

    examples, valid = said("train"), said("valid") if "valid" in tree.splits() else []
    if not examples:
        raise UserError(f"{tree.split_file('train')} has no turn with a response; a baseline has nothing to learn from")
    spoken = [words for each in [*examples, *valid] for words in (*each.history, each.reply)]
    vocabulary = Vocabulary.of(spoken, config.vocabulary)
    folder = Path(config.knowledge) if config.knowledge else None
    encoder = Encoder(config.trains, config.shapes, vocabulary, knowledge.read(folder, config.trains, vocabulary))

    def draw(random: np.random.Generator) -> TextBatch:
        return encoder(examples[int(random.integers(len(examples)))])

    return Dialogues(
        encoder, Draws(draw, config.batch, config.seed, part), tuple(valid), len(examples), config.batch, part
    )
