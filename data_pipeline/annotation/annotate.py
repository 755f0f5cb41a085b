"""A corpus of dialogues with emotions → an AvaMERG draft with profiles, topic and Chain of Empathy.

    python -m data_pipeline.annotation.annotate --corpus=FILE.json --output=FOLDER
        (--answers=FILE.jsonl | --url=https://… --model=NAME) [--count=N]

A corpus is a JSON list of `{"emotion", "utts": [speaker, listener, speaker, …]}`, with "context" and "id" where known.
Every question and answer goes into `journal.jsonl` as soon as it is there, so an interrupted run asks nothing twice; a
finished journal is itself a file of answers. `draft.json` is in the released layout; `provenance.json` says for every
annotation which model, which prompt (name and hash) and which answer it came from.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from data_pipeline.annotation.models import Answerer, AnswerFile, Endpoint, Question, Unanswered, prompt_text, said
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import CHAIN_KEYS, ChainOfEmpathy, Conversation, Profile, Turn, Utterance
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import parse_line, write_json

TOPICS = ("work", "school", "family", "friends", "love", "health", "animals", "money", "travel", "home", "hobbies")
TRIES = 3
T = TypeVar("T")


@dataclass(frozen=True)
class Source:
    """A dialogue of the corpus: what was said in turn, the speaker first; `listener_last` leaves replies to learn."""

    id: str
    emotion: str
    utterances: tuple[str, ...]
    context: str

    @property
    def lines(self) -> list[str]:
        """The dialogue, one line each with its role."""
        return [f"{('Speaker', 'Listener')[n % 2]}: {text}" for n, text in enumerate(self.utterances)]


def read_corpus(path: str | os.PathLike) -> list[Source]:
    """Reads a corpus. Raises `UserError` at the first entry that has no emotion or fewer than two utterances."""
    found = schema.load_json(path)
    if not isinstance(found, list):
        raise UserError(f"{path} is no list of dialogues; expected [{{'emotion', 'utts'}}, …]")
    sources = []
    for number, entry in enumerate(found):
        where = f"{path}, dialogue {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("emotion"), str):
            raise UserError(f"{where} has no emotion; expected one of the 32 labels")
        said = entry.get("utts")
        if not isinstance(said, list) or len(said) < 2 or not all(isinstance(t, str) and t.strip() for t in said):
            raise UserError(f"{where} has no 'utts' with at least two utterances; expected a list of strings")
        context = entry.get("context") or said[0]
        sources.append(Source(str(entry.get("id", f"{number + 1:05d}")), entry["emotion"], tuple(said), context))
    if len({each.id for each in sources}) != len(sources):
        raise UserError(f"{path} uses an id twice; expected one id per dialogue")
    return sources


def parse_json(answer: str) -> dict[str, Any]:
    """The JSON object in an answer, with or without words or a fence around it. Raises `UserError` without one."""
    found = re.search(r"\{.*\}", answer, re.DOTALL)
    try:
        value = parse_line(found.group(0) if found else "")
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise UserError(f"the answer holds no JSON object: {answer[:80]!r}")
    return value


class Journal:
    """All questions and answers of a run, one line each, written as they come."""

    def __init__(self, path: str | os.PathLike, answerer: Answerer):
        self.path, self.answerer = Path(path), answerer
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.known: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            whole = self.path.read_bytes()
            kept = whole[: whole.rfind(b"\n") + 1]  # the last line of a killed run may be cut
            if len(kept) < len(whole):
                self.path.write_bytes(kept)
            for number, line in enumerate(kept.splitlines(), 1):  # of text, also at marks that JSON writes as they are
                try:
                    entry = parse_line(line)
                    said(entry["answer"])
                    self.known[entry["key"]] = entry
                except (ValueError, KeyError, TypeError) as error:
                    raise UserError(f"{self.path}, line {number} is broken ({error}); remove it") from None
        self.asked = 0

    def ask(self, question: Question, parse: Callable[[str], T]) -> tuple[T, dict[str, str]]:
        """The parsed answer with its provenance; an unusable one is asked for again, `TRIES` times in all.

        Raises:
            UserError: no usable answer came.
        """
        reason: Exception | None = None
        for _ in range(TRIES):
            entry = self.known.get(question.key)
            if entry is None:
                entry = {
                    "key": question.key,
                    "prompt": question.prompt,
                    "attempt": question.attempt,
                    "model": self.answerer.name,
                    "answer": self.answerer(question),
                }
                self.asked += 1
                with open(self.path, "a", encoding="utf-8") as file:
                    file.write(json.dumps(entry, ensure_ascii=False) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                self.known[question.key] = entry
            try:
                return parse(entry["answer"]), _provenance(entry)
            except UserError as error:
                reason, question = error, question.again()
        raise UserError(f"{TRIES} answers to {question.prompt} were unusable; the last: {reason}")


def _provenance(entry: Mapping[str, Any]) -> dict[str, str]:
    text = prompt_text(entry["prompt"])
    return {
        "model": entry["model"],
        "prompt": entry["prompt"],
        "prompt_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "question": entry["key"],
        "answer_sha256": hashlib.sha256(entry["answer"].encode()).hexdigest(),
    }


def parse_profiles(answer: str) -> tuple[Profile, Profile, str]:
    """(speaker, listener, topic). Raises `UserError` where a word is outside its vocabulary."""
    value = parse_json(answer)
    people = []
    for role in schema.ROLES:
        found = value.get(role)
        words = [found.get(key) for key in ("age", "gender", "timbre")] if isinstance(found, dict) else [None]
        if not all(isinstance(word, str) for word in words):
            raise UserError(f"the answer has no age, gender and timbre of the {role}")
        people.append(Profile.of(labels.profile_id(*words)))
    topic = str(value.get("topic", "")).strip().lower()
    if topic not in TOPICS:
        raise UserError(f"topic {topic!r}; expected one of {', '.join(TOPICS)}")
    return people[0], people[1], topic


def parse_chain(answer: str) -> ChainOfEmpathy:
    """The four steps. Raises `UserError` where one is missing or the emotion reaches none of the 32 labels."""
    value = parse_json(answer)
    steps = {key: " ".join(text.split()) for key in CHAIN_KEYS if isinstance(text := value.get(key), str)}
    missing = [key for key in CHAIN_KEYS if not steps.get(key)]
    if missing:
        raise UserError(f"the answer lacks {', '.join(missing)}")
    emotion = labels.emotion32(steps["speaker_emotion"], strict=True)
    return ChainOfEmpathy(emotion, steps["event_scenario"], steps["emotion_cause"], steps["goal_to_response"])


def annotate_one(source: Source, journal: Journal) -> tuple[Conversation, dict[str, Any]]:
    """One dialogue with everything that a language model says about it, and where each piece came from."""
    dialogue = "\n".join(source.lines)
    question = Question.of(
        "profiles-1", topics=", ".join(TOPICS), context=source.context, emotion=source.emotion, dialogue=dialogue
    )
    (speaker, listener, topic), profile_source = journal.ask(question, parse_profiles)
    said = [Utterance(n, schema.ROLES[n % 2], text) for n, text in enumerate(source.utterances)]
    turns: list[Turn] = []
    chains: dict[str, dict[str, str]] = {}
    for n in range(1, len(said), 2):
        question = Question.of(
            "chain-1",
            emotions=", ".join(labels.EMOTIONS_32),
            context=source.context,
            dialogue="\n".join(source.lines[:n]),
            response=said[n].text,
        )
        chain, chains[str(len(turns))] = journal.ask(question, parse_chain)
        turns.append(Turn(str(len(turns)), tuple(said[:n]), source.context, said[n].text, chain))
    conversation = Conversation(source.id, tuple(turns), speaker, listener, topic)
    return conversation, {"profiles and topic": profile_source, "chain of empathy": chains}


def annotate(
    sources: Iterable[Source],
    answerer: Answerer,
    output: str | os.PathLike,
    quarantine: Quarantine,
    progress: Callable[[int], None] = lambda done: None,
) -> list[Conversation]:
    """Annotates a corpus into `output`; what cannot be annotated is set aside and the rest goes on.

    Raises:
        UserError: nobody answers, or more is unusable than the quarantine allows; the journal keeps all that was answered.
    """
    output = Path(output)
    journal = Journal(output / "journal.jsonl", answerer)
    kept, sources_of = [], {}
    for number, source in enumerate(sources):
        quarantine.saw()
        try:
            conversation, where_from = annotate_one(source, journal)
        except Unanswered:
            raise
        except UserError as error:
            quarantine.add(source.id, "not annotated", error)
        else:
            kept.append(conversation)
            sources_of[conversation.conversation_id] = where_from
        progress(number + 1)
    quarantine.write(output / "quarantine.json")
    quarantine.enforce()
    schema.write(output / "draft.json", kept)
    write_json(output / "provenance.json", sources_of, sort_keys=True)
    return kept


# ------------------------------------------------------------------------------------------------- rebalancing


def shortages(conversations: Sequence[Conversation], least: int) -> list[tuple[int, int]]:
    """(profile, missing dialogues) of each profile that fewer than `least` speakers have, the rarest first."""
    counts = dict.fromkeys(range(labels.PROFILES), 0)
    for each in conversations:
        if each.speaker is not None:
            counts[each.speaker.profile_id] += 1
    return [
        (n, least - found) for n, found in sorted(counts.items(), key=lambda pair: (pair[1], pair[0])) if found < least
    ]


def rebalance(
    conversations: Sequence[Conversation], least: int, journal: Journal, quarantine: Quarantine
) -> list[dict[str, Any]]:
    """Has dialogues written for rare profiles; returns corpus entries, to be annotated and checked like all others.

    Emotions, topics and listeners go round, so that the new dialogues are spread over them.
    """
    entries, number = [], 0
    for profile, missing in shortages(conversations, least):
        for _ in range(missing):
            emotion, topic = labels.EMOTIONS_32[number % 32], TOPICS[number % len(TOPICS)]
            question = Question.of(
                "dialogue-1",
                speaker=_describe(profile),
                listener=_describe((profile * 5 + number + 11) % labels.PROFILES),
                emotion=emotion,
                topic=topic,
                number=number,
            )
            number += 1
            quarantine.saw()
            try:
                (context, said), where_from = journal.ask(question, _parse_dialogue)
            except Unanswered:
                raise
            except UserError as error:
                quarantine.add(f"new dialogue {number}", "not written", error)
                continue
            entries.append({"emotion": emotion, "context": context, "utts": said, "written_by": where_from})
    return entries


def _describe(profile: int) -> str:
    age, gender, timbre = labels.profile_words(profile)
    return f"{age} {gender} with {labels.TONES[labels.tone_id(timbre)]} tone"


def _parse_dialogue(answer: str) -> tuple[str, list[str]]:
    value = parse_json(answer)
    said, context = value.get("utterances"), value.get("context")
    if (
        not isinstance(said, list)
        or len(said) < 2
        or len(said) % 2
        or not all(isinstance(t, str) and t.strip() for t in said)
    ):
        raise UserError("the answer has no even number of utterances")
    if not isinstance(context, str) or not context.strip():
        raise UserError("the answer has no context")
    return context, said


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(
        prog="python -m data_pipeline.annotation.annotate", description=__doc__.splitlines()[0]
    )
    options.add_argument("--corpus", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--answers", type=Path, help="a file of answers (JSON lines)")
    options.add_argument("--url", help="base address of an OpenAI-compatible server, with /v1")
    options.add_argument("--model", help="name of the model there; the key is read from OPENAI_API_KEY")
    options.add_argument("--count", type=int, help="only the first dialogues of the corpus")
    options.add_argument("--limit", type=float, default=0.05, help="tolerated fraction of dialogues without annotation")
    options.add_argument(
        "--least", type=int, default=0, help="afterwards write dialogues until each profile has so many"
    )
    given = options.parse_args(argv)
    if (given.answers is None) == (given.url is None):
        raise UserError("give either --answers=FILE.jsonl or --url=… with --model=NAME")
    if given.url is not None and not given.model:
        raise UserError("--url needs --model=NAME")
    answerer = AnswerFile.open(given.answers) if given.answers else Endpoint(given.url, given.model)
    quarantine = Quarantine(given.limit)
    kept = annotate(read_corpus(given.corpus)[: given.count], answerer, given.output, quarantine)
    print(f"{given.output}/draft.json: {len(kept)} dialogues; {quarantine.summary()}")
    if given.least:
        entries = rebalance(kept, given.least, Journal(given.output / "journal.jsonl", answerer), quarantine)
        write_json(given.output / "new_dialogues.json", entries)
        print(f"{given.output}/new_dialogues.json: {len(entries)} written for rare profiles; annotate them as a corpus")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
