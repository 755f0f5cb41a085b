"""The text half of a reply: from dialogues to Chain of Empathy and response, with the states that the bridge needs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from empatheia_jax import assemble
from empatheia_jax.conversation import answer, labels
from empatheia_jax.conversation.answer import END, RESPONSE, Answer
from empatheia_jax.conversation.policy import MODALITIES, PromptPolicy
from empatheia_jax.conversation.prompt import Encoded
from empatheia_jax.conversation.schema import ChainOfEmpathy, Profile, Utterance
from empatheia_jax.core.decoding import DecodingSettings, Generation, bucket, generate
from empatheia_jax.core.form import Choice, Form, Free
from empatheia_jax.core.stop_strings import StopStrings
from empatheia_jax.empatheia import Empatheia, Signals
from empatheia_jax.encoders.pooling import pool
from empatheia_jax.errors import UserError
from empatheia_jax.nn.programs import Program
from empatheia_jax.settings import Experiment


@dataclasses.dataclass(frozen=True)
class Question:
    """A dialogue to answer: what was said, the speaker last; recordings by utterance index; whose reply it is, if known."""

    history: Sequence[Utterance]
    media: Mapping[int, Mapping[str, Path]] = dataclasses.field(default_factory=dict)
    listener: Profile | None = None


@dataclasses.dataclass(frozen=True)
class Written:
    """What the model wrote.

    answer: its fields; the response may be empty where the model wrote freely. text: all of it; tokens: its ids. heard: the
    kinds of recordings that it answers to. response (r, H): final-norm states at the response's tokens; signals (32, H): at the
    signal tokens behind it; states (n, H): at everything that it wrote, the signal tokens included.
    """

    answer: Answer
    text: str
    tokens: tuple[int, ...]
    heard: tuple[str, ...]
    response: np.ndarray
    signals: np.ndarray
    states: np.ndarray


class Writer:
    """Writes answers with a trained core.

    Args:
      model: the trained whole.
      tokenizer: of its core.
      towers: `speech(path) → (24, C)`, `video(path) → (24, C)`; None where every question is text alone.
      settings: how tokens are chosen.
      policy: how a dialogue becomes a prompt, as in training.
      form: titles and closing words that decoding writes itself (`form_of`); None = the model writes everything.
    """

    def __init__(
        self,
        model: Empatheia,
        tokenizer: Any,
        towers: Any,
        *,
        settings: DecodingSettings,
        policy: PromptPolicy,
        form: Form | None,
        seed: int = 0,
    ):
        self.model, self.tokenizer, self.towers = model, tokenizer, towers
        self.policy, self.form, self.seed = policy, form, seed
        special = model.special
        self.settings = dataclasses.replace(
            settings,
            stop_ids=() if tokenizer.eos_id is None else (tokenizer.eos_id,),
            # Media places are of the prompt, and the signals follow the reply by force: neither is the model's to say.
            banned_ids=(special.audio_run, special.video_run, *special.signals),
            forced_ids=tuple(special.signals),
        )
        graph, self._state = nnx.split(model)
        self._embed = Program(_embedded, graph)

        self._reread = Program(_reread, graph)

    @classmethod
    def of(cls, config: Experiment, assembly: assemble.Assembly, towers: Any) -> Writer:
        """The writer of a config; without `towers` it neither hears nor sees."""
        decoding, policy = config.decoding, PromptPolicy.of(config.data)
        limits = {"step_tokens": decoding.step_tokens, "response_tokens": decoding.response_tokens}
        return cls(
            assembly.model,
            assembly.tokenizer,
            towers,
            settings=DecodingSettings(
                max_new_tokens=decoding.max_new_tokens,
                temperature=decoding.temperature,
                top_k=decoding.top_k,
                top_p=decoding.top_p,
                repetition_penalty=decoding.repetition_penalty,
                no_repeat_ngram=decoding.no_repeat_ngram,
            ),
            policy=policy,
            form=form_of(assembly.tokenizer, policy, **limits) if decoding.form == "fixed" else None,
            seed=config.seed,
        )

    def plain(self) -> Writer:
        """The writer of the pipeline (paper §6.1): the same core without the chain, `<emo> x </emo>` and the response."""
        policy = dataclasses.replace(self.policy, chain_of_empathy=False, instruction="plain")
        form = None
        if self.form is not None:
            limit = dict(zip(self.form.names, self.form.slot_limits))[RESPONSE]
            assert limit is not None  # the response is a free slot
            form = form_of(self.tokenizer, policy, step_tokens=1, response_tokens=limit)
        return Writer(
            self.model, self.tokenizer, self.towers, settings=self.settings, policy=policy, form=form, seed=self.seed
        )

    def prompt(self, question: Question) -> Encoded:
        """The tokens to answer, and whose recordings stand among them. Raises `UserError` where the history does not fit."""
        return prompt_of(self.policy, self.tokenizer, question)

    def beginning(self) -> list[int]:
        """The tokens with which every prompt begins, whoever speaks and answers: those that prompts of unlike words and profiles
        have alike. The last one is left out, since a tokenizer may join it with what follows. A prompt may still begin otherwise.
        """
        people = None, Profile("elderly", "male", "gentle")
        try:
            prompts = [
                self.prompt(Question([Utterance(0, "speaker", said)], listener=listener)).tokens.tolist()
                for said in ("I am here.", "Why?", "ß")
                for listener in people
            ]
        except UserError:  # there is no room for any prompt, which whoever asks is told
            return []
        alike = takewhile(lambda tokens: len(set(tokens)) == 1, zip(*prompts))
        return [tokens[0] for tokens in alike][:-1]

    def write(self, questions: Sequence[Question], on_text: Callable[[int, str], None] | None = None) -> list[Written]:
        """Answers to several dialogues at once, in their order.

        Args:
          questions: the dialogues.
          on_text: called with (which dialogue, new piece of text) while it is decoded.

        Raises:
          UserError: a history does not fit, or a recording is unusable.
        """
        encoded = [self.prompt(question) for question in questions]
        heard = [{"speech": each.speech, "video": each.video} for each in encoded]  # of the utterances that are left
        features = {
            kind: self._features(
                kind,
                [
                    [question.media[question.history[i].index][kind] for i in kept[kind]]
                    for question, kept in zip(questions, heard)
                ],
            )
            for kind in MODALITIES
        }
        generation = self._generate([each.tokens for each in encoded], features, on_text)
        return [
            self._written(generation, row, tuple(kind for kind, kept in heard[row].items() if kept))
            for row in range(len(questions))
        ]

    def _features(self, kind: str, paths: Sequence[Sequence[Path]]) -> Float[Array, "B N C"] | None:
        """Features of each row's recordings one after another, zeros behind them; None where there is none at all."""
        tower: Any = getattr(self.towers, kind, None)
        rows = [[pool(tower(path), self.policy.slots) for path in each] for each in paths]
        longest = max(map(len, rows))
        if not longest:
            return None
        width = next(array.shape[1] for each in rows for array in each)
        filled = np.zeros((len(rows), longest * self.policy.slots, width), np.float32)
        for row, each in enumerate(rows):
            if each:
                filled[row, : len(each) * self.policy.slots] = np.concatenate(each)
        return jnp.asarray(filled)

    def embed(
        self, tokens: Int[np.ndarray, "1 T"], question: Question | None, encoded: Encoded | None
    ) -> Float[Array, "1 T H"]:
        """The embeddings of one padded prompt with its recordings; None = without any.

        Their places are padded to what the policy allows, so that one program per length serves every prompt.

        Raises:
          UserError: a recording is unusable.
        """
        arrays: list[Any] = [None, None]
        for place, kind in enumerate(MODALITIES if self.towers is not None and self.policy.modalities else ()):
            width = getattr(self.model, f"{kind}_projection").kernel.shape[0]
            filled = np.zeros((1, self.policy.utterances * self.policy.slots, width), np.float32)
            kept = () if encoded is None else getattr(encoded, kind)
            if question is not None and kept:
                paths = [question.media[question.history[i].index][kind] for i in kept]
                rows = [pool(getattr(self.towers, kind)(path), self.policy.slots) for path in paths]
                filled[0, : len(rows) * self.policy.slots] = np.concatenate(rows)
            arrays[place] = jnp.asarray(filled)
        return self._embed(self._state, jnp.asarray(tokens), *arrays)

    def reread(self, question: Question, said: Answer) -> Signals:
        """r^t, r^s and r^v of a given answer, as though the model had written it.

        Raises:
          UserError: the chain is not complete, or dialogue and answer do not fit.
        """
        steps = self.policy.chain_of_empathy
        chain = said.chain if steps else ChainOfEmpathy(said.speaker_emotion or "", "", "", "")
        if chain is None or not chain.speaker_emotion:
            raise UserError("the answer lacks steps of its chain, so it cannot be read again with another emotion")
        encoded = prompt_of(self.policy, self.tokenizer, question, chain=chain, response=said.response)
        count = len(encoded.tokens)
        size = bucket(count)

        def padded(row, dtype):
            out = np.zeros((1, size), dtype)
            out[0, :count] = row
            return out

        tokens = padded(encoded.tokens, np.int32)
        return self._reread(
            self._state,
            self.embed(tokens, question, encoded),
            tokens,
            padded(encoded.reply_mask, bool),
            padded(encoded.loss_mask, bool),
            np.asarray([count], np.int32),
        )

    def _generate(self, prompts: Sequence[np.ndarray], features, on_text) -> Generation:
        lengths = [len(tokens) for tokens in prompts]
        tokens = np.zeros((len(prompts), bucket(max(lengths))), np.int32)
        for row, each in enumerate(prompts):
            tokens[row, : len(each)] = each
        listen = StopStrings(self.tokenizer, len(prompts), (END,), on_text)
        generation = generate(
            self.model.core,
            self.model.added,
            self._embed(self._state, jnp.asarray(tokens), features["speech"], features["video"]),
            lengths,
            self.settings,
            jax.random.key(self.seed),
            # A form ends by itself: nobody needs to listen where nobody reads along.
            listen if self.form is None or on_text is not None else None,
            prompt_ids=np.full_like(tokens, -1),  # penalties are for the model's words, not for the user's
            form=self.form,
        )
        listen.finish()
        return generation

    def _written(self, generation: Generation, row: int, heard: tuple[str, ...]) -> Written:
        ids = generation.row(row)
        text = self.tokenizer.decode(ids)
        if self.form is None:
            found = answer.parse_reply(text)
            positions = answer.reply_positions(self.tokenizer, ids, found.response)
        else:
            if generation.slots is None:
                raise ValueError("the reply was decoded without the form that it is to be read by")
            slots = generation.slots[row, : len(ids)]
            fields = {
                name: self.tokenizer.decode([token for token, slot in zip(ids, slots) if slot == number]).strip()
                for number, name in enumerate(self.form.names)
            }
            found = Answer(**{**dict.fromkeys(_FIELDS), **fields}, complete=True)
            positions = np.flatnonzero(slots == self.form.names.index(RESPONSE)).tolist()
        positions = positions[: self.model.config.reply_tokens]
        states, signals = generation.hidden[row], generation.forced_hidden[row]
        return Written(
            found, text, tuple(ids), heard, states[positions], signals, np.concatenate([states[: len(ids)], signals])
        )


def _embedded(graph, state, *inputs):
    return nnx.merge(graph, state).embed(*inputs)


def _reread(graph, state, embeds, tokens, reply, answered, lengths):
    whole = nnx.merge(graph, state)
    hidden = whole.core.teacher_forced(embeds, answered, lengths=lengths)
    return whole.signals(hidden, tokens, reply, answered)


_FIELDS = tuple(field.name for field in dataclasses.fields(Answer) if field.name != "complete")


def form_of(tokenizer: Any, policy: PromptPolicy, *, step_tokens: int, response_tokens: int) -> Form:
    """The form of an answer for a core: the emotion out of the 32 labels, every other slot free up to its limit."""

    def piece(each: str | answer.Slot):
        if isinstance(each, str):
            return each
        if each.key == answer.EMOTION:
            return Choice(each.key, labels.EMOTIONS_32)
        return Free(each.key, response_tokens if each.key == RESPONSE else step_tokens)

    parts = answer.form(steps=policy.chain_of_empathy)
    return Form.of(tokenizer, [[piece(each) for each in part] for part in parts])


def prompt_of(
    policy: PromptPolicy,
    tokenizer: Any,
    question: Question,
    *,
    chain: ChainOfEmpathy | None = None,
    response: str | None = None,
) -> Encoded:
    """The prompt that a reply answers: as in training, with the recordings that there are, and the answer where it is given."""
    recorded: dict[str, Collection[int]] = {
        kind: [i for i, each in enumerate(question.history) if kind in question.media.get(each.index, {})]
        for kind in MODALITIES
    }
    return policy.encode(
        tokenizer, question.history, question.listener, recorded=recorded, chain=chain, response=response
    )
