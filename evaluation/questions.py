"""What is asked and what is known of it: the turns of a test file by the id of their reply."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.reply_folder import reply_id
from empatheia_jax.conversation.schema import Conversation, Profile, Turn
from empatheia_jax.errors import UserError


@dataclass(frozen=True)
class Question:
    """One turn to answer. `emotion`: the speaker's, one of the 32; `reference`: what a person answered; None = not known."""

    id: str
    conversation: Conversation
    turn: Turn
    emotion: str | None

    @property
    def dialogue(self) -> str:
        """The conversation's id: turns of one dialogue are not independent."""
        return self.conversation.conversation_id

    @property
    def asked(self) -> str:
        """What the speaker said last."""
        return self.turn.history[-1].text

    @property
    def reference(self) -> str | None:
        """The response of the data set."""
        return self.turn.response

    def emotion7(self, label_map: str = "paper") -> str | None:
        """The speaker's emotion of the 7, or None where it is not known or none of them."""
        found = None if self.emotion is None else labels.emotion7(self.emotion, label_map)
        return found if found in labels.EMOTIONS_7 else None

    @property
    def speaker(self) -> Profile | None:
        """Who asks."""
        return self.conversation.speaker

    @property
    def listener(self) -> Profile | None:
        """Who answers."""
        return self.conversation.listener


def read(path: Path) -> dict[str, Question]:
    """Every turn of a file that ends with the speaker, by id.

    Raises:
      UserError: the file is unreadable or malformed, an id is used twice, or no turn is there.
    """
    found: dict[str, Question] = {}
    for conversation in schema.read(path):
        for turn in conversation.turns:
            if not turn.ends_with_speaker:
                continue
            name = reply_id(conversation.conversation_id, turn.turn_id)
            if name in found:
                raise UserError(f"{path} has the turn {name} twice; expected every turn once")
            word = turn.chain.speaker_emotion if turn.chain else conversation.extra.get("emotion")
            label = labels.emotion32(word) if isinstance(word, str) else None
            found[name] = Question(name, conversation, turn, label)
    if not found:
        raise UserError(f"{path} has no turn to answer; expected turns whose history ends with the speaker")
    return found
