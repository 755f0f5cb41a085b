"""Table 1 and Figure 2 of the paper for any set in the released layout, beside the paper's own numbers.

    python -m data_pipeline.statistics PATH [--output=FOLDER] [--no-media]

Prints the table and writes `statistics.json`, `statistics.png` and `statistics.html` into the folder (by default the set's
own, `statistics/`). With `--no-media` no recording is opened and the lengths are left out.
"""

from __future__ import annotations

import argparse
import base64
import collections
import html
import io
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from data_pipeline.examples import read_conversations
from data_pipeline.layout import Clip, Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Conversation
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import write_bytes
from empatheia_jax.media.audio import audio_info, read_audio

PAPER: Mapping[str, Any] = {
    "dialogues, train": 24_696,
    "dialogues, valid": 4_373,
    "dialogues, test": 3_979,
    "dialogues, total": 33_048,
    "words per utterance": 14.68,
    "utterances per dialogue": 4.6,
    "utterances with text": 152_021,
    "utterances with speech": 152_021,
    "utterances with video": 152_021,
    "seconds per recording": 5.67,
    "hours of speech": 239.4,  # 152,021 × 5.67 s
    "avatars, child (male/female)": "3/3",
    "avatars, young (male/female)": "25/17",
    "avatars, middle-aged (male/female)": "4/4",
    "avatars, elderly (male/female)": "5/4",
    "avatars, tone (emphatic/mild/gentle)": "14/38/13",
    "races": 5,
    "emotions, text/multimodal": "32/7",
    "topics": 10,
}
"""Table 1 of the paper."""


@dataclass
class Statistics:
    """Counts over a set."""

    splits: collections.Counter = field(default_factory=collections.Counter)
    words: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    media: collections.Counter = field(default_factory=collections.Counter)
    emotions: collections.Counter = field(default_factory=collections.Counter)
    sevens: collections.Counter = field(default_factory=collections.Counter)
    topics: collections.Counter = field(default_factory=collections.Counter)
    ages: collections.Counter = field(default_factory=collections.Counter)
    genders: collections.Counter = field(default_factory=collections.Counter)
    tones: collections.Counter = field(default_factory=collections.Counter)
    races: set[str] = field(default_factory=set)
    avatars: dict[tuple, tuple[str, str, str]] = field(default_factory=dict)

    def add(self, split: str, conversation: Conversation, clips: Sequence[Clip], open_media: bool) -> None:
        """Counts one conversation with its recordings."""
        self.splits[split] += 1
        said = conversation.utterances()
        self.sizes.append(len(said))
        self.words += [len(each.text.split()) for each in said]
        if conversation.topic:
            self.topics[conversation.topic.strip().lower()] += 1
        for role in ("speaker", "listener"):
            self._profile(conversation.profile(role))
        for turn in conversation.turns:
            word = turn.chain.speaker_emotion if turn.chain else conversation.extra.get("emotion")
            label = labels.emotion32(word) if isinstance(word, str) else None
            if label is not None:
                self.emotions[label] += 1
                self.sevens[labels.emotion7(label)] += 1
        for clip in clips:
            self.media["text"] += 1
            self.media["video"] += clip.video is not None
            self.media["speech"] += clip.audio is not None
            if open_media and clip.audio is not None:
                try:
                    known = audio_info(clip.audio).seconds
                    self.seconds.append(len(read_audio(clip.audio, 16_000)) / 16_000 if known is None else known)
                except UserError:
                    self.media["unreadable"] += 1

    def _profile(self, profile) -> None:
        if profile is None:
            return
        age, gender, tone = profile.ids
        words = labels.AGES[age], labels.GENDERS[gender], labels.TONES[tone]
        self.ages[words[0]] += 1
        self.genders[words[1]] += 1
        self.tones[words[2]] += 1
        self.avatars[profile.media_id, *words] = words
        race = profile.extra.get("race")
        if isinstance(race, str):
            self.races.add(race.lower())

    def table(self) -> dict[str, Any]:
        """The rows of Table 1; None where the set does not say."""
        total = sum(self.splits.values())

        def mean(values: Sequence[float]) -> float | None:
            return round(float(np.mean(values)), 2) if len(values) else None

        def avatars(age: str) -> str | None:
            found = [sum(1 for a in self.avatars.values() if a[:2] == (age, gender)) for gender in labels.GENDERS]
            return "/".join(map(str, found)) if self.avatars else None

        tones = [sum(1 for a in self.avatars.values() if a[2] == tone) for tone in labels.TONES]
        return {
            **{f"dialogues, {split}": self.splits[split] for split in ("train", "valid", "test")},
            "dialogues, total": total,
            "words per utterance": mean(self.words),
            "utterances per dialogue": mean(self.sizes),
            "utterances with text": len(self.words),
            "utterances with speech": self.media["speech"],
            "utterances with video": self.media["video"],
            "seconds per recording": mean(self.seconds),
            "hours of speech": round(sum(self.seconds) / 3600, 2) if self.seconds else None,
            **{f"avatars, {age} (male/female)": avatars(age) for age in labels.AGES},
            "avatars, tone (emphatic/mild/gentle)": "/".join(map(str, tones)) if self.avatars else None,
            "races": len(self.races) or None,
            "emotions, text/multimodal": f"{len(self.emotions)}/{len(self.sevens)}" if self.emotions else None,
            "topics": len(self.topics) or None,
        }


def collect(root: Path, quarantine: Quarantine, open_media: bool = True) -> Statistics:
    """Counts a whole set. Raises `UserError` where it is no set."""
    tree, found = Tree(root), Statistics()
    if not tree.splits():
        raise UserError(f"{root} has no train.json, valid.json or test.json; expected the released layout")
    for split in tree.splits():
        for conversation in read_conversations(tree.split_file(split), quarantine):
            found.add(split, conversation, tree.clips(conversation), open_media)
    return found


def as_text(table: Mapping[str, Any]) -> str:
    """The table with the paper's column."""
    rows = [("", "this set", "the paper")]
    rows += [(name, _shown(value), _shown(PAPER[name])) for name, value in table.items()]
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    return "\n".join(f"{a:<{widths[0]}}  {b:>{widths[1]}}  {c:>{widths[2]}}" for a, b, c in rows)


def _shown(value: Any) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int | float) else str(value)


def draw(found: Statistics) -> bytes:
    """Figure 2: emotions, profiles, topics and lengths as one PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 13), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(3, 3, height_ratios=(1.8, 1, 1))

    def bars(axis, title: str, counts: Mapping[str, int], order: Sequence[str] | None = None, most: int = 32) -> None:
        names = list(order) if order else [name for name, _ in collections.Counter(counts).most_common(most)]
        axis.barh(names[::-1], [counts.get(name, 0) for name in names[::-1]], color="#4c72b0")
        axis.set_title(title)
        axis.tick_params(axis="y", labelsize=6 if len(names) > 15 else 9)

    def histogram(axis, title: str, values: Sequence[float], unit: str, paper: float) -> None:
        if len(values):
            axis.hist(values, bins=min(30, max(5, int(max(values)))), color="#55a868")
            axis.axvline(float(np.mean(values)), color="black", label=f"mean {np.mean(values):.2f}")
        axis.axvline(paper, color="#c44e52", linestyle="--", label=f"the paper {paper}")
        axis.set_title(title)
        axis.set_xlabel(unit)
        axis.legend(fontsize=8)

    bars(axes[0, 0], "Emotions of voice and face, per turn", found.sevens, labels.EMOTIONS_7)
    bars(axes[0, 1], "Emotions of the text, per turn", found.emotions)
    bars(axes[0, 2], "Topics, per dialogue", found.topics, most=15)
    bars(axes[1, 0], "Age, per role", found.ages, labels.AGES)
    bars(axes[1, 1], "Gender, per role", found.genders, labels.GENDERS)
    bars(axes[1, 2], "Tone, per role", found.tones, labels.TONES)
    histogram(axes[2, 0], "Words per utterance", found.words, "words", PAPER["words per utterance"])
    histogram(axes[2, 1], "Utterances per dialogue", found.sizes, "utterances", PAPER["utterances per dialogue"])
    histogram(axes[2, 2], "Length of a recording", found.seconds, "seconds", PAPER["seconds per recording"])
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90, metadata={"Software": None})
    return buffer.getvalue()


def as_html(name: str, found: Statistics, picture: bytes, quarantine: Quarantine) -> str:
    """One page without any file beside it."""
    rows = "".join(
        f"<tr><td>{html.escape(key)}</td><td>{html.escape(_shown(value))}</td><td>{html.escape(_shown(PAPER[key]))}</td></tr>"
        for key, value in found.table().items()
    )
    aside = html.escape(quarantine.summary())
    image = base64.b64encode(picture).decode()
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Statistics</title><style>body{font:16px system-ui;margin:2em "
        "auto;max-width:1100px;padding:0 1em}td,th{padding:.2em 1em;text-align:right}td:first-child{text-align:left}"
        "tr:nth-child(even){background:#f3f3f3}img{width:100%}</style>"
        f"<h1>Statistics of {html.escape(name)}</h1><table><tr><th></th><th>this set</th><th>the paper (Table 1)</th></tr>"
        f"{rows}</table><p>{aside}</p><h2>Distributions (Figure 2)</h2>"
        f"<img alt='distributions' src='data:image/png;base64,{image}'></html>\n"
    )


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.statistics", description=__doc__.splitlines()[0])
    options.add_argument("path", type=Path)
    options.add_argument("--output", type=Path)
    options.add_argument("--no-media", action="store_true", help="do not open recordings")
    given = options.parse_args(argv)
    quarantine = Quarantine(1.0)
    found = collect(given.path, quarantine, not given.no_media)
    table, picture = found.table(), draw(found)
    output = given.output or given.path / "statistics"
    plain = {name: dict(getattr(found, name)) for name in ("emotions", "sevens", "topics", "ages", "genders", "tones")}
    for name, content in (
        ("statistics.json", json.dumps({"table": table, "paper": dict(PAPER), **plain}, indent=1) + "\n"),
        ("statistics.png", picture),
        ("statistics.html", as_html(given.path.name, found, picture, quarantine)),
    ):
        write_bytes(output / name, content if isinstance(content, bytes) else content.encode())
    print(as_text(table))
    if quarantine.entries:
        print(quarantine.summary())
        for kind in quarantine.counts:
            ids = [entry.id for entry in quarantine.entries if entry.kind == kind]
            print(f"  {kind}: {', '.join(ids[:12])}{' …' if len(ids) > 12 else ''}")
    print(f"picture and page: {output}/statistics.png, {output}/statistics.html")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
