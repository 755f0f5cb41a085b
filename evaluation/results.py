"""The tables of an evaluation: the paper's four, and what stands beside them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from empatheia_jax.conversation import expression, labels
from evaluation import cells, consistency, films, opinion, paper, text
from evaluation.cells import Cell
from evaluation.measures import collect, lips_with
from evaluation.paper import Column, PaperTable
from evaluation.run import Evaluation
from evaluation.systems import Reply, System
from evaluation.tables import MISSING_ROW, Row, Table

MEDIA = f"Every film was first brought to one form: {films.WORDS}."


# ---------------------------------------------------------------- emotions of the text


def exact_label(reply: Reply) -> str | None:
    """The label of the 32 that a system wrote letter by letter (case and hyphens apart), or None."""
    word = None if reply.emotion is None else labels.normalise(reply.emotion)
    return word if word in labels.EMOTIONS_32 else None


def mapped_label(reply: Reply) -> str | None:
    """The label of the 32 that a system's word reaches through the table of synonyms, or None."""
    return None if reply.emotion is None else labels.emotion32(reply.emotion)


def hits(evaluation: Evaluation, system: System, how: str) -> dict[str, bool]:
    """Id → whether the emotion is right: "exact" and "mapped" of the 32, "seven" of the 7 through the map."""
    found: dict[str, bool] = {}
    for name, question in evaluation.questions.items():
        if question.emotion is None:
            continue
        reply = system.replies[name]
        if how == "seven":
            truth, label = question.emotion7(evaluation.label_map), mapped_label(reply)
            if truth is not None:
                found[name] = label is not None and labels.emotion7(label, evaluation.label_map) == truth
        else:
            found[name] = (exact_label(reply) if how == "exact" else mapped_label(reply)) == question.emotion
    return found


def macro_f1(evaluation: Evaluation, system: System) -> Cell:
    """Mean F1 over the labels that occur, of the exact labels, in per cent."""
    if all(reply.emotion is None for reply in system.replies.values()):
        return Cell(note="the system names no emotion")
    known = {name: each.emotion for name, each in evaluation.questions.items() if each.emotion is not None}
    if not known:
        return Cell(note="the test file says no emotions")
    place = {label: k for k, label in enumerate(labels.EMOTIONS_32)}
    found = [exact_label(system.replies[name]) for name in known]
    score = text.emotion_accuracy(
        [place[each] for each in known.values()], [-1 if each is None else place[each] for each in found]
    )
    return Cell(100 * score.macro_f1, score.count)


def _emotion(evaluation: Evaluation, system: System, how: str) -> Cell:
    if all(reply.emotion is None for reply in system.replies.values()):
        return Cell(note="the system names no emotion")
    found = hits(evaluation, system, how)
    return cells.share(list(found.values())) if found else Cell(note="the test file says no emotions")


# ---------------------------------------------------------------- cells by column


def _column(name: str, scale: float = 1.0) -> Callable[[Evaluation, System], Cell]:
    return lambda ev, s: cells.mean(collect(ev.values[s.row], name), ev.dialogues, scale)


def _distinct(n: int, raw: bool = False) -> Callable[[Evaluation, System], Cell]:
    def cell(ev: Evaluation, s: System) -> Cell:
        replies = [s.replies[name].response for name in ev.questions]
        return cells.distinct([each.split() if raw else text.normalise(each) for each in replies], n)

    return cell


def _word_errors(ev: Evaluation, s: System) -> Cell:
    values = ev.values[s.row]
    return cells.ratio(collect(values, "word_errors"), collect(values, "words_said"))


def _rated(scale: str) -> Callable[[Evaluation, System], Cell]:
    return lambda ev, s: Cell(note="no ratings were given") if ev.ratings is None else ev.ratings.cell(s.row, scale)


def _numbers(key: str, scale: float = 1.0) -> Callable[[Evaluation, System], Cell]:
    """A number that the system says of itself in its JSON."""

    def cell(ev: Evaluation, s: System) -> Cell:
        found = {name: s.replies[name].number(key) for name in ev.questions}
        return cells.mean({n: v for n, v in found.items() if v is not None}, ev.dialogues, scale)

    return cell


def _copied(ev: Evaluation, s: System) -> Cell:
    if ev.training is None:
        return Cell(note="no training split was given")
    training = ev.training
    shares = {name: training.copied(text.normalise(s.replies[name].response)) for name in ev.questions}
    return cells.mean(shares, ev.dialogues, 100)


def _verbatim(ev: Evaluation, s: System) -> Cell:
    if ev.training is None:
        return Cell(note="no training split was given")
    return cells.share([ev.training.verbatim(text.normalise(s.replies[name].response)) for name in ev.questions])


def _face(ev: Evaluation, s: System) -> Cell:
    found = collect(ev.values[s.row], "face_emotion")  # type: ignore[arg-type]
    shown = {name: wanted(ev, s, name)["expression"] for name in found if "expression" in wanted(ev, s, name)}
    return cells.share([found[name] == each for name, each in shown.items()])  # type: ignore[comparison-overlap]


CELLS: Mapping[str, Callable[[Evaluation, System], Cell]] = {
    "accuracy": lambda ev, s: _emotion(ev, s, "exact"),
    "accuracy_mapped": lambda ev, s: _emotion(ev, s, "mapped"),
    "accuracy7": lambda ev, s: _emotion(ev, s, "seven"),
    "macro_f1": macro_f1,
    "distinct1": _distinct(1),
    "distinct2": _distinct(2),
    "distinct1_raw": _distinct(1, raw=True),
    "distinct2_raw": _distinct(2, raw=True),
    **{scale: _rated(scale) for scale in paper.SCALES},
    **{
        name: _column(name)
        for name in ("cpbd", "ssim", "ssim_uniform7", "sync_confidence", "sync_offset", "sync_distance")
    },
    **{
        name: _column(name)
        for name in ("lips_confidence", "lips_offset", "dnsmos", "voice_similarity", "words_per_second")
    },
    **{name: _column(name) for name in ("f0", "f0_range", "level_range", "seconds", "film_minus_speech")},
    "word_error_rate": _word_errors,
    "nats": _numbers("nats"),
    "copied": _copied,
    "verbatim": _verbatim,
    "face": _face,
}
"""Every column by key."""
JUDGE_OF = {
    "sync_confidence": "syncnet",
    "sync_offset": "syncnet",
    "sync_distance": "syncnet",
    "dnsmos": "dnsmos",
    "word_error_rate": "whisper",
    "voice_similarity": "voice print",
    "face": "face",
}
_SPEECH = {
    "dnsmos",
    "word_error_rate",
    "voice_similarity",
    "words_per_second",
    "f0",
    "f0_range",
    "level_range",
    "seconds",
}
_FILM = {"cpbd", "ssim", "ssim_uniform7", "lips_confidence", "lips_offset", "film_minus_speech", "face"}
_FILM |= {"sync_confidence", "sync_offset", "sync_distance"}
_REFERENCE = {"ssim", "ssim_uniform7", "voice_similarity"}


def cell(evaluation: Evaluation, system: System, column: str) -> Cell:
    """One cell, or why it is empty."""
    if column in _SPEECH and not system.has("speech"):
        return Cell(note="the replies have no speech")
    if column in _FILM and not system.has("video"):
        return Cell(note="the replies have no film")
    if column in _REFERENCE and evaluation.system("ground-truth") is None:
        return Cell(note="needs the recordings as the row ground-truth")
    judge = JUDGE_OF.get(column)
    if judge is not None and (why := evaluation.judges.absent.get(judge)):
        return Cell(note=why)
    return CELLS[column](evaluation, system)


# ---------------------------------------------------------------- tables


def _wanted_rows(evaluation: Evaluation, known: Mapping[str, str], needs: str | None = None) -> dict[str, str]:
    """The table's rows, and behind them the systems that the paper does not have; only those asked for."""
    rows = dict(known)
    for each in evaluation.systems:
        ours = each.row in known or each.row in paper.SYSTEMS and each.row not in paper.BASELINES
        if not ours and (needs is None or each.has(needs)):
            rows[each.row] = paper.SYSTEMS.get(each.row, each.name)
    if evaluation.rows is not None:
        rows = {key: title for key, title in rows.items() if key in evaluation.rows}
    return rows


def table(
    evaluation: Evaluation,
    key: str,
    title: str,
    columns: Sequence[Column],
    rows: Mapping[str, str],
    notes: Sequence[str] = (),
    numbers: PaperTable | None = None,
) -> Table:
    """A table of `CELLS`; rows without a system are said."""
    made = []
    for row, name in rows.items():
        system = evaluation.system(row)
        found: dict[str, Cell] = {}
        for each in columns:
            here = Cell() if system is None else cell(evaluation, system, each.key)
            found[each.key] = here.with_paper(None if numbers is None else numbers.number(row, each.key))
        made.append(Row(row, name, found, "" if system else MISSING_ROW))
    given = [each for each in (evaluation.system(row) for row in rows) if each is not None]
    said = [
        f"{each.name}: {each.manifest.extra['note']}"
        for each in given
        if isinstance(each.manifest.extra.get("note"), str)
    ]
    return Table(key, title, columns, made, [*notes, *said])


def _paper_table(evaluation: Evaluation, which: PaperTable, notes: Sequence[str], needs: str | None = None) -> Table:
    rows = _wanted_rows(evaluation, which.rows, needs)
    return table(evaluation, which.key, which.title, which.columns, rows, notes, which)


def paper_tables(evaluation: Evaluation) -> list[Table]:
    """Tables 2 to 5."""
    normal = (
        "Dist: different n-grams over all n-grams of all replies, × 100; one normaliser for all rows, the same turns"
    )
    exact = "Acc: the word between <emo> and </emo> is the label of the 32, in per cent. "
    return [
        _paper_table(evaluation, paper.TABLE_2, [exact + normal + ". Intervals: Wilson for Acc, jackknife for Dist."]),
        _paper_table(
            evaluation,
            paper.TABLE_3,
            [
                MEDIA,
                "CPBD: mean over frames. SSIM: 11 × 11 Gaussian window, RGB, frames nearest in time to those of the recording.",
                "Sync_cf: SyncNet on the centre square at 224 × 224. Intervals: Student's t over dialogues.",
            ],
            "video",
        ),
        _paper_table(
            evaluation, paper.TABLE_4, ["Ratings from 1 to 5. Interval: Student's t over the means of items."]
        ),
        _paper_table(
            evaluation,
            paper.TABLE_5,
            ["SSA and VSA are the paper's SEA and VEA. Interval: Student's t over the means of items."],
            "video",
        ),
    ]


def _given_rows(evaluation: Evaluation, needs: str | None = None) -> dict[str, str]:
    rows = {
        each.row: paper.SYSTEMS.get(each.row, each.name)
        for each in evaluation.systems
        if needs is None or each.has(needs)
    }
    order = [*paper.SYSTEMS, *(row for row in rows if row not in paper.SYSTEMS)]
    chosen = rows if evaluation.rows is None else [row for row in rows if row in evaluation.rows]
    return {row: rows[row] for row in order if row in rows and row in chosen}


def companions(evaluation: Evaluation) -> list[Table]:
    """What needs no people: the text, the speech, the film, and who agrees with whom."""
    text_columns = [
        Column("accuracy", "Acc 32, exact"),
        Column("accuracy_mapped", "Acc 32, by synonyms"),
        Column("accuracy7", "Acc 7"),
        Column("macro_f1", "macro-F1 32"),
        Column("distinct1_raw", "Dist-1, raw"),
        Column("distinct2_raw", "Dist-2, raw"),
        Column("nats", "nats/word", 2, -1),
        Column("copied", "copied words", 1, -1),
        Column("verbatim", "copied replies", 1, -1),
    ]
    speech_columns = [
        Column("dnsmos", "DNSMOS"),
        Column("word_error_rate", "word errors", 1, -1),
        Column("voice_similarity", "voice like the recording's", 3),
        Column("words_per_second", "words/s", 2, 0),
        Column("f0", "F0, Hz", 0, 0),
        Column("f0_range", "F0 range, semitones", 1, 0),
        Column("level_range", "loudness range, dB", 1, 0),
    ]
    film_columns = [
        Column("lips_confidence", "lips with speech"),
        Column("lips_offset", "lips' offset, frames", 1, 0),
        Column("sync_offset", "SyncNet offset", 1, 0),
        Column("sync_distance", "LSE-D", 2, -1),
        Column("ssim_uniform7", "SSIM, 7 × 7 uniform", 3),
        Column("face", "expression as asked", 1),
        Column("film_minus_speech", "film − speech, s", 3, 0),
    ]
    tables = [
        table(
            evaluation,
            "text",
            "Beside Table 2: the text",
            text_columns,
            _given_rows(evaluation),
            [
                "by synonyms: the word reaches the label through the table of synonyms; Acc 7: then through the map to the 7.",
                "raw: split at blanks, case kept. copied: in a run of 8 words of the training responses, or a whole reply, %.",
                "nats/word: of the reference, as the system says of itself (`nats` in reply.json).",
            ],
        )
    ]
    if speech := _given_rows(evaluation, "speech"):
        tables.append(table(evaluation, "speech", "Beside Table 3: the speech", speech_columns, speech))
    if film := _given_rows(evaluation, "video"):
        lips = "lips with speech: confidence of `lip_loudness`, in per cent of the mouth's variance. " + MEDIA
        tables.append(table(evaluation, "film", "Beside Table 3: the film", film_columns, film, [lips]))
    return tables


def by_emotion(evaluation: Evaluation) -> list[Table]:
    """Pitch and pace by the speaker's emotion."""
    tables = []
    for key, title, decimals in (
        ("f0", "Median F0 (Hz) by the speaker's emotion", 0),
        ("words_per_second", "Words a second", 2),
    ):
        rows = []
        columns = [Column(emotion, emotion, decimals, 0) for emotion in labels.EMOTIONS_7]
        for row, name in _given_rows(evaluation, "speech").items():
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


def groups(evaluation: Evaluation, row: str) -> Table | None:
    """Figure 6 as a table: accuracy by the speaker's emotion (of the 7), age and gender; None without such a system."""
    system = evaluation.system(row)
    if system is None:
        return None
    found = hits(evaluation, system, "exact")
    rows = []

    def add(title: str, names: list[str]) -> None:
        rows.append(Row(title, title, {"accuracy": cells.share([found[name] for name in names])}))

    for emotion in labels.EMOTIONS_7:
        add(emotion, [n for n in found if evaluation.questions[n].emotion7(evaluation.label_map) == emotion])
    for index, words in ((0, labels.AGES), (1, labels.GENDERS)):
        for number, word in enumerate(words):
            speakers = {n: evaluation.questions[n].speaker for n in found}
            add(word, [n for n, each in speakers.items() if each is not None and each.ids[index] == number])
    title = f"Figure 6: accuracy of {system.name} by emotion, age and gender of the speaker"
    return Table("figure6", title, [Column("accuracy", "Acc")], rows)


def latency(evaluation: Evaluation) -> Table | None:
    """Seconds that the parts of a reply took, as the systems say of themselves: p50 and p95."""
    parts: list[str] = []
    times: dict[str, dict[str, list[float]]] = {}
    for system in evaluation.systems:
        for name in evaluation.questions:
            timings = system.replies[name].values.get("timings")
            for part, seconds in timings.items() if isinstance(timings, dict) else ():
                if isinstance(seconds, int | float) and not isinstance(seconds, bool):
                    times.setdefault(system.row, {}).setdefault(str(part), []).append(float(seconds))
                    if part not in parts:
                        parts.append(str(part))
    if not times:
        return None
    columns = [Column(f"{part} p{p}", f"{part}, p{p} s", 2, -1) for part in parts for p in (50, 95)]
    rows = []
    for row, name in _given_rows(evaluation).items():
        if row in times:
            found = {
                f"{part} p{p}": cells.percentile(times[row].get(part, []), p / 100) for part in parts for p in (50, 95)
            }
            rows.append(Row(row, name, found))
    hardware = "; ".join(
        f"{each.name}: {each.manifest.hardware or 'hardware not stated'}" for each in evaluation.systems
    )
    return Table("latency", "Seconds of each part of a reply", columns, rows, [hardware])


def differences(evaluation: Evaluation, row: str = "empatheia") -> Table | None:
    """Every system against one, on the same turns: mean difference and Wilcoxon's test, adjusted by Holm over the whole
    table.
    """
    ours = evaluation.system(row)
    others = [each for each in evaluation.systems if each.row != row]
    if ours is None or not others or len(evaluation.questions) < 2:
        return None
    columns = [("accuracy", "Acc, points"), ("cpbd", "CPBD"), ("ssim", "SSIM"), ("sync_confidence", "Sync_cf")]
    columns += [("lips_confidence", "lips with speech"), ("dnsmos", "DNSMOS")]
    found: dict[tuple[str, str], opinion.Paired] = {}
    for other in others:
        for key, _ in columns:
            a, b = (_per_reply(evaluation, each, key) for each in (ours, other))
            both = [name for name in evaluation.questions if name in a and name in b]
            if len(both) >= 2:
                found[other.row, key] = opinion.paired(
                    np.array([a[name] for name in both]), np.array([b[name] for name in both])
                )
    adjusted = dict(zip(found, opinion.holm([each.wilcoxon_p for each in found.values()])))
    rows = []
    for title, other in ((paper.SYSTEMS.get(each.row, each.name), each) for each in others):
        made: dict[str, Cell] = {}
        for key, _ in columns:
            if (other.row, key) in found:
                pair = found[other.row, key]
                made[key] = Cell(pair.mean_difference * (100 if key == "accuracy" else 1), pair.items)
                made[f"{key} p"] = Cell(adjusted[other.row, key], pair.items)
        rows.append(Row(other.row, title, made))
    heads = [
        column
        for key, title in columns
        if any(key in each.cells for each in rows)
        for column in (Column(key, title, 3, 0), Column(f"{key} p", "p", 4, 0))
    ]
    note = "Paired over turns, Wilcoxon's signed ranks, adjusted by Holm over all tests of this table."
    return Table("differences", f"{ours.name} minus each other system", heads, rows, [note])


def _per_reply(evaluation: Evaluation, system: System, key: str) -> dict[str, float]:
    if key == "accuracy":
        known = any(reply.emotion is not None for reply in system.replies.values())
        return {name: float(hit) for name, hit in hits(evaluation, system, "exact").items()} if known else {}
    return collect(evaluation.values[system.row], key)


def rating_tables(evaluation: Evaluation, row: str = "empatheia") -> list[Table]:
    """Agreement of the raters, and every system against one by Wilcoxon with Holm."""
    ratings = evaluation.ratings
    if ratings is None:
        return []
    columns = [
        Column("raters", "raters", 0, 0),
        Column("units", "rated replies", 0, 0),
        Column("krippendorff", "Krippendorff's α, ordinal", 3),
        Column("fleiss", "Fleiss' κ", 3),
        Column("cohen", "Cohen's κ, quadratic, mean of pairs", 3),
    ]
    rows = []
    for scale in ratings.scales():
        found = ratings.agreement(scale)
        count = sum(each.scale == scale for each in ratings.ratings)
        undefined = Cell(note="not defined for these ratings")
        made = {key: Cell(value, count) if value == value else undefined for key, value in found.items()}
        rows.append(Row(scale, scale, made))
    tables = [Table("agreement", "Agreement of the raters", columns, rows)]
    others = [each for each in ratings.systems() if each != row]
    if row in ratings.systems() and others:
        pairs = {
            (o, s): pair for o in others for s in ratings.scales() if (pair := ratings.compared(row, o, s)) is not None
        }
        adjusted = dict(zip(pairs, opinion.holm([each.wilcoxon_p for each in pairs.values()])))
        heads = [c for s in ratings.scales() for c in (Column(s, s, 2, 0), Column(f"{s} p", "p", 4, 0))]
        rows = []
        for other in others:
            made = {}
            for scale in ratings.scales():
                if (other, scale) in pairs:
                    pair = pairs[other, scale]
                    made[scale] = Cell(pair.mean_difference, pair.items)
                    made[f"{scale} p"] = Cell(adjusted[other, scale], pair.items)
            rows.append(Row(other, paper.SYSTEMS.get(other, other), made))
        note = "Item means, Wilcoxon's signed ranks, adjusted by Holm over all tests of this table."
        tables.append(Table("rated_differences", "Ratings: Empatheia minus each other system", heads, rows, [note]))
    return tables


# ---------------------------------------------------------------- consistency


def wanted(evaluation: Evaluation, system: System, name: str) -> dict[str, str]:
    """What a reply asks voice and face to show: the expression that it names (else the listener's answer to the true emotion),
    and the listener's gender and age.
    """
    question, values = evaluation.questions[name], system.replies[name].values
    found: dict[str, str] = {}
    shown = values.get("listener_emotion")
    if isinstance(shown, dict) and isinstance(shown.get("shown"), str):
        found["expression"] = shown["shown"]
    elif question.emotion is not None:
        found["expression"] = expression.listener_emotion(question.emotion)[0]
    if question.listener is not None:
        age, gender, _ = question.listener.ids
        found |= {"gender": labels.GENDERS[gender], "age": labels.AGES[age]}
    return found


def consistency_scores(
    evaluation: Evaluation,
) -> tuple[dict[str, dict[str, dict[str, float]]], dict[str, list[tuple[float, float]]]]:
    """(row → id → proxy → score, proxy → pairs of (score of a true pair, score of a shuffled pair) on the recordings)."""
    truth = evaluation.system("ground-truth")
    if truth is None or not truth.has("video") or not truth.has("speech"):
        return {}, {}
    dialogues = evaluation.dialogues

    def observed(row: str, name: str) -> consistency.Observed:
        values = evaluation.values[row][name]
        return consistency.Observed(consistency.voice_features(values), values.get("appearance"))

    fold = consistency.folds(list(dialogues.values()))
    known = {name: wanted(evaluation, truth, name) for name in evaluation.questions}
    probes = {
        number: consistency.Probes(
            {name: observed("ground-truth", name) for name in evaluation.questions if fold[dialogues[name]] != number},
            known,
        )
        for number in set(fold.values())
    }
    scores: dict[str, dict[str, dict[str, float]]] = {}
    for system in evaluation.systems:
        if not (system.has("speech") or system.has("video")):
            continue
        scores[system.row] = {}
        for name in evaluation.questions:
            values, seen = evaluation.values[system.row][name], observed(system.row, name)
            errors = values["word_errors"] / max(1, values["words_said"]) if "word_errors" in values else None
            scores[system.row][name] = consistency.proxies(
                probes[fold[dialogues[name]]],
                seen.voice,
                seen.face,
                wanted(evaluation, system, name),
                errors,
                values.get("lips_confidence"),
            )
    pairs: dict[str, list[tuple[float, float]]] = {name: [] for name in consistency.PROXIES}
    for name, other in consistency.partner(list(evaluation.questions), dialogues).items():
        mine, theirs = observed("ground-truth", name), observed("ground-truth", other)
        read = probes[fold[dialogues[name]]]
        shuffled = {
            "VCA": lips_with(truth.replies[name], truth.replies[other], evaluation.store),
            "SSA": consistency.style(read.read("voice", theirs.voice), known[name]),
            "VSA": consistency.style(read.read("face", theirs.face), known[name]),
            "MSC": consistency.agreement(read.read("voice", mine.voice), read.read("face", theirs.face)),
            "SCA": _words_of_another(evaluation, name, other),
        }
        for proxy, wrong in shuffled.items():
            true = scores["ground-truth"][name].get(proxy)
            if true is not None and wrong is not None:
                pairs[proxy].append((true, wrong))
    return scores, pairs


def _words_of_another(evaluation: Evaluation, name: str, other: str) -> float | None:
    from evaluation.speech_judges import word_errors, words

    heard = evaluation.values["ground-truth"][other].get("heard")
    reference = evaluation.questions[name].reference
    if not isinstance(heard, str) or reference is None:
        return None
    said = words(reference)
    return max(0.0, 1.0 - word_errors(heard.split(), said) / max(1, len(said)))


def consistency_table(evaluation: Evaluation) -> Table | None:
    """The proxies by system, and below them how often each tells a true pair from a shuffled one."""
    scores, pairs = consistency_scores(evaluation)
    if not scores:
        return None
    rows = []
    for row, name in _given_rows(evaluation).items():
        if row in scores:
            made = {}
            for proxy in consistency.PROXIES:
                found = {n: each[proxy] for n, each in scores[row].items() if proxy in each}
                made[proxy] = (
                    cells.mean(found, evaluation.dialogues) if found else Cell(note="a judge or a file is missing")
                )
            rows.append(Row(row, name, made))
    valid = {
        p: cells.share([a > b for a, b in each]) if each else Cell(note="not validated") for p, each in pairs.items()
    }
    valid["MCC"] = Cell(note="the product of SCA* and VCA*; see theirs")
    rows.append(Row("validation", "true pair above shuffled, %", valid))
    return Table(
        "consistency",
        "Cross-modal consistency: automatic stand-ins for SCA … MSC",
        [Column(proxy, f"{proxy}*", 3) for proxy in consistency.PROXIES],
        rows,
        [
            "Definitions: `evaluation.consistency`. Last row: true pairs of the recordings against those of two "
            "dialogues; 50 means that the proxy sees nothing, and its column says nothing.",
        ],
    )


def all_tables(evaluation: Evaluation) -> list[Table]:
    """Everything, in the order of the report."""
    optional = [
        consistency_table(evaluation),
        groups(evaluation, "empatheia"),
        differences(evaluation),
        latency(evaluation),
    ]
    rest = [*companions(evaluation), *by_emotion(evaluation), *rating_tables(evaluation)]
    return [*paper_tables(evaluation), *rest, *(each for each in optional if each is not None)]
