"""Weights folders: the one layout that our models read.

    NAME/config.json   what the model is: kind, config, provenance, and every parameter's shape, type and SHA-256
    NAME/params/       the parameters, by path, as an orbax checkpoint
    NAME/…             files that belong to the model (tokenizer.json, a voice table), with their SHA-256
    NAME/SHA256SUMS    of every file above; compared before a parameter is read, once per file and machine

A parameter's path is its place in the module, joined by dots (`layers.attention.query.kernel`). A folder appears
complete or not at all: it is written beside its place and renamed. Parameters pass through memory one at a time in both
directions.

Modules: `lazy` (arrays made when asked for), `tree` (a module's parameters by path), `config_json` (configs as JSON),
`hashes`, `sums` (`SHA256SUMS`), `layout` (finding and describing folders), `write`, `read`; `leaves` (trained leaves alone).
"""

from empatheia_jax.weights.config_json import check_values, config_from_dict, config_to_dict
from empatheia_jax.weights.hashes import array_hash, file_hash
from empatheia_jax.weights.layout import (
    CONFIG_FILE,
    FORMAT,
    PARAMS_FOLDER,
    ROOT_VARIABLE,
    SHIPPED,
    describe,
    find,
    root,
)
from empatheia_jax.weights.lazy import Lazy, read_leaf
from empatheia_jax.weights.leaves import Start, open_start, write_start
from empatheia_jax.weights.read import lazy_params, load, restore, verify
from empatheia_jax.weights.sums import SUMS_FILE, seal
from empatheia_jax.weights.tree import abstract, flatten, materialize, overlay, unflatten, update
from empatheia_jax.weights.write import save

__all__ = [
    "CONFIG_FILE",
    "FORMAT",
    "PARAMS_FOLDER",
    "ROOT_VARIABLE",
    "SHIPPED",
    "SUMS_FILE",
    "Lazy",
    "Start",
    "abstract",
    "array_hash",
    "check_values",
    "config_from_dict",
    "config_to_dict",
    "describe",
    "file_hash",
    "find",
    "flatten",
    "lazy_params",
    "load",
    "materialize",
    "open_start",
    "overlay",
    "read_leaf",
    "restore",
    "root",
    "save",
    "seal",
    "unflatten",
    "update",
    "verify",
    "write_start",
]
