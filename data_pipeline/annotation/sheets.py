"""Recording sheets: what each volunteer says, with which feeling and into which file.

    python -m data_pipeline.annotation.sheets --set=accepted-text.json --output=FOLDER

One HTML page to print and one CSV per person (profile); the file names are those of the released layout, so recordings
need no renaming.
"""

from __future__ import annotations

import argparse
import collections
import csv
import html
import io
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import write_text


@dataclass(frozen=True)
class Line:
    """One utterance to record."""

    conversation: str
    index: int
    role: str
    text: str
    before: str
    emotion: str
    seven: str
    audio: str
    video: str


def lines_of(conversations: Sequence[Conversation]) -> dict[int, tuple[Profile, list[Line]]]:
    """Media id → (person, everything this person records), in the order of the dialogues.

    Raises:
        UserError: a conversation has no profiles or a turn no chain of empathy: such a set cannot be recorded.
    """
    found: dict[int, tuple[Profile, list[Line]]] = {}
    for conversation in conversations:
        said = conversation.utterances()
        for each in said:
            person = conversation.profile(each.role)
            turn = next((turn for turn in conversation.turns if each.index <= turn.response_index), None)
            if person is None or turn is None or turn.chain is None:
                raise UserError(
                    f"conversation {conversation.conversation_id} lacks profiles or a chain of empathy; annotate it first"
                )
            label = labels.emotion32(turn.chain.speaker_emotion, strict=True)
            names = [
                media_name(conversation.conversation_id, each.index, person.media_id, k) for k in ("audio", "video")
            ]
            before = said[each.index - 1].text if each.index else turn.context or ""
            line = Line(
                conversation.conversation_id,
                each.index,
                each.role,
                each.text,
                before,
                label,
                labels.emotion7(label),
                *names,
            )
            found.setdefault(person.media_id, (person, []))[1].append(line)
    return dict(sorted(found.items()))


def write_sheets(conversations: Sequence[Conversation], output: str | Path) -> dict[int, int]:
    """Writes the sheets; returns the number of utterances per person. Raises `UserError` as `lines_of`."""
    output = Path(output)
    counts: collections.Counter[int] = collections.Counter()
    for number, (person, lines) in lines_of(conversations).items():
        counts[number] = len(lines)
        text = io.StringIO()
        writer = csv.writer(text)
        fields = list(Line.__dataclass_fields__)
        writer.writerow(fields)
        writer.writerows([getattr(line, name) for name in fields] for line in lines)
        for suffix, content in ((".csv", text.getvalue()), (".html", _page(number, person, lines))):
            write_text(output / f"person-{number:02d}{suffix}", content)
    return dict(counts)


def _page(number: int, person: Profile, lines: Sequence[Line]) -> str:
    age, gender, tone = person.ids
    rows = "".join(
        f"<tr><td>{html.escape(line.audio)}<br>{html.escape(line.video)}</td><td>{html.escape(line.before)}</td>"
        f"<td class=say>{html.escape(line.text)}</td><td>{line.role}</td><td><b>{line.seven}</b><br>({line.emotion})</td></tr>"
        for line in lines
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8><title>Recording sheet</title><style>body{font:14px system-ui;"
        "margin:2em}table{border-collapse:collapse;width:100%}td,th{border:1px solid #bbb;padding:.4em;vertical-align:top;"
        "text-align:left}.say{font-size:1.2em}tr{break-inside:avoid}</style>"
        f"<h1>Person {number}: {labels.AGES[age]}, {labels.GENDERS[gender]}, {labels.TONES[tone]} tone</h1>"
        "<p>Speak each line with the feeling beside it: pitch, tempo and face. A listener shows the speaker's feeling with "
        "warmth and restraint. Look into the camera; record speech (wav, mono, at least 16 kHz) and face (mp4, 25 fps) "
        "together, and save them under the two names.</p>"
        f"<table><tr><th>files</th><th>what was said before</th><th>your words</th><th>role</th><th>feeling</th></tr>{rows}"
        "</table></html>\n"
    )


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.annotation.sheets")
    options.add_argument("--set", type=Path, required=True)
    options.add_argument("--output", type=Path, required=True)
    given = options.parse_args(argv)
    counts = write_sheets(schema.read(given.set), given.output)
    print(f"{given.output}: {len(counts)} persons, {sum(counts.values())} utterances")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
