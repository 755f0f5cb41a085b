"""The tables of an evaluation: the paper's four, and what stands beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from empatheia_jax.conversation import labels
from evaluation import breakdowns, comparisons, consistency, face_judges, films, paper
from evaluation.columns import descriptor, table
from evaluation.consistency_scores import consistency_table
from evaluation.latency import latency
from evaluation.paper import Column, PaperTable
from evaluation.ratings import agreement_table
from evaluation.run import Evaluation
from evaluation.tables import Table

MEDIA = f"Every film was first brought to one form: {films.WORDS}."


def _wanted_rows(evaluation: Evaluation, known: Mapping[str, str], needs: str | None = None) -> dict[str, str]:
    """The table's rows, and behind them the systems that the paper does not have; only those asked for."""
    rows = dict(known)
    for each in evaluation.systems:
        ours = each.row in known or each.row in paper.SYSTEMS and each.row not in paper.BASELINES
        if not ours and (needs is None or each.has(needs)):
            rows[each.row] = each.title
    if evaluation.rows is not None:
        rows = {key: title for key, title in rows.items() if key in evaluation.rows}
    return rows


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


def _about_persons(evaluation: Evaluation) -> list[str]:
    """What the columns of who is seen mean, and how far apart the faces of two recordings lie that are of two dialogues."""
    bounds = ", ".join(f"{name} from {years}" for name, years in zip(labels.AGES, face_judges.FIRST_YEARS))
    notes = [
        f"Read in {face_judges.FRAMES} frames of each film that shows a face. As asked: as the listener's profile says. "
        f"Ages in years: {bounds}. Distance: of photographs of one person below {face_judges.SAME_PERSON} as a rule; "
        f"drawn faces lie nearer. {MEDIA}"
    ]
    if evaluation.system("ground-truth") is None:
        return notes
    pairs = consistency.partner(list(evaluation.questions), evaluation.dialogues).items()
    prints = [[descriptor(evaluation, "ground-truth", each) for each in pair] for pair in pairs]
    apart = [face_judges.distance(ours, theirs) for ours, theirs in prints if ours is not None and theirs is not None]
    if apart:
        notes.append(f"Recordings of two dialogues lie {np.mean(apart):.2f} apart (mean of {len(apart)} pairs).")
    return notes


def _about_lips(evaluation: Evaluation) -> list[str]:
    """What the columns of the lips mean, and from which recordings the first of them was learned."""
    said = (
        "lips as recorded: `learned_lips`, the share of the mismatch between a mouth and what sound predicts that is gone with "
        "its own sound. "
    )
    lips = evaluation.judges.get("lips")
    if lips is not None:
        said += (
            f"Learned from {lips.recordings} training recordings, which score {lips.own_score:.0f} where their dialogue is left "
            f"out; {len(lips.correlations)} directions, correlation up to {lips.correlations.max():.2f}. "
        )
    loudness = "lips with loudness: `lip_loudness`, in per cent of the mouth's variance; more is not better. "
    return [said + loudness + MEDIA]


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
        Column("distillmos", "Distill-MOS"),
        Column("word_error_rate", "word errors", 1, -1),
        Column("voice_similarity", "voice like the recording's", 3),
        Column("words_per_second", "words/s", 2, 0),
        Column("f0", "F0, Hz", 0, 0),
        Column("f0_range", "F0 range, semitones", 1, 0),
        Column("level_range", "loudness range, dB", 1, 0),
    ]
    film_columns = [
        Column("lips_score", "lips as recorded, %", 1),
        Column("lips_offset", "lips' offset, frames", 1, 0),
        Column("loudness_confidence", "lips with loudness", 1, 0),
        Column("sync_offset", "SyncNet offset", 1, 0),
        Column("sync_distance", "LSE-D", 2, -1),
        Column("ssim_uniform7", "SSIM, 7 × 7 uniform", 3),
        Column("face", "expression as asked", 1),
        Column("film_minus_speech", "film − speech, s", 3, 0),
    ]
    landmark_columns = [
        Column("face_seen", "face seen, %", 0),
        Column("flmd", "F-LMD", 1, -1),
        Column("mlmd", "M-LMD", 1, -1),
        Column("lips_path", "lips/s", 0, 0),
        Column("brows_path", "brows/s", 0, 0),
        Column("head_path", "head/s", 0, 0),
        Column("silent_lips", "lips/s in silence", 0, 0),
        Column("opening_confidence", "opening with loudness", 2, 0),
    ]
    person_columns = [
        Column("age_as_asked", "age as asked, %", 0),
        Column("gender_as_asked", "gender as asked, %", 0),
        Column("face_distance", "distance to the recording's face", 2, -1),
    ]
    tables = [
        table(
            evaluation,
            "text",
            "Beside Table 2: the text",
            text_columns,
            evaluation.titles(),
            [
                "by synonyms: the word reaches the label through the table of synonyms; Acc 7: then through the map to the 7.",
                "raw: split at blanks, case kept. copied: in a run of 8 words of the training responses, or a whole reply, %.",
                "nats/word: of the reference, as the system says of itself (`nats` in reply.json).",
            ],
        )
    ]
    if speech := evaluation.titles("speech"):
        tables.append(table(evaluation, "speech", "Beside Table 3: the speech", speech_columns, speech))
    if film := evaluation.titles("video"):
        tables.append(
            table(evaluation, "film", "Beside Table 3: the film", film_columns, film, _about_lips(evaluation))
        )
        points = (
            "Lengths: hundredths of the distance between the outer corners of the eyes. F-LMD, M-LMD: to the recording's points. "
            "…/s: paths, after the dynamics of THEval; the nearer to the recordings', the better. " + MEDIA
        )
        tables.append(
            table(evaluation, "landmarks", "Beside Table 3: points of the face", landmark_columns, film, [points])
        )
        tables.append(
            table(evaluation, "person", "Beside Table 3: who is seen", person_columns, film, _about_persons(evaluation))
        )
    return tables


def all_tables(evaluation: Evaluation) -> list[Table]:
    """Everything, in the order of the report."""
    optional = [
        None if evaluation.ratings is None else agreement_table(evaluation.ratings),
        comparisons.rated_differences(evaluation),
        consistency_table(evaluation),
        breakdowns.accuracy_by_speaker(evaluation, "empatheia"),
        comparisons.measured_differences(evaluation),
        latency(evaluation),
    ]
    made = [*paper_tables(evaluation), *companions(evaluation), *breakdowns.voice_by_emotion(evaluation)]
    return [*made, *(each for each in optional if each is not None)]
