"""The checkpoint of the official AvaMERG baseline (AvaMERG/AvaMERG-Pipeline, `merg_code/model`), in both directions.

Its `pytorch_model.pt` holds what that code trains: LoRA on the projections of the LLaMA's attention, one linear map
`llama_proj` of ImageBind's features to the width of the LLaMA, and both vocabulary tables, which got two more rows
for the tokens `<Vid>` and `<Aud>` (resizing them made them trainable). The frozen base is not in it. Beside it lie
the LLaMA's `config.json` (with the resized vocabulary) and the tokenizer. LoRA's alpha and dropout are in no file of
the folder: they are the ones of the released configuration.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import jax
import jax.numpy as jnp
from flax import nnx

from converters.conversion import Conversion
from converters.formats.source import Source
from converters.huggingface import hf_config, hf_files
from converters.table import Ignore, Row, Same, Table
from converters.tables.llama import hf_table
from converters.tables.peft import adapter_table
from converters.tables.transformer import linear_rows
from empatheia_jax import weights
from empatheia_jax.core.added_tokens import AddedTokens
from empatheia_jax.core.llama import Llama
from empatheia_jax.core.llama_config import LlamaConfig
from empatheia_jax.core.lora import LoRAConfig, adapters, add_lora
from empatheia_jax.errors import UserError
from empatheia_jax.nn.linear import Linear

KIND = "avamerg-baseline"
ADDED_TOKENS = ("<Vid>", "<Aud>")  # in the order of their rows
ALPHA, DROPOUT = 32.0, 0.1  # merg_code/config/base.yaml
_PREFIX = "llama_model."
_EMBEDDING = f"{_PREFIX}base_model.model.model.embed_tokens.weight"
_HEAD = f"{_PREFIX}base_model.model.lm_head.weight"
_ADAPTER = "default"


@dataclasses.dataclass(frozen=True)
class BaselineConfig:
    """The LLaMA (with the vocabulary of its base), its LoRA, the width of the features that `llama_proj` takes, and the
    number of rows that the vocabulary tables got (0: the tables are not in the checkpoint).
    """

    core: LlamaConfig
    lora: LoRAConfig
    features: int
    added: int

    @classmethod
    def from_source(cls, source: dict, tensors: Source) -> BaselineConfig:
        """From the LLaMA's `config.json` and the tensors' names and shapes.

        Raises: UserError where there is no LoRA or no `llama_proj`, or only one of the two vocabulary tables.
        """
        manifest = tensors.manifest()
        if "llama_proj.weight" not in manifest or len(manifest["llama_proj.weight"]["shape"]) != 2:
            raise UserError(f"{tensors} has no matrix llama_proj.weight; it is no checkpoint of the AvaMERG baseline")
        parts = {key: key.rsplit(".lora_A.", 1)[0].rsplit(".", 1)[-1] for key in manifest if ".lora_A." in key}
        ranks = {manifest[key]["shape"][0] for key in parts}
        if len(ranks) != 1:
            raise UserError(f"{tensors} has LoRA tensors of the ranks {sorted(ranks)}; expected one rank")
        tables = [key in manifest for key in (_EMBEDDING, _HEAD)]
        if any(tables) != all(tables):
            raise UserError(f"{tensors} has one of {_EMBEDDING} and {_HEAD}; expected both or none")
        core = LlamaConfig.from_source(source)
        added = len(ADDED_TOKENS) if all(tables) else 0
        return cls(
            core=dataclasses.replace(core, vocab_size=core.vocab_size - len(ADDED_TOKENS)),
            lora=LoRAConfig(ranks.pop(), ALPHA, tuple(set(parts.values())), DROPOUT),
            features=manifest["llama_proj.weight"]["shape"][1],
            added=added,
        )


class Baseline(nnx.Module):
    """The LLaMA with its LoRA, `projection`, and the rows of the added tokens."""

    def __init__(self, config: BaselineConfig, *, rngs: nnx.Rngs, dtype=jnp.float32, param_dtype=jnp.float32):
        kinds = {"rngs": rngs, "dtype": dtype, "param_dtype": param_dtype}
        hidden = config.core.hidden_size
        self.core = Llama(config.core, **kinds)
        add_lora(self.core, config.lora, rngs=rngs, name=_ADAPTER, param_dtype=param_dtype)
        self.projection = Linear(config.features, hidden, axes=(None, "embed"), use_bias=True, **kinds)
        if config.added:
            self.added = AddedTokens(config.core.vocab_size, config.added, hidden, tied=False, **kinds)


def _trained(config: BaselineConfig) -> Iterator[tuple[str, jax.ShapeDtypeStruct]]:
    tables = ("core.embed_tokens.embedding", "core.lm_head.kernel") if config.added else ()
    abstract = weights.flatten(weights.abstract(lambda: Baseline(config, rngs=nnx.Rngs(0))))
    for path, leaf in abstract.items():
        if f".lora.{_ADAPTER}." in path or path.startswith(("projection.", "added.")) or path in tables:
            yield path, leaf


def table(config: BaselineConfig) -> Table:
    """Rows for one checkpoint. LoRA's keys may carry PEFT's adapter name, as the baseline writes them, or not."""
    core = weights.abstract(lambda: Baseline(config, rngs=nnx.Rngs(0)).core)
    paths = sorted(path for path, *_ in adapters(core, _ADAPTER))
    saved = ("embed_tokens", "lm_head") if config.added else ()
    rows: list[Row | Ignore | Same] = []
    for row in adapter_table(hf_table(config.core), core, paths, _ADAPTER, saved, config.added).rows:
        if isinstance(row, Row):
            spellings = [tuple(_PREFIX + key for key in spelling) for spelling in row.spellings]
            # a live model's names, as in the file: with the adapter's name in LoRA's keys, without in the tables'
            spellings.sort(key=lambda keys: f".{_ADAPTER}." in keys[0], reverse=".lora_" in spellings[0][0])
            targets = tuple(t if t.startswith("added.") else f"core.{t}" for t in row.targets)
            rows.append(Row(spellings[0], targets, row.transform, tuple(spellings[1:])))
        elif isinstance(row, Ignore):
            rows.append(Ignore(_PREFIX + row.source, row.reason))
        else:
            rows.append(Same(_PREFIX + row.source, _PREFIX + row.as_source))
    return Table([*rows, *linear_rows("llama_proj", "projection")])


class _BaselineConversion(Conversion):
    def abstract(self, config: BaselineConfig) -> dict[str, jax.ShapeDtypeStruct]:
        """Only what the checkpoint holds."""
        return dict(_trained(config))


def attach(core: Llama, folder: Path) -> tuple[Linear, AddedTokens | None]:
    """Puts a converted baseline on its base model, in place: LoRA, and the vocabulary tables as it trained them.

    Args:
      core: the base LLaMA (Vicuna 7B v0 for the published baseline), without an adapter called "default".
      folder: weights folder made by `converters.convert --source=avamerg-baseline`.

    Returns: the projection of features, and the rows of `<Vid>` and `<Aud>` (None where the tables were not saved).
    Raises: UserError where the base is another model.
    """
    kind, values, flat = weights.load(folder)
    if kind != KIND:
        raise UserError(f"{folder} holds weights of the kind {kind!r}, expected {KIND!r}")
    config = weights.config_from_dict(BaselineConfig, values)
    if core.config != config.core:
        raise UserError(f"{folder} was trained on the model {config.core}, and this one is {core.config}")
    kinds = {"dtype": core.dtype, "param_dtype": flat["projection.kernel"].dtype}
    projection = Linear(
        config.features, config.core.hidden_size, axes=(None, "embed"), use_bias=True, rngs=nnx.Rngs(0), **kinds
    )
    weights.update(projection, _below("projection.", flat))
    added = None
    if config.added:
        added = AddedTokens(
            config.core.vocab_size, config.added, config.core.hidden_size, tied=False, rngs=nnx.Rngs(0), **kinds
        )
        weights.update(added, _below("added.", flat))
    add_lora(core, config.lora, rngs=nnx.Rngs(0), name=_ADAPTER, param_dtype=kinds["param_dtype"])
    weights.update(core, weights.flatten(core) | _below("core.", flat))
    return projection, added


def _below(prefix: str, flat: dict) -> dict[str, jax.Array]:
    return {path.removeprefix(prefix): jnp.asarray(v) for path, v in flat.items() if path.startswith(prefix)}


CONVERSIONS = [
    _BaselineConversion(
        name=KIND,
        kind=KIND,
        about="the official AvaMERG baseline's pytorch_model.pt (LoRA, llama_proj, resized vocabulary; with config.json)",
        config=lambda path, source: BaselineConfig.from_source(hf_config(path), source),
        construct=lambda config: Baseline,
        table=table,
        recognizes=lambda path, source: "llama_proj.weight" in source,
        files=hf_files,
        tensor_file="pytorch_model.pt",
        config_class=BaselineConfig,
    )
]
