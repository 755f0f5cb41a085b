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

import contextlib
import dataclasses
import logging
import threading
import uuid
from collections import OrderedDict
from collections.abc import Callable, Iterator

from empatheia_jax.care.answers import CrisisAnswer, CrisisAnswers
from empatheia_jax.conversation.expression import NEUTRAL
from empatheia_jax.core.causal import CausalLM
from empatheia_jax.dialogue.acting import act
from empatheia_jax.dialogue.casting import decide, understand
from empatheia_jax.dialogue.collect import collect
from empatheia_jax.dialogue.events import ChainStep, Event, Failed, Instead, SpeechPiece, TextPiece
from empatheia_jax.dialogue.job import Job
from empatheia_jax.dialogue.request import Request
from empatheia_jax.dialogue.responder import Reply, Responder
from empatheia_jax.dialogue.round_robin import RoundRobin
from empatheia_jax.dialogue.session import Session
from empatheia_jax.dialogue.stream import Stream
from empatheia_jax.dialogue.texts import PLACES, SlotTexts, Texts, WholeTexts
from empatheia_jax.dialogue.watch import Watch
from empatheia_jax.errors import UserError

QUEUE = 32
"""Requests that may wait."""

_log = logging.getLogger(__name__)


class Busy(Exception):
    """No request can be taken now. retry_after: seconds after which there should be room, as far as one can tell."""

    def __init__(self, retry_after: float):
        super().__init__(f"all places are taken; try again in {retry_after:.0f} s")
        self.retry_after = retry_after


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
        self._waiting: RoundRobin[Job] = RoundRobin()  # the sessions take turns
        self._writing: dict[str, Job] = {}
        self._acting: OrderedDict[str, Job] = OrderedDict()  # the first one is next
        self._jobs: dict[str, Job] = {}
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
            if len(self._waiting) >= self._queue:
                raise Busy(self._retry_after())
            steps = self.responder.policy.chain_of_empathy and not request.pipeline
            job = self._enter(session, request, steps, responder)
            self._waiting.add(session.id, job)
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
            session, request: as in `stream`.
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

    def _tell_instead(self, job: Job, crisis: CrisisAnswer) -> None:
        job.instead = crisis.kind
        self._deliver(job, Instead(generation=job.generation, kind=crisis.kind, notice=crisis.notice))

    def _say_given(self, job: Job, text: str) -> None:
        """The rest of a reply is a text that is given. With the lock."""
        job.take_given(text)
        job.mark("first_text")
        job.mark("text")
        self._deliver(job, TextPiece(generation=job.generation, text=job.text))
        job.session.wrote(job.generation, job.answer)
        job.text_ended = True
        if job.request.speaks:
            self._begin_acting(job)
        else:
            self._finish(job)

    def _enter(self, session: Session, request: Request, steps: bool, responder: Responder | None = None) -> Job:
        """A new reply of a session, whose last one is cancelled where it is not complete. With the lock."""
        if self._stopped:
            raise RuntimeError("the engine is closed")
        for job in [job for job in self._jobs.values() if job.session is session]:
            self.cancel(job.generation)
        generation = uuid.uuid4().hex
        session.begin(request, generation)
        stream = Stream(generation, cancel=self.cancel, frames_taken=self._frames_taken)
        watch = None if self._care is None else Watch(self._care)
        job = Job(session, request, stream, responder or self.responder, steps, watch)
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
            session, request, responder: as in `stream`; `request.modalities` must hold "speech" and "motion".
            on_event: called with each event as it comes.

        Raises:
            Busy, UserError: as `stream`; also what comes there as `Failed`.
        """
        with self.stream(session, request, responder) as stream:
            return collect(stream, request, responder or self.responder, on_event)

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
            taken = job.stream.drop_untaken()
            if not job.request.speaks:  # what was read is what was taken; of sound the client says what it has played
                job.reader.answer = dataclasses.replace(job.answer, response=taken)
            elif job.watch is not None:  # what is in doubt was not shown
                job.reader.answer = dataclasses.replace(job.answer, response=job.answer.response[: job.watch.shown])
            job.session.wrote(generation, job.answer)
            job.stream.put(job.done(finished=False))
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
                    raise event.error

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
                "waiting": len(self._waiting),
                "writing": len(self._writing),
                "performing": len(self._acting),
                "seconds_per_reply": self._seconds,
            }

    # ------------------------------------------------------------------------------------------------ the worker

    def _retry_after(self) -> float:
        ahead = len(self._waiting) / max(self._texts.places, 1)
        return max(1.0, ahead * self._seconds)

    def _frames_taken(self) -> None:
        """A receiver has taken frames: drawing may go on."""
        with self._lock:
            self._wake.notify_all()

    def _release(self, job: Job) -> None:
        """Takes a job out of every list. With the lock."""
        self._jobs.pop(job.generation, None)
        self._acting.pop(job.generation, None)
        if self._writing.pop(job.generation, None) is not None:
            self._texts.stop(job.generation)
        self._waiting.remove(job.session.id, job)

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
            or any(job.can_act for job in self._acting.values())
        )

    def _let_in(self) -> None:
        while True:
            with self._lock:
                if not self._waiting or not self._texts.free:
                    return
                job = self._waiting.next()
                self._writing[job.generation] = job
            job.mark("wait")
            with self._guarded(job):
                request = dataclasses.replace(job.request, seed=job.seed)
                self._texts.begin(job.generation, job.question, request, job.session.known_steps(job.generation))
                job.prompt_tokens = self._texts.prompt_tokens(job.generation)

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

    def _read(self, job: Job, text: str, tokens: int, ended: bool) -> None:
        job.text, job.tokens = text, tokens
        steps, words = job.reader.read(text, ended=ended)
        for name, value in steps:
            job.mark("first_step")
            self._deliver(job, ChainStep(generation=job.generation, name=name, value=value))
        if job.watch is not None and (words or ended):
            crisis, words = job.watch.read(job.answer.response, job.said, ended=ended)
            if crisis is not None:
                self._replace(job, crisis)
                return
        if words:
            job.mark("first_text")
            self._deliver(job, TextPiece(generation=job.generation, text=words))
        request = job.request
        if request.speaks:
            job.cut_pieces(self._texts, ended=ended)
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
        if job.responder.classifies:
            understand(job, self._texts.states(job.generation, job.answer, len(job.answer.response)))
        else:  # states would tell nothing of the emotion, and computing them takes as long as some tokens
            decide(job, {})
        with self._lock:
            if self._writing.pop(job.generation, None) is not None:
                self._texts.stop(job.generation)
        job.text_ended = True
        if request.speaks:
            self._begin_acting(job)
        else:
            self._finish(job)

    def _replace(self, job: Job, crisis: CrisisAnswer) -> None:
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

    def _begin_acting(self, job: Job) -> None:
        with self._lock:
            if job.acting is None and not job.cancelled:
                job.acting = act(job, self._deliver)
                self._acting[job.generation] = job

    def _act(self) -> None:
        """One step of speech, motion or drawing, for the next of those that can take one."""
        with self._lock:
            job = next((job for job in self._acting.values() if job.can_act), None)
            if job is None or job.acting is None:
                return
            self._acting.move_to_end(job.generation)
        with self._guarded(job):
            if next(job.acting, None) is None:
                self._finish(job)

    def _deliver(self, job: Job, event: Event, *, shown: bool = True) -> None:
        """Gives an event to the receiver, and the session its words; nothing of either once the reply is cancelled."""
        with self._lock:
            if job.cancelled:
                return
            if isinstance(event, TextPiece):
                job.session.wrote(job.generation, job.answer)
            elif isinstance(event, SpeechPiece):
                job.session.spoke(job.generation, event.words)
            if shown:
                job.stream.put(event)

    def _finish(self, job: Job) -> None:
        job.mark("end")
        with self._lock:
            if job.cancelled:
                return
            self._release(job)
            self._seconds += 0.2 * (job.timings["end"] - job.timings.get("wait", 0.0) - self._seconds)
            job.session.wrote(job.generation, job.answer, finished=True)
            job.stream.put(job.done(finished=True))

    def _fail(self, job: Job, error: Exception) -> None:
        user = isinstance(error, UserError)
        if not user:
            _log.error("a reply failed", exc_info=error)
        with self._lock:
            if job.cancelled:
                return
            self._release(job)
            job.session.withdraw(job.generation)
            reason = str(error) if user else f"{type(error).__name__}: {error}"
            job.stream.put(Failed(generation=job.generation, reason=reason, fault=not user))

    @contextlib.contextmanager
    def _guarded(self, job: Job) -> Iterator[None]:
        """What goes wrong within belongs to one reply: it fails, and the worker goes on."""
        try:
            yield
        except Exception as error:
            self._fail(job, error)


def _texts(responder: Responder, places: int) -> Texts:
    writer = responder.writer
    return SlotTexts(writer, places=places) if isinstance(responder.model.core, CausalLM) else WholeTexts(writer)
