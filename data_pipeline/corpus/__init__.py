"""The corpus: several hundred dialogues that we wrote ourselves, in the released layout, under this repository's licence.

The text is in `text/`, in a short notation for authors that `reader.py` explains. What every dialogue has to keep is in
`rules.py`. `python -m data_pipeline.corpus --output=DIR` writes the files of the released layout.
"""

from __future__ import annotations

from pathlib import Path

from data_pipeline.corpus import reader
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError

SPLITS = reader.SPLITS
FOLDER = Path(__file__).parent / "text"


def everything() -> dict[str, list[schema.Conversation]]:
    """All dialogues by split, in the order of their numbers."""
    return reader.read(FOLDER)


def conversations(split: str, count: int | None = None) -> list[schema.Conversation]:
    """The dialogues of a split, or the first `count` of them. Raises `UserError` on an unknown split."""
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    return everything()[split][:count]
