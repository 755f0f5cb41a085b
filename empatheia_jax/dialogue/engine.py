"""The engine below every interface: takes requests of many sessions, and streams each reply while it is made.

    engine = Engine(responder)
    engine.warm()
    with engine.stream(session, Request("I lost my keys.")) as stream:
        for event in stream: …                        # `dialogue.events`
    engine.reply(session, request)                    # the same, collected

One thread, the worker, owns the device. It goes round: it lets waiting requests in (round robin over the sessions), writes some
tokens for everybody who is writing, and takes one step of speech, motion or drawing for one of those who have text to perform.
A receiver that does not take its frames stops its own drawing and nothing else, so memory stays bounded.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

import numpy as np

from empatheia_jax.bridge.style_disentangler import Style
from empatheia_jax.care.answers import CrisisAnswer, CrisisAnswers
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import Answer
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.core.causal import CausalLM
from empatheia_jax.dialogue.events import (
    ChainStep,
    Done,
    Event,
    Failed,
    Frames,
    Instead,
    Motion,
    SpeechPiece,
    TextPiece,
)
from empatheia_jax.dialogue.performance import Performance, Role
from empatheia_jax.dialogue.reading import Reader, Sentences
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER, Blend, Reply, Responder
from empatheia_jax.dialogue.session import Request, Session
from empatheia_jax.dialogue.texts import PLACES, SlotTexts, Texts, WholeTexts
from empatheia_jax.dialogue.writer import Question, Written
from empatheia_jax.errors import UserError

QUEUE = 32
"""Requests that may wait."""
FRAMES_AHEAD = 64
"""Drawn frames that a receiver may leave untaken before drawing for it pauses."""
PIPELINE_CLIP = "neutral"
"""The fixed style clip of the pipeline."""

_log = logging.getLogger(__name__)


class Busy(Exception):
    """No request can be taken now. retry_after: seconds after which there should be room, as far as one can tell."""

    def __init__(self, retry_after: float):
        super().__init__(f"all places are taken; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


class Stream(Iterator[Event]):
    """The events of one reply, as they come. Leaving its block, or `close`, cancels what is not made yet.

    generation: its id, which every event carries.
    """

    def __init__(self, engine: Engine, generation: str):
        self._engine, self.generation = engine, generation
        self._events: deque[Event] = deque()
        self._changed = threading.Condition()
        self._ended = False
        self._frames = 0
        self._taken = ""

    def __next__(self) -> Event:
        event = self.get()
        if event is None:
            raise StopIteration
        return event

    def get(self, timeout: float | None = None) -> Event | None:
        """The next event; None where the last one was given. Raises `TimeoutError` where none comes within `timeout` seconds."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._events or self._ended, timeout):
                raise TimeoutError(f"no event within {timeout} s")
            if not self._events:
                return None
            event = self._events.popleft()
            if isinstance(event, Frames):
                self._frames -= len(event.rgb)
            elif isinstance(event, TextPiece):
                self._taken += event.text
            elif isinstance(event, Instead):
                self._taken = ""
        if isinstance(event, Frames):
            self._engine._room()
        return event

    def close(self) -> None:
        """Cancels the reply where it is not complete; nothing but its end is delivered after that."""
        self._engine.cancel(self.generation)

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def full(self) -> bool:
        """Whether so many frames wait to be taken that drawing shall pause."""
        return self._frames >= FRAMES_AHEAD

    def _put(self, event: Event) -> None:
        """Delivers an event, unless the stream has ended."""
        with self._changed:
            if self._ended:
                return
            self._events.append(event)
            if isinstance(event, Frames):
                self._frames += len(event.rgb)
            self._ended = isinstance(event, Done | Failed)
            self._changed.notify_all()

    def _cut(self) -> str:
        """Drops what was not taken yet, so that only an end is still delivered; the text that was taken."""
        with self._changed:
            if not self._ended:
                self._events.clear()
                self._frames = 0
            return self._taken


class _Job:
    """One reply in the making."""

    def __init__(self, session: Session, request: Request, stream: Stream, responder: Responder, steps: bool):
        self.session, self.request, self.stream, self.responder = session, request, stream, responder
        self.generation = stream.generation
        self.listener = request.profile or session.profile
        self.reader, self.sentences = Reader(steps=steps), Sentences()
        self.pieces: deque[tuple[str, Written | None]] = deque()
        self.unspoken: list[tuple[str, int]] = []
        self.written: Written | None = None
        self.heard: tuple[str, ...] = ()
        self.text, self.tokens, self.text_ended = "", 0, False
        self.prompt_tokens = 0
        self.instead = ""
        self.performance: Performance | None = None
        self.acting: Generator[bool, None, None] | None = None
        self.idle = False  # the performance waits for the next piece of the text
        self.emotion: dict[str, str | None] = {"written": None, "of_32": None, "of_7": None, "classified": None}
        self.shown: tuple[str, float] = (NEUTRAL, 1.0)
        self.began = time.perf_counter()
        self.timings: dict[str, float] = {}
        self.cancelled = False

    def mark(self, name: str) -> None:
        self.timings.setdefault(name, round(time.perf_counter() - self.began, 4))

    @property
    def answer(self) -> Answer:
        return self.reader.answer

    def done(self, *, finished: bool) -> Done:
        performance = self.performance
        return Done(
            generation=self.generation,
            answer=self.answer,
            emotion=self.emotion,
            timings={**self.timings, "prompt_tokens": self.prompt_tokens, "tokens": self.tokens},
            finished=finished,
            shown=self.shown,
            profile=self.listener or DEFAULT_LISTENER,
            heard=self.heard,
            text=self.text,
            seconds=0.0 if performance is None else performance.seconds,
            instead=self.instead,
        )


class Engine:
    """Streams replies of one trained model.

    Args:
        responder: the model with its generators.
        queue: requests that may wait; beyond that `stream` raises `Busy`.
        places: texts that are written together; their cache is held all the time.
        texts: where texts come from; by default the responder's model.
        care: looks at the user's words, and at the model's before they are spoken; what follows a finding is the text of its
            file. None: nobody looks.
    """

    def __init__(
        self,
        responder: Responder,
        *,
        queue: int = QUEUE,
        places: int = PLACES,
        texts: Texts | None = None,
        care: CrisisAnswers | None = None,
    ):
        self.responder, self._care = responder, care
        self._texts = texts or _texts(responder, places)
        self._queue = queue
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()  # by session; the first one is next
        self._writing: dict[str, _Job] = {}
        self._acting: OrderedDict[str, _Job] = OrderedDict()  # the first one is next
        self._jobs: dict[str, _Job] = {}
        self._seconds = 5.0  # that a reply holds its place, lately
        self._stopped = False
        self._worker: threading.Thread | None = None

    # ------------------------------------------------------------------------------------------------ for interfaces

    def stream(self, session: Session, request: Request, responder: Responder | None = None) -> Stream:
        """Begins a reply; its events come as they are made. A reply of the same session that is not complete is cancelled.

        Args:
            session: the conversation; it keeps what is said and heard.
            request: what shall be answered, and how.
            responder: who performs it, with the core of this engine's: another voice or portrait (`dialogue.look`), say.

        Raises:
            Busy: too many requests wait.
            UserError: there is nothing to answer. What is found wrong later comes as `Failed`.
        """
        if request.mix is not None and not self.responder.mixes:
            raise UserError("this model has no style disentangler, so no E and P to mix; leave mix out")
        if (crisis := self._crisis(session, request)) is not None:
            request = dataclasses.replace(request, chain_edits={}, mix=None, pipeline=False, emotion=None)
            return self.recite(session, request, crisis.text, instead=crisis)
        with self._lock:
            if sum(map(len, self._waiting.values())) >= self._queue:
                raise Busy(self._retry_after())
            steps = self.responder.policy.chain_of_empathy and not request.pipeline
            job = self._enter(session, request, steps, responder)
            self._waiting.setdefault(session.id, deque()).append(job)
            self._wake.notify_all()
        return job.stream

    def _crisis(self, session: Session, request: Request) -> CrisisAnswer | None:
        """What is said instead of an answer to the user's words, typed, heard or edited; None where the model may answer."""
        if self._care is None:
            return None
        said = session.turns[-1].said if request.again and session.turns else request.text
        return self._care.before("\n".join(filter(None, (said, request.transcript, *request.chain_edits.values()))))

    def recite(self, session: Session, request: Request, text: str, *, instead: CrisisAnswer | None = None) -> Stream:
        """Gives `text` as the reply, verbatim and spoken where the request asks for it; the core takes no part in it.

        Its voice and face are the profile's, with `request.emotion`; `request.text` is what the user said.

        Args:
            session, request: as of `stream`.
            text: what is said.
            instead: why it is said in place of an answer of the model; an event tells it.

        Raises:
            Busy: too many replies are performed.
            UserError: as `stream`.
        """
        with self._lock:
            if len(self._acting) >= self._queue:
                raise Busy(self._retry_after())
            job = self._enter(session, request, steps=False)
            job.shown = (request.emotion or NEUTRAL, 1.0)
            job.mark("wait")
            if instead is not None:
                self._tell_instead(job, instead)
            self._say_given(job, text)
            self._wake.notify_all()
        return job.stream

    def _tell_instead(self, job: _Job, crisis: CrisisAnswer) -> None:
        job.instead = crisis.kind
        self._deliver(job, Instead(generation=job.generation, kind=crisis.kind, notice=crisis.notice))

    def _say_given(self, job: _Job, text: str) -> None:
        """The rest of a reply is a text that is given. With the lock."""
        job.text = text.strip()
        job.reader.answer = Answer(None, None, None, None, job.text, True)
        job.mark("first_text")
        job.mark("text")
        self._deliver(job, TextPiece(generation=job.generation, text=job.text))
        job.session.wrote(job.generation, job.answer)
        job.unspoken.clear()
        job.pieces.clear()
        job.pieces.extend((piece, None) for piece, _ in Sentences().cut(job.text, ended=True))
        job.text_ended = True
        if job.request.speaks:
            self._begin_acting(job)
        else:
            self._finish(job)

    def _enter(self, session: Session, request: Request, steps: bool, responder: Responder | None = None) -> _Job:
        """A new reply of a session, whose last one is cancelled where it is not complete. With the lock."""
        if self._stopped:
            raise RuntimeError("the engine is closed")
        for job in [job for job in self._jobs.values() if job.session is session]:
            self.cancel(job.generation)
        generation = uuid.uuid4().hex
        session.begin(request, generation)
        job = _Job(session, request, Stream(self, generation), responder or self.responder, steps)
        self._jobs[generation] = job
        if self._worker is None:
            self._worker = threading.Thread(target=self._run, name="dialogue-engine", daemon=True)
            self._worker.start()
        return job

    def reply(
        self,
        session: Session,
        request: Request,
        on_event: Callable[[Event], None] | None = None,
        responder: Responder | None = None,
    ) -> Reply:
        """The whole reply: what `stream` yields, collected. Frames are drawn when they are asked for.

        Args:
            session, request, responder: as of `stream`; `request.modalities` must hold "speech" and "motion".
            on_event: called with each event as it comes.

        Raises:
            Busy, UserError: as `stream`; also what comes there as `Failed`.
        """
        sound, motion, end = [], [], None
        with self.stream(session, request, responder) as stream:
            for event in stream:
                if on_event is not None:
                    on_event(event)
                if isinstance(event, SpeechPiece):
                    sound.append(event.samples)
                    rate = event.rate
                elif isinstance(event, Motion):
                    motion.append(event.coefficients)
                elif isinstance(event, Failed):
                    raise RuntimeError(event.reason) if event.fault else UserError(event.reason)
                elif isinstance(event, Done):
                    end = event
        if end is None or not end.finished:
            raise RuntimeError("the reply was cancelled")
        if not motion:
            raise UserError(f"the reply {end.answer.response[:40]!r} has nothing to say; expected words")
        moves = np.concatenate(motion)
        responder, profile = responder or self.responder, end.profile or DEFAULT_LISTENER
        mix = request.mix
        shown = mix.profile if mix is not None and mix.profile is not None and mix.profile_share > 0.5 else profile
        return Reply(
            answer=end.answer,
            text=end.text,
            emotion=end.emotion,
            shown=end.shown,
            profile=profile,
            heard=end.heard,
            speech=np.concatenate(sound),
            rate=rate,
            frames=responder.animator.render(responder.faces.portrait(shown), moves),
            frame_count=len(moves),
            size=(responder.animator.image_size,) * 2,
            timings=dict(end.timings),
            instead=end.instead,
        )

    def cancel(self, generation: str) -> bool:
        """Ends a reply. When this returns, nothing of it is delivered any more, except `Done(finished=False)`.

        Its place is free after the step that the device is in. False where the reply is complete or unknown.
        """
        with self._lock:
            job = self._jobs.pop(generation, None)
            if job is None:
                return False
            job.cancelled = True
            job.mark("end")
            self._release(job)
            taken = job.stream._cut()
            if not job.request.speaks:  # what was read is what was taken; of sound the client says what it has played
                job.reader.answer = dataclasses.replace(job.answer, response=taken)
            job.session.wrote(generation, job.answer)
            job.stream._put(job.done(finished=False))
            self._wake.notify_all()
            return True

    def warm(self) -> None:
        """Compiles what replies need; a server calls it before it opens its port, and while nothing else is asked.

        After it a reply compiles nothing, unless it has recordings of a new length, a mixture of styles, or one sentence of more
        than 16 seconds.
        """
        self._texts.warm()
        self.responder.warm()
        words = "I hear you, and I am glad that you told me. "
        for request in (
            Request(words, modalities=("text", "speech", "motion", "video")),
            Request(words, pipeline=True),
        ):
            for event in self.stream(Session(), request):
                if isinstance(event, Failed):
                    raise RuntimeError(event.reason) if event.fault else UserError(event.reason)

    def close(self) -> None:
        """Cancels all replies and ends the worker."""
        with self._lock:
            self._stopped = True
            for generation in list(self._jobs):
                self.cancel(generation)
            self._wake.notify_all()
            worker, self._worker = self._worker, None
        if worker is not None:
            worker.join()

    def state(self) -> dict[str, float]:
        """Numbers for a monitor: requests that wait, write and are performed."""
        with self._lock:
            return {
                "waiting": sum(map(len, self._waiting.values())),
                "writing": len(self._writing),
                "performing": len(self._acting),
                "seconds_per_reply": self._seconds,
            }

    # ------------------------------------------------------------------------------------------------ the worker

    def _retry_after(self) -> float:
        ahead = sum(map(len, self._waiting.values())) / max(self._texts.places, 1)
        return max(1.0, ahead * self._seconds)

    def _room(self) -> None:
        """A receiver has taken frames: drawing may go on."""
        with self._lock:
            self._wake.notify_all()

    def _release(self, job: _Job) -> None:
        """Takes a job out of every list. With the lock."""
        self._jobs.pop(job.generation, None)
        self._acting.pop(job.generation, None)
        if self._writing.pop(job.generation, None) is not None:
            self._texts.stop(job.generation)
        for name, jobs in list(self._waiting.items()):
            if job in jobs:
                jobs.remove(job)
            if not jobs:
                del self._waiting[name]

    def _run(self) -> None:
        while True:
            with self._lock:
                self._wake.wait_for(self._something_to_do)
                if self._stopped:
                    return
            self._let_in()
            self._write()
            self._act()

    def _something_to_do(self) -> bool:
        return (
            self._stopped
            or bool(self._waiting and self._texts.free)
            or bool(self._writing)
            or any(self._can_act(job) for job in self._acting.values())
        )

    def _let_in(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not self._texts.free:
                    return
                name, jobs = next(iter(self._waiting.items()))
                job = jobs.popleft()
                del self._waiting[name]
                if jobs:
                    self._waiting[name] = jobs  # behind the other sessions
                self._writing[job.generation] = job
            job.mark("wait")
            with self._guarded(job):
                request = dataclasses.replace(job.request, seed=self._seed(job))
                self._texts.begin(job.generation, self._question(job), request, job.session.known_steps(job.generation))
                job.prompt_tokens = self._texts.prompt_tokens(job.generation)

    def _question(self, job: _Job) -> Question:
        """What is to be answered: without the reply itself, which may have begun."""
        history, media = job.session.history(before=job.generation)
        return Question(history, media, job.listener)

    def _write(self) -> None:
        if not self._writing:
            return
        try:
            self._texts.step(self._grew)
        except Exception as error:
            for job in list(self._writing.values()):
                self._fail(job, error)

    def _grew(self, generation: str, text: str, tokens: int, ended: bool) -> None:
        """Called by the texts when there is more of a text."""
        job = self._writing.get(generation)
        if job is None:
            return
        with self._guarded(job):
            self._read(job, text, tokens, ended)

    def _read(self, job: _Job, text: str, tokens: int, ended: bool) -> None:
        job.text, job.tokens = text, tokens
        steps, words = job.reader.read(text, ended=ended)
        for name, value in steps:
            job.mark("first_step")
            self._deliver(job, ChainStep(generation=job.generation, name=name, value=value))
        if words:
            if self._care is not None and (crisis := self._care.after(job.answer.response)) is not None:
                self._replace(job, crisis)
                return
            job.mark("first_text")
            self._deliver(job, TextPiece(generation=job.generation, text=words))
        request = job.request
        if request.speaks:
            job.unspoken += job.sentences.cut(job.answer.response, ended=ended)
            if ended or (request.early and self._texts.early):
                for piece, end in job.unspoken:
                    upto = end if request.early and self._texts.early else len(job.answer.response)
                    job.pieces.append((piece, self._texts.states(job.generation, job.answer, upto)))
                job.unspoken.clear()
        if not ended:
            if job.pieces:
                self._begin_acting(job)
            return
        job.mark("text")
        if not job.answer.response:
            raise UserError(
                f"the model wrote no reply (it wrote {' '.join(text[:80].split())!r}); train longer, raise "
                "--config.decoding.max_new_tokens, or set --config.decoding.form=fixed"
            )
        job.heard = self._texts.heard(job.generation)
        if job.written is None:
            job.written = self._texts.states(job.generation, job.answer, len(job.answer.response))
        self._understand(job, job.written)
        with self._lock:
            if self._writing.pop(job.generation, None) is not None:
                self._texts.stop(job.generation)
        job.text_ended = True
        if request.speaks:
            self._begin_acting(job)
        else:
            self._finish(job)

    def _replace(self, job: _Job, crisis: CrisisAnswer) -> None:
        """What the model wrote may not be said: the text of a file takes its place, also in the session.

        A sentence is spoken when it is complete, so nothing of the one that was found is heard.
        """
        with self._lock:
            if job.cancelled:
                return
            if self._writing.pop(job.generation, None) is not None:
                self._texts.stop(job.generation)
            if job.performance is None:
                job.shown = (NEUTRAL, 1.0)
            self._tell_instead(job, crisis)
            self._say_given(job, crisis.text)

    def _understand(self, job: _Job, written: Written) -> Style:
        responder = job.responder
        style = responder.style(responder.signals(written))
        job.emotion = responder.emotion(job.answer, style.logits)
        if job.performance is not None:
            return style  # what is shown stays what it was with the first piece
        if job.request.emotion is not None:
            job.shown = (job.request.emotion, 1.0)
        elif job.request.pipeline:
            job.shown = (responder.style_clip or PIPELINE_CLIP, 1.0)
        else:
            job.shown = responder.shown(job.emotion)
        return style

    def _begin_acting(self, job: _Job) -> None:
        with self._lock:
            if job.acting is None and not job.cancelled:
                job.acting = self._perform(job)
                self._acting[job.generation] = job

    def _can_act(self, job: _Job) -> bool:
        return not job.stream.full and (not job.idle or bool(job.pieces) or job.text_ended)

    def _act(self) -> None:
        """One step of speech, motion or drawing, for the next of those that can take one."""
        with self._lock:
            job = next((job for job in self._acting.values() if self._can_act(job)), None)
            if job is None or job.acting is None:
                return
            self._acting.move_to_end(job.generation)
        with self._guarded(job):
            if next(job.acting, None) is None:
                self._finish(job)

    def _perform(self, job: _Job) -> Generator[bool, None, None]:
        """Sound and face of a reply, a step at a time."""
        modalities = set(job.request.modalities)
        moves, draws = bool({"motion", "video"} & modalities), "video" in modalities
        signals = None
        while True:
            if not job.pieces:
                if job.text_ended:
                    break
                job.idle = True
                yield True
                job.idle = False
                continue
            text, written = job.pieces.popleft()
            signals = None if written is None else job.responder.signals(written)
            if job.performance is None:
                job.performance = self._cast(job, written, draws)
            piece = job.performance.say(text, signals)
            if piece is not None:
                job.mark("first_sound")
                self._deliver(job, piece, shown="speech" in modalities)
            yield True
            ended = job.text_ended and not job.pieces
            if moves:
                yield from self._face(job, signals, ended, draws)
        if moves and job.performance is not None:
            yield from self._face(job, signals, True, draws)

    def _face(self, job: _Job, signals, ended: bool, draws: bool) -> Generator[bool, None, None]:
        performance = job.performance
        assert performance is not None
        motion = performance.move(signals, ended=ended)
        if motion is not None:
            job.mark("first_motion")
            if "motion" in job.request.modalities:
                self._deliver(job, motion)
            yield True
        if draws:
            for frames in performance.draw(ended=ended):
                job.mark("first_frame")
                self._deliver(job, frames)
                yield True

    def _cast(self, job: _Job, written: Written | None, draws: bool) -> Performance:
        """Who speaks and how, decided with the first piece and kept for the whole reply."""
        responder, request = job.responder, job.request
        if written is None:  # a text that is recited: the profile's own voice and face alone
            speech_style: Any = np.zeros((), np.float32)
            video_style: Any = speech_style
        else:
            style = self._understand(job, written)
            speech_style, video_style = style.speech[0], style.video[0]
        listener, mix = job.listener or DEFAULT_LISTENER, request.mix
        people, shows = [(listener, 1.0)], [(job.shown, 1.0)]
        if mix is not None and written is not None:
            style = self._mixed(job, written)
            speech_style, video_style = style.speech[0], style.video[0]
            if mix.profile is not None:
                people = [(listener, 1 - mix.profile_share), (mix.profile, mix.profile_share)]
            if mix.emotion is not None and request.emotion is None:
                other = responder.shown(responder.emotion(self._felt(job), {}))
                shows = [(job.shown, 1 - mix.emotion_share), (other, mix.emotion_share)]
        role = Role(
            people=tuple(people),
            shows=tuple(shows),
            speech_style=speech_style,
            video_style=video_style,
            blend=Blend.of(0.0, 0.0) if request.pipeline or written is None else responder.blend,
            seed=self._seed(job),
        )
        return Performance(responder, job.generation, role, draws=draws)

    def _felt(self, job: _Job) -> Answer:
        """The answer as it would be to the other emotion of a mix."""
        mix = job.request.mix
        if mix is None or mix.emotion is None:
            return job.answer
        return dataclasses.replace(job.answer, speaker_emotion=labels.emotion32(mix.emotion, strict=True))

    def _mixed(self, job: _Job, written: Written) -> Style:
        """The style of the reply mixed with that of the same words by another person, or to another emotion."""
        responder, mix = job.responder, job.request.mix
        assert mix is not None
        question = dataclasses.replace(self._question(job), listener=mix.profile or job.listener)
        return responder.mixed_style(
            responder.signals(written),
            responder.writer.reread(question, self._felt(job)),
            0.0 if mix.emotion is None else mix.emotion_share,
            0.0 if mix.profile is None else mix.profile_share,
        )

    def _seed(self, job: _Job) -> int:
        return job.session.seed if job.request.seed is None else job.request.seed

    def _deliver(self, job: _Job, event: Event, *, shown: bool = True) -> None:
        """Gives an event to the receiver, and the session its words; nothing of either once the reply is cancelled."""
        with self._lock:
            if job.cancelled:
                return
            if isinstance(event, TextPiece):
                job.session.wrote(job.generation, job.answer)
            elif isinstance(event, SpeechPiece):
                job.session.spoke(job.generation, event.words)
            if shown:
                job.stream._put(event)

    def _finish(self, job: _Job) -> None:
        job.mark("end")
        with self._lock:
            if job.cancelled:
                return
            self._release(job)
            self._seconds += 0.2 * (job.timings["end"] - job.timings.get("wait", 0.0) - self._seconds)
            job.session.wrote(job.generation, job.answer, finished=True)
            job.stream._put(job.done(finished=True))

    def _fail(self, job: _Job, error: Exception) -> None:
        user = isinstance(error, UserError)
        if not user:
            _log.error("a reply failed", exc_info=error)
        with self._lock:
            if job.cancelled:
                return
            self._release(job)
            job.session.withdraw(job.generation)
            reason = str(error) if user else f"{type(error).__name__}: {error}"
            job.stream._put(Failed(generation=job.generation, reason=reason, fault=not user))

    def _guarded(self, job: _Job) -> _Guard:
        return _Guard(self, job)


def _texts(responder: Responder, places: int) -> Texts:
    writer = responder.writer
    return SlotTexts(writer, places=places) if isinstance(responder.model.core, CausalLM) else WholeTexts(writer)


class _Guard:
    """What goes wrong within belongs to one reply: it fails, and the worker goes on."""

    def __init__(self, engine: Engine, job: _Job):
        self._engine, self._job = engine, job

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind, error, trace) -> bool:
        if isinstance(error, Exception):
            self._engine._fail(self._job, error)
            return True
        return False
