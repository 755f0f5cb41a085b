"""The paper's tables: their rows, columns and numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Column:
    """key: what is computed; title; decimals; better: +1 where higher is better, −1 lower, 0 neither."""

    key: str
    title: str
    decimals: int = 2
    better: int = 1


@dataclass(frozen=True)
class PaperTable:
    """A table as printed: rows by key with their titles, columns, numbers[row] in the order of the columns."""

    key: str
    title: str
    columns: tuple[Column, ...]
    rows: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]

    def number(self, row: str, column: str) -> float | None:
        """The paper's number, or None."""
        keys = [each.key for each in self.columns]
        return dict(zip(keys, self.numbers.get(row, ()))).get(column)


SYSTEMS: Mapping[str, str] = {
    "ground-truth": "Ground-Truth",
    "kemp": "KEMP",
    "cem": "CEM",
    "case": "CASE",
    "pipeline": "Pipeline",
    "chatglm3": "Empatheia (ChatGLM3)",
    "flan-t5": "Empatheia (Flan-T5)",
    "empatheia": "Empatheia (Vicuna)",
    "empatheia-text": "Empatheia, text queries only",
    "without-coe": "w/o CoE",
    "without-media": "w/o SPC&VID",
    "without-cs": "w/o CS",
    "without-sd": "w/o SD",
    "without-joint": "w/o L_emp + L_ccl + L_sac",
    "joint-only": "stage 4 only",
    "without-ccl": "w/o L_ccl",
    "without-sac": "w/o L_sac",
}
"""Every row by key. `empatheia-text` and `joint-only` are the other readings of U22 and U20; the paper has no number of their
own.
"""
BASELINES = ("kemp", "cem", "case")
"""The text baselines. With speech and film, a cascade of theirs stands in Tables 3 and 5 too, which the paper has not."""


def _rows(*keys: str, **titles: str) -> dict[str, str]:
    return {key: titles.get(key.replace("-", "_"), SYSTEMS[key]) for key in keys}


TABLE_2 = PaperTable(
    "table2",
    "Table 2: textual ERG",
    (Column("accuracy", "Acc"), Column("distinct1", "Dist-1"), Column("distinct2", "Dist-2")),
    _rows("kemp", "cem", "case", "empatheia", "empatheia-text", "without-coe", "without-media", empatheia="Empatheia"),
    {
        "kemp": (35.87, 0.41, 1.78),
        "cem": (37.32, 0.50, 2.07),
        "case": (40.96, 0.54, 2.14),
        "empatheia": (48.51, 2.69, 14.76),
        "without-coe": (46.62, 2.49, 12.77),
        "without-media": (45.89, 2.43, 12.56),
    },
)
TABLE_3 = PaperTable(
    "table3",
    "Table 3: MERG, speech and talking head",
    (
        Column("MOS", "MOS"),
        Column("SMOS", "SMOS"),
        Column("cpbd", "CPBD", 3),
        Column("ssim", "SSIM", 3),
        Column("sync_confidence", "Sync_cf"),
    ),
    _rows(
        *("ground-truth", "pipeline", "chatglm3", "flan-t5", "empatheia", "without-cs", "without-sd", "without-joint"),
        *("joint-only", "without-ccl", "without-sac"),
    ),
    {
        "ground-truth": (4.35, 4.81, 0.20, 1.0, 3.93),
        "pipeline": (3.88, 3.97, 0.08, 0.43, 1.95),
        "chatglm3": (3.99, 4.08, 0.14, 0.45, 2.41),
        "flan-t5": (4.07, 4.09, 0.14, 0.46, 2.26),
        "empatheia": (4.16, 4.33, 0.15, 0.49, 2.76),
        "without-cs": (3.90, 4.07, 0.08, 0.44, 2.21),
        "without-sd": (3.83, 4.10, 0.11, 0.41, 2.16),
        "without-joint": (3.90, 4.11, 0.10, 0.33, 2.14),
        "without-ccl": (4.04, 4.25, 0.13, 0.45, 2.36),
        "without-sac": (4.10, 4.29, 0.11, 0.41, 2.45),
    },
)
TABLE_4 = PaperTable(
    "table4",
    "Table 4: human evaluation on textual ERG",
    (Column("Emp", "Emp."), Column("Coh", "Coh."), Column("Inf", "Inf."), Column("Flu", "Flu.")),
    _rows("kemp", "cem", "case", "empatheia", "without-media", "without-coe", empatheia="Empatheia"),
    {
        "kemp": (2.97, 3.11, 2.80, 4.13),
        "cem": (3.18, 3.17, 3.15, 4.39),
        "case": (3.03, 3.21, 3.14, 4.31),
        "empatheia": (4.33, 4.02, 3.95, 4.67),
        "without-media": (4.12, 3.98, 3.67, 4.49),
        "without-coe": (4.03, 3.77, 3.49, 4.35),
    },
)
TABLE_5 = PaperTable(
    "table5",
    "Table 5: human evaluation on MERG",
    tuple(Column(key, key) for key in ("SCA", "VCA", "SSA", "VSA", "MCC", "MSC")),
    _rows(
        *("pipeline", "empatheia", "without-cs", "without-sd", "without-joint", "without-ccl", "without-sac"),
        empatheia="Empatheia",
    ),
    {
        "pipeline": (3.23, 3.28, 3.75, 3.62, 3.10, 3.19),
        "empatheia": (3.92, 3.85, 4.39, 4.46, 3.98, 3.91),
        "without-cs": (3.46, 3.34, 3.78, 3.63, 3.29, 3.30),
        "without-sd": (3.55, 3.53, 3.84, 3.77, 3.45, 3.55),
        "without-joint": (3.33, 3.47, 3.92, 3.78, 3.51, 3.70),
        "without-ccl": (3.67, 3.50, 4.14, 4.25, 3.74, 3.79),
        "without-sac": (3.88, 3.82, 3.99, 4.04, 3.81, 3.74),
    },
)
TABLES = (TABLE_2, TABLE_3, TABLE_4, TABLE_5)
ALIASES = {"SEA": "SSA", "VEA": "VSA"}
"""Names of the style scales in Table 5, and in the paper's text (reading U23)."""
SCALES: Mapping[str, str] = {
    "MOS": "How natural does this speech sound?",
    "SMOS": "How alike are the voice of this speech and the voice of the reference recording?",
    "Emp": "Empathy: does the reply understand what the speaker feels, and answer to it?",
    "Coh": "Coherence: does the reply belong to this dialogue?",
    "Inf": "Informativity: does the reply say something of its own, beyond common words?",
    "Flu": "Fluency: is the reply good, natural English?",
    "SCA": "Speech content accuracy: does the speech say the words of the reply?",
    "VCA": "Video content accuracy: do the lips say the words of the reply?",
    "SSA": "Speech style accuracy: do the voice's emotion, age, gender and tone fit what the reply needs?",
    "VSA": "Video style accuracy: do the face's emotion, age and gender fit what the reply needs?",
    "MCC": "Multimodal content consistency: do text, speech and face say the same at the same time?",
    "MSC": "Multimodal style consistency: do voice and face show one emotion and one person?",
}
"""The human scales, 1 to 5, with the question that a rater reads. The questions are ours: the paper prints none."""
