"""The toy AvaMERG: dialogues that we wrote ourselves, in the released layout, under the licence of this repository.

They cover all 7 emotions (and all 32 labels), all 24 profiles in both roles and eleven topics; every listener turn has
its chain of empathy. The text is in `train.json`, `valid.json` and `test.json` beside this file; speech and faces are
made from it by `python -m data_pipeline.toy`.
"""

from __future__ import annotations

from pathlib import Path

from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError

SPLITS = ("train", "valid", "test")
FOLDER = Path(__file__).parent


def conversations(split: str, count: int | None = None) -> list[schema.Conversation]:
    """The dialogues of a split, or the first `count` of them. Raises `UserError` on an unknown split."""
    if split not in SPLITS:
        raise UserError(f"split {split!r} is unknown; expected one of {', '.join(SPLITS)}")
    return schema.read(FOLDER / f"{split}.json")[:count]
