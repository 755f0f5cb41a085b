"""`--mode=reply --modalities=text`: answers in text to every turn of a file, many at once, as lines of `replies.jsonl`.

A turn is answered from its words alone; recordings, profiles, chains and responses may be there or not. A command that was
stopped goes on behind the last whole line.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
from tqdm import tqdm

from empatheia_jax import settings, weights
from empatheia_jax.conversation import expression, labels, schema
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.reply_folder import MANIFEST, MODALITIES, Manifest, reply_id
from empatheia_jax.conversation.schema import Conversation, Profile, Turn
from empatheia_jax.dialogue.trained_model import answering
from empatheia_jax.dialogue.writer import Question, Writer
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object, write_json
from empatheia_jax.runs import checkpoint
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment
from empatheia_jax.settings.choices import Expression
from empatheia_jax.terminal import visible

FILE, MARK = "replies.jsonl", "replies.json"
BATCH = 16
"""Dialogues that are answered at once."""


def fields_of(
    answer: Answer, emotion: Mapping[str, str | None], shown: tuple[str, float], profile: Profile | None
) -> dict[str, Any]:
    """The fields of an answer as `reply.json` and `replies.jsonl` have them: `emotion` is the speaker's, `listener_emotion`
    what the listener shows.
    """
    return {
        "event_scenario": answer.event_scenario,
        "speaker_emotion": answer.speaker_emotion,
        "emotion_cause": answer.emotion_cause,
        "goal_to_response": answer.goal_to_response,
        "response": answer.response,
        "emotion": dict(emotion),
        "listener_emotion": {"shown": shown[0], "intensity": shown[1]},
        "profile": profile and {"age": profile.age, "gender": profile.gender, "timbre": profile.timbre},
        "complete": answer.complete,
    }


def turns_of(path: Path) -> Iterator[tuple[Conversation, Turn] | UserError]:
    """Every turn of a file that ends with the speaker, in order; an error for each malformed conversation."""
    for _, found in schema.iterate(path):
        if isinstance(found, UserError):
            yield found
            continue
        for turn in found.turns:
            if turn.ends_with_speaker:
                yield found, turn


def run(config: Experiment, workdir: Path, source: Path, output: Path, limit: int | None = None) -> int:
    """Writes `output/replies.jsonl`, one line for each turn of `source`; goes on where an earlier command stopped.

    Raises:
      UserError: weights or checkpoints are missing, the file is unusable, or the folder holds replies to something else.
    """
    found = list(itertools.islice(turns_of(source), limit))
    turns = [each for each in found if not isinstance(each, UserError)]
    for error in (each for each in found if isinstance(each, UserError)):
        print(f"left out: {visible(str(error))}", file=sys.stderr)
    if not turns:
        raise UserError(f"{source} has no turn to answer; expected turns whose history ends with the speaker")
    model = Run(workdir)
    claim(output, identity(config, model, source))
    done = _whole_lines(output / FILE, len(turns))
    if done < len(turns):
        writer = Writer.of(config, answering(config, model), None)
        with (output / FILE).open("ab") as file, tqdm(total=len(turns), initial=done, desc="reply", unit="turn") as bar:
            for start in range(done, len(turns), BATCH):
                batch = turns[start : start + BATCH]
                file.write(b"".join(_answered(writer, batch, config.data.expression)))
                file.flush()
                os.fsync(file.fileno())
                bar.update(len(batch))
    _describe(config, model, turns, source, output)
    print(f"{len(turns)} replies in {output / FILE}")
    return 0


def _describe(config: Experiment, run: Run, turns: list[tuple[Conversation, Turn]], source: Path, output: Path) -> None:
    """Writes the manifest that the evaluation reads; a file whose turns cannot be told apart by their ids gets none."""
    try:
        ids = [reply_id(conversation.conversation_id, turn.turn_id) for conversation, turn in turns]
    except UserError as error:
        print(f"no {MANIFEST}: {visible(str(error))}", file=sys.stderr)
        return
    if len(set(ids)) < len(ids):
        print(f"no {MANIFEST}: {source} has a conversation twice", file=sys.stderr)
        return
    manifest(config, run, ids, source.stem, ("text",)).write(output)


def _answered(writer: Writer, turns: list[tuple[Conversation, Turn]], reading: Expression) -> Iterator[bytes]:
    began = time.perf_counter()
    questions = [Question(turn.history, {}, conversation.listener) for conversation, turn in turns]
    written = writer.write(questions)
    seconds = round((time.perf_counter() - began) / len(turns), 3)
    for (conversation, turn), each in zip(turns, written):
        of_32 = each.answer.emotion32
        of_7 = None if of_32 is None else labels.emotion7(of_32, writer.policy.label_map)
        emotion = {"written": each.answer.speaker_emotion, "of_32": of_32, "of_7": of_7, "classified": None}
        shown = expression.shown(of_32, of_7, reading, writer.policy.label_map)
        value = {
            "conversation_id": conversation.conversation_id,
            "turn_id": turn.turn_id,
            "asked": turn.history[-1].text,
            "heard": list(each.heard),
            **fields_of(each.answer, emotion, shown, conversation.listener),
            "timings": {"think and write": seconds},
        }
        yield (json.dumps(value, ensure_ascii=False) + "\n").encode()


def identity(config: Experiment, run: Run, source: Path) -> dict[str, Any]:
    """What replies depend on: the dialogues, the trained weights, how prompts are made and tokens are chosen."""
    plain = settings.plain(config)
    return {
        "input": hashlib.sha256(source.read_bytes()).hexdigest(),
        "run": str(run.folder.resolve()),
        "steps": {stage: checkpoint.current_step(run.stage_folder(stage)) for stage in run.trained_stages()},
        "start": weights.open_start(config.start).sha256 if config.start else None,
        **{name: plain[name] for name in ("data", "decoding", "seed")},
    }


def claim(output: Path, found: dict[str, Any]) -> None:
    """Notes what the folder holds replies to, or checks it."""
    output.mkdir(parents=True, exist_ok=True)
    mark = output / MARK
    if not mark.is_file():
        if (output / FILE).exists():
            raise UserError(f"{output} holds a {FILE} of unknown origin (no {MARK}); choose another --output")
        write_json(mark, found)
        return
    known = read_json_object(mark, "what the replies beside it answer")
    other = [key for key in found if known.get(key) != json.loads(json.dumps(found[key]))]
    if other:
        raise UserError(
            f"{output} holds replies with another {' and '.join(other)}; choose another --output, or remove the folder"
        )


def manifest(
    config: Experiment, run: Run, ids: list[str], split: str, modalities: tuple[str, ...] = MODALITIES
) -> Manifest:
    """What a folder of a run's replies says of itself."""
    values = json.dumps(settings.plain(config), sort_keys=True)
    devices = jax.devices()
    return Manifest(
        system=config.name,
        ids=tuple(ids),
        modalities=modalities,
        config=hashlib.sha256(values.encode()).hexdigest(),
        seed=config.seed,
        hardware=f"{len(devices)} × {devices[0].device_kind}",
        terms="synthetic speech and faces; the terms of the run's weights and data apply",
        extra={
            "split": split,
            "run": run.folder.name,
            "stages": run.trained_stages(),
            "language_model": config.networks.llm,
        },
    )


def _whole_lines(path: Path, wanted: int) -> int:
    """How many replies stand. What a stopped command left of its last batch is cut off, so that the batches, and with
    them the draws at a temperature, are those of a command that was not stopped.
    """
    if not path.is_file():
        return 0
    lines = path.read_bytes().splitlines(keepends=True)
    whole = [line for line in lines if line.endswith(b"\n")]
    kept = len(whole) if len(whole) >= wanted else len(whole) // BATCH * BATCH
    if kept < len(lines):
        with path.open("r+b") as file:
            file.truncate(sum(map(len, whole[:kept])))
    return kept
