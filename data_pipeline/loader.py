"""Opens the data of a config: the examples of a split, and the stream of batches of a stage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from data_pipeline import toy
from data_pipeline.batches import BatchMaker, Settings
from data_pipeline.examples import Example, examples_of, read_conversations
from data_pipeline.features import CachedFeatures, Features, MadeUpFeatures, targets
from data_pipeline.fingerprints import fingerprints
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from data_pipeline.stream import Stream
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import WHOLE, Part
from empatheia_jax.settings import Experiment
from empatheia_jax.styletts2 import phonemes
from empatheia_jax.tokens import SLOTS

DEBUG = "debug"
"""The value of `config.data.path` that means the toy set's words with made-up features."""


def settings_of(config: Experiment, stage: str, training: bool) -> Settings:
    """`config.data` and the stage's block as `Settings`."""
    data = config.data
    return Settings(
        policy=PromptPolicy.of(data),
        buckets=data.buckets,
        batch=config[stage].batch,
        seed=config.seed if training else None,
        phonemes=data.phonemes,
        frames=data.frames,
        targets=targets(config, stage),
        modality_dropout=data.modality_dropout,
        packing=data.packing and stage == "coe",
        emotion_mask=config.objective.emotion_weight != 1 and "emp" in config.losses(stage),
    )


def cache_folder(config: Experiment) -> Path:
    """`config.data.cache`, or `features` inside the data set."""
    return Path(config.data.cache or Path(config.data.path) / "features")


def load_examples(
    config: Experiment, split: str, quarantine: Quarantine, replies: bool = True
) -> tuple[list[Example], Tree | None]:
    """The examples of a split and where their recordings are (None for the made-up set)."""
    if config.data.path == DEBUG:
        tree, conversations = None, toy.conversations(split)
    else:
        tree = Tree(config.data.path)
        conversations = read_conversations(tree.split_file(split), quarantine)
    last = config.data.last_turn_only
    return examples_of(conversations, quarantine, last_turn_only=last, replies=replies), tree


def require_some(examples: list[Example], tree: Tree | None, split: str) -> None:
    """Raises `UserError` where a split has nothing to learn from."""
    if tree is not None and not examples:
        raise UserError(
            f"{tree.split_file(split)} has no turn to learn from; expected conversations with turns whose history ends with the "
            "speaker and that have a 'response'"
        )


def describe(config: Experiment, stage: str) -> dict[str, str]:
    """What identifies the features and targets that a stage reads, by their names; nothing for the made-up set.

    Raises:
        UserError: the targets depend on a phonemizer, and which one is neither said nor to be seen.
    """
    settings = settings_of(config, stage, training=True)
    wanted = (*settings.policy.modalities, *settings.targets)
    if config.data.path == DEBUG or not wanted:
        return {}
    if settings.targets and phonemes.name_in_use(config.networks.phonemizer) is None:
        raise UserError(
            f"{phonemes.MISSING}, or say with --config.networks.phonemizer=gruut which one made the features of the data"
        )
    return fingerprints(config, wanted)


def make(config: Experiment, stage: str, split: str, tokenizer: Any, widths: Any, part: Part | None = None) -> Stream:
    """The batches of a stage: endless and shuffled for the split "train", one padded pass for any other.

    Args:
        config: the resolved config.
        stage: "coe", "content", "style" or "joint".
        split: "train", "valid" or "test".
        tokenizer: of the core, with the added tokens.
        widths: feature widths and target shapes (`empatheia_jax.assemble.Widths`), used for made-up features.
        part: which rows this process builds (`parallel.mesh.batch_part`); one process may leave it out.

    Raises:
        UserError: data or features are missing, or more of them are unusable than `data.quarantine_limit` allows.
    """
    import jax

    if part is None and jax.process_count() > 1:
        raise ValueError("several processes: say with `part` which rows of the batch this one builds")
    training = split == "train"
    settings = settings_of(config, stage, training)
    quarantine = Quarantine(config.data.quarantine_limit)
    examples, tree = load_examples(config, split, quarantine)
    if not quarantine.entries:  # else the list of what is wrong says more
        require_some(examples, tree, split)
    wanted = (*settings.policy.modalities, *settings.targets)
    features: Features | None
    if config.data.path == DEBUG:
        features = MadeUpFeatures(_made_up_shapes(widths), SLOTS)
    elif wanted:
        features = CachedFeatures(cache_folder(config), fingerprints(config, wanted))
    else:
        features = None
    maker = BatchMaker(
        examples,
        tree,
        features,
        tokenizer,
        settings,
        quarantine,
        part or WHOLE,
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
