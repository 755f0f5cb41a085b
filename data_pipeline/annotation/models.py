"""Who answers the questions: an endpoint, a model of our own, or a file of answers; one small interface over all."""

from __future__ import annotations

import hashlib
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from empatheia_jax.errors import UserError
from empatheia_jax.files import parse_line, require_regular

FOLDER = Path(__file__).parent / "prompts"
"""One file per version of a prompt. A released version is never edited: a change gets a new number."""


class Unanswered(UserError):
    """Nobody answers: a run stops, since it is no fault of the dialogue asked about."""


@cache
def prompt_text(name: str) -> str:
    """The text of a prompt, for instance `chain-1`. Raises `UserError` where there is none of that name."""
    path = FOLDER / f"{name}.txt"
    if not path.is_file():
        known = ", ".join(sorted(each.stem for each in FOLDER.glob("*.txt")))
        raise UserError(f"prompt {name!r} does not exist; expected one of {known}")
    return path.read_text(encoding="utf-8")


@dataclass(frozen=True)
class Question:
    """A prompt with its places filled. `attempt` counts questions that are asked again after an unusable answer."""

    prompt: str
    text: str
    attempt: int = 0

    @classmethod
    def of(cls, prompt: str, **places: object) -> Question:
        """Fills the places of a prompt's text."""
        return cls(prompt, prompt_text(prompt).format(**places))

    @property
    def key(self) -> str:
        """Hash of what is asked: names the answer in files and journals."""
        return hashlib.sha256(json.dumps([self.prompt, self.text, self.attempt]).encode()).hexdigest()

    def again(self) -> Question:
        """The same question, asked once more."""
        return Question(self.prompt, self.text, self.attempt + 1)


@runtime_checkable
class Answerer(Protocol):
    """Answers questions. `name` goes into the provenance of every annotation."""

    @property
    def name(self) -> str:
        """What provenance calls it."""

    def __call__(self, question: Question) -> str:
        """The answer's text. Raises `Unanswered` where there is none to be had."""


@dataclass(frozen=True)
class AnswerFile:
    """Answers from a file of lines `{"key": …, "answer": …}`, as a journal writes them: for reproduction and tests."""

    path: Path
    name: str = "answers"

    @classmethod
    def open(cls, path: str | os.PathLike) -> AnswerFile:
        """Raises `UserError` where the file is missing or a line of it is broken."""
        found = cls(Path(path))
        found._answers()
        return found

    def _answers(self) -> Mapping[str, Mapping[str, str]]:
        return _read_answers(str(self.path))

    def __call__(self, question: Question) -> str:
        """See `Answerer`."""
        entry = self._answers().get(question.key)
        if entry is None:
            raise Unanswered(
                f"{self.path} has no answer to {question.prompt} with key {question.key[:16]}…; it was made for another "
                "corpus or other prompts"
            )
        return entry["answer"]


@cache
def _read_answers(path: str) -> dict[str, dict[str, str]]:
    answers = {}
    require_regular(path, "lines of key and answer")
    try:
        lines = (
            Path(path).read_bytes().splitlines()
        )  # of text, it would also split at marks that JSON writes as they are
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror}); expected lines of key and answer") from None
    for number, line in enumerate(lines, 1):
        try:
            entry = parse_line(line)
            answers[entry["key"]] = {"answer": said(entry["answer"])}
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path}, line {number} is no {{key, answer}} object; mend or remove it") from None
    return answers


def said(answer: Any) -> str:
    """An answer's words. Raises ValueError where it is something else: servers send null where a model was cut off."""
    if not isinstance(answer, str):
        raise ValueError(f"the answer is {answer!r:.60}; expected words")
    return answer


@dataclass(frozen=True)
class Endpoint:
    """An OpenAI-compatible server: POST `{url}/chat/completions`.

    The key is read from the environment variable `key_variable` at the time of the call and stored nowhere. Answers
    429 and 5xx, and broken connections, are tried again, each time after twice the wait.
    """

    url: str
    model: str
    key_variable: str = "OPENAI_API_KEY"
    temperature: float = 0.7
    seconds: float = 60.0
    tries: int = 5
    first_wait: float = 1.0

    @property
    def name(self) -> str:
        """The model and where it runs."""
        return f"{self.model} at {self.url}"

    def __call__(self, question: Question) -> str:
        """See `Answerer`."""
        body = {
            "model": self.model,
            "messages": [{"role": "user", "content": question.text}],
            "temperature": self.temperature,
            "seed": question.attempt,
        }
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get(self.key_variable):
            headers["Authorization"] = f"Bearer {key}"
        request = urllib.request.Request(
            self.url.rstrip("/") + "/chat/completions", json.dumps(body).encode(), headers, method="POST"
        )
        wait, reason = self.first_wait, ""
        for attempt in range(self.tries):
            if attempt:
                time.sleep(wait)
                wait *= 2
            try:
                with urllib.request.urlopen(request, timeout=self.seconds) as response:
                    return said(parse_line(response.read())["choices"][0]["message"]["content"])
            except urllib.error.HTTPError as error:
                reason = f"HTTP {error.code} {error.reason}"
                if error.code != 429 and error.code < 500:
                    break
            except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
                reason = f"{type(error).__name__}: {error}"
        raise Unanswered(
            f"{self.name} gave no answer ({reason}); check the address, the key and the model, then run again"
        )
