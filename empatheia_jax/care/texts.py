"""What is said in a crisis and what users are told: texts of a file that an institution edits (`texts.toml` comes along).

A text is said as it stands in the file. No model reads, writes or changes it.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from types import MappingProxyType

from empatheia_jax.care.rules import KINDS, Kind
from empatheia_jax.errors import UserError
from empatheia_jax.files import require_regular

FILE = "texts.toml"
DEFAULT = "en"
VERIFIED, AI, RECORDING = "verified_at", "ai", "recording"
KEYS = (VERIFIED, *KINDS, AI, RECORDING)
LATER: Kind = "hurtful"
"""A text that files of institutions may not have yet; then ours is said, which holds no number."""
LONGEST = 2_000
"""Characters of one text: it is spoken whole."""
NOTICE_EVERY = 3 * 3600
"""Seconds after which a user is told again that this is a program."""


class Texts:
    """The texts of one file. Make one by `read`.

    locales: locale → key → text. Every text is there for "en"; other locales hold what they change.
    """

    def __init__(self, locales: Mapping[str, Mapping[str, str]]):
        self._locales = locales

    @classmethod
    def read(cls, path: str | os.PathLike | None = None) -> Texts:
        """The texts of `path`; None = those that come with the package.

        Raises:
            UserError: no TOML, an unknown key, a text that is empty or too long, or one that "en" lacks.
        """
        if path is None:
            source = resources.files(__package__).joinpath(FILE)
            return cls(_checked(source.read_bytes(), f"{__package__}/{FILE}"))
        require_regular(path, "a file of crisis texts (TOML)")
        return cls(_checked(Path(path).read_bytes(), str(path), {LATER: cls.read().text(LATER)}))

    @property
    def locales(self) -> tuple[str, ...]:
        """What the file has texts for."""
        return tuple(self._locales)

    def text(self, key: Kind | str, locale: str = DEFAULT) -> str:
        """One text (`KEYS`). Of a locale that lacks it, that of its language; else the English one."""
        for place in self._places(locale):
            if key in self._locales.get(place, {}):
                return self._locales[place][key]
        raise KeyError(key)

    def verified_at(self, key: Kind | str, locale: str = DEFAULT) -> str:
        """Who confirmed a text and when: of the locale that the text itself comes from."""
        place = next(place for place in self._places(locale) if key in self._locales.get(place, {}))
        return self._locales[place][VERIFIED]

    def notices(self, locale: str = DEFAULT) -> dict[str, str | int]:
        """What a user is told: `ai` at the start and every `every_seconds`, `read` before microphone or camera open."""
        return {
            "ai": self.text(AI, locale),
            "read": self.text(RECORDING, locale),
            "locale": next(place for place in self._places(locale) if AI in self._locales.get(place, {})),
            "every_seconds": NOTICE_EVERY,
        }

    def _places(self, locale: str) -> tuple[str, ...]:
        """Where a text is looked for: "en_us" → "en-US", "en"."""
        language, _, region = locale.replace("_", "-").partition("-")
        language, region = language.lower(), region.split("-")[0].upper()
        exact = (f"{language}-{region}",) if region else ()
        return tuple(dict.fromkeys((*exact, language, DEFAULT)))


def _checked(content: bytes, name: str, ours: Mapping[str, str] = MappingProxyType({})) -> dict[str, dict[str, str]]:
    """The texts by locale. ours: English ones that the file may leave out."""
    try:
        value = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UserError(f"{name} is no TOML file in UTF-8 ({error}); expected tables of texts by locale") from None
    locales: dict[str, dict[str, str]] = {}
    for locale, texts in value.items():
        if not isinstance(texts, dict):
            raise UserError(f"{name}: {locale!r} is no table; expected [en], [en-GB] … with texts")
        for key, text in texts.items():
            if key not in KEYS:
                raise UserError(f"{name}: [{locale}] has the unknown key {key!r}; expected some of {', '.join(KEYS)}")
            if not isinstance(text, str) or not text.strip() or len(text) > LONGEST:
                raise UserError(f"{name}: [{locale}] {key} must be a text of 1 to {LONGEST} characters")
        if VERIFIED not in texts:
            raise UserError(
                f'{name}: [{locale}] lacks {VERIFIED}; write who read its numbers and when, or "not verified by an institution"'
            )
        locales[locale] = {key: " ".join(text.split()) for key, text in texts.items()}
    if DEFAULT in locales:
        locales[DEFAULT] = {**ours, **locales[DEFAULT]}
    if missing := [key for key in KEYS if key not in locales.get(DEFAULT, {})]:
        raise UserError(f"{name}: [{DEFAULT}] lacks {', '.join(missing)}; every text must be there in English")
    return locales
