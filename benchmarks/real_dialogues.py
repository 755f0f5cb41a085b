"""Does stage 1 teach? Loss per reply token on real dialogues, untouched core against trained.

    python -m benchmarks.real_dialogues --workdir=runs/quickstart --dialogues=PATH.json [--count=64]

The file holds dialogues that the run has never seen: conversations in the released layout of AvaMERG, or entries
`{"emotion": …, "utts": [speaker, listener, speaker, …]}`. Each gives one example: its last listener utterance is the reply.
Both models read the prompt of the run's configuration; the loss is −log P per token of `reply` alone, so neither is paid for
knowing the format around it; and of the whole target without the chain ("target"), where it is.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from empatheia_jax import assemble
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.policy import PromptPolicy
from empatheia_jax.conversation.schema import Utterance
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs.run import Run
from empatheia_jax.settings import resolve
from empatheia_jax.training.losses import token_losses

LENGTH = 320


def said_in(entry: Any, where: str) -> list[str]:
    """What was said in one entry of a file, the speaker first. Raises `UserError` for an entry of another form."""
    if isinstance(entry, dict) and isinstance(entry.get("utts"), list):
        return [str(each) for each in entry["utts"]]
    if isinstance(entry, dict) and "turns" in entry:
        return [each.text for each in schema.conversation_from_json(entry, where).utterances()]
    raise UserError(f"{where} has neither 'turns' (the released layout) nor 'utts'; expected dialogues")


def examples(path: Path, count: int) -> list[tuple[list[Utterance], str]]:
    """(history, reply) of the first dialogues with a reply. Raises `UserError` where there is none."""
    content, found = schema.load_json(path), []
    for number, entry in enumerate(content if isinstance(content, list) else [content]):
        said = said_in(entry, f"{path}, entry {number}")
        said = said[: len(said) // 2 * 2]
        if len(said) >= 2:
            history = [Utterance(i, schema.ROLES[i % 2], text) for i, text in enumerate(said[:-1])]
            found.append((history, said[-1]))
        if len(found) == count:
            break
    if not found:
        raise UserError(
            f"{path} has no dialogue with a reply; expected at least a speaker's and a listener's utterance"
        )
    return found


@main_guard
def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", type=Path, required=True)
    parser.add_argument("--dialogues", type=Path, required=True)
    parser.add_argument("--count", type=int, default=64)
    options = parser.parse_args(argv[1:])
    run = Run(options.workdir)
    config = resolve(run.config())
    assembly = assemble.empatheia(config, make_mesh(1, 1, 1, devices=jax.devices()[:1]))
    policy = dataclasses.replace(PromptPolicy.of(config.data), max_length=LENGTH)
    encoded = [
        policy.encode(assembly.tokenizer, history, None, recorded={}, response=reply)
        for history, reply in examples(options.dialogues, options.count)
    ]

    @nnx.jit
    def losses(model, tokens, lengths):
        hidden = model.core(model.embed(tokens), lengths=lengths).hidden
        return token_losses(model.logits(hidden[:, :-1]), tokens[:, 1:])

    def measure(model) -> dict[str, list[np.ndarray]]:
        """Per part and dialogue, the losses of its tokens."""
        parts: dict[str, list[np.ndarray]] = {"reply": [], "target": []}
        for each in encoded:
            tokens = np.zeros((1, LENGTH), np.int32)
            tokens[0, : len(each.tokens)] = each.tokens
            found = np.asarray(losses(model, jnp.asarray(tokens), jnp.asarray([len(each.tokens)])))[0]
            found = np.concatenate([[0.0], found])[: len(each.tokens)]
            parts["reply"].append(found[each.reply_mask])
            parts["target"].append(found[each.loss_mask])
        return parts

    before = measure(assembly.model)
    stages = run.load_into(assembly.model)
    after = measure(assembly.model)
    print(f"{len(encoded)} dialogues of {options.dialogues.name}; trained: {', '.join(stages)}")
    print("nats per token; the change with its standard error over dialogues, each against itself")
    for name, untouched in before.items():
        trained = after[name]
        change = np.array([new.mean() - old.mean() for old, new in zip(untouched, trained)])
        error = change.std(ddof=1) / len(change) ** 0.5 if len(change) > 1 else float("nan")
        print(
            f"{name:8s} untouched {np.concatenate(untouched).mean():.3f}   trained {np.concatenate(trained).mean():.3f}"
            f"   change {change.mean():+.3f} ± {error:.3f}, lower in {(change < 0).sum()} of {len(change)}"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
