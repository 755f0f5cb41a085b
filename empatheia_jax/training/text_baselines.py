"""Trains KEMP, CEM or CASE, on the loop, step and checkpoints of every other training.

`python launch.py --config=configs/baselines.py:cem --config.data=FOLDER`. The run's folder then holds checkpoints, metrics, a
report and, at the end, a weights folder of the network with its vocabulary, from which `baselines.replies` answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

from empatheia_jax import settings, weights
from empatheia_jax.baselines import vectors, words
from empatheia_jax.baselines.networks import NETWORKS, Network, weights_kind
from empatheia_jax.baselines.settings import BaselineConfig, BaselineTraining
from empatheia_jax.baselines.words import FILE
from empatheia_jax.parallel import rules
from empatheia_jax.parallel.mesh import batch_part, make_mesh, replicated
from empatheia_jax.training import step as steps
from empatheia_jax.training.trainer import Phase, run_phases

FREQUENCY = "frequency"
"""The parameter that counts words (`losses.diversity`); it moves by plain gradient descent."""


def noam(width: int, warmup: int, factor: float, done: int = 0) -> optax.Schedule:
    """Learning rate of Vaswani et al. (2017): it rises for `warmup` steps, then falls with the root of the step. `done`: steps of
    an earlier phase.
    """

    def rate(count: jax.Array) -> jax.Array:
        number = jnp.asarray(count + 1 + done, jnp.float32)
        return factor * width**-0.5 * jnp.minimum(number**-0.5, number * warmup**-1.5)

    return rate


def optimizer(rate: optax.Schedule) -> optax.GradientTransformation:
    """Adam as the three repositories set it; the count of words apart."""
    adam = optax.adam(rate, b1=0.9, b2=0.98, eps=1e-9)

    def kinds(parameters: dict[str, Any]) -> dict[str, str]:
        return {path: "count" if path == FREQUENCY else "network" for path in parameters}

    return optax.partition({"network": adam, "count": optax.sgd(1.0)}, kinds)


def phases(config: BaselineTraining, network: Network, **common: Any) -> list[Phase]:
    """One phase; CASE has another one before it, on the bag of words alone. `common`: the fields that all phases share."""

    def phase(name: str, method: str, coefficients: Any, count: int, done: int) -> Phase:
        rate = noam(config.network.width, config.warmup, config.rate, done)
        loss = lambda model, batch, rng: getattr(model, method)(batch, rng)  # noqa: E731
        return Phase(
            name,
            ("*",),
            loss,
            optimizer(rate),
            count,
            coefficients=coefficients,
            seed=config.seed + bool(done),
            learning_rate=lambda step: float(rate(jnp.asarray(step))),
            **common,
        )

    first = config.pretrain_steps
    before = [phase("bag", "bag_loss", {"bag_of_words": 1.0}, first, 0)] if first else []
    return [*before, phase(config.trains, "loss", dict(network.coefficients), config.steps, first)]


def run(config: BaselineTraining, workdir: Path, open_dialogues: Callable) -> int:
    """Trains what `config.trains` names, from the newest checkpoint of the run's folder if there is one.

    Args:
      config: the resolved config of `configs/baselines.py`.
      workdir: the run's folder.
      open_dialogues: `(config, part) → Dialogues` of `data_pipeline.text_baselines`.

    Raises:
      UserError: data, knowledge or vectors are missing or do not fit; the folder belongs to another run; the loss is not finite.
    """
    mesh = make_mesh(*config.mesh.sizes)
    data = open_dialogues(config, batch_part(mesh))
    vocabulary = data.encoder.vocabulary
    shape = BaselineConfig(len(vocabulary), config.network)
    network = NETWORKS[config.trains](shape, rngs=nnx.Rngs(config.seed))
    if config.vectors:
        table = np.array(network.words.table.embedding[...])
        known = vectors.read(config.vectors, vocabulary, table)
        network.words.table.embedding[...] = jnp.asarray(table)
        if jax.process_index() == 0:
            print(f"{known} of {len(vocabulary) - len(words.MARKS)} words have a vector in {config.vectors}")
    if not config.knowledge and jax.process_index() == 0:
        print(f"{config.trains.upper()} trains without external knowledge (the reduced mode); its replies will say so")
    plain = settings.plain(config)
    unlike = {"data", "mesh", "name", "log_every", "save_every", "eval_every", "keep_checkpoints", "compiler_options"}
    identity = {key: value for key, value in plain.items() if key not in unlike}
    identity |= {"examples": data.count, "words": list(vocabulary.words)}
    common = {
        "data": data,
        "fingerprint": identity,
        "save_every": config.save_every,
        "eval_every": config.eval_every if data.valid else 0,
    }
    run_phases(
        phases(config, network, **common),
        network,
        workdir,
        mesh,
        config=plain,
        log_every=config.log_every,
        keep_checkpoints=config.keep_checkpoints,
        compiler_options=steps.accepted_options(config.compiler_options),
    )
    leaves = weights.flatten(network)
    trained = {path: np.asarray(rules.place(value, replicated(mesh))) for path, value in leaves.items()}
    if jax.process_index() != 0:
        return 0
    vocabulary.write(workdir / FILE)
    weights.save(
        workdir / config.trains,
        trained,
        shape,
        weights_kind(config.trains),
        {
            "trained_by": config.name,
            "steps": config.steps,
            "examples": data.count,
            "reduced": not config.knowledge,
        },
        files={FILE: workdir / FILE},
        overwrite=True,
    )
    print(f"weights: {workdir / config.trains}")
    return 0
