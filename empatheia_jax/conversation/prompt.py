"""From a dialogue to tokens: the Chain-of-Empathy prompt, with or without its target.

The prompt is the instruction of the paper (§4.2) and the dialogue; each utterance that carries media starts with
`<Aud>` and `<Vid>`. In the token sequence each of these two words stands for a *run* of `slots` places (24) whose
embeddings are replaced by the projected features of that utterance's speech and video. The target is an answer
(`conversation.answer`), and only the target is learnt.

What people say never becomes a control token: a template is rendered with placeholders, and their words go to the
tokenizer as text alone. Two slips of the released baseline are not repeated: it says the instruction again inside the
target, and it cuts a long sample on the right, which removes the reply. Here the oldest utterances go first, media runs
included, and the target is never cut.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import secrets
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.answer import EMOTION, Part, Slot, form, one_line, target_parts
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.errors import UserError
from empatheia_jax.tokens import AUDIO_RUN, SLOTS, VIDEO_RUN

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

Message = Mapping[str, str]
Template = Callable[[Sequence[Message]], str]
"""Messages ({"role": "system" | "user" | "assistant", "content"}) → the prompt, up to where the answer begins.
`human_assistant` is one; a tokenizer's own chat template, with its generation prompt, is another."""


@runtime_checkable
class Tokenizer(Protocol):
    """What this module needs of a tokenizer."""

    @property
    def frame(self) -> tuple[Sequence[int], Sequence[int]]:
        """Ids that stand before and after a prompt."""

    def encode_parts(self, parts: Sequence[Part]) -> Sequence[int]:
        """Ids of a text in parts, without any token around it; control tokens count in trusted parts alone."""

    def writes_blanks(self, token: int) -> bool:
        """Whether a token is a blank and nothing else."""

    def token_id(self, token: str) -> int:
        """Id of one added token."""

    def has(self, *tokens: str) -> bool:
        """Whether all of these are tokens."""

    chat_template: str | None

    def chat(self, messages: Sequence[Message]) -> str:
        """The checkpoint's own chat format."""


def human_assistant(messages: Sequence[Message]) -> str:
    """The template of the released baseline (and of Vicuna v0): `### Human: …`, `### Assistant: …`."""
    names = {"user": "### Human: ", "assistant": "### Assistant: ", "system": ""}
    said = "\n".join(names[message["role"]] + message["content"] for message in messages)
    return f"{said}\n### Assistant:"


def chatglm3(messages: Sequence[Message]) -> str:
    """ChatGLM3's own format (its release's `build_chat_input`), for releases whose files have no template."""
    said = "".join(f"<|{message['role']}|>\n {message['content']}" for message in messages)
    return f"[gMASK]sop{said}<|assistant|>"


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


_SECRET = str(secrets.randbits(96))
_PLACEHOLDER = re.compile(rf"{_SECRET}-(\d+)-")


def prompt_parts(
    history: Sequence[Utterance],
    *,
    listener: Profile | None = None,
    instruction: str = "paper",
    template: Template = human_assistant,
    speech: Collection[int] | None = None,
    video: Collection[int] | None = None,
) -> list[Part]:
    """The text of the prompt in parts, with one `<Aud>` or `<Vid>` per run. Trusted are the template's words and the runs.

    Args:
        history: what was said, oldest first, the speaker last.
        listener: the profile of who answers; None leaves out the sentence about it.
        instruction: a name of `INSTRUCTIONS`.
        template: how messages become text.
        speech, video: positions in `history` of the utterances with such a run; None = every one of the speaker's.

    Raises:
        UserError: the instruction's name is unknown, or the template does more with a text than to put it somewhere.
    """
    if instruction not in INSTRUCTIONS:
        raise UserError(f"instruction {instruction!r} is unknown; expected one of {', '.join(INSTRUCTIONS)}")
    mine = speaker_indices(history)
    speech, video = mine if speech is None else speech, mine if video is None else video
    system = INSTRUCTIONS[instruction] + ("" if listener is None else "\n" + persona(listener))
    contents: list[list[Part]] = [[(system, False)]]
    roles = ["system"]
    for position, each in enumerate(history):
        runs = (AUDIO_RUN if position in speech else "") + (VIDEO_RUN if position in video else "")
        contents.append([*([(f"{runs} ", True)] if runs else []), (one_line(each.text), False)])
        roles.append("user" if each.role == "speaker" else "assistant")
    places = [{"role": role, "content": f"{_SECRET}-{n}-"} for n, role in enumerate(roles)]
    rendered = template(places)
    pieces = _PLACEHOLDER.split(rendered)  # text, number, text, …
    lost = set(range(1, len(contents))) - set(map(int, pieces[1::2]))  # a template may leave the instruction out
    if lost or any(_SECRET in text for text in pieces[::2]):
        raise UserError(
            "the chat template leaves out or changes what is said; expected one that puts each utterance somewhere; "
            "choose --config.data.chat_template=human_assistant"
        )
    parts: list[Part] = [(pieces[0], True)]
    for number, text in zip(pieces[1::2], pieces[2::2]):
        parts += [*contents[int(number)], (text, True)]
    return parts


@dataclass(frozen=True)
class Encoded:
    """Tokens of a prompt, with or without its target. T tokens; masks are True at tokens to be predicted."""

    tokens: np.ndarray  # (T,) int32
    loss_mask: np.ndarray  # (T,) bool: first token of the chain to the last signal token
    reply_mask: np.ndarray  # (T,) bool: the reply's own tokens
    emotion_mask: np.ndarray  # (T,) bool: the tokens of the emotion's label
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
    answer_length: int = 0,
) -> Encoded:
    """Tokens of the prompt, and of the target where a response is given (training); its four parts — prompt, chain,
    reply, signals — are tokenised apart, so that the masks are exact for any tokenizer.

    The oldest utterances are dropped until everything fits into `max_length`; where the last one alone is too long, its
    beginning goes, by words where it has blanks. `answer_length` tokens stay free for the answer, known or not, so that
    training and reply drop the same history; a target that is longer takes what it needs.

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
        target = [tokenizer.encode_parts(part) for part in target_parts(chain, response, steps=steps)]
    room = max_length - max(sum(len(piece) for piece in target), answer_length)

    def prompt_from(first: int, said: Sequence[Utterance]) -> list[int]:
        parts = prompt_parts(
            said,
            listener=listener,
            instruction=instruction,
            template=template,
            speech=[i - first for i in speech if i >= first],
            video=[i - first for i in video if i >= first],
        )
        return _expand(tokenizer, parts, slots)

    last = len(history) - 1
    # A dialogue starts with the speaker: chat templates insist on it, so history goes in whole exchanges.
    starts = [i for i in range(len(history)) if i == last or history[i].role == "speaker"]
    latest = functools.cache(lambda n: prompt_from(starts[-n], history[starts[-n] :]))
    everything = len(starts) if sum(len(each.text) for each in history) < 4 * room else 0  # likely to fit: try it first
    kept = everything if everything and len(latest(everything)) <= room else 0
    kept = kept or _longest(lambda n: len(latest(n)) <= room, len(starts))
    if kept:
        first, prompt = starts[-kept], latest(kept)
    else:
        first, text = last, one_line(history[last].text)

        def ending(length: int) -> list[int]:
            return prompt_from(last, [dataclasses.replace(history[last], text=text[len(text) - length :])])

        length = _longest(lambda n: len(ending(n)) <= room, len(text))
        if not length:
            raise UserError(
                f"instruction and media need {len(ending(1))} tokens and the answer "
                f"{max_length - room}, more than max_length {max_length}; raise it, or choose the short instruction or "
                "fewer slots"
            )
        prompt = ending(_from_a_word(text, length))
    before, reply, after = [len(piece) for piece in target] or (0, 0, 0)
    length = len(prompt) + before + reply + after
    tokens = np.concatenate([np.asarray(piece, np.int32) for piece in (prompt, *target)])
    loss_mask, reply_mask = np.zeros(length, bool), np.zeros(length, bool)
    loss_mask[len(prompt) :] = True
    # r^t are the states at the response's own tokens: a blank before it may be a token of its own.
    while reply and tokenizer.writes_blanks(int(tokens[length - after - reply])):
        reply -= 1
    reply_mask[length - after - reply : length - after] = True
    runs = tuple(tuple(i for i in positions if i >= first) for positions in (speech, video))
    emotion_mask = np.zeros(length, bool)
    if target and chain is not None:
        begin, end = _label_span(tokenizer, target_parts(chain, response or "", steps=steps)[0], steps)
        emotion_mask[len(prompt) + begin : len(prompt) + end] = True
    return Encoded(tokens, loss_mask, reply_mask, emotion_mask, len(prompt), first, *runs)


def _label_span(tokenizer: Tokenizer, parts: Sequence[Part], steps: bool) -> tuple[int, int]:
    """Which tokens of what comes before the reply write the emotion's label: the first, and the one behind the last."""
    place = next(n for n, piece in enumerate(form(steps=steps)[0]) if isinstance(piece, Slot) and piece.key == EMOTION)
    whole = tokenizer.encode_parts(parts)

    def common(count: int) -> int:
        """How many tokens of the first `count` parts are those of the whole: a blank at their end may join what follows."""
        same = [mine == theirs for mine, theirs in zip(tokenizer.encode_parts(parts[:count]), whole)]
        return same.index(False) if False in same else len(same)

    return common(place), common(place + 1)


def _longest(fits: Callable[[int], bool], most: int) -> int:
    """The largest n up to `most` with `fits(n)`, 0 where 1 does not fit; what fits must fit when it is less. Asks for
    1, 2, 4, … first, so that nothing much longer than what fits is ever tokenised.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        if high == most:
            return most
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        if fits(middle):
            low = middle
        else:
            high = middle
    return low


LONGEST_WORD = 40
"""Characters; what goes on for longer without a blank (Chinese, Japanese, an address) is cut inside."""


def _from_a_word(text: str, length: int) -> int:
    """How many of the last `length` characters are left when they shall begin with a word."""
    start = len(text) - length
    if start == 0 or text[start - 1] == " ":
        return length
    blank = text.find(" ", start, start + LONGEST_WORD)
    return length if blank < 0 else len(text) - blank - 1


def _expand(tokenizer: Tokenizer, parts: Sequence[Part], slots: int) -> list[int]:
    runs = {tokenizer.token_id(AUDIO_RUN), tokenizer.token_id(VIDEO_RUN)}
    begin, end = map(list, tokenizer.frame)
    ids = list(tokenizer.encode_parts(parts))
    if ids[: len(begin)] == begin:  # a chat template that writes it itself
        begin = []
    return begin + [each for token in ids for each in ([token] * slots if token in runs else [token])] + end
