"""The forms of the cross-check: one page and one spreadsheet for each annotator (`data_pipeline.annotation.crosscheck`).

A page needs nothing from the net. It remembers what was ticked (in the browser) and gives the results as a file to send back.
The CSV beside it asks the same. The items come in another order for each annotator.
"""

from __future__ import annotations

import csv
import hashlib
import html
import io
import json
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_pipeline.layout import Tree
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import Conversation, Profile
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_text

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


def require_round(stage: str) -> None:
    """Raises `UserError` for a round that does not exist."""
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
    require_round(stage)
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
