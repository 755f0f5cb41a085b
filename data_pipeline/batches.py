"""Examples → tokens, features, targets and labels → the batch of a position of the stream.

The order of the stream is a plan (`data_pipeline.plan`) that every host computes alike, and a batch is a pure function of its
position, so any number of hosts and workers build the same batches.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from data_pipeline.examples import Example, fingerprint
from data_pipeline.features import Features
from data_pipeline.layout import Clip, Tree
from data_pipeline.plan import EMPTY, Plan
from data_pipeline.quarantine import Quarantine
from empatheia_jax.batch import Batch
from empatheia_jax.conversation import prompt
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.encoders.pooling import pool
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import WHOLE, Part
from empatheia_jax.tokens import SLOTS

_ENDLESS = 2**40


@dataclasses.dataclass(frozen=True)
class Settings:
    """How examples become batches.

    policy          how a dialogue becomes tokens, as in a reply
    buckets         row lengths; () = the policy's max_length alone
    batch           rows of the global batch
    seed            None = evaluation: the set's order, one pass, padded with weight 0
    phonemes, frames    longest targets; longer ones are cut there
    modality_dropout    probability that an example loses some of its modalities (one, or all), in training
    packing         several text-only examples per row
    emotion_mask    say which tokens write the emotion's label, for a loss in which they count more
    """

    policy: PromptPolicy
    batch: int
    buckets: tuple[int, ...] = ()
    seed: int | None = None
    phonemes: int = 384
    frames: int = 500
    targets: tuple[str, ...] = ()
    modality_dropout: float = 0.0
    packing: bool = False
    emotion_mask: bool = False

    def __post_init__(self):
        if self.packing and (self.policy.modalities or self.targets):
            raise UserError("packing is for text-only batches of the stage coe; empty data.modalities or leave it off")
        if any(not 0 < bucket <= self.policy.max_length for bucket in self.buckets):
            raise UserError(f"buckets {self.buckets}; expected lengths of 1 to max_length {self.policy.max_length}")
        if not 0 <= self.modality_dropout <= 1:
            raise UserError(f"modality_dropout {self.modality_dropout}; expected 0 to 1")


def clip_at(tree: Tree | None, example: Example, index: int, role: str, text: str) -> Clip:
    """An utterance of an example with its recordings; without them where the set is made up."""
    if tree is None:
        return Clip(example.conversation.conversation_id, index, role, text, None, None)
    return tree.clip(example.conversation, index, role, text)


def said_at(tree: Tree | None, example: Example, position: int) -> Clip:
    """The clip of what was said at a position of an example's history."""
    said = example.turn.history[position]
    return clip_at(tree, example, said.index, said.role, said.text)


def reply_of(tree: Tree | None, example: Example) -> Clip:
    """The clip of an example's reply. Raises `UserError` where it has none."""
    if example.turn.response is None:
        raise UserError("the turn has no reply to take targets from")
    return clip_at(tree, example, example.turn.response_index, "listener", example.turn.response)


def require_features(
    example: Example, tree: Tree | None, features: Features, policy: PromptPolicy, targets: Sequence[str]
) -> None:
    """Raises `UserError` where a feature is not there that a batch would read for this example."""
    wanted = [
        (feature, said_at(tree, example, i))
        for feature in policy.modalities
        for i in policy.heard(example.turn.history)
    ]
    for feature, clip in [*wanted, *((feature, reply_of(tree, example)) for feature in targets)]:
        if reason := features.missing(feature, clip):
            raise UserError(reason)


class BatchMaker:
    """Builds the batches of a list of examples; picklable, without state, a pure function of the position.

    `part` says which rows of the global batch are built.

    Raises:
        UserError: no example is usable, or too many are not; the batch does not divide into the shards of `part`.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tree: Tree | None,
        features: Features | None,
        tokenizer: prompt.Tokenizer,
        settings: Settings,
        quarantine: Quarantine,
        part: Part = WHOLE,
    ):
        self.rows = part.rows(settings.batch)
        self.tree, self.features, self.tokenizer, self.settings = tree, features, tokenizer, settings
        self.examples: list[Example] = []
        self.numbers: list[int] = []  # position in the given list: the example's id
        lengths = []
        for number, example in enumerate(examples):
            quarantine.saw()
            try:
                if settings.policy.modalities or settings.targets:
                    require_features(example, tree, self._store(), settings.policy, settings.targets)
                lengths.append(len(self.encode(example).tokens))
            except UserError as error:
                quarantine.add(example.id, "unusable", error)
                continue
            self.examples.append(example)
            self.numbers.append(number)
        quarantine.enforce()
        self.shapes = self._shapes()
        buckets = (*settings.buckets, settings.policy.max_length)
        self.plan = Plan(lengths, settings.batch, buckets, settings.seed, settings.packing)
        self.identity = hashlib.sha256(f"{fingerprint(self.examples)} {settings} {lengths}".encode()).hexdigest()

    def __len__(self) -> int:
        """Number of batches: one pass in evaluation, endless in training."""
        return len(self.plan.epoch(0)) if self.settings.seed is None else _ENDLESS

    def _clip(self, example: Example, position: int) -> Clip:
        return said_at(self.tree, example, position)

    def _reply(self, example: Example) -> Clip:
        return reply_of(self.tree, example)

    def _runs(self, example: Example) -> tuple[int, ...]:
        return self.settings.policy.heard(example.turn.history)

    def _store(self) -> Features:
        if self.features is None:
            raise ValueError("modalities and targets are read from a feature cache; give features")
        return self.features

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each feature and target, without its length, from the first example: the same in all batches."""
        if not self.examples:
            return {}
        first = self.examples[0]
        clips: dict[str, Clip] = {
            feature: self._clip(first, self._runs(first)[-1]) for feature in self.settings.policy.modalities
        }
        clips |= {feature: self._reply(first) for feature in self.settings.targets}
        shapes = {feature: self._store().get(feature, clip).shape for feature, clip in clips.items()}
        return {feature: shape if feature.endswith("style") else shape[1:] for feature, shape in shapes.items()}

    def _modalities(self, index: int, epoch: int) -> tuple[str, ...]:
        """The modalities that this example keeps in this epoch."""
        settings, modalities = self.settings, self.settings.policy.modalities
        if settings.seed is None or not settings.modality_dropout or not modalities:
            return modalities
        random = np.random.Generator(np.random.Philox(key=[settings.seed + 2**32, epoch], counter=[0, 0, 0, index]))
        if random.random() >= settings.modality_dropout:
            return modalities
        lost = random.integers(1, 2 ** len(modalities))  # any subset but the empty one, as bits
        return tuple(each for bit, each in enumerate(modalities) if not lost >> bit & 1)

    def encode(self, example: Example, modalities: Sequence[str] | None = None) -> prompt.Encoded:
        """Tokens of one example, with its target."""
        policy, runs = self.settings.policy, self._runs(example)
        modalities = policy.modalities if modalities is None else modalities
        return policy.encode(
            self.tokenizer,
            example.turn.history,
            example.conversation.listener,
            recorded=dict.fromkeys(modalities, runs),
            chain=example.target_chain(policy.chain_of_empathy),
            response=example.turn.response,
        )

    def __getitem__(self, position: int) -> Batch:
        """This process's rows of the global batch at a position of the stream."""
        settings = self.settings
        epoch, planned = self.plan[position]
        rows = [planned.rows[row] for row in self.rows]
        # An empty place repeats a real row, which keeps its numbers finite, with weight 0.
        stand_in = next(index for row in planned.rows for index in row if index != EMPTY)
        fields = _Fields(len(rows), planned.length, settings, self.shapes)
        for place, row in enumerate(rows):
            real = row[0] != EMPTY
            offset = 0
            for segment, index in enumerate(row if real else (stand_in,), 1):
                example = self.examples[index]
                encoded = self.encode(example, self._modalities(index, epoch))
                offset = fields.put_text(place, offset, segment, encoded)
            fields.put_labels(
                place, example.class_ids(settings.policy.label_map), self.numbers[index] if real else EMPTY, real
            )
            for feature, kept in (("speech", encoded.speech), ("video", encoded.video)):
                if feature in settings.policy.modalities:
                    clips = [self._clip(example, i) for i in kept]
                    fields.put_slots(place, feature, [self._store().get(feature, clip) for clip in clips])
            for feature in settings.targets:
                fields.put_target(place, feature, self._store().get(feature, self._reply(example)))
        return fields.batch()


class _Fields:
    """The arrays of one batch while it is filled."""

    def __init__(self, rows: int, length: int, settings: Settings, shapes: dict[str, tuple[int, ...]]):
        self.rows, self.settings = rows, settings
        self.text = {
            "tokens": np.zeros((rows, length), np.int32),
            "loss_mask": np.zeros((rows, length), bool),
            "reply_mask": np.zeros((rows, length), bool),
            "lengths": np.zeros(rows, np.int32),
        }
        if settings.emotion_mask:
            self.text["emotion_mask"] = np.zeros((rows, length), bool)
        if settings.packing:
            self.text |= {name: np.zeros((rows, length), np.int32) for name in ("segments", "positions")}
        self.labels = {name: np.full(rows, -1, np.int32) for name in ("emotion32", "emotion7", "age", "gender", "tone")}
        self.labels |= {"weight": np.zeros(rows, np.float32), "example_id": np.full(rows, EMPTY, np.int64)}
        lengths = {
            "speech": (settings.policy.utterances * settings.policy.slots,),
            "video": (settings.policy.utterances * settings.policy.slots,),
            "speech_content": (settings.phonemes,),
            "video_content": (settings.frames,),
        }
        self.arrays = {
            feature: np.zeros((rows, *lengths.get(feature, ()), *shape), np.float32)
            for feature, shape in shapes.items()
        }
        for feature in shapes.keys() & {"speech_content", "video_content"}:
            self.arrays[f"{feature}_lengths"] = np.zeros(rows, np.int32)

    def put_text(self, row: int, offset: int, segment: int, encoded: prompt.Encoded) -> int:
        end = offset + len(encoded.tokens)
        for name in self.text.keys() & {"tokens", "loss_mask", "reply_mask", "emotion_mask"}:
            self.text[name][row, offset:end] = getattr(encoded, name)
        if self.settings.packing:
            self.text["segments"][row, offset:end] = segment
            self.text["positions"][row, offset:end] = np.arange(end - offset)
        self.text["lengths"][row] = end
        return end

    def put_labels(self, row: int, ids: dict[str, int], number: int, real: bool) -> None:
        for name, value in {**ids, "weight": float(real), "example_id": number}.items():
            self.labels[name][row] = value

    def put_slots(self, row: int, feature: str, arrays: list[np.ndarray]) -> None:
        """Features of the utterances one after another, from the first place of the row."""
        room, slots = self.arrays[feature][row], self.settings.policy.slots
        for place, array in enumerate(arrays):
            self._check(feature, array.shape, (SLOTS, room.shape[1]))
            room[place * slots : (place + 1) * slots] = pool(array, slots)

    def put_target(self, row: int, feature: str, array: np.ndarray) -> None:
        """A target; what is longer than its room is cut, and the length says how much of the room is filled."""
        room = self.arrays[feature][row]
        if f"{feature}_lengths" not in self.arrays:
            self._check(feature, array.shape, room.shape)
            room[...] = array
            return
        kept = array[: len(room)]
        self._check(feature, kept.shape, (len(kept), *room.shape[1:]))
        room[: len(kept)] = kept
        self.arrays[f"{feature}_lengths"][row] = len(kept)

    def _check(self, feature: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            raise UserError(f"a record of {feature} has shape {found}; expected {expected}; extract the features again")

    def batch(self) -> Batch:
        fields: dict[str, Any] = {**self.text, **self.labels, **self.arrays}
        return Batch(**fields)
