"""The blocks of an experiment of the whole model: what `configs/common.py` sets, typed. What a key means is said there."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args

from empatheia_jax.settings import choices
from empatheia_jax.settings.reading import Block
from empatheia_jax.settings.rules import (
    SEED,
    Count,
    Factors,
    Momentum,
    Names,
    NotNegative,
    Number,
    Options,
    Positive,
    Share,
    Size,
    SomeOf,
    Text,
    Whole,
    Wholes,
)
from empatheia_jax.tokens import SLOTS

PARTS: Mapping[str, tuple[choices.Loss, ...]] = {
    "coe": ("emp",),
    "content": ("ccl",),
    "style": ("sac",),
    "joint": ("emp", "ccl", "sac"),
}
"""Stage → its losses (§5), before any is left out."""
STAGES: tuple[choices.Stage, ...] = get_args(choices.Stage)
Path = Annotated[str, Text(path=True)]


@dataclasses.dataclass(frozen=True)
class Networks(Block):
    """Which networks, and how they compute."""

    weights_dir: Path
    llm: Path
    adapter: Annotated[str, Text(path=True, empty="a fresh adapter")]
    speech_encoder: Path
    video_encoder: Path
    tts: Path
    talking_head: Path
    faces: Path
    voices: Annotated[str, Text(path=True, empty="the weights' own table of voices")]
    dtype: choices.Dtype
    frozen_int8: bool
    remat: choices.Remat
    attention: choices.Attention
    video_layer: Annotated[int, Whole(-64, 64, why="an index of the encoder's layers")]
    video_pooling: choices.VideoPooling
    phonemizer: choices.Phonemizer

    def __getitem__(self, network: str) -> str:
        """The name of a network's weights folder by the network's key, "llm" say."""
        return getattr(self, network)


@dataclasses.dataclass(frozen=True)
class LoRA(Block):
    """Low-rank adapters of the language model."""

    rank: Annotated[
        int, Whole(1, 1024, why="a higher rank is no low rank: it needs more memory than the matrix itself")
    ]
    alpha: Positive
    dropout: Momentum
    targets: Annotated[tuple[str, ...], Names()]
    rslora: bool


@dataclasses.dataclass(frozen=True)
class Bridge(Block):
    """Sizes and kinds of the content synchronizer and the style disentangler."""

    width: Annotated[int, Whole(2, 8192, why="a wider bridge is larger than the language model")]
    heads: Annotated[int, Whole(1, 256)]
    mlp: Size
    layers: Annotated[int, Whole(1, 64)]
    content_latent: Size
    style_latent: Size
    content_kind: choices.BridgeKind
    style_kind: choices.BridgeKind
    sharing: choices.Sharing
    style_inputs: choices.StyleInputs
    fuse: choices.Fuse
    source_positions: bool
    signal_source: choices.SignalSource
    speech_target: choices.SpeechTarget
    video_target: choices.VideoTarget

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.width % self.heads:
            yield "heads", f"a divisor of bridge.width={self.width}"
        if self.width % 2:
            yield "width", "an even number (positions are pairs of sine and cosine)"


@dataclasses.dataclass(frozen=True)
class Objective(Block):
    """Factors of the losses, and losses that are left out."""

    alpha: NotNegative
    beta: NotNegative
    kl_weight: NotNegative
    emotion_weight: Positive
    regression: choices.Regression
    without: Annotated[tuple[choices.Loss, ...], SomeOf(get_args(choices.Loss), empty="none is left out")]


@dataclasses.dataclass(frozen=True)
class Data(Block):
    """The data set, and how a dialogue becomes tokens."""

    path: Path
    max_length: Annotated[int, Whole(16, 65_536, why="attention over longer rows needs more than 12 GB")]
    answer_length: Annotated[int, Whole(0, 65_536)]
    reply_tokens: Annotated[int, Whole(1, 16_384)]
    phonemes: Annotated[int, Whole(1, 16_384, why="about 20 minutes of speech")]
    frames: Annotated[int, Whole(1, 30_000, why="20 minutes at 25 frames a second")]
    utterances: Annotated[int, Whole(1, 256, why='to train without speech and video, set data.modalities=""')]
    instruction: choices.Instruction
    listener_media: bool
    slots: Annotated[int, Whole(1, SLOTS)]
    chat_template: choices.Template
    chain_of_empathy: bool
    modalities: Annotated[tuple[choices.Modality, ...], SomeOf(get_args(choices.Modality), empty="text alone")]
    modality_dropout: Share
    last_turn_only: bool
    label_map: choices.LabelMap
    expression: choices.Expression
    workers: Annotated[
        int, Whole(0, 128, why="each is a process of its own with the tokenizer and the data set's index")
    ]
    buckets: Annotated[tuple[int, ...], Wholes()]
    packing: bool
    persona: bool
    cache: Annotated[str, Text(empty="the folder `features` of the data set", path=True)]
    quarantine_limit: Share

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if SLOTS % self.slots:
            yield "slots", f"a divisor of {SLOTS}, the features that are extracted of a recording"
        if self.answer_length >= self.max_length:
            yield "answer_length", f"fewer than data.max_length={self.max_length}"
        if self.reply_tokens >= self.max_length:
            yield "reply_tokens", f"fewer than data.max_length={self.max_length}"
        if any(length > self.max_length for length in self.buckets):
            yield "buckets", f"lengths of at most data.max_length={self.max_length}"
        if self.packing and self.modalities:
            yield "packing", 'False, or data.modalities="": several dialogues in a row are for text alone'


@dataclasses.dataclass(frozen=True)
class Stage(Block):
    """How one stage trains."""

    steps: Count
    batch: Annotated[int, Whole(1, 65_536, why="dialogues of one step")]
    accumulation: Count
    learning_rate: Positive
    warmup: Annotated[int, Whole(0, none="a tenth of the steps")]
    decay: choices.Decay
    weight_decay: NotNegative
    clip: NotNegative
    group_rates: Annotated[Mapping[str, float], Factors()]
    ema: Momentum
    save_every: Count
    eval_every: Annotated[int, Whole(0, why="0 = never")]

    @classmethod
    def derive(cls, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"warmup": max(1, values["steps"] // 10)} if values["warmup"] is None else values

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.batch % self.accumulation:
            yield "batch", f"a multiple of the stage's accumulation={self.accumulation}"
        if self.warmup > self.steps:
            yield "warmup", f"at most the stage's steps={self.steps}"


Blend = Annotated[
    float | None,
    Number(at_least=0, at_most=1, none="1 where a stage of the run trained that path of the bridge, else 0"),
]


@dataclasses.dataclass(frozen=True)
class Decoding(Block):
    """How a reply is decoded, and what reaches the generators."""

    form: choices.AnswerForm
    step_tokens: Annotated[int, Whole(1, 65_536)]
    response_tokens: Annotated[int, Whole(1, 65_536)]
    max_new_tokens: Annotated[int, Whole(1, 65_536)]
    temperature: Annotated[float, Number(at_least=0, at_most=100, why="0 = greedy; at 100 all tokens are alike")]
    top_k: Annotated[int, Whole(0, why="0 = all tokens")]
    top_p: Annotated[float, Number(above=0, at_most=1)]
    repetition_penalty: Annotated[float, Number(at_least=0.01, at_most=100, why="1 = none")]
    no_repeat_ngram: Annotated[int, Whole(0, 65_536, why="0 = repetition is allowed")]
    guidance: Annotated[float, Number(at_least=0, at_most=100, why="1 = none")]
    content_blend: Blend
    style_blend: Blend
    style_clip: Annotated[str, Text(empty="what the listener shows for the speaker's emotion")]

    def conflicts(self) -> Iterator[tuple[str, str]]:
        if self.no_repeat_ngram == 1:
            yield "no_repeat_ngram", "0, or at least 2: no token at all could come twice"


AxisSize = Annotated[int, Whole(-1, 1_000_000, why="-1 = whatever the other axes leave")]


@dataclasses.dataclass(frozen=True)
class MeshShape(Block):
    """Sizes of the three axes of the device mesh."""

    data: AxisSize
    fsdp: AxisSize
    tensor: AxisSize

    def conflicts(self) -> Iterator[tuple[str, str]]:
        for axis, size in zip(("data", "fsdp", "tensor"), self.sizes):
            if size == 0:
                yield axis, "a size of at least 1, or -1 for whatever the other axes leave"
        open_axes = [axis for axis, size in zip(("data", "fsdp", "tensor"), self.sizes) if size == -1]
        for axis in open_axes[1:]:
            yield axis, f"a size, since {open_axes[0]} is -1 too and only one axis can take what the others leave"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """(data, fsdp, tensor)."""
        return self.data, self.fsdp, self.tensor


@dataclasses.dataclass(frozen=True)
class Experiment(Block):
    """An experiment of the whole model."""

    name: Annotated[str, Text(folder=True)]
    start: Annotated[str, Text(path=True, empty="the bare language model, adapters and bridge fresh")]
    seed: Annotated[int, SEED]
    schedule: Annotated[tuple[choices.Stage, ...], SomeOf(STAGES)]
    mesh: MeshShape
    networks: Networks
    lora: LoRA
    bridge: Bridge
    objective: Objective
    data: Data
    coe: Stage
    content: Stage
    style: Stage
    joint: Stage
    decoding: Decoding
    log_every: Count
    keep_checkpoints: Count
    compiler_options: Annotated[Mapping[str, str | bool | int], Options()]
    preflight_price: NotNegative
    profile_steps: Annotated[tuple[int, int] | tuple[()], Wholes(count=2, rising=True)]

    def __getitem__(self, stage: str) -> Stage:
        """The block of a stage by its name."""
        if stage not in STAGES:
            raise KeyError(stage)
        return getattr(self, stage)

    def losses(self, stage: str) -> tuple[choices.Loss, ...]:
        """The losses of a stage without those that `objective.without` leaves out."""
        return tuple(loss for loss in PARTS[stage] if loss not in self.objective.without)

    def conflicts(self) -> Iterator[tuple[str, str]]:
        ordered = tuple(stage for stage in STAGES if stage in self.schedule)
        if self.schedule != ordered:
            yield "schedule", f"the stages in the order in which they build on each other, {','.join(ordered)}"
        for key in ("step_tokens", "response_tokens", "max_new_tokens"):
            if getattr(self.decoding, key) > self.data.max_length:
                yield f"decoding.{key}", f"at most data.max_length={self.data.max_length}, prompt and answer together"
        for stage in self.schedule:
            if not self.losses(stage):
                yield "schedule", f"no stage {stage}, whose every loss objective.without leaves out"
