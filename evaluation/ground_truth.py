"""The row "Ground-Truth": the recordings of a data set as a folder of replies."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from data_pipeline.examples import Example
from data_pipeline.layout import Tree
from empatheia_jax.conversation.reply_folder import Manifest
from empatheia_jax.errors import UserError
from empatheia_jax.files import write_json
from evaluation import questions as asked
from evaluation.questions import Question


def write(data: Path, split: str, output: Path, *, last_turn_only: bool = False) -> int:
    """Copies the listener's recordings of a split and their words into `output`; returns how many replies there are.

    The folder appears with all its files, or not at all.

    Raises:
      UserError: the set is missing, no turn has a response, or a response has no recording though others have one.
    """
    tree = Tree(data)
    found = asked.read(tree.split_file(split))
    if last_turn_only:
        found = last_turns(found)
    known = {name: each for name, each in found.items() if each.reference is not None}
    if not known:
        raise UserError(f"the split {split} of {data} has no responses; there is no ground truth to evaluate")
    clips = {name: Example(each.conversation, each.turn).reply_clip(tree) for name, each in known.items()}
    recorded = any(clip.audio or clip.video for clip in clips.values())
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; choose another folder for the ground truth")
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=f".{output.name}.") as place:
        folder = Path(place) / output.name
        for name, question in known.items():
            (folder / name).mkdir(parents=True)
            if recorded:
                shutil.copyfile(clips[name].path("audio"), folder / name / "reply.wav")
                shutil.copyfile(clips[name].path("video"), folder / name / "reply.mp4")
            write_json(folder / name / "reply.json", _values(question))
        Manifest(
            system="Ground-Truth",
            row="ground-truth",
            ids=tuple(known),
            modalities=("text", "speech", "video") if recorded else ("text",),
            terms=f"those of the data set {data.name}",
            extra={"split": split},
        ).write(folder)
        folder.replace(output)
    return len(known)


def _values(question: Question) -> dict:
    chain = question.turn.chain
    steps = {} if chain is None else {"event_scenario": chain.event_scenario, "emotion_cause": chain.emotion_cause}
    steps |= {} if chain is None else {"goal_to_response": chain.goal_to_response}
    word = chain.speaker_emotion if chain else question.emotion
    return {
        "conversation_id": question.dialogue,
        "turn_id": question.turn.turn_id,
        "asked": question.asked,
        **steps,
        "speaker_emotion": word,
        "response": question.reference,
    }


def last_turns(questions: Mapping[str, Question]) -> dict[str, Question]:
    """The last turn of each dialogue: what the released baseline answers (reading U25)."""
    last: dict[str, Question] = {}
    for each in questions.values():
        known = last.get(each.dialogue)
        if known is None or len(each.turn.history) >= len(known.turn.history):
            last[each.dialogue] = each
    return {each.id: each for each in last.values()}
