"""From a dialogue to tokens and back: the Chain-of-Empathy prompt, its target, and the reading of a model's answer.

The prompt is the instruction of the paper (§4.2) and the dialogue; each utterance that carries media starts with
`<Aud>` and `<Vid>`. In the token sequence each of these two words stands for a *run* of `slots` places (24) whose
embeddings are replaced by the projected features of that utterance's speech and video. The target is

    Step-1 event scenario: …
    Step-2 user's emotion: <emo> anxious </emo>
    Step-3 emotion cause: …
    Step-4 goal to response: …
    Step-5 empathetic response: …</response>[AUD0]…[AUD15][VID0]…[VID15]

Only the target is learnt. Two slips of the released baseline are not repeated: it says the instruction again inside the
target, and it cuts a long sample on the right, which removes the reply. Here the oldest utterances go first, media runs
included, and the target is never cut.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import ADDED_TOKENS, AUDIO_RUN, AUDIO_SIGNALS, SLOTS, TAGS, VIDEO_RUN, VIDEO_SIGNALS

END = TAGS[-1]
STOP = VIDEO_SIGNALS[-1]
"""The last token of every answer: decoding stops after it."""

# The instruction of the paper, verbatim (§4.2, "CoE Instruction").
COE_INSTRUCTION = (
    "You are an empathetic conversational agent. Your goal is to understand the user's emotions and intentions, and "
    "respond or comfort them with appropriate language that helps them feel understood and cared for. Avoid rushing "
    "into your response; instead, carefully consider each step before replying by following these steps, one by one:\n"
    "Step-1. Event scenario. Reflect on the event scenarios that arise from the ongoing dialogue.\n"
    "Step-2. User's emotion. Analyze both the implicit and explicit emotions conveyed by the user.\n"
    "Step-3. Emotion cause. Infer the underlying reasons for the user's emotions.\n"
    "Step-4. Goal to response. Determine the goal of your response in this particular instance, such as alleviating "
    "anxiety, offering reassurance, or expressing understanding.\n"
    "Step-5. Generating empathetic response. Formulate a response that addresses the user's emotions and situation, "
    "ensuring it reflects the reasoning from the previous steps. The output should be purely focused on providing a "
    "thoughtful and empathetic reply."
)
# For small models and short contexts, and for the ablation without the chain (reading U19).
SHORT_INSTRUCTION = (
    "You are an empathetic conversational agent. Think through the event, the user's emotion, its cause and the goal "
    "of your reply; then answer so that the user feels understood and cared for."
)
PLAIN_INSTRUCTION = (
    "You are an empathetic conversational agent. Name the user's emotion and give a thoughtful and empathetic reply."
)
INSTRUCTIONS: Mapping[str, str] = {"paper": COE_INSTRUCTION, "short": SHORT_INSTRUCTION, "plain": PLAIN_INSTRUCTION}

_STEPS = (
    ("event_scenario", "Step-1 event scenario:"),
    ("speaker_emotion", "Step-2 user's emotion:"),
    ("emotion_cause", "Step-3 emotion cause:"),
    ("goal_to_response", "Step-4 goal to response:"),
    ("response", "Step-5 empathetic response:"),
)

Message = Mapping[str, str]
Template = Callable[[Sequence[Message]], str]
"""Messages ({"role": "system" | "user" | "assistant", "content"}) → the prompt, up to where the answer begins.
`human_assistant` is one; a tokenizer's own chat template, with its generation prompt, is another."""


class Tokenizer(Protocol):
    """What this module needs of a tokenizer."""

    frame: tuple[Sequence[int], Sequence[int]]
    """Ids that stand before and after a prompt."""

    def encode(self, text: str) -> Sequence[int]:
        """Ids of a text, without any token around it; each of `ADDED_TOKENS` in the text becomes one id."""

    def token_id(self, token: str) -> int:
        """Id of one added token."""


def human_assistant(messages: Sequence[Message]) -> str:
    """The template of the released baseline (and of Vicuna v0): `### Human: …`, `### Assistant: …`."""
    names = {"user": "### Human: ", "assistant": "### Assistant: ", "system": ""}
    said = "\n".join(names[message["role"]] + message["content"] for message in messages)
    return f"{said}\n### Assistant:"


def persona(profile: Profile) -> str:
    """The sentence that tells the model whose reply it gives, so that voice and face can follow the profile."""
    age, gender, tone = profile.ids
    who = {
        0: ("a boy", "a girl"),
        1: ("a young man", "a young woman"),
        2: ("a middle-aged man", "a middle-aged woman"),
        3: ("an elderly man", "an elderly woman"),
    }[age][gender]
    article = "an" if labels.TONES[tone] == "emphatic" else "a"
    return f"You speak as {who} with {article} {labels.TONES[tone]} tone."


def speaker_indices(history: Sequence[Utterance]) -> tuple[int, ...]:
    """Positions of the speaker's utterances: those that carry `<Aud>` and `<Vid>` runs."""
    return tuple(position for position, each in enumerate(history) if each.role == "speaker")


def build_prompt(
    history: Sequence[Utterance],
    *,
    listener: Profile | None = None,
    instruction: str = "paper",
    template: Template = human_assistant,
    speech: Collection[int] | None = None,
    video: Collection[int] | None = None,
) -> str:
    """The text of the prompt, one `<Aud>` or `<Vid>` per run.

    Args:
        history: what was said, oldest first, the speaker last.
        listener: whose reply is wanted; None leaves the sentence out.
        instruction: a name of `INSTRUCTIONS`.
        template: how messages become text.
        speech, video: positions in `history` of the utterances with such a run; None = every one of the speaker's.

    Raises:
        UserError: the instruction's name is unknown.
    """
    if instruction not in INSTRUCTIONS:
        raise UserError(f"instruction {instruction!r} is unknown; expected one of {', '.join(INSTRUCTIONS)}")
    mine = speaker_indices(history)
    speech, video = mine if speech is None else speech, mine if video is None else video
    system = INSTRUCTIONS[instruction] + ("" if listener is None else "\n" + persona(listener))
    messages = [{"role": "system", "content": system}]
    for position, each in enumerate(history):
        runs = (AUDIO_RUN if position in speech else "") + (VIDEO_RUN if position in video else "")
        role = "user" if each.role == "speaker" else "assistant"
        messages.append({"role": role, "content": f"{runs} {_line(each.text)}".strip()})
    return template(messages)


def _line(text: str) -> str:
    """Blanks and line breaks → one blank; words that would be read as control tokens lose their brackets."""
    text = " ".join(text.split())
    for token in (*TAGS, *ADDED_TOKENS):
        if token in text:
            text = text.replace(token, token.strip("<>/[]"))
    return text


def _target_pieces(chain: ChainOfEmpathy | None, response: str, steps: bool) -> tuple[str, str, str]:
    """(before the reply, the reply, after it)."""
    before = []
    for key, title in _STEPS[:-1]:
        if chain is None or not (steps or key == "speaker_emotion"):
            continue
        value = _line(getattr(chain, key))
        value = f"<emo> {value} </emo>" if key == "speaker_emotion" else value
        before.append(f"{title} {value}" if steps else value)
    before.append(_STEPS[-1][1] if steps else "")
    return "\n".join(before), f" {_line(response)}", END + "".join(AUDIO_SIGNALS + VIDEO_SIGNALS)


def build_target(chain: ChainOfEmpathy | None, response: str, *, steps: bool = True) -> str:
    """The text that the model learns to write after the prompt.

    Args:
        chain: the first four steps; None (an unlabelled dialogue) leaves them out.
        response: the listener's reply.
        steps: False = the ablation without the chain: `<emo> x </emo>` and the reply.
    """
    return "".join(_target_pieces(chain, response, steps))


@dataclass(frozen=True)
class Answer:
    """What a model wrote, as fields. None = that step is absent; `complete` = the reply was closed by `</response>`."""

    event_scenario: str | None
    speaker_emotion: str | None
    emotion_cause: str | None
    goal_to_response: str | None
    response: str
    complete: bool

    @property
    def emotion32(self) -> str | None:
        """The label of 32 that the model's word reaches, or None."""
        return None if self.speaker_emotion is None else labels.emotion32(self.speaker_emotion)

    @property
    def chain(self) -> ChainOfEmpathy | None:
        """The four steps, or None unless all are there."""
        steps = (self.speaker_emotion, self.event_scenario, self.emotion_cause, self.goal_to_response)
        return ChainOfEmpathy(*steps) if None not in steps else None


_STEP_PATTERN = re.compile(r"[^\S\n]*Step-([1-5])\b[^:\n]*:[^\S\n]*")
_EMOTION_PATTERN = re.compile(r"<emo>\s*(.*?)\s*</emo>", re.DOTALL)
_SIGNAL_PATTERN = re.compile(r"\[(?:AUD|VID)\d+\]")


def parse_reply(text: str) -> Answer:
    """Reads an answer back into fields; the inverse of `build_target`. Never raises: what is absent is None or "".

    The reply is what follows the fifth step's title (or, without steps, `</emo>`), up to `</response>`, or to the end
    where a model never closes it.
    """
    text = _SIGNAL_PATTERN.sub("", text)
    body, closed, _ = text.partition(END)
    parts = _STEP_PATTERN.split(body)  # text before the first step, then (number, text) pairs
    found: dict[str, str] = {}
    for number, value in zip(parts[1::2], parts[2::2]):
        key = _STEPS[int(number) - 1][0]
        found.setdefault(key, value.strip())
    emotion = _EMOTION_PATTERN.search(body)
    if "response" in found:
        response = found["response"]
    elif len(parts) > 1:  # steps began, the fifth never came
        response = ""
    else:
        response = body[emotion.end() :] if emotion else body
    step_2 = found.get("speaker_emotion")
    word = emotion.group(1) if emotion else (step_2 or None)
    return Answer(
        event_scenario=found.get("event_scenario") or None,
        speaker_emotion=word or None,
        emotion_cause=found.get("emotion_cause") or None,
        goal_to_response=found.get("goal_to_response") or None,
        response=response.strip(),
        complete=bool(closed),
    )


@dataclass(frozen=True)
class Encoded:
    """Tokens of a prompt, with or without its target. T tokens; masks are True at tokens to be predicted."""

    tokens: np.ndarray  # (T,) int32
    loss_mask: np.ndarray  # (T,) bool: first token of the chain to the last signal token
    reply_mask: np.ndarray  # (T,) bool: the reply's own tokens
    prompt_length: int
    first: int  # position in the history of the oldest utterance that is left
    speech: tuple[int, ...]  # positions in the history, in the order of the <Aud> runs in `tokens`
    video: tuple[int, ...]  # the same for <Vid>


def encode(
    tokenizer: Tokenizer,
    history: Sequence[Utterance],
    *,
    max_length: int,
    chain: ChainOfEmpathy | None = None,
    response: str | None = None,
    steps: bool = True,
    listener: Profile | None = None,
    instruction: str = "paper",
    template: Template = human_assistant,
    speech: Collection[int] | None = None,
    video: Collection[int] | None = None,
    slots: int = SLOTS,
) -> Encoded:
    """Tokens of the prompt, and of the target where a response is given (training); its four parts — prompt, chain,
    reply, signals — are tokenised apart, so that the masks are exact for any tokenizer.

    The oldest utterances are dropped until everything fits into `max_length`; where the last one alone is too long, its
    first words go. For a prompt alone, `max_length` is what the caller leaves for it.

    Raises:
        UserError: the instruction, the media runs of the last utterance and the target do not fit into `max_length`.
    """
    if not history:
        raise UserError("the dialogue history is empty; expected at least what the speaker said")
    if history[-1].role != "speaker":
        raise UserError("the dialogue history ends with the listener; expected it to end with what the speaker said")
    mine = speaker_indices(history)
    speech = tuple(sorted(mine if speech is None else speech))
    video = tuple(sorted(mine if video is None else video))
    target: list[Sequence[int]] = []
    if response is not None:
        target = [tokenizer.encode(piece) if piece else [] for piece in _target_pieces(chain, response, steps)]
    room = max_length - sum(len(piece) for piece in target)

    def prompt_of(first: int, words: int | None = None) -> list[int]:
        left = list(history[first:])
        if words is not None:
            left[-1] = Utterance(left[-1].index, left[-1].role, " ".join(left[-1].text.split()[-words:]))
        text = build_prompt(
            left,
            listener=listener,
            instruction=instruction,
            template=template,
            speech=[i - first for i in speech if i >= first],
            video=[i - first for i in video if i >= first],
        )
        return _expand(tokenizer, text, slots)

    last = len(history) - 1
    # A dialogue starts with the speaker: chat templates insist on it, so history goes in whole exchanges.
    starts = [i for i in range(len(history)) if i == last or history[i].role == "speaker"]
    for first in starts:
        prompt = prompt_of(first)
        if len(prompt) <= room:
            break
    else:
        fits, total = 0, len(history[last].text.split())
        low, high = 1, total - 1
        while low <= high:  # the most last words that fit
            middle = (low + high) // 2
            if len(prompt_of(last, middle)) <= room:
                fits, low = middle, middle + 1
            else:
                high = middle - 1
        if not fits:
            raise UserError(
                f"instruction and media need {len(prompt_of(last, 1))} tokens and the target {max_length - room}, more "
                f"than max_length {max_length}; raise it, or choose the short instruction or fewer slots"
            )
        prompt = prompt_of(last, fits)
    before, reply, after = [len(piece) for piece in target] or (0, 0, 0)
    length = len(prompt) + before + reply + after
    tokens = np.concatenate([np.asarray(piece, np.int32) for piece in (prompt, *target)])
    loss_mask, reply_mask = np.zeros(length, bool), np.zeros(length, bool)
    loss_mask[len(prompt) :] = True
    reply_mask[len(prompt) + before : length - after] = reply > 0
    kept = tuple(tuple(i for i in runs if i >= first) for runs in (speech, video))
    return Encoded(tokens, loss_mask, reply_mask, len(prompt), first, *kept)


def _expand(tokenizer: Tokenizer, text: str, slots: int) -> list[int]:
    runs = {tokenizer.token_id(AUDIO_RUN), tokenizer.token_id(VIDEO_RUN)}
    begin, end = map(list, tokenizer.frame)
    ids = list(tokenizer.encode(text))
    if ids[: len(begin)] == begin:  # a chat template that writes it itself
        begin = []
    return begin + [each for token in ids for each in ([token] * slots if token in runs else [token])] + end
