"""The cross-check by three people (paper §3.2): forms to fill in a browser or a spreadsheet, and what came of them.

    python -m data_pipeline.annotation.crosscheck forms  --set=draft.json --round=text  --output=FOLDER [--annotators=a,b,c]
    python -m data_pipeline.annotation.crosscheck forms  --set=draft.json --round=media --media=ROOT --output=FOLDER
    python -m data_pipeline.annotation.crosscheck import --set=draft.json --round=text  --results=FOLDER --output=FOLDER

A form is one HTML file per annotator without anything from the net; it remembers what was ticked (in the browser) and
gives the results as a file to send back. The CSV beside it asks the same. A dialogue is accepted only where all three say
yes to every question. The items come in another order for each annotator.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import html
import io
import json
import random
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_pipeline.layout import Tree
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import write_json, write_text

PEOPLE = 3
QUESTIONS: Mapping[str, Mapping[str, str]] = {
    "text": {
        "dialogue": "The dialogue is natural, and its emotion and Chain of Empathy are right.",
        "profile": "Age, gender and tone of both persons fit what they say.",
        "topic": "The topic is right.",
    },
    "media": {
        "content": "Speech and video say the words of every utterance.",
        "style": "Age, gender, tone and emotion of speech and video are right and agree.",
    },
}
"""Round → name → what the annotator confirms."""


def set_hash(conversations: Sequence[Conversation], stage: str) -> str:
    """Names what a form asks about, so that results of another set or round are refused."""
    values = [schema.conversation_to_json(each) for each in conversations]
    return hashlib.sha256(json.dumps([stage, values], sort_keys=True).encode()).hexdigest()[:16]


def _order(conversations: Sequence[Conversation], annotator: str, mark: str) -> list[Conversation]:
    mixed = sorted(conversations, key=lambda each: each.conversation_id)
    random.Random(f"{mark} {annotator}").shuffle(mixed)
    return mixed


def _require_round(stage: str) -> None:
    if stage not in QUESTIONS:
        raise UserError(f"round {stage!r} is unknown; expected {' or '.join(QUESTIONS)}")


def make_forms(
    conversations: Sequence[Conversation],
    stage: str,
    annotators: Sequence[str],
    output: str | Path,
    tree: Tree | None = None,
) -> list[Path]:
    """Writes one HTML and one CSV per annotator; returns the HTML files.

    Args:
        stage: "text" or "media".
        annotators: names; as many as must agree (`PEOPLE`).
        tree: the recordings, for the round "media"; the pages link to them where they are.

    Raises:
        UserError: another number of annotators, a repeated name, an unknown round, or no recordings for "media".
    """
    _require_round(stage)
    if len(set(annotators)) != PEOPLE or len(annotators) != PEOPLE:
        raise UserError(f"annotators {', '.join(annotators) or 'none'}; expected {PEOPLE} different names")
    if stage == "media" and tree is None:
        raise UserError("the round 'media' needs the recordings; give the root of the set with --media=ROOT")
    mark, output, written = set_hash(conversations, stage), Path(output), []
    for annotator in annotators:
        items = _order(conversations, annotator, mark)
        path = output / f"{stage}-{annotator}.html"
        write_text(path, _page(items, stage, annotator, mark, tree))
        write_text(path.with_suffix(".csv"), _sheet(items, stage, annotator, mark))
        written.append(path)
    return written


def _sheet(items: Sequence[Conversation], stage: str, annotator: str, mark: str) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["set", "round", "annotator", "conversation", *QUESTIONS[stage], "comment", "words"])
    for each in items:
        words = " / ".join(said.text for said in each.utterances())
        writer.writerow([mark, stage, annotator, each.conversation_id, *[""] * len(QUESTIONS[stage]), "", words])
    return text.getvalue()


def _who(profile: Profile | None) -> str:
    if profile is None:
        return "unknown"
    age, gender, tone = profile.ids
    return f"{labels.AGES[age]} {labels.GENDERS[gender]}, {labels.TONES[tone]}"


def _page(items: Sequence[Conversation], stage: str, annotator: str, mark: str, tree: Tree | None) -> str:
    cards = "\n".join(_card(each, stage, tree) for each in items)
    about = {"set": mark, "round": stage, "annotator": annotator, "questions": list(QUESTIONS[stage])}
    return (
        _PAGE.replace("@TITLE@", html.escape(f"Cross-check, round {stage}: {annotator}"))
        .replace("@ABOUT@", json.dumps(about).replace("<", "\\u003c"))
        .replace("@CARDS@", cards)
    )


def _card(conversation: Conversation, stage: str, tree: Tree | None) -> str:
    name = html.escape(conversation.conversation_id)
    chains = {turn.response_index: turn.chain for turn in conversation.turns}
    lines = []
    for said in conversation.utterances():
        line = f"<p class='{said.role}'><b>{said.role}</b> {html.escape(said.text)}</p>"
        if tree is not None:
            clip = tree.clip(conversation, said.index, said.role, said.text)
            for tag, path in (("audio", clip.audio), ("video", clip.video)):
                if path is None:
                    line += f"<p class=missing>no {tag}</p>"
                else:
                    line += f"<{tag} controls preload=none src='{html.escape(path.resolve().as_uri())}'></{tag}>"
        chain = chains.get(said.index)
        if stage == "text" and chain is not None:
            steps = [chain.speaker_emotion, chain.event_scenario, chain.emotion_cause, chain.goal_to_response]
            line += f"<p class=chain>{html.escape(' → '.join(steps))}</p>"
        lines.append(line)
    asked = "".join(
        f"<div class=question><span>{html.escape(text)}</span>"
        f"<label><input type=radio name='{name}.{key}' value=yes> yes</label>"
        f"<label><input type=radio name='{name}.{key}' value=no> no</label></div>"
        for key, text in QUESTIONS[stage].items()
    )
    return (
        f"<section data-id='{name}'><h2>Dialogue {name}</h2><p class=facts>speaker: {_who(conversation.speaker)} · "
        f"listener: {_who(conversation.listener)} · topic: {html.escape(conversation.topic or 'none')}</p>"
        f"{''.join(lines)}{asked}<input class=comment name='{name}.comment' placeholder='comment (what is wrong?)'></section>"
    )


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>@TITLE@</title>
<style>
body{font:16px/1.5 system-ui,sans-serif;max-width:46em;margin:0 auto;padding:4em 1em 2em;background:#f6f5f2;color:#222}
header{position:fixed;inset:0 0 auto;background:#fff;border-bottom:1px solid #ccc;padding:.6em 1em;display:flex;gap:1em;
align-items:center;flex-wrap:wrap;z-index:1}header b{flex:1}button{font:inherit;padding:.3em 1em}
section{background:#fff;border:1px solid #ddd;border-radius:.6em;padding:.5em 1.2em 1em;margin:1em 0}
section.done{border-color:#4a4}h2{font-size:1.1em}.facts{color:#666}.speaker,.listener{margin:.4em 0}
.listener{padding-left:2em}.chain{padding-left:2em;color:#666;font-size:.85em}.missing{color:#b00}
.question{display:flex;gap:1em;border-top:1px solid #eee;padding:.3em 0}.question span{flex:1}
.comment{width:100%;box-sizing:border-box;font:inherit}audio{height:2em}video{max-width:12em;display:block}
</style>
<header><b>@TITLE@</b><span id="count"></span><button id="save">Download results</button></header>
<main>
@CARDS@
</main>
<script>
const about = @ABOUT@;
const store = 'crosscheck-' + about.set + '-' + about.annotator;
const sections = [...document.querySelectorAll('section')];
let state = JSON.parse(localStorage.getItem(store) || '{}');
function show() {
  let done = 0;
  for (const section of sections) {
    const answers = state[section.dataset.id] || {};
    const complete = about.questions.every(q => answers[q] !== undefined);
    section.classList.toggle('done', complete);
    done += complete;
  }
  document.getElementById('count').textContent = done + ' of ' + sections.length + ' answered';
}
for (const input of document.querySelectorAll('input')) {
  const cut = input.name.lastIndexOf('.');
  const id = input.name.slice(0, cut), key = input.name.slice(cut + 1);
  const known = (state[id] || {})[key];
  if (input.type === 'radio') input.checked = known === (input.value === 'yes') && known !== undefined;
  else input.value = known || '';
  input.addEventListener('input', () => {
    state[id] = state[id] || {};
    state[id][key] = input.type === 'radio' ? input.value === 'yes' : input.value;
    localStorage.setItem(store, JSON.stringify(state));
    show();
  });
}
document.getElementById('save').addEventListener('click', () => {
  const results = {set: about.set, round: about.round, annotator: about.annotator, answers: state};
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify(results, null, 1)], {type: 'application/json'}));
  link.download = about.round + '-' + about.annotator + '.json';
  link.click();
});
show();
</script></html>
"""


# ------------------------------------------------------------------------------------------------- results


@dataclass(frozen=True)
class Result:
    """What one annotator said: conversation → question → yes or no; comments beside."""

    annotator: str
    votes: Mapping[str, Mapping[str, bool]]
    comments: Mapping[str, str]


def read_results(folder: str | Path, mark: str, stage: str) -> list[Result]:
    """The results in a folder, JSON from the pages or filled CSV; files of other sets or rounds are an error.

    Raises:
        UserError: a file is broken, of another set, or an annotator occurs twice.
    """
    _require_round(stage)
    results: list[Result] = []
    for path in sorted(Path(folder).glob(f"{stage}-*")):
        found: Result | None
        if path.suffix == ".json":
            found = _from_json(path, mark, stage)
        elif path.suffix == ".csv":
            found = _from_csv(path, mark, stage)
        else:
            continue
        if found is None:
            continue
        if found.annotator in {each.annotator for each in results}:
            raise UserError(f"{path}: annotator {found.annotator!r} has another file in {folder}; keep one of them")
        results.append(found)
    return results


def _require_set(path: Path, found: Mapping[str, Any], mark: str, stage: str) -> None:
    if found.get("set") != mark or found.get("round") != stage:
        raise UserError(
            f"{path} answers about set {found.get('set')}, round {found.get('round')}; expected {mark}, {stage}: the dialogues "
            "were changed since, make new forms"
        )


def _from_json(path: Path, mark: str, stage: str) -> Result:
    found = schema.load_json(path)
    if not isinstance(found, dict) or not isinstance(found.get("answers"), dict):
        raise UserError(f"{path} is no result of a cross-check form; expected set, round, annotator and answers")
    _require_set(path, found, mark, stage)
    votes, comments = {}, {}
    for item, answers in found["answers"].items():
        votes[item] = {key: answers[key] for key in QUESTIONS[stage] if isinstance(answers.get(key), bool)}
        if answers.get("comment"):
            comments[item] = str(answers["comment"])
    return Result(str(found["annotator"]), votes, comments)


def _from_csv(path: Path, mark: str, stage: str) -> Result | None:
    """None where nobody filled the sheet (its HTML twin was used)."""
    votes: dict[str, dict[str, bool]] = {}
    comments, annotator = {}, None
    with open(path, encoding="utf-8-sig", newline="") as file:
        for number, row in enumerate(csv.DictReader(file), 2):
            _require_set(path, row, mark, stage)
            annotator = row["annotator"]
            votes[row["conversation"]] = {}
            for key in QUESTIONS[stage]:
                word = (row.get(key) or "").strip().lower()
                if word in ("yes", "y", "1", "no", "n", "0"):
                    votes[row["conversation"]][key] = word in ("yes", "y", "1")
                elif word:
                    raise UserError(f"{path}, line {number}: {key} is {word!r}; expected yes or no")
            if (row.get("comment") or "").strip():
                comments[row["conversation"]] = row["comment"].strip()
    if annotator is None or not any(votes.values()):
        return None
    return Result(annotator, votes, comments)


def fleiss_kappa(yes: Sequence[int], raters: int) -> float | None:
    """Fleiss' κ for two categories: `yes` votes out of `raters` per item; None where all votes are alike (undefined).

    κ = (P − P_e) / (1 − P_e), P the mean share of agreeing pairs, P_e that of chance (Fleiss 1971).
    """
    if not yes or raters < 2:
        return None
    pairs = [(y * (y - 1) + (raters - y) * (raters - y - 1)) / (raters * (raters - 1)) for y in yes]
    share = sum(yes) / (len(yes) * raters)
    chance = share**2 + (1 - share) ** 2
    if chance == 1:
        return None
    return (sum(pairs) / len(pairs) - chance) / (1 - chance)


@dataclass
class Decision:
    """What the three said together."""

    accepted: list[str] = field(default_factory=list)
    rejected: dict[str, list[str]] = field(default_factory=dict)
    open: dict[str, list[str]] = field(default_factory=dict)
    agreement: dict[str, dict[str, float | None]] = field(default_factory=dict)
    annotators: list[str] = field(default_factory=list)


def decide(conversations: Sequence[Conversation], results: Sequence[Result], stage: str) -> Decision:
    """Accepts what all three accept in everything; with one "no" it is rejected; with votes missing it stays open.

    Raises:
        UserError: more than three annotators.
    """
    _require_round(stage)
    if len(results) > PEOPLE:
        raise UserError(
            f"{len(results)} annotators sent results; expected {PEOPLE}; keep the files of {PEOPLE} of them"
        )
    decision = Decision(annotators=[each.annotator for each in results])
    counts: dict[str, list[int]] = {key: [] for key in QUESTIONS[stage]}
    for conversation in conversations:
        name, against, missing = conversation.conversation_id, [], []
        for key in QUESTIONS[stage]:
            votes = [(each, each.votes.get(name, {}).get(key)) for each in results]
            against += [
                f"{each.annotator}: {key}" + (f" ({each.comments[name]})" if name in each.comments else "")
                for each, vote in votes
                if vote is False
            ]
            given = [vote for _, vote in votes if vote is not None]
            if len(given) < PEOPLE:
                missing.append(f"{key}: {len(given)} of {PEOPLE} votes")
            else:
                counts[key].append(sum(given))
        if against:
            decision.rejected[name] = against
        elif missing:
            decision.open[name] = missing
        else:
            decision.accepted.append(name)
    for key, yes in counts.items():
        unanimous = [y in (0, PEOPLE) for y in yes]
        decision.agreement[key] = {
            "items": len(yes),
            "yes": sum(yes) / (PEOPLE * len(yes)) if yes else None,
            "unanimous": sum(unanimous) / len(unanimous) if unanimous else None,
            "fleiss_kappa": fleiss_kappa(yes, PEOPLE),
        }
    return decision


def report(decision: Decision, stage: str) -> str:
    """The agreement in words and numbers."""
    total = len(decision.accepted) + len(decision.rejected) + len(decision.open)
    lines = [
        f"round {stage}, annotators {', '.join(decision.annotators) or 'none'}: {total} dialogues, "
        f"{len(decision.accepted)} accepted, {len(decision.rejected)} rejected, {len(decision.open)} open"
    ]
    for key, values in decision.agreement.items():
        shown = ", ".join(f"{name} {'undefined' if v is None else f'{v:.3f}'}" for name, v in list(values.items())[1:])
        lines.append(f"  {key:<10} {values['items']} items: {shown}")
    lines += [f"  rejected {name}: {'; '.join(why)}" for name, why in decision.rejected.items()]
    return "\n".join(lines)


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.annotation.crosscheck")
    options.add_argument("what", choices=("forms", "import"))
    options.add_argument("--set", type=Path, required=True, help="dialogues in the released layout")
    options.add_argument("--round", choices=tuple(QUESTIONS), required=True)
    options.add_argument("--output", type=Path, required=True)
    options.add_argument("--annotators", default="first,second,third", help="three names")
    options.add_argument("--media", type=Path, help="root of the set with the recordings")
    options.add_argument("--results", type=Path, help="folder with what the annotators sent back")
    given = options.parse_args(argv)
    conversations = schema.read(given.set)
    if given.what == "forms":
        names = [name.strip() for name in given.annotators.split(",") if name.strip()]
        tree = Tree(given.media) if given.media else None
        for path in make_forms(conversations, given.round, names, given.output, tree):
            print(path)
        return 0
    if given.results is None:
        raise UserError("import needs --results=FOLDER with the files that the annotators sent back")
    results = read_results(given.results, set_hash(conversations, given.round), given.round)
    decision = decide(conversations, results, given.round)
    kept = set(decision.accepted)
    schema.write(given.output / f"accepted-{given.round}.json", [c for c in conversations if c.conversation_id in kept])
    write_json(given.output / f"decision-{given.round}.json", decision.__dict__)
    print(report(decision, given.round))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
