"""An engine that says what it is told: the contract of `dialogue.engine.Engine`, with its `Stream`, and no network.

For tests of what stands between an engine and a client (pages, formats, refusals), where noise out of tiny networks would say
less. Sound is a tone, the face is the drawn face's own performance, and every event comes at the pace that is set.
"""

from __future__ import annotations

import threading
import time
import types
import uuid

import numpy as np

from empatheia_jax.conversation.answer import Answer
from empatheia_jax.dialogue.engine import Busy
from empatheia_jax.dialogue.events import ChainStep, Done, Failed, Frames, Motion, SpeechPiece, TextPiece
from empatheia_jax.dialogue.faces import DrawnFaces
from empatheia_jax.dialogue.responder import DEFAULT_LISTENER
from empatheia_jax.dialogue.stream import Stream
from empatheia_jax.dreamtalk.drawn_face import perform

RATE, SIZE = 24_000, 64
WORD = 0.25
"""Seconds of a word."""
CHAIN = {
    "event_scenario": "An evening alone.",
    "speaker_emotion": "lonely",
    "emotion_cause": "Nobody called.",
    "goal_to_response": "To keep the user company.",
}
REPLY = "That sounds like a long evening. Who would you have liked to hear from? I am glad that you told me about it."


class ScriptedEngine:
    """Says `text`, a sentence a step; `pace` seconds pass before each event. `places`: replies that may be made at once."""

    def __init__(self, text: str = REPLY, *, pace: float = 0.0, places: int = 4, fault: Exception | None = None):
        self.text, self.pace, self.places, self.fault = text, pace, places, fault
        animator = types.SimpleNamespace(image_size=SIZE)
        self.responder = types.SimpleNamespace(animator=animator, faces=DrawnFaces())
        self.running: dict[str, tuple[Stream, threading.Event]] = {}
        self.asked: list = []

    def stream(self, session, request):
        if len(self.running) >= self.places:
            raise Busy(7.0)
        self.asked.append((session, request))
        return self._begin(session, request, None)

    def recite(self, session, request, text):
        return self._begin(session, request, text)

    def warm(self):
        pass

    def close(self):
        for generation in list(self.running):
            self.cancel(generation)

    def state(self):
        return {"waiting": 0, "writing": len(self.running), "performing": 0}

    def cancel(self, generation):
        stream, stopped = self.running.pop(generation, (None, None))
        if stream is None:
            return False
        stopped.set()
        empty = Answer(None, None, None, None, "", False)
        record = stream.session.record(generation)
        answer = empty if record is None else record.answer
        stream.drop_untaken()
        stream.put(
            Done(
                generation=generation,
                answer=answer,
                emotion={},
                timings={"end": 0.0, "prompt_tokens": 0, "tokens": 0},
                finished=False,
            )
        )
        return True

    def _begin(self, session, request, text):
        stream = Stream(uuid.uuid4().hex, cancel=self.cancel, frames_taken=lambda: None)
        stopped = threading.Event()
        session.begin(request, stream.generation)
        stream.session = session
        self.running[stream.generation] = stream, stopped
        threading.Thread(target=self._run, args=(stream, stopped, session, request, text), daemon=True).start()
        return stream

    def _run(self, stream, stopped, session, request, recited):
        generation, began, timings = stream.generation, time.perf_counter(), {}

        def put(event, name=None):
            if stopped.wait(self.pace) or stopped.is_set():
                return
            if name:
                timings.setdefault(name, time.perf_counter() - began)
            stream.put(event)

        if self.fault is not None and recited is None:
            self.running.pop(generation, None)
            session.withdraw(generation)
            stream.put(Failed(generation=generation, reason=f"{self.fault}", fault=True))
            return
        chain = {**CHAIN, **request.chain_edits} if recited is None and not request.pipeline else dict.fromkeys(CHAIN)
        text = recited or (f"You feel {chain['speaker_emotion']}. {self.text}" if request.chain_edits else self.text)
        for name, value in chain.items():
            if value:
                put(ChainStep(generation=generation, name=name, value=value))
        sentences = [each if each.endswith(("?", "!")) else f"{each}." for each in text.rstrip(".").split(". ")]
        start, said = 0, ""
        for number, sentence in enumerate(sentences):
            piece = f" {sentence}" if said else sentence
            said += piece
            put(TextPiece(generation=generation, text=piece), "first_text")
            session.wrote(generation, Answer(**chain, response=said, complete=False))
            if not request.speaks:
                continue
            words = sentence.split()
            count = int(WORD * RATE) * len(words)
            tone = (0.2 * np.sin(2 * np.pi * 220 * np.arange(count) / RATE)).astype(np.float32)
            times = tuple(
                (word, start / RATE + WORD * k, start / RATE + WORD * (k + 1)) for k, word in enumerate(words)
            )
            session.spoke(generation, times)
            first, last = round(25 * start / RATE), round(25 * (start + count) / RATE)
            put(
                SpeechPiece(generation=generation, samples=tone, rate=RATE, words=times, sentence=number, start=start),
                "first_sound",
            )
            motion = perform(request.emotion or "sad", 200, seed=number)[: last - first].copy()
            motion[:, 0] = 1.5 + 1.5 * np.sin(np.arange(last - first))  # the jaw
            if "motion" in request.modalities:
                put(Motion(generation=generation, coefficients=motion, rate=25, start=first))
            if "video" in request.modalities:
                shades = np.arange(last - first, dtype=np.uint8)[:, None, None, None] * 9
                frames = np.broadcast_to(shades, (last - first, SIZE, SIZE, 3))
                put(Frames(generation=generation, rgb=frames, rate=25, start=first), "first_frame")
            start += count
        if stopped.is_set():
            return
        self.running.pop(generation, None)
        answer = Answer(**chain, response=text, complete=True)
        session.wrote(generation, answer, finished=True)
        put(
            Done(
                generation=generation, answer=answer, finished=True, seconds=start / RATE, shown=(request.emotion or "sad", 0.7),
                emotion={"written": chain["speaker_emotion"], "of_32": chain["speaker_emotion"]}, text=text,
                profile=request.profile or session.profile or DEFAULT_LISTENER,
                timings={**timings, "wait": 0.0, "text": 0.1, "prompt_tokens": 12, "tokens": len(text) // 4},
            )
        )  # fmt: skip
