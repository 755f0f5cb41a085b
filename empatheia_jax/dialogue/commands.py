"""`--mode=reply`: from a file or the command line to `reply.json`, `reply.wav`, `reply.mp4`."""

from __future__ import annotations

import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from tqdm import tqdm

from empatheia_jax import assemble
from empatheia_jax.conversation import labels, recordings, schema
from empatheia_jax.conversation.schema import Conversation, Profile, Turn, Utterance
from empatheia_jax.dialogue import look, media_files
from empatheia_jax.dialogue.asking import Ask
from empatheia_jax.dialogue.engine import Engine
from empatheia_jax.dialogue.events import ChainStep, Event, Instead, TextPiece
from empatheia_jax.dialogue.faces import DrawnFaces, FaceFolder
from empatheia_jax.dialogue.replies import fields_of
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import Blend, Reply, Responder
from empatheia_jax.dialogue.safeguards import Safeguards
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.trained_model import answering, trained_losses
from empatheia_jax.dialogue.voices import Voices
from empatheia_jax.dialogue.writer import Writer
from empatheia_jax.dreamtalk import photo
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.provenance.marks import Marks
from empatheia_jax.runs import report
from empatheia_jax.runs.compilation import keep_programs
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import Decoding, Experiment
from empatheia_jax.terminal import visible

FRAME_RATE = 25
FILES = ("reply.wav", "reply.mp4", "reply.json")


# ---------------------------------------------------------------- what both need


def responder(config: Experiment, workdir: Path | None, *, draw: bool = False) -> Responder:
    """The trained model of a run, or without one that of `config.start`, with its generators.

    Args:
      config: of the model.
      workdir: the run's folder, which also keeps the compiled programs.
      draw: whether parameters that nothing has trained get their initial values, as in `trained_model.trained`. A reply does
        not use them, but `Reply.features` are computed with them.

    Raises:
      UserError: weights or checkpoints are missing.
    """
    decoding, networks, run = config.decoding, config.networks, None if workdir is None else Run(workdir)
    if run is not None and (config.start or run.trained_stages()):  # what cannot answer leaves nothing behind
        keep_programs(run.folder)
    assembly = answering(config, run, draw=draw)
    animator = assemble.animator(config)
    drawn = photo.is_drawn(animator.config.rest_pose)
    faces = DrawnFaces() if networks.faces == "drawn" else FaceFolder(Path(networks.faces), animator.image_size, drawn)
    if decoding.style_clip:  # a name that does not exist is refused before anything is decoded
        try:
            faces.style_clip(decoding.style_clip)
        except UserError as error:
            raise UserError(f"decoding.style_clip={decoding.style_clip}: {error}") from None
    speaker = assemble.speaker(config)
    voices = Voices(speaker, Path(networks.voices) if networks.voices else None)
    losses = trained_losses(config, run)
    shares = blend(decoding, losses, begun=run is not None and bool(run.trained_stages()))
    voices.require_mixing(shares.speech_style)
    return Responder(
        Writer.of(config, assembly, assemble.towers(config)),
        speaker,
        animator,
        faces,
        blend=shares,
        voices=voices,
        reading=config.data.expression,
        style_clip=decoding.style_clip,
        classifies="sac" in losses,
        video_target=config.bridge.video_target,
        guidance=decoding.guidance,
        seed=config.seed,
    )


def engine(config: Experiment, workdir: Path, safeguards: Safeguards) -> Engine:
    """The engine of one conversation with a run's model; close it at the end. Raises `UserError` as `responder`."""
    own = responder(config, workdir)  # first: a run that does not fit is one line, and no note beside it
    if safeguards.marks.notice:
        _say(f"note: {safeguards.marks.notice}")
    return Engine(own, places=1, care=safeguards.care)


def blend(decoding: Decoding, trained: Collection[str], *, begun: bool = True) -> Blend:
    """How much of the bridge reaches the generators: as the config says, else all of what the run's losses trained.

    A path that no loss has trained (L_ccl for content, L_sac for style) gives what its random weights make of the core's states;
    the paper's rows without these losses do not say what the generators hear then. By default they hear their own encoding.

    Args:
      decoding: with the shares that are asked for.
      trained: the losses that were minimised.
      begun: whether stages of a run answer. Where `config.start` answers alone, the config's shares, which are for the stages
        that follow, count only for what has been trained.
    """
    chosen = {"ccl": decoding.content_blend, "sac": decoding.style_blend}
    chosen = {loss: share if begun or loss in trained else None for loss, share in chosen.items()}
    content, style = (float(loss in trained) if share is None else share for loss, share in chosen.items())
    return Blend.of(content, style)


def write_reply(reply: Reply, output: Path, facts: Mapping[str, Any], marks: Marks | None = None) -> Path:
    """Writes the three files; all of them appear, or none does.

    Args:
      reply: what is written; its frames are drawn here.
      output: the folder.
      facts: what reply.json says beside the reply.
      marks: what marks the sound and signs both files; None = they are written as they are.

    Returns:
      The folder.
    """
    marks = marks or Marks.none()
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as folder:
        place = Path(folder)
        speech = marks.sound(reply.speech, reply.rate)
        write_wav(place / "reply.wav", speech, reply.rate)
        began = time.perf_counter()
        with VideoWriter(place / "reply.mp4", FRAME_RATE, reply.size, speech, reply.rate) as video:
            for frames in tqdm(reply.frames, desc="draw", unit="batch", leave=False):
                video.write(np.asarray(frames))
        timings = {**reply.timings, "draw and encode": round(time.perf_counter() - began, 3)}
        for name in ("reply.wav", "reply.mp4"):
            marks.sign(place / name)
        said = {
            **facts,
            **({"instead": reply.instead} if reply.instead else {}),
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


def reply(config: Experiment, workdir: Path, source: Path, output: Path, safeguards: Safeguards | None = None) -> int:
    """Answers the last turn of a dialogue file, whose recordings lie beside it; prints where the answer is."""
    conversation, turn = last_turn(source)
    media = media_files.beside(source).of(conversation)
    media_files.check(media, conversation, config.data.modalities)
    safeguards = safeguards or Safeguards()
    with contextlib.closing(engine(config, workdir, safeguards)) as own:
        answer_turn(own, conversation, turn, media, output, safeguards.marks)
    return 0


def reply_to(config: Experiment, workdir: Path, ask: Ask, output: Path, safeguards: Safeguards | None = None) -> int:
    """Answers what a person asked by flags; prints where the answer is."""
    safeguards = safeguards or Safeguards()
    with contextlib.closing(engine(config, workdir, safeguards)) as own:
        model = with_look(own.responder, ask)
        answer(own, model, ask.utterances(), ask.media(), ask.profile, output, ask.facts(), safeguards.marks)
    return 0


def answer_turn(
    own: Engine, conversation: Conversation, turn: Turn, media, output: Path, marks: Marks | None = None
) -> Path:
    """The reply to a turn of a data set, on disk."""
    facts = {
        "conversation_id": conversation.conversation_id,
        "turn_id": turn.turn_id,
        "asked": turn.history[-1].text,
    }
    answer(own, own.responder, turn.history, media, conversation.listener, output, facts, marks)
    return output


def answer(
    own: Engine,
    model: Responder,
    history: Sequence[Utterance],
    media: Mapping[int, Mapping[str, Path]],
    listener: Profile | None,
    output: Path,
    facts: Mapping[str, Any],
    marks: Marks | None = None,
) -> Reply:
    """One reply on disk, with its chain and text on the terminal while they are written; `model` performs it."""
    print(f"> {visible(history[-1].text)}\n")
    session = Session.of_utterances(history, media, listener, seed=model.seed)
    request = Request(modalities=("speech", "motion"), early=False)
    result = own.reply(session, request, on_event=_show_event, responder=model)
    print()
    write_reply(result, output, {**facts, "heard": list(result.heard)}, marks)
    print(f"\n{visible(result.answer.response)}\n")
    _warn(model, result)
    if unused := [kind for kind in media.get(history[-1].index, {}) if kind not in result.heard]:
        _say(f"note: this run was trained without {' and '.join(unused)}; of the recordings, words alone were used")
    for name in FILES:
        print(f"  {output / name}")
    return result


def with_look(model: Responder, ask: Ask) -> Responder:
    """The responder with the voice and the face that were asked for; says what there is to say about them."""
    model, notes = look.chosen(model, ask)
    for note in notes:
        _say(f"note: {note}")
    return model


def _say(line: str) -> None:
    print(visible(line), file=sys.stderr)


def sample(config: Experiment, workdir: Path) -> Path | None:
    """A reply to the first test dialogue of the data set, for the report; None where there is no such file."""
    split = recordings.split_file(Path(config.data.path), "test")
    if split is None:
        return None
    for _, conversation in schema.iterate(split):
        if isinstance(conversation, Conversation) and conversation.turns:
            media = media_files.beside(split).of(conversation)
            folder = Run(workdir).samples / conversation.conversation_id
            safeguards = Safeguards.of()
            with contextlib.closing(engine(config, workdir, safeguards)) as own:
                return answer_turn(own, conversation, conversation.turns[-1], media, folder, safeguards.marks)
    return None


def require_answerable(asked: Path | None) -> None:
    """Raises `UserError` for a dialogue file that `report_sample` could not answer: before a training, not after it."""
    if asked is not None:
        conversation, _ = last_turn(asked)
        media_files.beside(asked).of(conversation)


def report_sample(config: Experiment, workdir: Path, asked: Path | None = None) -> int:
    """After a training: a reply for the run's report, on the first process; to the last turn of `asked`, a dialogue file.

    Without one it is the first test dialogue, unless the run has a reply already. The run is finished before that: such a sample
    or a report that fails is said and costs nothing else. A reply that was asked for is made anew, and raises as `reply`.

    Returns:
      0, the exit status.
    """
    run = Run(workdir)
    if jax.process_index() != 0:
        return 0
    if asked is not None:
        conversation, _ = last_turn(asked)
        reply(config, workdir, asked, run.samples / conversation.conversation_id, Safeguards.of())
        report.write(run)
    elif not run.samples.exists():
        try:
            if sample(config, workdir) is not None:
                report.write(run)
        except Exception as error:
            kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
            _say(f"the training is complete; there is no sample of a reply in its report: {kind}{error}")
    return 0


def _warn(model: Responder, result: Reply) -> None:
    """Says where a model that wrote freely left parts of the form out."""
    if lacking := result.answer.lacks(steps=model.policy.chain_of_empathy):
        print(
            f"warning: the answer has no {', '.join(lacking)}; train longer, or set --config.decoding.form=fixed",
            file=sys.stderr,
        )


def _show_event(event: Event) -> None:
    if isinstance(event, ChainStep):
        _show(f"{event.name.replace('_', ' ')}: {event.value}\n")
    elif isinstance(event, TextPiece):
        _show(event.text)
    elif isinstance(event, Instead):
        _show(f"\n[{event.notice}]\n")


def _show(piece: str) -> None:
    sys.stdout.write(visible(piece))
    sys.stdout.flush()
