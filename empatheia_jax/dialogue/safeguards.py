"""What stands around every reply: the check for a crisis, the notices to a user, and the marks of origin."""

from __future__ import annotations

import dataclasses
import os

from absl import flags

from empatheia_jax.care.answers import CrisisAnswers
from empatheia_jax.care.texts import DEFAULT, Texts
from empatheia_jax.provenance.marks import Marks


@dataclasses.dataclass(frozen=True)
class Safeguards:
    """The check with its texts, and the marks. By default the texts that come with the package, and no marks."""

    care: CrisisAnswers = dataclasses.field(default_factory=CrisisAnswers)
    marks: Marks = dataclasses.field(default_factory=Marks.none)

    @classmethod
    def of(cls, texts: str | os.PathLike | None = None, locale: str = DEFAULT, *, marks: bool = True) -> Safeguards:
        """The checks and marks that a user asks for.

        Args:
            texts: what is said in a crisis (`care.texts`); None = the file that comes with the package.
            locale: where the users are, "en-GB" say: whose numbers are said. It is not read from the machine: the language of a
                computer says little about the country that it stands in.
            marks: whether sounds are marked and files signed, as far as that is installed.

        Raises:
            UserError: the texts are wrong.
        """
        care = CrisisAnswers(
            Texts.read(texts), locale
        )  # first: a file that is wrong is refused before anything is loaded
        return cls(care, Marks() if marks else Marks.none())

    @classmethod
    def of_flags(cls, given: flags.FlagValues) -> Safeguards:
        """The checks and marks that the flags `texts`, `locale` and `marks` ask for. Raises `UserError` as `of` does."""
        return cls.of(given.texts, given.locale, marks=given.marks)
