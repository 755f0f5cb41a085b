"""Batches for the stages: examples → tokens, features, targets and labels → `Batch`, through grain.

The order of the stream is a plan (`data_pipeline.plan`) that every host computes alike; grain reads ahead in threads or
worker processes. The position of a stream is the number of batches taken from it, so it can be restored on any number of
hosts and workers, and what follows is bit-identical to the uninterrupted stream.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import grain
import numpy as np
from absl import flags

from data_pipeline import toy
from data_pipeline.examples import Example, examples_of, fingerprint, read_conversations
from data_pipeline.features import ENCODED, TARGETS, CachedFeatures, Features, MadeUpFeatures
from data_pipeline.fingerprints import fingerprints
from data_pipeline.layout import Clip, Tree
from data_pipeline.plan import EMPTY, Plan
from data_pipeline.quarantine import Quarantine
from empatheia_jax.batch import Batch
from empatheia_jax.conversation import prompt
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import SLOTS

DEBUG = "debug"
"""As `config.data.path`: the toy set's words with made-up features."""
_ENDLESS = 2**40


@dataclasses.dataclass(frozen=True)
class Settings:
    """How examples become batches.

    max_length      tokens of the longest row
    buckets         row lengths; () = max_length alone
    batch           rows of the global batch
    seed            None = evaluation: the set's order, one pass, padded with weight 0
    phonemes, frames    longest targets; longer ones are cut there
    utterances      user utterances with media per example, the last ones
    modalities      of ENCODED; () = text only
    modality_dropout    probability that an example loses one of its modalities, in training
    packing         several text-only examples per row
    chain_of_empathy (`steps` there), persona, instruction, slots: see `prompt.encode`; label_map: see `labels.MAPS_TO_7`
    """

    max_length: int
    batch: int
    buckets: tuple[int, ...] = ()
    seed: int | None = None
    phonemes: int = 384
    frames: int = 500
    utterances: int = 4
    modalities: tuple[str, ...] = ENCODED
    targets: tuple[str, ...] = ()
    modality_dropout: float = 0.0
    packing: bool = False
    chain_of_empathy: bool = True
    persona: bool = True
    instruction: str = "paper"
    label_map: str = "paper"
    slots: int = SLOTS

    def __post_init__(self):
        unknown = set(self.modalities) - set(ENCODED)
        if unknown:
            raise UserError(f"modality {sorted(unknown)[0]!r} is unknown; expected some of {', '.join(ENCODED)}")
        if self.packing and (self.modalities or self.targets):
            raise UserError("packing is for text-only batches of the stage coe; empty data.modalities or leave it off")
        if any(not 0 < bucket <= self.max_length for bucket in self.buckets):
            raise UserError(f"buckets {self.buckets}; expected lengths of 1 to max_length {self.max_length}")
        if not 0 <= self.modality_dropout <= 1:
            raise UserError(f"modality_dropout {self.modality_dropout}; expected 0 to 1")


class BatchMaker:
    """Builds the batches of a list of examples; picklable, without state, a pure function of the position.

    Raises:
        UserError: no example is usable, or too many are not.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        tree: Tree | None,
        features: Features | None,
        tokenizer: prompt.Tokenizer,
        settings: Settings,
        quarantine: Quarantine,
        template: prompt.Template = prompt.human_assistant,
        host: int = 0,
        hosts: int = 1,
    ):
        if settings.batch % hosts:
            raise UserError(
                f"a global batch of {settings.batch} does not divide by {hosts} hosts; change the stage's batch"
            )
        self.tree, self.features, self.tokenizer, self.settings = tree, features, tokenizer, settings
        self.template, self.host, self.hosts = template, host, hosts
        self.examples: list[Example] = []
        self.numbers: list[int] = []  # position in the given list: the example's id
        lengths = []
        for number, example in enumerate(examples):
            quarantine.saw()
            try:
                self._require_features(example)
                lengths.append(len(self.encode(example).tokens))
            except UserError as error:
                quarantine.add(example.id, "unusable", error)
                continue
            self.examples.append(example)
            self.numbers.append(number)
        quarantine.enforce()
        self.shapes = self._shapes()
        buckets = (*settings.buckets, settings.max_length)
        self.plan = Plan(lengths, settings.batch, buckets, settings.seed, settings.packing)
        self.identity = hashlib.sha256(f"{fingerprint(self.examples)} {settings} {lengths}".encode()).hexdigest()

    def __len__(self) -> int:
        """Number of batches: one pass in evaluation, endless in training."""
        return len(self.plan.epoch(0)) if self.settings.seed is None else _ENDLESS

    def _clip(self, example: Example, position: int) -> Clip:
        said = example.turn.history[position]
        return self._reach(example, said.index, said.role, said.text)

    def _reach(self, example: Example, index: int, role: str, text: str) -> Clip:
        if self.tree is None:
            return Clip(example.conversation.conversation_id, index, role, text, None, None)
        return self.tree.clip(example.conversation, index, role, text)

    def _reply(self, example: Example) -> Clip:
        return self._reach(example, example.turn.response_index, "listener", example.turn.response)

    def _runs(self, example: Example) -> tuple[int, ...]:
        return prompt.speaker_indices(example.turn.history)[-self.settings.utterances :]

    def _require_features(self, example: Example) -> None:
        wanted = [(what, self._clip(example, i)) for what in self.settings.modalities for i in self._runs(example)]
        wanted += [(what, self._reply(example)) for what in self.settings.targets]
        for what, clip in wanted:
            if reason := self.features.missing(what, clip):
                raise UserError(reason)

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        """Shape of each feature and target, without its length, from the first example: the same in all batches."""
        if not self.examples:
            return {}
        first = self.examples[0]
        clips = {what: self._clip(first, self._runs(first)[-1]) for what in self.settings.modalities}
        clips |= {what: self._reply(first) for what in self.settings.targets}
        shapes = {what: self.features.get(what, clip).shape for what, clip in clips.items()}
        return {what: shape if what.endswith("style") else shape[1:] for what, shape in shapes.items()}

    def _modalities(self, index: int, epoch: int) -> tuple[str, ...]:
        """The modalities that this example keeps in this epoch."""
        settings = self.settings
        if settings.seed is None or not settings.modality_dropout or not settings.modalities:
            return settings.modalities
        random = np.random.Generator(np.random.Philox(key=[settings.seed + 2**32, epoch], counter=[0, 0, 0, index]))
        if random.random() >= settings.modality_dropout:
            return settings.modalities
        lost = settings.modalities[random.integers(len(settings.modalities))]
        return tuple(each for each in settings.modalities if each != lost)

    def encode(self, example: Example, modalities: Sequence[str] | None = None) -> prompt.Encoded:
        """Tokens of one example, with its target."""
        settings = self.settings
        modalities = settings.modalities if modalities is None else modalities
        runs = self._runs(example)
        return prompt.encode(
            self.tokenizer,
            example.turn.history,
            max_length=settings.max_length,
            chain=example.turn.chain,
            response=example.turn.response,
            steps=settings.chain_of_empathy,
            listener=example.conversation.listener if settings.persona else None,
            instruction=settings.instruction,
            template=self.template,
            speech=runs if "speech" in modalities else (),
            video=runs if "video" in modalities else (),
            slots=settings.slots,
        )

    def __getitem__(self, position: int) -> Batch:
        """This host's rows of the global batch at a position of the stream."""
        settings = self.settings
        epoch, planned = self.plan[position]
        here = settings.batch // self.hosts
        rows = planned.rows[self.host * here : (self.host + 1) * here]
        # An empty place repeats a real row, which keeps its numbers finite, with weight 0.
        stand_in = next(index for row in planned.rows for index in row if index != EMPTY)
        fields = _Fields(here, planned.length, settings, self.shapes)
        for place, row in enumerate(rows):
            real = row[0] != EMPTY
            offset = 0
            for segment, index in enumerate(row if real else (stand_in,), 1):
                example = self.examples[index]
                encoded = self.encode(example, self._modalities(index, epoch))
                offset = fields.put_text(place, offset, segment, encoded)
            fields.put_labels(
                place, example.class_ids(settings.label_map), self.numbers[index] if real else EMPTY, real
            )
            for what, kept in (("speech", encoded.speech), ("video", encoded.video)):
                if what in settings.modalities:
                    clips = [self._clip(example, i) for i in kept]
                    fields.put_slots(place, what, [self.features.get(what, clip) for clip in clips])
            for what in settings.targets:
                fields.put_target(place, what, self.features.get(what, self._reply(example)))
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
        if settings.packing:
            self.text |= {name: np.zeros((rows, length), np.int32) for name in ("segments", "positions")}
        self.labels = {name: np.full(rows, -1, np.int32) for name in ("emotion32", "emotion7", "age", "gender", "tone")}
        self.labels |= {"weight": np.zeros(rows, np.float32), "example_id": np.full(rows, EMPTY, np.int64)}
        lengths = {
            "speech": (settings.utterances * settings.slots,),
            "video": (settings.utterances * settings.slots,),
            "speech_content": (settings.phonemes,),
            "video_content": (settings.frames,),
        }
        self.arrays = {
            what: np.zeros((rows, *lengths.get(what, ()), *shape), np.float32) for what, shape in shapes.items()
        }
        for what in shapes.keys() & {"speech_content", "video_content"}:
            self.arrays[f"{what}_lengths"] = np.zeros(rows, np.int32)

    def put_text(self, row: int, offset: int, segment: int, encoded: prompt.Encoded) -> int:
        end = offset + len(encoded.tokens)
        for name in ("tokens", "loss_mask", "reply_mask"):
            self.text[name][row, offset:end] = getattr(encoded, name)
        if self.settings.packing:
            self.text["segments"][row, offset:end] = segment
            self.text["positions"][row, offset:end] = np.arange(end - offset)
        self.text["lengths"][row] = end
        return end

    def put_labels(self, row: int, ids: dict[str, int], number: int, real: bool) -> None:
        for name, value in {**ids, "weight": float(real), "example_id": number}.items():
            self.labels[name][row] = value

    def put_slots(self, row: int, what: str, arrays: list[np.ndarray]) -> None:
        """Features of the utterances one after another, from the first place of the row."""
        room, slots = self.arrays[what][row], self.settings.slots
        for place, array in enumerate(arrays):
            self._check(what, array.shape, (slots, room.shape[1]))
            room[place * slots : (place + 1) * slots] = array

    def put_target(self, row: int, what: str, array: np.ndarray) -> None:
        """A target; what is longer than its room is cut, and the length says how much of the room is filled."""
        room = self.arrays[what][row]
        if f"{what}_lengths" not in self.arrays:
            self._check(what, array.shape, room.shape)
            room[...] = array
            return
        kept = array[: len(room)]
        self._check(what, kept.shape, (len(kept), *room.shape[1:]))
        room[: len(kept)] = kept
        self.arrays[f"{what}_lengths"][row] = len(kept)

    def _check(self, what: str, found: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if found != expected:
            raise UserError(f"a record of {what} has shape {found}; expected {expected}; extract the features again")

    def batch(self) -> Batch:
        return Batch(**self.text, **self.labels, **self.arrays)


class _From:
    """Positions `start`, `start + 1`, … as a grain source."""

    def __init__(self, start: int, count: int):
        self.start, self.count = start, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> int:
        return self.start + index


class Stream(Iterator[Batch]):
    """Batches in order, read ahead, with a position that can be saved and restored.

    Args:
        maker: builds the batch of a position.
        workers: worker processes; 0 = threads of this process.
        ahead: batches prepared ahead.
    """

    def __init__(self, maker: BatchMaker, workers: int = 0, ahead: int = 4):
        self.maker, self.workers, self.ahead = maker, workers, ahead
        self._start(0)

    def _start(self, position: int) -> None:
        self._position = position
        left = max(0, len(self.maker) - position)
        data = grain.MapDataset.source(_From(position, left)).map(self.maker.__getitem__)
        threads = min(self.ahead, 4) if not self.workers else 1
        data = data.to_iter_dataset(grain.ReadOptions(num_threads=threads, prefetch_buffer_size=self.ahead))
        if self.workers:
            if not flags.FLAGS.is_parsed():  # grain reads its own flags there; ours live elsewhere
                flags.FLAGS.mark_as_parsed()
            data = data.mp_prefetch(grain.MultiprocessingOptions(num_workers=self.workers, per_worker_buffer_size=2))
        self._iterator = iter(data)

    def __next__(self) -> Batch:
        batch = next(self._iterator)
        self._position += 1
        return batch

    def get_state(self) -> dict[str, Any]:
        """JSON values: batches taken so far, and which data and settings that counts."""
        return {"batches": self._position, "identity": self.maker.identity}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on after `state`. Raises `UserError` where it counts batches of other data or settings."""
        if state["identity"] != self.maker.identity:
            raise UserError("the checkpoint's data position belongs to other data or settings; start a new run folder")
        self._start(int(state["batches"]))


def settings_of(config: Any, stage: str, training: bool) -> Settings:
    """`config.data` and the stage's block as `Settings`."""
    data = config.data
    modalities = _words(data.modalities)
    packing = bool(data.get("packing", False)) and stage == "coe" and not modalities
    return Settings(
        max_length=data.max_length,
        buckets=tuple(int(each) for each in _words(data.get("buckets", ""))),
        batch=config[stage].batch,
        seed=config.seed if training else None,
        phonemes=data.phonemes,
        frames=data.frames,
        utterances=data.utterances,
        modalities=modalities,
        targets=TARGETS[stage],
        modality_dropout=data.modality_dropout,
        packing=packing,
        chain_of_empathy=data.chain_of_empathy,
        persona=data.get("persona", True),
        instruction=data.instruction,
        label_map=data.label_map,
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(each.strip() for each in text.split(",") if each.strip())


def cache_folder(config: Any) -> Path:
    """`config.data.cache`, or `features` inside the data set."""
    return Path(config.data.get("cache", "") or Path(config.data.path) / "features")


def load_examples(
    config: Any, split: str, quarantine: Quarantine, replies: bool = True
) -> tuple[list[Example], Tree | None]:
    """The examples of a split and where their recordings are (None for the made-up set)."""
    if config.data.path == DEBUG:
        tree, conversations = None, toy.conversations(split)
    else:
        tree = Tree(config.data.path)
        conversations = read_conversations(tree.split_file(split), quarantine)
    last = config.data.last_turn_only
    return examples_of(conversations, quarantine, last_turn_only=last, replies=replies), tree


def make(config: Any, stage: str, split: str, tokenizer: Any, widths: Any) -> Stream:
    """The batches of a stage: endless and shuffled for the split "train", one padded pass for any other.

    Args:
        config: the resolved config.
        stage: "coe", "content", "style" or "joint".
        split: "train", "valid" or "test".
        tokenizer: of the core, with the added tokens.
        widths: feature widths and target shapes (`empatheia_jax.assemble.Widths`), used for made-up features.

    Raises:
        UserError: data or features are missing, or more of them are unusable than `data.quarantine_limit` allows.
    """
    import jax

    training = split == "train"
    settings = settings_of(config, stage, training)
    quarantine = Quarantine(config.data.get("quarantine_limit", 0.01))
    examples, tree = load_examples(config, split, quarantine)
    wanted = (*settings.modalities, *settings.targets)
    features: Features | None
    if config.data.path == DEBUG:
        features = MadeUpFeatures(_made_up_shapes(widths), settings.slots)
    elif wanted:
        features = CachedFeatures(cache_folder(config), {what: fingerprints(config)[what] for what in wanted})
    else:
        features = None
    template = tokenizer.chat if config.data.chat_template else prompt.human_assistant
    maker = BatchMaker(
        examples,
        tree,
        features,
        tokenizer,
        settings,
        quarantine,
        template,
        host=jax.process_index(),
        hosts=jax.process_count(),
    )
    if quarantine.entries and jax.process_index() == 0:
        where = cache_folder(config) / f"quarantine-{stage}-{split}.json" if tree else None
        print(f"{split}: {quarantine.summary()}" + (f"; listed in {where}" if where else ""))
        if where:
            quarantine.write(where)
    return Stream(maker, config.data.workers if training else 0)


def _made_up_shapes(widths: Any) -> dict[str, tuple[int, ...]]:
    return {
        "speech": (widths.speech,),
        "video": (widths.video,),
        "speech_content": (widths.speech_content,),
        "video_content": (widths.video_window, widths.video_content),
        "speech_style": (widths.speech_style,),
        "video_style": (widths.video_style,),
    }
