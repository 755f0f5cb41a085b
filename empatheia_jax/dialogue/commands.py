"""`--mode=reply` and `--mode=chat`: from files or the keyboard to `reply.json`, `reply.wav`, `reply.mp4`."""

from __future__ import annotations

import io
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from empatheia_jax import assemble
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import Conversation, Turn, Utterance
from empatheia_jax.dialogue import media_files
from empatheia_jax.dialogue.faces import DrawnFaces, FaceFolder
from empatheia_jax.dialogue.replies import fields_of
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Blend, Reply, Responder
from empatheia_jax.dialogue.voices import Voices
from empatheia_jax.dialogue.writer import Writer, trained
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video import VideoWriter
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Decoding, Experiment
from empatheia_jax.terminal import visible

FRAME_RATE = 25
FILES = ("reply.wav", "reply.mp4", "reply.json")


# ---------------------------------------------------------------- what both need


def responder(config: Experiment, workdir: Path) -> Responder:
    """The trained model of a run with its generators.

    Raises:
      UserError: weights or checkpoints are missing.
    """
    decoding, networks, run = config.decoding, config.networks, Run(workdir)
    assembly = trained(config, run)
    faces = DrawnFaces() if networks.faces == "drawn" else FaceFolder(Path(networks.faces))
    if decoding.style_clip:
        faces.style_clip(decoding.style_clip)  # a name that does not exist is refused before anything is decoded
    speaker = assemble.speaker(config)
    return Responder(
        Writer.of(config, assembly, assemble.towers(config)),
        speaker,
        assemble.animator(config),
        faces,
        blend=blend(decoding, run.trained_losses()),
        voices=Voices(speaker, Path(networks.voices) if networks.voices else None),
        reading=config.data.expression,
        style_clip=decoding.style_clip,
        guidance=decoding.guidance,
        seed=config.seed,
    )


def blend(decoding: Decoding, trained: Collection[str]) -> Blend:
    """How much of the bridge reaches the generators: as the config says, else all of what the run's losses trained.

    A path that no loss has trained (L_ccl for content, L_sac for style) gives what its random weights make of the core's states;
    the paper's rows without these losses do not say what the generators hear then. By default they hear their own encoding.
    """
    chosen = {"ccl": decoding.content_blend, "sac": decoding.style_blend}
    content, style = (float(loss in trained) if share is None else share for loss, share in chosen.items())
    return Blend.of(content, style)


def write_reply(reply: Reply, output: Path, facts: Mapping[str, Any]) -> Path:
    """Writes the three files; all of them appear, or none does. Returns the folder."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        place = Path(folder)
        write_wav(place / "reply.wav", reply.speech, reply.rate)
        began = time.perf_counter()
        with VideoWriter(place / "reply.mp4", FRAME_RATE, reply.size, reply.speech, reply.rate) as video:
            for frames in tqdm(reply.frames, desc="draw", unit="batch", leave=False):
                video.write(np.asarray(frames))
        timings = {**reply.timings, "draw and encode": round(time.perf_counter() - began, 3)}
        said = {
            **facts,
            **fields_of(reply.answer, reply.emotion, reply.shown, reply.profile),
            "seconds": round(len(reply.speech) / reply.rate, 3),
            "frames": reply.frame_count,
            "timings": timings,
        }
        write_json(place / "reply.json", said)
        for name in FILES:
            shutil.move(place / name, output / name)
    return output


# ---------------------------------------------------------------- reply


def last_turn(path: Path) -> tuple[Conversation, Turn]:
    """The conversation of a dialogue file and the turn to answer: the last one.

    Raises:
      UserError: not JSON, not one conversation, no turns, or labels outside the vocabularies.
    """
    conversations = schema.read(path)
    if len(conversations) != 1:
        raise UserError(f"{path} holds {len(conversations)} conversations; expected one to answer")
    conversation = conversations[0]
    if not conversation.turns:
        raise UserError(f"{path}: 'turns' is empty; expected at least one with a 'dialogue_history'")
    turn = max(conversation.turns, key=lambda each: len(each.history))
    if turn.chain is not None:
        labels.emotion32(turn.chain.speaker_emotion, strict=True)
    return conversation, turn


def reply(config: Experiment, workdir: Path, source: Path, output: Path) -> int:
    """Answers the last turn of a dialogue file, whose recordings lie beside it; prints where the answer is."""
    conversation, turn = last_turn(source)
    media = media_files.of_conversation(source.parent, conversation)
    media_files.check(media, conversation, config.data.modalities)
    answer(responder(config, workdir), conversation, turn, media, output)
    return 0


def answer(model: Responder, conversation: Conversation, turn: Turn, media, output: Path) -> Path:
    """One reply on disk, with its text on the terminal while it is written."""
    print(f"> {visible(turn.history[-1].text)}\n")
    result = model.reply(turn.history, media, conversation.listener, on_text=_show)
    print()
    facts = {
        "conversation_id": conversation.conversation_id,
        "turn_id": turn.turn_id,
        "asked": turn.history[-1].text,
        "heard": list(result.heard),
    }
    write_reply(result, output, facts)
    print(f"\n{visible(result.answer.response)}\n")
    _warn(model, result)
    for name in FILES:
        print(f"  {output / name}")
    return output


def sample(config: Experiment, workdir: Path) -> Path | None:
    """A reply to the first test dialogue of the data set, for the report; None where there is no such file."""
    split = Path(config.data.path) / "test.json"
    if not split.is_file():
        return None
    for _, conversation in schema.iterate(split):
        if isinstance(conversation, Conversation) and conversation.turns:
            media = media_files.of_conversation(split.parent, conversation)
            folder = Run(workdir).samples / conversation.conversation_id
            return answer(responder(config, workdir), conversation, conversation.turns[-1], media, folder)
    return None


# ---------------------------------------------------------------- chat


def chat(config: Experiment, workdir: Path, output: Path) -> int:
    """A conversation in the terminal; every answer is also spoken and filmed into `output`.

    `:speech file.wav` and `:video file.mp4` add recordings to the next line, `:quit` (or the end of input) ends.
    """
    model = responder(config, workdir)
    print("Say something. `:speech file.wav`, `:video file.mp4` go with the next line; `:quit` ends.")
    history: list[Utterance] = []
    media: dict[int, dict[str, Path]] = {}
    pending: dict[str, Path] = {}
    for line in _lines():
        command, _, argument = line.partition(" ")
        if command == ":quit":
            break
        if command in (":speech", ":video"):
            path = Path(argument.strip())
            if path.is_file():
                pending[command[1:]] = path
            else:
                print(f"no file {str(path)!r}; expected the path of a recording")
            continue
        index = len(history)
        history.append(Utterance(index, "speaker", line))
        media[index], pending = pending, {}
        try:
            result = model.reply(history, media, DEFAULT_LISTENER, on_text=_show)
        except UserError as error:
            print(f"\n{visible(str(error))}")
            history.pop()
            continue
        history.append(Utterance(index + 1, "listener", result.answer.response))
        folder = write_reply(result, output / f"{index // 2:03d}", {"asked": line})
        print(f"\n\n{visible(result.answer.response)}\n  {folder / 'reply.mp4'}")
        _warn(model, result)
    return 0


def _warn(model: Responder, result: Reply) -> None:
    """Says where a model that wrote freely left parts of the form out."""
    if lacking := result.answer.lacks(steps=model.policy.chain_of_empathy):
        print(
            f"warning: the answer has no {', '.join(lacking)}; train longer, or set --config.decoding.form=fixed",
            file=sys.stderr,
        )


def _lines() -> Iterator[str]:
    """What is typed, line by line; bytes that are no UTF-8 become question marks."""
    _tolerate(sys.stdin, "replace")
    _tolerate(sys.stdout, "backslashreplace")
    while True:
        try:
            line = input("\nyou> ").strip()
        except EOFError:
            return
        if line:
            yield line


def _tolerate(stream: Any, errors: str) -> None:
    if isinstance(stream, io.TextIOWrapper):
        stream.reconfigure(errors=errors)


def _show(piece: str) -> None:
    sys.stdout.write(visible(piece))
    sys.stdout.flush()
