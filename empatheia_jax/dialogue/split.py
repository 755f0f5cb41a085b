"""`--mode=reply --input=test`: every turn of a split answered in text, speech and film, as a folder of replies.

The turns are dealt to the processes; each answers its own with its own devices. A turn's folder appears when it is complete, so
a command that was stopped goes on with those that lack. A reply depends on its turn, the run and the seed, and on nothing else.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from empatheia_jax.conversation import schema
from empatheia_jax.conversation.reply_folder import MODALITIES, reply_id
from empatheia_jax.conversation.schema import Conversation, Turn
from empatheia_jax.dialogue import commands, media_files, replies
from empatheia_jax.dialogue.responder import Responder
from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing
from empatheia_jax.parallel.distributed import wait_for_all
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Experiment
from empatheia_jax.terminal import visible

Media = Mapping[int, Mapping[str, Path]]
"""Recordings by utterance index: {index: {"speech": wav, "video": mp4}}."""


def run(
    config: Experiment,
    workdir: Path,
    source: Path,
    output: Path,
    limit: int | None = None,
    *,
    media: Path | None = None,
    last_turn_only: bool = False,
    withhold: Collection[str] = (),
) -> int:
    """Answers the turns of `source` into `output/ID/reply.json|wav|mp4`, and then writes the manifest.

    Args:
      config, workdir: the run.
      source: a split in the released layout.
      output: folder of replies.
      limit: the first turns only.
      media: folder below which the recordings are; by default that of `source`, or of the data set whose split it is.
      last_turn_only: the last turn of each dialogue.
      withhold: inputs that the model does not get, of text, speech and video: what each contributes (`evaluation.contribution`).

    Raises:
      UserError: weights or checkpoints are missing, the folder holds replies to something else, a recording is unusable, or
        turns got no reply (the others stand, and the manifest names them).
    """
    if unknown := sorted(set(withhold) - set(MODALITIES)):
        raise UserError(f"--withhold={','.join(unknown)}; expected some of {', '.join(MODALITIES)}")
    turns = _turns(source, limit, last_turn_only)
    found = media_files.Recordings(media) if media else media_files.beside(source)
    # A model that learnt from text alone neither needs nor reads recordings.
    recordings = {c.conversation_id: found.of(c) if config.data.modalities else {} for c, _ in turns.values()}
    for conversation, _ in turns.values():
        media_files.check(recordings[conversation.conversation_id], conversation, config.data.modalities)
    model, identity = Run(workdir), {**replies.identity(config, Run(workdir), source), "withhold": sorted(withhold)}
    if jax.process_index() == 0:
        replies.claim(output, {**identity, "last_turn_only": last_turn_only})
    wait_for_all("replies claimed")
    own = dict(itertools.islice(turns.items(), jax.process_index(), None, jax.process_count()))
    wanted = {name: turn for name, turn in own.items() if not (output / name / "reply.json").is_file()}
    if wanted:
        responder = commands.responder(config, workdir, draw=True)
        with tqdm(total=len(own), initial=len(own) - len(wanted), desc="reply", unit="turn") as bar:
            for name, (conversation, turn) in wanted.items():
                heard = recordings[conversation.conversation_id]
                try:
                    _answer(responder, conversation, *withheld(turn, heard, withhold), output / name)
                except UserError as error:
                    print(f"{name} has no reply: {visible(str(error))}", file=sys.stderr)
                bar.update()
    wait_for_all("replies written")
    there = [name for name in turns if (output / name / "reply.json").is_file()]
    if not there:
        raise UserError(f"none of the {len(turns)} turns of {source} got a reply; see above")
    if jax.process_index() == 0:
        replies.manifest(config, model, there, source.stem).write(output)
    if missing := [name for name in turns if name not in there]:
        raise UserError(
            f"{len(missing)} of {len(turns)} turns have no reply, for example {missing[0]}; see above; start it again"
        )
    print(f"{len(turns)} replies in {output}")
    return 0


def _turns(source: Path, limit: int | None, last_turn_only: bool) -> dict[str, tuple[Conversation, Turn]]:
    found: dict[str, tuple[Conversation, Turn]] = {}
    for each in schema.read(source):
        answered = [turn for turn in each.turns if turn.ends_with_speaker]
        for turn in sorted(answered, key=lambda turn: len(turn.history))[-1:] if last_turn_only else answered:
            name = reply_id(each.conversation_id, turn.turn_id)
            if name in found:
                raise UserError(f"{source} has the turn {name} twice; expected every turn once")
            found[name] = each, turn
    if not found:
        raise UserError(f"{source} has no turn to answer; expected turns whose history ends with the speaker")
    return dict(itertools.islice(found.items(), limit))


def withheld(turn: Turn, media: Media, inputs: Collection[str]) -> tuple[Turn, Media]:
    """A turn and its recordings without some inputs: recordings are left out, the speaker's words become an ellipsis."""
    kept = {index: {kind: path for kind, path in each.items() if kind not in inputs} for index, each in media.items()}
    if "text" not in inputs:
        return turn, kept
    history = (dataclasses.replace(each, text="…") if each.role == "speaker" else each for each in turn.history)
    return dataclasses.replace(turn, history=tuple(history)), kept


def _answer(model: Responder, conversation: Conversation, turn: Turn, media: Media, folder: Path) -> None:
    result = model.reply(turn.history, media, conversation.listener)
    facts = {
        "conversation_id": conversation.conversation_id,
        "turn_id": turn.turn_id,
        "asked": turn.history[-1].text,
        "heard": list(result.heard),
    }
    folder.mkdir(parents=True, exist_ok=True)
    if result.features:
        features: dict[str, Any] = {name: np.asarray(each, np.float32) for name, each in result.features.items()}
        with replacing(folder / "reply.npz") as temporary:
            np.savez(temporary, **features)
    commands.write_reply(result, folder, facts)  # reply.json is its last file
