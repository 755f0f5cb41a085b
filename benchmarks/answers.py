"""How well a trained model answers: completeness, repetition, emotion, nats per word of the reply, Distinct-2.

    python -m benchmarks.answers --output=out/answers [--dialogues=../shared/dialogues] [--count=200]

Two sets are answered in text, greedy, the last turn of each dialogue: the 100 held-out dialogues of our corpus, and `--count`
real ones (a fixed seed draws them) of a folder with `avamerg_test_half.json` and `avamerg_test_ed_gold.json`. Beside the trained
model stand the bare language model and the majority class:

    emotion     the bare model names one of the 32 labels after eight examples of our training split, constrained to the labels;
                the majority class is that of our training split
    nats        −log P of the reference reply, divided by its words. The trained model reads the dialogue and the chain that it
                wrote itself; the bare model reads the dialogue in its chat template, with the instruction's first sentence.

`answers.json` holds the numbers, `forty.json` forty replies of the corpus set drawn by a fixed seed, to be marked by hand.
Intervals of accuracies are Wilson's at 95 %; the error of the nats is the standard error over dialogues.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from tqdm import tqdm

from benchmarks import configs
from data_pipeline import corpus
from empatheia_jax import settings
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.conversation.schema import ChainOfEmpathy, Conversation, Turn
from empatheia_jax.core import lora
from empatheia_jax.dialogue import replies, trained_model
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import write_json
from empatheia_jax.runs.run import Run
from empatheia_jax.training.losses import token_losses
from evaluation.text import distinct_corpus, normalise

SEED = 13
FIELDS = ("event_scenario", "speaker_emotion", "emotion_cause", "goal_to_response", "response")
EXAMPLES = 8
BARE_INSTRUCTION = "You are an empathetic conversational agent. Answer so that the user feels understood and cared for."


@dataclasses.dataclass(frozen=True)
class Asked:
    """A dialogue to answer: its last turn, the speaker's emotion of the 32 (None where unknown) and the reply that was given."""

    conversation: Conversation
    turn: Turn
    emotion: str
    reference: str


def held_out() -> list[Asked]:
    """The last turns of the corpus's test split."""
    found = []
    for each in corpus.conversations("test"):
        turn = each.turns[-1]
        if turn.chain is None or turn.response is None:
            raise ValueError(f"dialogue {each.conversation_id} of the corpus has no chain or no response")
        found.append(Asked(each, turn, turn.chain.speaker_emotion, turn.response))
    return found


def spoken(text: str) -> str:
    """A lower-cased, tokenised sentence with its marks where they belong and a capital letter."""
    for mark in (".", ",", "?", "!", "'s", "n't", "'re", "'ve", "'ll", "'m", "'d", ";", ":"):
        text = text.replace(f" {mark}", mark)
    return text[:1].upper() + text[1:]


def real(folder: Path, count: int) -> list[Asked]:
    """Last turns of real dialogues whose emotion and next utterance are known."""
    gold = {each["conversation_id"]: each for each in json.loads((folder / "avamerg_test_ed_gold.json").read_text())}
    found = []
    for each in schema.read(folder / "avamerg_test_half.json"):
        known = gold.get(each.conversation_id)
        turns = [turn for turn in each.turns if turn.ends_with_speaker]
        if known is None or not turns:
            continue
        turn, said = max(turns, key=lambda turn: len(turn.history)), known["ed_gold_utterances_lowercased_tokenised"]
        if len(said) > len(turn.history) and known["ed_emotion"] in labels.EMOTIONS_32:
            found.append(Asked(each, turn, known["ed_emotion"], spoken(said[len(turn.history)])))
    if len(found) < count:
        raise UserError(f"{folder} has {len(found)} dialogues with an emotion and a next utterance; --count={count}")
    return random.Random(SEED).sample(found, count)


def questions(path: Path, asked: Sequence[Asked]) -> Path:
    """Writes what is asked, without emotions and replies, as a file to answer."""
    bare = [
        dataclasses.replace(each.conversation, turns=(dataclasses.replace(each.turn, response=None, chain=None),))
        for each in asked
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    schema.write(path, bare)
    return path


# ---------------------------------------------------------------- figures


def wilson(hits: int, count: int, z: float = 1.96) -> tuple[float, float, float]:
    """Share and its 95 % interval."""
    share = hits / count
    middle, room = share + z * z / (2 * count), z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return share, (middle - room) / (1 + z * z / count), (middle + room) / (1 + z * z / count)


def accuracies(truth: Sequence[str], named: Sequence[str | None]) -> dict[str, Any]:
    """32-way and 7-way accuracy with intervals."""
    hits32 = sum(a == b for a, b in zip(truth, named))
    hits7 = sum(b is not None and labels.emotion7(a) == labels.emotion7(b) for a, b in zip(truth, named))
    return {"of_32": wilson(hits32, len(truth)), "of_7": wilson(hits7, len(truth))}


def form(lines: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Complete answers, and how often the commonest reply was given."""
    told = collections.Counter(" ".join(normalise(line["response"])) for line in lines)
    complete = sum(line["complete"] and all(line[field] for field in FIELDS) for line in lines)
    return {"replies": len(lines), "complete": complete / len(lines), "commonest_reply": told.most_common(1)[0][1]}


# ---------------------------------------------------------------- the two models


class Scores:
    """−log P of tokens, in rows of equal length."""

    def __init__(self, model: Any, *, bare: bool, rows: int = 8):
        self._rows = rows
        graph, self._state = nnx.split(model)

        @jax.jit
        def losses(state, tokens, lengths):
            whole = nnx.merge(graph, state)
            embed = whole.core.embed if bare else whole.embed
            hidden = whole.core(embed(tokens), lengths=lengths).hidden
            head = whole.core.logits if bare else whole.logits
            count = hidden.shape[1] // 32  # the logits of a whole row need not exist at once
            following = jnp.roll(tokens, -1, axis=1)
            parts = zip(*(jnp.split(each, count, axis=1) for each in (hidden, following)))
            return jnp.concatenate([token_losses(head(states), ids) for states, ids in parts], axis=1)

        @jax.jit
        def last(state, tokens, lengths):
            whole = nnx.merge(graph, state)
            hidden = whole.core((whole.core.embed if bare else whole.embed)(tokens), lengths=lengths).hidden
            return whole.core.logits(hidden[jnp.arange(len(lengths)), lengths - 1][:, None])[:, 0]

        self._losses, self._last = losses, last

    def _batches(self, sequences: Sequence[Sequence[int]]):
        order = sorted(range(len(sequences)), key=lambda i: len(sequences[i]))
        for start in range(0, len(order), self._rows):
            chosen = order[start : start + self._rows]
            length = -(-max(len(sequences[i]) for i in chosen) // 64) * 64
            tokens, lengths = np.zeros((self._rows, length), np.int32), np.ones(self._rows, np.int32)
            for row, index in enumerate(chosen):
                tokens[row, : len(sequences[index])], lengths[row] = sequences[index], len(sequences[index])
            yield chosen, jnp.asarray(tokens), jnp.asarray(lengths)

    def of_tokens(self, sequences: Sequence[Sequence[int]], name: str) -> list[np.ndarray]:
        """Loss at every token but the first, whose loss is 0."""
        found: dict[int, np.ndarray] = {}
        with tqdm(total=len(sequences), desc=name) as bar:
            for chosen, tokens, lengths in self._batches(sequences):
                values = np.asarray(self._losses(self._state, tokens, lengths))
                for row, index in enumerate(chosen):
                    found[index] = np.concatenate([[0.0], values[row, : len(sequences[index]) - 1]])
                bar.update(len(chosen))
        return [found[i] for i in range(len(sequences))]

    def best(self, sequences: Sequence[Sequence[int]], options: Sequence[int], name: str) -> list[int]:
        """The place of the likeliest of some next tokens."""
        found: dict[int, int] = {}
        with tqdm(total=len(sequences), desc=name) as bar:
            for chosen, tokens, lengths in self._batches(sequences):
                scores = np.asarray(self._last(self._state, tokens, lengths))[:, list(options)]
                found |= {index: int(scores[row].argmax()) for row, index in enumerate(chosen)}
                bar.update(len(chosen))
        return [found[i] for i in range(len(sequences))]


def own_nats(model: Any, tokenizer: Any, policy: PromptPolicy, asked: Sequence[Asked], lines) -> list[float]:
    """−log P of each reference reply after the chain that the model wrote."""
    encoded = [
        policy.encode(
            tokenizer,
            each.turn.history,
            each.conversation.listener,
            recorded={},
            chain=ChainOfEmpathy(
                *(line[key] for key in ("speaker_emotion", "event_scenario", "emotion_cause", "goal_to_response"))
            ),
            response=each.reference,
        )
        for each, line in zip(asked, lines)
    ]
    losses = Scores(model, bare=False).of_tokens([each.tokens.tolist() for each in encoded], "nats, trained")
    return [float(values[each.reply_mask].sum()) for values, each in zip(losses, encoded)]


def bare_nats(model: Any, tokenizer: Any, asked: Sequence[Asked]) -> list[float]:
    """−log P of each reference reply by the bare language model in its own chat template."""
    sequences, starts = [], []
    for each in asked:
        roles = ("user", "assistant")
        said = [{"role": roles[said.role != "speaker"], "content": said.text} for said in each.turn.history]
        prompt = tokenizer.encode_parts(
            [(tokenizer.chat([{"role": "system", "content": BARE_INSTRUCTION}, *said]), True)]
        )
        sequences.append([*prompt, *tokenizer.encode_parts([(each.reference, False)])])
        starts.append(len(prompt))
    losses = Scores(model, bare=True).of_tokens(sequences, "nats, bare")
    return [float(values[start:].sum()) for values, start in zip(losses, starts)]


def bare_emotions(model: Any, tokenizer: Any, asked: Sequence[Asked]) -> list[str]:
    """The label that the bare language model names after eight examples of the training split."""
    drawn = random.Random(SEED).sample(corpus.conversations("train"), EXAMPLES)

    def shown(turn: Turn) -> str:
        return "\n".join(f"{'Person' if said.role == 'speaker' else 'Friend'}: {said.text}" for said in turn.history)

    head = f"Name the person's emotion. It is one of: {', '.join(labels.EMOTIONS_32)}.\n\n"
    for each in drawn:
        head += f"{shown(each.turns[0])}\nEmotion: {each.turns[0].chain.speaker_emotion}\n\n"
    before = len(tokenizer.encode_parts([("Emotion:", False)]))
    firsts = [tokenizer.encode_parts([(f"Emotion: {label}", False)])[before] for label in labels.EMOTIONS_32]
    if len(set(firsts)) != len(firsts):
        raise UserError("two labels begin with the same token; this benchmark tells labels apart by their first one")
    sequences = [list(tokenizer.encode_parts([(f"{head}{shown(each.turn)}\nEmotion:", False)])) for each in asked]
    return [labels.EMOTIONS_32[i] for i in Scores(model, bare=True).best(sequences, firsts, "emotion, bare")]


# ---------------------------------------------------------------- the command


def difference(trained: Sequence[float], bare: Sequence[float], words: Sequence[int]) -> dict[str, float]:
    """Nats per word of both, and how far the bare model is above, with the standard error over dialogues."""
    t, b, w = (np.asarray(values, float) for values in (trained, bare, words))
    gap = (b - t).sum() / w.sum()
    error = math.sqrt(np.sum(((b - t) - gap * w) ** 2)) / w.sum()
    return {"trained": t.sum() / w.sum(), "bare": b.sum() / w.sum(), "below": gap, "error": error}


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    options = argparse.ArgumentParser(prog="python -m benchmarks.answers", description=__doc__.split("\n")[0])
    options.add_argument("--config", type=Path, default=Path("configs/quickstart.py"))
    options.add_argument("--start", help="trained leaves; those of the config by default")
    options.add_argument("--dtype", help="of the computation; that of the config by default")
    options.add_argument(
        "--workdir", type=Path, default=Path("runs/none"), help="a run's folder; without a run the start answers"
    )
    options.add_argument("--output", type=Path, default=Path("out/answers"))
    options.add_argument("--dialogues", type=Path, help="folder of the real dialogues")
    options.add_argument("--count", type=int, default=200, help="how many of them")
    options.add_argument("--without-bare", action="store_true", help="leave the bare language model out")
    return options


@main_guard
def main(argv: list[str]) -> int:
    """Answers, measures, prints and writes."""
    options = parser().parse_args(argv)
    values = configs.load(options.config)
    if options.start is not None:
        values.start = options.start
    if options.dtype is not None:
        values.networks.dtype = options.dtype
    config = settings.resolve(values)
    sets = {"held-out": held_out()}
    if options.dialogues is not None:
        sets["real"] = real(options.dialogues, options.count)
    told: dict[str, list[dict[str, Any]]] = {}
    for name, asked in sets.items():
        folder = options.output / name
        replies.run(config, options.workdir, questions(folder / "questions.json", asked), folder)
        told[name] = [json.loads(line) for line in (folder / replies.FILE).read_text().splitlines()]
    assembly = trained_model.trained(config, Run(options.workdir))
    policy = PromptPolicy.of(config.data)
    train = [turn.chain.speaker_emotion for each in corpus.conversations("train") for turn in each.turns if turn.chain]
    majority = collections.Counter(train).most_common(1)[0][0]
    majority7 = collections.Counter(map(labels.emotion7, train)).most_common(1)[0][0]
    results: dict[str, Any] = {"start": config.start, "majority": [majority, majority7]}
    own = {
        name: own_nats(assembly.model, assembly.tokenizer, policy, asked, told[name]) for name, asked in sets.items()
    }
    lora.set_active(assembly.model.core, ())
    for name, asked in sets.items():
        lines, truth = told[name], [each.emotion for each in asked]
        counts = [len(each.reference.split()) for each in asked]
        found = {**form(lines), "emotion": {"trained": accuracies(truth, [line["emotion"]["of_32"] for line in lines])}}
        found["emotion"]["majority"] = {
            "of_32": wilson(sum(each == majority for each in truth), len(truth)),
            "of_7": wilson(sum(labels.emotion7(each) == majority7 for each in truth), len(truth)),
        }
        if not options.without_bare:
            found["emotion"]["bare"] = accuracies(truth, bare_emotions(assembly.model, assembly.tokenizer, asked))
            found["nats_per_word"] = difference(own[name], bare_nats(assembly.model, assembly.tokenizer, asked), counts)
        else:
            found["nats_per_word"] = {"trained": sum(own[name]) / sum(counts)}
        found["distinct_2"] = {
            "trained": distinct_corpus([normalise(line["response"]) for line in lines], 2),
            "references": distinct_corpus([normalise(each.reference) for each in asked], 2),
        }
        results[name] = found
        write_json(options.output / "answers.json", results)
    drawn = random.Random(SEED).sample(range(len(told["held-out"])), 40)
    write_json(options.output / "forty.json", [told["held-out"][i] for i in sorted(drawn)])
    print(json.dumps(results, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
