"""Reading the JSON of a request, field by field: what is wrong is one line that names the field."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from typing import Any

from starlette.requests import Request as HttpRequest

from empatheia_jax.conversation import labels
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.dialogue.request import DecodingChoice, Mix
from empatheia_jax.errors import UserError
from empatheia_jax.server.refusals import Refusal


class Fields:
    """The fields of a JSON object. `where` names it in messages."""

    def __init__(self, value: Any, where: str = ""):
        if not isinstance(value, Mapping):
            raise Refusal(400, f"{where or 'the body'} is no JSON object", param=where or None)
        self.value, self.where = value, where

    def name(self, field: str) -> str:
        """A field's full name."""
        return f"{self.where}.{field}" if self.where else field

    def wrong(self, field: str, expected: str) -> Refusal:
        """The refusal of a field."""
        shown = repr(self.value.get(field))
        shown = shown if len(shown) <= 60 else shown[:60] + "…"
        return Refusal(400, f"{self.name(field)} is {shown}; expected {expected}", param=self.name(field))

    def known(self, *names: str) -> None:
        """Refuses fields of other names."""
        if odd := [name for name in self.value if name not in names]:
            raise Refusal(
                400, f"{self.name(str(odd[0])[:40])} is no field; expected {', '.join(names)}", param=str(odd[0])[:40]
            )

    def text(self, field: str, most: int, default: str | None = None) -> str | None:
        """Words of at most `most` characters."""
        value = self.value.get(field)
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(field, "words")
        if len(value) > most:
            raise Refusal(
                400, f"{self.name(field)} has {len(value)} characters; at most {most} are read", param=self.name(field)
            )
        try:
            value.encode()
        except UnicodeEncodeError:
            raise Refusal(400, f"{self.name(field)} is no valid Unicode", param=self.name(field)) from None
        return value

    def number(self, field: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`."""
        value = self.value.get(field)
        if value is None:
            return None
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
            or not low <= value <= high
        ):
            raise self.wrong(field, f"a number from {low:g} to {high:g}")
        return float(value)

    def whole(self, field: str, low: int, high: int) -> int | None:
        """A whole number from `low` to `high`."""
        value = self.value.get(field)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self.wrong(field, f"a whole number from {low} to {high}")
        return value

    def flag(self, field: str) -> bool:
        """True or false; false where it is absent."""
        value = self.value.get(field)
        if value not in (None, True, False) or isinstance(value, int) and not isinstance(value, bool):
            raise self.wrong(field, "true or false")
        return bool(value)

    def choice(self, field: str, choices: Collection[str], default: str | None = None) -> str | None:
        """One of some words."""
        value = self.value.get(field)
        if value is None:
            return default
        if not isinstance(value, str) or value not in choices:
            raise self.wrong(field, f"one of {', '.join(choices)}")
        return value

    def object(self, field: str) -> Fields:
        """The fields of a field; none where it is absent."""
        value = self.value.get(field)
        return Fields({} if value is None else value, self.name(field))

    def list(self, field: str, most: int) -> list[Any]:
        """A list of at most `most` things; an empty one where it is absent."""
        value = self.value.get(field)
        if value is None:
            return []
        if not isinstance(value, list):
            raise self.wrong(field, "a list")
        if len(value) > most:
            raise Refusal(
                400, f"{self.name(field)} has {len(value)} entries; at most {most} are read", param=self.name(field)
            )
        return value


async def read(request: HttpRequest) -> Fields:
    """The JSON object in a request's body. Raises `Refusal` where it is none."""
    body = await request.body()
    if not body:
        return Fields({})
    try:
        return Fields(json.loads(body.decode("utf-8"), parse_constant=_no_number))
    except UnicodeDecodeError as error:
        raise Refusal(400, f"the body is no UTF-8 (byte {error.start})") from None
    except (json.JSONDecodeError, RecursionError, ValueError) as error:
        reason = error.msg if isinstance(error, json.JSONDecodeError) else type(error).__name__
        raise Refusal(400, f"the body is no JSON ({reason})") from None


def _no_number(name: str) -> float:
    raise ValueError(name)


def profile(fields: Fields) -> Profile | None:
    """Who answers: an age, a gender and a tone; None where none of them is given."""
    if not fields.value:
        return None
    fields.known("age", "gender", "tone")
    words = [
        fields.choice("age", labels.AGES),
        fields.choice("gender", labels.GENDERS),
        fields.choice("tone", (*labels.TONES, *labels.TIMBRES)),
    ]
    if None in words:
        raise Refusal(400, f"{fields.where} lacks a word; expected age, gender and tone", param=fields.where)
    age, gender, tone = map(str, words)
    return Profile(age, gender, tone)


def mix(fields: Fields) -> Mix | None:
    """A second emotion or profile and its share; None where there is none."""
    if not fields.value:
        return None
    fields.known("emotion", "emotion_share", "profile", "profile_share")
    shares = [fields.number(name, 0, 1) for name in ("emotion_share", "profile_share")]
    emotion_share, profile_share = (1.0 if share is None else share for share in shares)
    return said_once(
        lambda: Mix(
            fields.choice("emotion", labels.EMOTIONS_32),
            emotion_share,
            profile(fields.object("profile")),
            profile_share,
        )
    )


def decoding(fields: Fields) -> DecodingChoice:
    """How tokens are chosen."""
    return said_once(
        lambda: DecodingChoice(
            temperature=fields.number("temperature", 0, 10),
            top_k=fields.whole("top_k", 0, 1_000_000),
            top_p=fields.number("top_p", 0, 1),
            repetition_penalty=fields.number("repetition_penalty", 0, 10),
            response_tokens=fields.whole("response_tokens", 1, 4096),
        )
    )


def said_once(make):
    """What `make` gives; a `UserError` of it as a refusal."""
    try:
        return make()
    except UserError as error:
        raise Refusal(400, str(error)) from None
