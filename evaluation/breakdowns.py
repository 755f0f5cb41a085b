"""Numbers by groups of speakers: pitch and pace by emotion, accuracy by emotion, age and gender (Figure 6)."""

from __future__ import annotations

from empatheia_jax.conversation import labels
from evaluation import cells, emotions
from evaluation.measures import collect
from evaluation.paper import Column
from evaluation.run import Evaluation
from evaluation.tables import Row, Table


def voice_by_emotion(evaluation: Evaluation) -> list[Table]:
    """Pitch and pace by the speaker's emotion."""
    tables = []
    for key, title, decimals in (
        ("f0", "Median F0 (Hz) by the speaker's emotion", 0),
        ("words_per_second", "Words a second", 2),
    ):
        rows = []
        columns = [Column(emotion, emotion, decimals, 0) for emotion in labels.EMOTIONS_7]
        for row, name in evaluation.titles("speech").items():
            found = collect(evaluation.values[row], key)
            of = {n: evaluation.questions[n].emotion7(evaluation.label_map) for n in found}
            by = {
                e: cells.mean({n: v for n, v in found.items() if of[n] == e}, evaluation.dialogues)
                for e in labels.EMOTIONS_7
            }
            rows.append(Row(row, name, by))
        if rows:
            tables.append(Table(f"{key}_by_emotion", title, columns, rows))
    return tables


def accuracy_by_speaker(evaluation: Evaluation, row: str) -> Table | None:
    """Figure 6 as a table: accuracy by the speaker's emotion (of the 7), age and gender; None without such a system."""
    system = evaluation.system(row)
    if system is None:
        return None
    found = emotions.hits(evaluation, system, "exact")
    rows = []

    def add(title: str, names: list[str]) -> None:
        rows.append(Row(title, title, {"accuracy": cells.share([found[name] for name in names])}))

    for emotion in labels.EMOTIONS_7:
        add(emotion, [n for n in found if evaluation.questions[n].emotion7(evaluation.label_map) == emotion])
    for index, words in ((0, labels.AGES), (1, labels.GENDERS)):
        for number, word in enumerate(words):
            speakers = {n: evaluation.questions[n].speaker for n in found}
            add(word, [n for n, each in speakers.items() if each is not None and each.ids[index] == number])
    title = f"Figure 6: accuracy of {system.title} by emotion, age and gender of the speaker"
    return Table("figure6", title, [Column("accuracy", "Acc")], rows)
