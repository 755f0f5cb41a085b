"""A folder of replies of a trained baseline, as the evaluation reads it."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from empatheia_jax import settings, weights
from empatheia_jax.baselines import knowledge as facts
from empatheia_jax.baselines.decoding import Decoder
from empatheia_jax.baselines.encoding import Encoder, Said, turns
from empatheia_jax.baselines.networks import NETWORKS, TITLES, weights_kind
from empatheia_jax.baselines.settings import BaselineConfig, BaselineTraining
from empatheia_jax.baselines.words import FILE, Vocabulary
from empatheia_jax.conversation.labels import EMOTIONS_32
from empatheia_jax.conversation.reply_folder import LINES, MANIFEST, Manifest, reply_id
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_text

BATCH = 16
WITHOUT = "trained and asked without external knowledge"


def knowledge_of(config: BaselineTraining) -> Path | None:
    """The folder of knowledge that a config names; None = the reduced mode."""
    return Path(config.knowledge) if config.knowledge else None


def run(config: BaselineTraining, workdir: Path, source: Path, output: Path, limit: int | None = None) -> int:
    """Answers every turn of `source` in text: `output/replies.jsonl` and its manifest. It is done anew at every call.

    Args:
      config: the settings of the training; its sizes, its knowledge and its network are used.
      workdir: the run's folder, with the trained weights.
      source: dialogues in the released layout.
      output: folder of replies.
      limit: the first turns only.

    Raises:
      UserError: the run is not trained, was trained with another kind of knowledge, or the dialogues cannot be read.
    """
    folder = workdir / config.trains
    if not (folder / weights.CONFIG_FILE).is_file():
        raise UserError(f"{folder} holds no weights; train first: the same command without --mode and --input")
    description = weights.describe(folder)
    network: Any = weights.restore(folder, NETWORKS[config.trains], BaselineConfig, kind=weights_kind(config.trains))
    reduced = bool(description["provenance"].get("reduced"))
    if reduced != (knowledge_of(config) is None):
        trained = "without knowledge" if reduced else "with knowledge"
        raise UserError(
            f"{folder} was trained {trained}, and knowledge={config.knowledge!r}; give the same as in training"
        )
    vocabulary = Vocabulary.read(folder / FILE)
    encoder = Encoder(
        config.trains, config.shapes, vocabulary, facts.read(knowledge_of(config), config.trains, vocabulary)
    )
    asked = list(itertools.islice(turns(source), limit))
    if not asked:
        raise UserError(f"{source} has no turn to answer; expected turns whose history ends with the speaker")
    ids = [reply_id(conversation.conversation_id, turn.turn_id) for conversation, turn in asked]
    if len(set(ids)) < len(ids):
        raise UserError(f"{source} has a turn twice; expected every turn once")
    decoder, lines = Decoder(network, config.shapes.reply), []
    for start in tqdm(range(0, len(asked), BATCH), desc="reply", unit=f"{BATCH} turns", disable=None):
        some = asked[start : start + BATCH]
        words, emotions = decoder(encoder.batch([Said.of(*each) for each in some], BATCH))
        for (conversation, turn), numbers, emotion in zip(some, words, emotions):
            value = {
                "conversation_id": conversation.conversation_id,
                "turn_id": turn.turn_id,
                "asked": turn.history[-1].text,
                "speaker_emotion": EMOTIONS_32[int(emotion)],
                "response": vocabulary.text(numbers),
            }
            lines.append(json.dumps(value, ensure_ascii=False))
    output.mkdir(parents=True, exist_ok=True)
    (output / MANIFEST).unlink(missing_ok=True)
    write_text(output / LINES, "\n".join(lines) + "\n")
    manifest(config, ids, source, description["provenance"]).write(output)
    print(f"{len(lines)} replies in {output / LINES}" + (f" ({WITHOUT})" if reduced else ""))
    return 0


def manifest(config: BaselineTraining, ids: list[str], source: Path, provenance: Mapping[str, Any]) -> Manifest:
    """What the folder says of itself: in the reduced mode the system's name says so, and so does every table. The note says how
    much it was trained, by the `provenance` of its weights.
    """
    devices, plain = jax.devices(), settings.plain(config)
    reduced = bool(provenance.get("reduced"))
    note = WITHOUT if reduced else f"trained and asked with {', '.join(facts.NEEDS[config.trains])}"
    if "examples" in provenance and "steps" in provenance:
        note += f"; {provenance['steps']} steps of {config.batch} on {provenance['examples']} turns"
    extra: dict[str, Any] = {"split": source.stem, "note": note}
    return Manifest(
        system=TITLES[config.trains] + (", no knowledge" if reduced else ""),
        ids=tuple(ids),
        row=config.trains,
        config=hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest(),
        seed=config.seed,
        hardware=f"{len(devices)} × {devices[0].device_kind}",
        terms="those of the training data and of the knowledge",
        extra=extra,
    )
