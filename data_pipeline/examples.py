"""The examples of a split: one per listener turn, in a fixed order, with everything unusable set aside and listed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from data_pipeline.layout import Clip, Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.schema import ChainOfEmpathy, Conversation, Turn
from empatheia_jax.errors import UserError


@dataclass(frozen=True)
class Example:
    """One reply to be learnt or predicted."""

    conversation: Conversation
    turn: Turn

    @property
    def id(self) -> str:
        """Name for reports: `01118 turn 1`."""
        return f"{self.conversation.conversation_id} turn {self.turn.turn_id}"

    @property
    def emotion(self) -> str | None:
        """The speaker's emotion as written in the chain, else as annotated for the whole conversation."""
        if self.turn.chain is not None:
            return self.turn.chain.speaker_emotion
        found = self.conversation.extra.get("emotion")
        return found if isinstance(found, str) else None

    def target_chain(self, steps: bool) -> ChainOfEmpathy | None:
        """What an answer to learn says before the reply: the turn's chain. Without `steps` an answer names the emotion alone, so
        one that is annotated for the whole conversation is enough (EmpatheticDialogues has no chains).
        """
        if self.turn.chain is not None or steps or not self.emotion:
            return self.turn.chain
        return ChainOfEmpathy(self.emotion, "", "", "")

    def class_ids(self, table: str = "paper") -> dict[str, int]:
        """Class numbers for `Batch`: emotion of the speaker, profile of the listener; -1 where unknown."""
        unknown = labels.UNKNOWN
        emotions = labels.emotion_ids(self.emotion, table=table) if self.emotion else (unknown, unknown)
        listener = self.conversation.listener
        age, gender, tone = listener.ids if listener else (unknown,) * 3
        return {"emotion32": emotions[0], "emotion7": emotions[1], "age": age, "gender": gender, "tone": tone}

    def speaker_clips(self, tree: Tree) -> list[Clip]:
        """The utterances of the history, each with its recordings."""
        return [tree.clip(self.conversation, each.index, each.role, each.text) for each in self.turn.history]

    def reply_clip(self, tree: Tree) -> Clip:
        """The reply with its recordings. Raises `UserError` where the turn has no response."""
        if self.turn.response is None:
            raise UserError(f"{self.id} has no response; expected one")
        return tree.clip(self.conversation, self.turn.response_index, "listener", self.turn.response)


def read_conversations(path, quarantine: Quarantine, strict_emotions: bool = False) -> list[Conversation]:
    """Conversations of a released file.

    Malformed entries, second uses of an id and (with `strict_emotions`) unknown emotion words are set aside;
    conversations without turns are left out and listed. Raises `UserError` where the whole file is unreadable.
    """
    kept: list[Conversation] = []
    first_seen: dict[int, int] = {}  # by number: "7" and "00007" name the same recordings
    for position, found in schema.iterate(path):
        quarantine.saw()
        if isinstance(found, UserError):
            quarantine.add(f"{path.name}[{position}]", "malformed", found)
            continue
        name = found.conversation_id
        number = int(name)
        if number in first_seen:
            reason = f"conversation_id {name} was used at position {first_seen[number]} before"
            quarantine.add(f"{name} (again, at {position})", "duplicate id", reason)
            continue
        first_seen[number] = position
        if not found.turns:
            quarantine.add(name, "no turns", "the conversation has no turns: nothing to learn or predict", counts=False)
            continue
        if strict_emotions:
            try:
                for turn in found.turns:
                    if turn.chain is not None:
                        labels.emotion32(turn.chain.speaker_emotion, strict=True)
            except UserError as error:
                quarantine.add(name, "unknown label", error)
                continue
        kept.append(found)
    return kept


def examples_of(
    conversations: Iterable[Conversation], quarantine: Quarantine, *, last_turn_only: bool = False, replies: bool = True
) -> list[Example]:
    """One example per listener turn.

    Args:
        last_turn_only: only the last turn of each conversation, as the released baseline.
        replies: leave out turns without a response (they can be predicted, not learnt), listing them.
    """
    examples = []
    for conversation in conversations:
        turns: Sequence[Turn] = conversation.turns[-1:] if last_turn_only else conversation.turns
        for turn in turns:
            example = Example(conversation, turn)
            if not turn.ends_with_speaker:
                quarantine.add(example.id, "wrong order", "the history ends with the listener: nothing to reply to")
            elif replies and turn.response is None:
                quarantine.add(example.id, "no response", "the turn has no response to learn", counts=False)
            else:
                examples.append(example)
    return examples


def fingerprint(examples: Sequence[Example]) -> str:
    """Hash of a list of examples: a checkpoint's position means something only for the same list."""
    digest = hashlib.sha256()
    for each in examples:
        value = schema.conversation_to_json(each.conversation)
        digest.update(json.dumps([value, each.turn.turn_id], sort_keys=True, ensure_ascii=False).encode())
    return digest.hexdigest()
