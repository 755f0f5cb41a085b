"""Vectors of the LLaMA family, plain and with PEFT adapters."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from converters import interpreter
from converters.parity.language import build, greedy, next_token_loss
from converters.parity.result import Result, bound_of, compare
from converters.parity.seeded import seeded_state_dict
from converters.parity.vectors import Arrays, VectorSet, guarded, is_set_of, read_manifest, vector_sets
from converters.tables import llama as tables
from converters.tables import peft
from empatheia_jax import weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.lora import merge, set_active
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object


def matches(folder: Path) -> bool:
    return is_set_of(folder, *tables.FAMILY) or bool(_adapters(folder))


def run(folder: Path, seed: int, float64: bool) -> Iterator[Result]:
    sets = list(vector_sets(folder, *tables.FAMILY))
    for vectors in sets:
        yield from guarded(vectors.file, _plain(vectors, seed, float64))
    for path in _adapters(folder):
        name = path.name.removesuffix(".adapter_config.json")
        yield from guarded(f"{name}.npz", _adapter(folder, name, sets, seed, float64))


def _adapters(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.glob("*.adapter_config.json")
        if (folder / path.name.replace(".adapter_config.json", ".npz")).is_file()
    )


def _build(vectors: VectorSet, seed: int, float64: bool) -> Llama:
    config = LlamaConfig.from_source(vectors.config)
    return build(Llama, config, tables.hf_table(config), vectors, seed, float64)


def _plain(vectors: VectorSet, seed: int, float64: bool) -> Iterator[Result]:
    model = _build(vectors, seed, float64)
    a, bound = vectors.arrays, bound_of(float64)

    def result(name: str, ours: Any) -> Result:
        return compare(vectors.file, name, ours, a[name], bound)

    out = model(model.embed(jnp.asarray(a["ids"])), all_hidden=True)
    logits = model.logits(out.hidden)
    yield result("logits", logits)
    yield result("hidden_states", out.all_hidden)
    yield result("loss", next_token_loss(logits, jnp.asarray(a["labels"])))

    right = jnp.asarray(a["right_mask"]).astype(bool)
    hidden = model(model.embed(jnp.asarray(a["right_ids"])), lengths=right.sum(axis=1)).hidden
    yield result("right_logits", model.logits(hidden) * right[..., None])

    left = jnp.asarray(a["left_mask"]).astype(bool)
    hidden = model(model.embed(jnp.asarray(a["left_ids"])), mask=left).hidden
    yield result("left_logits", model.logits(hidden) * left[..., None])

    embeds = jnp.asarray(a["embeds"], model.dtype)
    yield result("embeds_logits", model.logits(model(embeds).hidden))
    yield greedy(vectors, "left_greedy", model, a["left_ids"], a["left_mask"], bound)


def _adapter(folder: Path, name: str, sets: list[VectorSet], seed: int, float64: bool) -> Iterator[Result]:
    """The adapter on its base: the one that is named, else the first of those it fits on which the logits are right."""
    settings = read_json_object(folder / f"{name}.adapter_config.json", "the config of an adapter")
    manifest, a = read_manifest(folder / f"{name}.adapter.manifest.json"), Arrays(folder / f"{name}.npz")
    *others, last = _bases(name, settings, sets, manifest)
    for base in others:
        results = _on_base(name, base, settings, manifest, a, seed, float64)
        first = next(results)
        if first.passed:
            yield first
            yield from results
            return
    yield from _on_base(name, last, settings, manifest, a, seed, float64)


def _on_base(
    name: str, base: VectorSet, settings: dict, manifest: dict, a: Arrays, seed: int, float64: bool
) -> Iterator[Result]:
    bound = bound_of(float64)
    model = _build(base, seed, float64)
    table = tables.hf_table(model.config)
    tensors = seeded_state_dict(manifest, seed)
    dtype = np.float64 if float64 else np.float32
    added = peft.attach(model, table, settings, tensors, dtype=dtype)
    ids, mask, labels = jnp.asarray(a["ids"]), jnp.asarray(a["mask"]).astype(bool), jnp.asarray(a["labels"])
    graphs, states = _split(model, added)

    def loss(states):
        network, rows = _merge(graphs, states)
        logits = _score(network, rows, ids, mask)
        return next_token_loss(logits, labels), logits

    (value, logits), gradients = jax.value_and_grad(loss, has_aux=True)(states)
    file = f"{name}.npz"
    yield compare(file, "logits", logits * mask[..., None], a["logits"], bound)
    yield compare(file, "loss", value, a["loss"], bound)
    slopes, slopes_of_rows = _merge(graphs, gradients)
    _, ours = peft.release(slopes, table, slopes_of_rows, whole_tables=bool(settings.get("modules_to_save")))
    for key in (k for k in a if k.startswith("grad/")):
        yield compare(file, key, ours[key.removeprefix("grad/")], a[key], bound)
    if "base_logits" in a:
        set_active(model, [])
        yield compare(file, "base_logits", _score(model, added, ids, mask) * mask[..., None], a["base_logits"], bound)
        set_active(model, ["default"])
    merge(model)
    merged = {}
    wanted = {k.removeprefix("merged/"): k for k in a if k.startswith("merged/")}
    for key, array in interpreter.export({k: v for k, v in weights.flatten(model).items() if ".lora." not in k}, table):
        if key in wanted or key.removesuffix(".weight") in wanted:
            merged[wanted.get(key) or wanted[key.removesuffix(".weight")]] = array
    for key in wanted.values():
        yield compare(file, key, merged.get(key, np.zeros(0)), a[key], bound)


def _bases(name: str, settings: dict, sets: list[VectorSet], manifest: dict) -> list[VectorSet]:
    """The base models that an adapter can belong to: the set that is named by `set.json` or by the adapter's config, else
    all whose layers have the shapes that its tensors ask for.

    Raises: UserError where there is none.
    """
    for each in sets:
        if each.name in (each.settings.get("bases", {}).get(name), settings.get("base_model_name_or_path")):
            return [each]
    fitting = []
    for vectors in sets:
        shapes = {k.removesuffix(".weight"): v["shape"] for k, v in vectors.manifest.items()}

        def fits(key: str, shape: list[int], shapes=shapes) -> bool:
            module = key.removeprefix(peft.PREFIX).split(".lora_")[0].removesuffix(".weight")
            found = shapes.get(module)
            if found is None or ".lora_" not in key:
                return found is not None and found[1] == shape[1]
            return (shape[1] == found[1]) if ".lora_A" in key else (shape[0] == found[0])

        if all(fits(key, entry["shape"]) for key, entry in manifest.items()):
            fitting.append(vectors)
    if not fitting:
        raise UserError(
            f"the adapter {name} fits none of the base models beside it ({', '.join(s.name for s in sets)})"
        )
    return fitting


def _split(model: Llama, added: AddedTokens | None):
    graph, state = nnx.split(model)
    added_graph, added_state = nnx.split(added) if added is not None else (None, None)
    return (graph, added_graph), (state, added_state)


def _merge(graphs, states):
    return nnx.merge(graphs[0], states[0]), None if graphs[1] is None else nnx.merge(graphs[1], states[1])


def _score(network: Llama, rows: AddedTokens | None, ids, mask):
    embeds = network.embed(ids) if rows is None else rows.embed(network, ids)
    hidden = network(embeds, mask=mask).hidden
    return network.logits(hidden) if rows is None else rows.logits(network, hidden)
