"""PEFT adapters (`adapter_model.safetensors` with `adapter_config.json`) of our language models, in both directions.

The rows are derived from the base model's own table: where that says which tensor is which kernel, the adapter's
`lora_A` and `lora_B` hang on the same name. Added rows are written as `trainable_token_indices`, which holds them alone.
Modules saved whole (`modules_to_save`) hold the base rows and, after them, the added ones: they are read, and written only
where they are asked for, since they make a file of two whole tables and few servers take them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from flax import nnx

from converters import interpreter
from converters.sources import as_source, open_source
from converters.table import Ignore, Row, Same, Shape, Table, Transform, transpose
from empatheia_jax import weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.lora import LoRAConfig, adapters, add_lora, linears, remove
from empatheia_jax.errors import UserError
from empatheia_jax.files import read_json_object

ADAPTER = "default"
"""What an adapter is called in a model, where it is not said."""
TENSOR_FILE, CONFIG_FILE = "adapter_model.safetensors", "adapter_config.json"
PREFIX = "base_model.model."
_READ = frozenset(
    """
    r lora_alpha lora_dropout target_modules modules_to_save use_rslora bias peft_type fan_in_fan_out task_type
    trainable_token_indices
    """.split()  # noqa: SIM905
)
_BOOKKEEPING = frozenset(
    """
    base_model_name_or_path revision peft_version inference_mode auto_mapping init_lora_weights megatron_core
    qalora_group_size ensure_weight_tying
    """.split()  # noqa: SIM905
)
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal", "eva")
"""`init_lora_weights` that leave the base as it is. PiSSA, OLoRA, CorDA, LoRA-GA and LoftQ change the base, too."""
_UNSET: tuple[Any, ...] = (None, False, "", [], {})
_SAVED = {"embed_tokens": "embedding", "lm_head": "head"}
"""Modules that may be saved whole: name of ours → the added rows' parameter."""


def read_config(source: Mapping[str, Any]) -> tuple[LoRAConfig, tuple[str, ...]]:
    """(our config with the targets as PEFT names them, names of the modules saved whole) of an `adapter_config.json`.

    Raises: UserError for a value that we do not implement; every field that is set and that we do not know is one.
    """
    expected = {"peft_type": ("LORA",), "bias": ("none", None), "fan_in_fan_out": (False, None)}
    for key, values in expected.items():
        if key in source and source[key] not in values:
            raise UserError(f"adapter_config: {key}={source[key]!r} is not implemented; expected {values[0]!r}")
    start = source.get("init_lora_weights", True)
    if not any(start is plain or (isinstance(start, str) and start == plain) for plain in _PLAIN_STARTS):
        raise UserError(
            f"adapter_config: init_lora_weights={start!r} belongs on a base that was changed with it, and the folder does not "
            "hold that base; save it as plain LoRA (peft: save_pretrained(…, path_initial_model_for_weight_conversion=…))"
        )
    # 0 counts as set: layers_to_transform=0 means the first layer alone
    unknown = sorted(
        key
        for key, value in source.items()
        if key not in _READ | _BOOKKEEPING and not any(value is u or (value == u and value != 0) for u in _UNSET)
    )
    if unknown:
        named = ", ".join(f"{key}={source[key]!r}" for key in unknown)
        raise UserError(f"adapter_config: not implemented: {named}")
    lacking = sorted({"r", "lora_alpha", "target_modules"} - set(source))
    if lacking:
        raise UserError(f"adapter_config lacks {', '.join(lacking)}")
    targets = source["target_modules"]
    if isinstance(targets, str):
        raise UserError(f"adapter_config: target_modules={targets!r} as a pattern is not implemented; expected a list")
    kinds: dict[str, type | tuple[type, ...]] = {
        "r": int,
        "lora_alpha": (int, float),
        "target_modules": list,
        "lora_dropout": (int, float, type(None)),
        "use_rslora": (bool, type(None)),
        "modules_to_save": (list, type(None)),
        "trainable_token_indices": (list, dict, type(None)),
    }
    for key, kind in kinds.items():
        value = source.get(key)
        items = int if key == "trainable_token_indices" else str
        names = isinstance(value, list) and not all(isinstance(name, items) for name in value)
        number = isinstance(value, int | float) and (isinstance(value, bool) or not math.isfinite(value))
        if key in source and (not isinstance(value, kind) or names or (number and key != "use_rslora")):
            raise UserError(f"adapter_config: {key}={value!r:.80} is of another type than PEFT writes")
    config = LoRAConfig(
        rank=source["r"],
        alpha=source["lora_alpha"],
        targets=tuple(targets),
        dropout=source.get("lora_dropout") or 0.0,
        rslora=bool(source.get("use_rslora", False)),
    )
    return config, tuple(source.get("modules_to_save") or ())


def _module_names(table: Table, model: LanguageModel) -> dict[str, str]:
    """Path of each of our linear maps → its module's name pattern in the release
    (`model.layers.{i}.self_attn.q_proj`).
    """
    ours = {path for path, _ in linears(model)}
    return {
        row.targets[0].removesuffix(".kernel"): row.sources[0].removesuffix(".weight")
        for row in table.rows
        if isinstance(row, Row)
        and len(row.targets) == 1
        and row.targets[0].endswith(".kernel")
        and row.targets[0].removesuffix(".kernel") in ours
        and row.sources[0].endswith(".weight")
    }


def _resolve(targets: Sequence[str], names: Mapping[str, str]) -> list[str]:
    """Our paths of the modules that PEFT's targets mean (a target is a module's name or the end of it)."""
    chosen: set[str] = set()
    for target in targets:
        hits = {path for path, name in names.items() if name == target or name.endswith("." + target)}
        if not hits:
            known = ", ".join(sorted({name.rsplit(".", 1)[-1] for name in names.values()}))
            raise UserError(f"adapter_config: target {target!r} is no linear map of the model; it has {known}")
        chosen |= hits
    return sorted(chosen)


def whole_rows(base: int, added: int, transposed: bool) -> Transform:
    """A table of base + added rows → (base part, transposed where it is our head's kernel; added rows)."""
    name = f"rows({base} + {added})"

    def to_target(arrays):
        first = arrays[0][:base]
        return [first.T if transposed else first, arrays[0][base:]]

    def to_source(arrays):
        return [np.concatenate([arrays[0].T if transposed else arrays[0], arrays[1]])]

    def shapes(targets: Sequence[Shape]) -> Sequence[Shape]:
        first = targets[0][::-1] if transposed else targets[0]
        if first[0] != base or targets[1][0] != added or first[1:] != tuple(targets[1][1:]):
            raise ValueError(f"{name} does not fit parameters of shapes {[tuple(t) for t in targets]}")
        return [(base + added, *first[1:])]

    return Transform(name, to_target, to_source, shapes)


def adapter_table(
    base: Table, model: LanguageModel, paths: Sequence[str], name: str, saved: Sequence[str] = (), added: int = 0
) -> Table:
    """Rows of an adapter: two per linear map in `paths`, one per module of ours in `saved` (`embed_tokens`, `lm_head`).

    `added` counts the rows beyond the base's: those of the saved modules, or where none is saved, trained tokens. Keys are
    taken as a file has them, and with an adapter's name inside, as a live model has them.
    """
    names = _module_names(base, model)
    released = _saved_names(base)
    labels = tuple(dict.fromkeys(("default", name)))
    rows: list[Row | Ignore | Same] = []
    for path in paths:
        for letter in "AB":
            stem = f"{PREFIX}{names[path]}.lora_{letter}"
            spellings = tuple(f"{stem}.{label}.weight" for label in labels)
            rows.append(Row(f"{stem}.weight", f"{path}.lora.{name}.{letter.lower()}", transpose, spellings))
    for module in saved:
        key = f"{PREFIX}{released[module]}"
        aliases = [f"{key}.modules_to_save.{label}.weight" for label in labels]
        rows.append(Ignore(f"{key}.original_module.weight", "the base's module, which the saved one replaces"))
        if module == "lm_head" and model.lm_head is None:  # tied: both must be the same rows
            twin = f"{PREFIX}{released['embed_tokens']}"
            rows.append(Same(f"{key}.weight", f"{twin}.weight"))
            rows += [Same(each, f"{twin}{each.removeprefix(key)}") for each in aliases]
            continue
        target = "lm_head.kernel" if module == "lm_head" else "embed_tokens.embedding"
        pieces = whole_rows(model.config.vocab_size, added, module == "lm_head")
        rows.append(Row(f"{key}.weight", (target, f"added.{_SAVED[module]}"), pieces, tuple(aliases)))
    if added and not saved:
        for module, ours in _SAVED.items():
            if module == "lm_head" and model.lm_head is None:
                continue
            key = f"{PREFIX}{released[module]}.token_adapter.trainable_tokens_delta"
            rows.append(Row(key, f"added.{ours}", aliases=tuple(f"{key}.{label}" for label in labels)))
    return Table(rows)


def _saved_names(base: Table) -> dict[str, str]:
    """`embed_tokens` and `lm_head` → the module's name in the release."""
    ours = {"embed_tokens.embedding": "embed_tokens", "lm_head.kernel": "lm_head"}
    names = {
        ours[row.targets[0]]: row.sources[0].removesuffix(".weight")
        for row in base.rows
        if isinstance(row, Row) and row.targets[0] in ours
    }
    names.setdefault("lm_head", "lm_head")  # a tied head has no row of its own
    return names


def plan(
    model: LanguageModel, base: Table, config: Mapping[str, Any], source: Any
) -> tuple[LoRAConfig, list[str], int]:
    """What an adapter is on `model`: our config with our paths as targets, our modules that are saved whole, and their
    rows beyond the base's vocabulary. The model may be abstract. Arguments and errors are those of `attach`.
    """
    settings, modules = read_config(config)
    paths = _resolve(settings.targets, _module_names(base, model))
    released = _saved_names(base)
    saved = [ours for ours in _SAVED if any(released[ours].rsplit(".", 1)[-1] == m.rsplit(".", 1)[-1] for m in modules)]
    if len(saved) != len(set(modules)):
        raise UserError(
            f"adapter_config: modules_to_save={list(modules)} is not implemented; expected none or "
            f"{', '.join(released[s] for s in _SAVED)}"
        )
    tokens = config.get("trainable_token_indices") or {}
    if tokens and saved:
        raise UserError("adapter_config: modules_to_save and trainable_token_indices together are not implemented")
    if tokens:
        rows = _token_rows(tokens, released, model)
    else:
        rows = _rows_in(source, saved, released, model.config.vocab_size)
    return LoRAConfig(settings.rank, settings.alpha, tuple(paths), settings.dropout, settings.rslora), saved, rows


def _token_rows(tokens: Any, released: Mapping[str, str], model: LanguageModel) -> int:
    """How many rows `trainable_token_indices` adds behind the base's vocabulary."""
    names = {ours: released[ours].rsplit(".", 1)[-1] for ours in _SAVED}
    if isinstance(tokens, list):  # PEFT's short form: the embedding alone
        tokens = {names["embed_tokens"]: tokens}
    wanted = {names["embed_tokens"]} | ({names["lm_head"]} if model.lm_head is not None else set())
    vocab = model.config.vocab_size
    counts = {tuple(ids) for ids in tokens.values() if isinstance(ids, list)}
    first = next(iter(counts), ())
    if set(tokens) - {names["lm_head"]} != wanted - {names["lm_head"]} or wanted - set(tokens) or len(counts) != 1:
        raise UserError(
            f"adapter_config: trainable_token_indices of {', '.join(map(str, tokens)) or 'nothing'} is not implemented; "
            f"expected the same rows of {' and '.join(sorted(wanted))}"
        )
    if list(first) != list(range(vocab, vocab + len(first))):
        raise UserError(
            f"adapter_config: trainable_token_indices={list(first)[:5]}… is not implemented; expected the rows from {vocab} "
            "on, which follow the base's vocabulary"
        )
    return len(first)


def attach(
    model: LanguageModel, base: Table, config: Mapping[str, Any], source: Any, *, name: str = "default", dtype=None
) -> AddedTokens | None:
    """Hangs a PEFT adapter on `model`, in place, and returns the added rows, None where the adapter has none.

    Args:
      model: a core with its base weights.
      base: the table of the base model's release.
      config: `adapter_config.json`.
      source: the tensors (a `Source` or a mapping).
      name: what the adapter is called from now on.
      dtype: type of the adapter's parameters; None keeps theirs.
    Raises: UserError for what we do not implement, ConversionError for tensors that do not fit; the model is then as
    before.
    """
    source = as_source(source)
    settings, saved, rows = plan(model, base, config, source)
    add_lora(model, settings, rngs=nnx.Rngs(0), name=name)
    try:
        added, flat = None, {}
        if saved or rows:
            tied = model.lm_head is None
            features = model.embed_tokens.features
            added = AddedTokens(model.config.vocab_size, rows, features, tied=tied, rngs=nnx.Rngs(0), dtype=model.dtype)
            flat = {f"added.{key}": value for key, value in weights.flatten(added).items()}
        everything = weights.flatten(model)
        wanted = {key: value for key, value in everything.items() if f".lora.{name}." in key} | flat
        for module in saved:
            if module != "lm_head" or model.lm_head is not None:
                key = "lm_head.kernel" if module == "lm_head" else "embed_tokens.embedding"
                wanted[key] = everything[key]
        table = adapter_table(base, model, settings.targets, name, saved, rows)
        values = interpreter.load(source, table, wanted, dtype)
    except UserError:
        remove(model, name)
        raise
    values = {key: np.asarray(value) for key, value in values.items()}
    if added is not None:
        weights.update(added, {key.removeprefix("added."): values[key] for key in flat})
    weights.update(model, everything | {key: value for key, value in values.items() if key in everything})
    return added if rows else None


def _rows_in(source, saved: Sequence[str], released: Mapping[str, str], vocab: int) -> int:
    """How many rows the saved modules have beyond the base's vocabulary."""
    counts = set()
    for module in saved:
        stem = f"{PREFIX}{released[module]}."
        shapes = [e["shape"] for k, e in source.manifest().items() if k.startswith(stem) and "original_module" not in k]
        counts |= {shape[0] - vocab for shape in shapes}
    if len(counts) > 1 or any(count < 0 for count in counts):
        sizes = sorted(vocab + count for count in counts)
        raise UserError(f"{source}: the saved modules have {sizes} rows and the base model {vocab}; they do not fit")
    return counts.pop() if counts else 0


def release(
    model: LanguageModel,
    base: Table,
    added: AddedTokens | None = None,
    *,
    name: str = "default",
    task: str = "CAUSAL_LM",
    whole_tables: bool = False,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(`adapter_config.json`, tensors) of an adapter as PEFT writes them; `added` as trained tokens, or with
    `whole_tables` as vocabulary tables that are saved whole.
    """
    found = list(adapters(model, name))
    if not found:
        raise UserError(f"the model has no adapter called {name!r}")
    released = _saved_names(base)
    paths, settings = sorted(path for path, *_ in found), found[0][3].config
    saved = list(_SAVED) if added is not None and whole_tables else []
    table = adapter_table(base, model, paths, name, saved, added.count if added is not None else 0)
    everything = weights.flatten(model)
    flat = {key: value for key, value in everything.items() if f".lora.{name}." in key}
    keys = None
    if added is not None:
        flat |= {f"added.{key}": value for key, value in weights.flatten(added).items()}
    if saved:
        flat["embed_tokens.embedding"] = everything["embed_tokens.embedding"]
        if model.lm_head is not None:
            flat["lm_head.kernel"] = everything["lm_head.kernel"]
        else:
            keys = [*interpreter.export_manifest(flat, table), f"{PREFIX}{released['lm_head']}.weight"]
    tensors = dict(interpreter.export(flat, table, keys))
    count = added.count if added is not None else 0
    config = released_config(base, model, dataclasses.replace(settings, targets=tuple(paths)), saved, count, task=task)
    return config, tensors


def released_config(
    base: Table,
    model: LanguageModel,
    settings: LoRAConfig,
    saved: Sequence[str] = (),
    added_count: int = 0,
    *,
    task: str = "CAUSAL_LM",
    base_name: str | None = None,
) -> dict[str, Any]:
    """`adapter_config.json` of an adapter whose targets are our paths. The model may be abstract."""
    names, released = _module_names(base, model), _saved_names(base)
    paths = sorted(settings.targets)
    # the shortest suffix that means exactly these modules
    short = {names[path].rsplit(".", 1)[-1] for path in paths}
    targets = sorted(short) if _resolve(sorted(short), names) == paths else sorted(names[path] for path in paths)
    tokens = None
    if added_count and not saved:
        rows = list(range(model.config.vocab_size, model.config.vocab_size + added_count))
        kept = [ours for ours in _SAVED if ours == "embed_tokens" or model.lm_head is not None]
        tokens = {released[ours].rsplit(".", 1)[-1]: rows for ours in kept}
    return {
        "peft_type": "LORA",
        "task_type": task,
        "r": settings.rank,
        "lora_alpha": int(settings.alpha) if float(settings.alpha).is_integer() else settings.alpha,
        "lora_dropout": settings.dropout,
        "use_rslora": settings.rslora,
        "target_modules": targets,
        "modules_to_save": [released[s].rsplit(".", 1)[-1] for s in saved] or None,
        "trainable_token_indices": tokens,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "base_model_name_or_path": base_name,
    }


def read_folder(folder: Path) -> tuple[dict[str, Any], Any]:
    """`adapter_config.json` and the tensors of a folder that `peft` saved. Raises UserError where a file is missing
    or damaged.
    """
    config = read_json_object(folder / CONFIG_FILE, "the config of a PEFT adapter")
    files = [folder / TENSOR_FILE, folder / "adapter_model.bin"]
    present = [file for file in files if file.is_file()]
    if not present:
        raise UserError(f"{folder} has no {TENSOR_FILE}")
    return config, open_source(present[0])
