"""What the corpus has to keep, as functions that list every breach: form, variety, coverage and the split.

Each function takes the dialogues by split and returns one line per breach; an empty list means that the rule is kept.
"""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator, Mapping, Sequence

from data_pipeline.corpus import reader
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import ChainOfEmpathy, Conversation, Turn

Corpus = Mapping[str, Sequence[Conversation]]

EXCHANGES = (1, 4)
USER_WORDS = (4, 40)
REPLY_WORDS = (8, 30)
CHAIN_WORDS = 60
"""The four steps of a chain together stay below this."""
OPENING_SHARE = 0.03
"""No first three (or four) words open a larger share of the replies."""
OPENING_LENGTHS = (3, 4)
COMMON_WORDS = 8
"""No two replies share a run of this many words."""
EMOTION_COUNT, TEST_EMOTIONS = 15, 3
"""Least number of dialogues that start with each of the 32 emotions, in all splits together and in the test split."""


def words(text: str) -> list[str]:
    """Lower-case words without punctuation; an apostrophe belongs to its word."""
    return re.findall(r"[^\W_]+(?:['’][^\W_]+)*", text.lower().replace("’", "'"))


def dialogues(corpus: Corpus) -> list[Conversation]:
    """All dialogues of all splits."""
    return [each for split in corpus.values() for each in split]


def turns(corpus: Corpus) -> Iterator[tuple[str, Turn]]:
    """(name for messages, turn) of every reply."""
    for each in dialogues(corpus):
        for turn in each.turns:
            yield f"dialogue {each.conversation_id}, reply {turn.turn_id}", turn


def chain_of(turn: Turn) -> ChainOfEmpathy:
    """The four steps of a reply; the reader gives every reply its chain."""
    if turn.chain is None:
        raise ValueError(f"reply {turn.turn_id} has no chain")
    return turn.chain


def reply_of(turn: Turn) -> str:
    """The words of a reply; the reader gives every turn one."""
    if turn.response is None:
        raise ValueError(f"turn {turn.turn_id} has no reply")
    return turn.response


def form(corpus: Corpus) -> list[str]:
    """Lengths, and the one style of the chains: what the user lives through, what moves them, what the reply wants."""
    breaches = []
    for each in dialogues(corpus):
        if not EXCHANGES[0] <= len(each.turns) <= EXCHANGES[1]:
            breaches.append(f"dialogue {each.conversation_id}: {len(each.turns)} exchanges; expected {EXCHANGES}")
    for name, turn in turns(corpus):
        for what, text, (least, most) in (
            ("what the user says", turn.history[-1].text, USER_WORDS),
            ("the reply", reply_of(turn), REPLY_WORDS),
        ):
            if not least <= len(words(text)) <= most:
                breaches.append(f"{name}: {what} has {len(words(text))} words; expected {least} to {most}")
        chain = chain_of(turn)
        steps = (chain.event_scenario, chain.speaker_emotion, chain.emotion_cause, chain.goal_to_response)
        if sum(len(words(step)) for step in steps) >= CHAIN_WORDS:
            breaches.append(f"{name}: the chain is too long; expected fewer than {CHAIN_WORDS} words")
        for step in (chain.event_scenario, chain.emotion_cause):
            if not re.match(r"The user('s|s'|)\b", step):
                breaches.append(f"{name}: {step!r}; expected a sentence about the user")
        for step in (chain.event_scenario, chain.emotion_cause, chain.goal_to_response):
            if not re.fullmatch(r"[A-Z][^.?!]*\.", step):
                breaches.append(f"{name}: {step!r}; expected one sentence with a full stop")
    return breaches


def openings(corpus: Corpus) -> list[str]:
    """No stock phrase opens the replies."""
    replies = [words(reply_of(turn)) for _, turn in turns(corpus)]
    breaches = []
    for length in OPENING_LENGTHS:
        counts = collections.Counter(tuple(reply[:length]) for reply in replies)
        for opening, count in counts.most_common():
            if count > 1 and count > OPENING_SHARE * len(replies):
                breaches.append(f"{count} of {len(replies)} replies open with {' '.join(opening)!r}")
    return breaches


def overlaps(corpus: Corpus) -> list[str]:
    """No two replies have a run of words in common."""
    seen: dict[tuple[str, ...], str] = {}
    breaches = []
    for name, turn in turns(corpus):
        reply = words(reply_of(turn))
        runs = {tuple(reply[start : start + COMMON_WORDS]) for start in range(len(reply) - COMMON_WORDS + 1)}
        for run in sorted(runs):
            if run in seen:
                breaches.append(f"{name} and {seen[run]} share {' '.join(run)!r}")
            seen[run] = name
    return breaches


def separation(corpus: Corpus) -> list[str]:
    """Nothing of a test or validation scenario is in another split, and no situation or utterance appears twice."""
    breaches = []
    homes: dict[tuple[str, str], str] = {}
    for split, members in corpus.items():
        for each in members:
            for kind, value in (("scenario", each.extra[reader.SCENARIO]), ("situation", each.turns[0].context)):
                home = homes.setdefault((kind, str(value).lower()), split)
                if home != split:
                    breaches.append(f"{kind} {value!r} is in {home} and in {split}")
    said = collections.Counter(
        " ".join(words(utterance.text)) for each in dialogues(corpus) for utterance in each.utterances()
    )
    breaches += [f"said {count} times: {text!r}" for text, count in said.items() if count > 1]
    return breaches


def coverage(corpus: Corpus) -> list[str]:
    """All emotions often enough, all topics, and all profiles on both sides, in the whole and in the test split."""
    breaches = []
    for scope, members, least in (("all", dialogues(corpus), EMOTION_COUNT), ("test", corpus["test"], TEST_EMOTIONS)):
        first = collections.Counter(chain_of(each.turns[0]).speaker_emotion for each in members)
        breaches += [f"{scope}: {first[e]} dialogues start {e}" for e in labels.EMOTIONS_32 if first[e] < least]
        missing = set(reader.TOPICS) - {each.topic for each in members}
        breaches += [f"{scope}: no dialogue about {topic}" for topic in sorted(missing)]
        for role in ("speaker", "listener"):
            people = [each.profile(role) for each in members]
            found = {person.profile_id for person in people if person is not None}
            breaches += [f"{scope}: no {role} of profile {n}" for n in range(labels.PROFILES) if n not in found]
    return breaches


def breaches(corpus: Corpus) -> list[str]:
    """The breaches of all rules."""
    return [line for rule in (form, openings, overlaps, separation, coverage) for line in rule(corpus)]


def summary(corpus: Corpus) -> str:
    """What is in the corpus, in a few lines."""
    replies = [turn for _, turn in turns(corpus)]
    chains = [chain_of(turn) for turn in replies]

    def mean(texts: Sequence[str]) -> float:
        return sum(len(words(text)) for text in texts) / max(len(texts), 1)

    steps = [f"{c.event_scenario} {c.speaker_emotion} {c.emotion_cause} {c.goal_to_response}" for c in chains]
    members = dialogues(corpus)
    lines = [
        ", ".join(f"{split} {len(each)}" for split, each in corpus.items()) + f" dialogues; {len(replies)} replies",
        f"scenarios {len({each.extra[reader.SCENARIO] for each in members})}; "
        f"exchanges per dialogue {len(replies) / max(len(members), 1):.2f}",
        f"words: user {mean([turn.history[-1].text for turn in replies]):.1f}, "
        f"reply {mean([reply_of(turn) for turn in replies]):.1f}, chain {mean(steps):.1f}",
    ]
    for title, counts in (
        ("topics", collections.Counter(each.topic for each in members)),
        ("emotions of replies", collections.Counter(chain.speaker_emotion for chain in chains)),
    ):
        lines.append(f"{title}: " + ", ".join(f"{name} {count}" for name, count in counts.most_common()))
    return "\n".join(lines)
