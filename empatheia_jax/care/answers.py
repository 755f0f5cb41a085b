"""What is said in a crisis instead of an answer of the model: the checks of `care.check`, with the texts of a file."""

from __future__ import annotations

from dataclasses import dataclass

from empatheia_jax.care.check import Finding, check, check_reply
from empatheia_jax.care.rules import Kind
from empatheia_jax.care.texts import DEFAULT, Texts


@dataclass(frozen=True)
class CrisisAnswer:
    """A text to be said word for word. verified_at: who confirmed it, and when; it is shown beside the text."""

    kind: Kind
    text: str
    verified_at: str

    @property
    def notice(self) -> str:
        """The line to show beside the text."""
        if self.kind == "hurtful":  # a text without numbers
            return "This is a fixed text, not an answer of the model."
        return f"This is a fixed text, not an answer of the model. Its numbers: {self.verified_at}."


class CrisisAnswers:
    """The two checks around a reply, each with the text that follows.

    Args:
        texts: what is said; None = the texts that come with the package.
        locale: of the user.
    """

    def __init__(self, texts: Texts | None = None, locale: str = DEFAULT):
        self.texts, self.locale = texts or Texts.read(), locale

    def before(self, said: str) -> CrisisAnswer | None:
        """What is said instead of an answer to these words of the user; None where the model may answer."""
        return self._answer(check(said, self.locale))

    def after(self, written: str, said: str = "") -> CrisisAnswer | None:
        """What is said instead of these words of the model, after these of the user; None where they may be said."""
        return self._answer(check_reply(written, self.locale, said=said))

    def notices(self) -> dict[str, str | int]:
        """What a user is told at the start, and before a recording is taken (`Texts.notices`)."""
        return self.texts.notices(self.locale)

    def _answer(self, finding: Finding | None) -> CrisisAnswer | None:
        if finding is None:
            return None
        kind = finding.kind
        return CrisisAnswer(kind, self.texts.text(kind, self.locale), self.texts.verified_at(kind, self.locale))
