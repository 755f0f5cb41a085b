"""Markup, emoticons, web and mail addresses, handles and hashtags."""

from __future__ import annotations

import re

from empatheia_jax.styletts2 import numerals
from empatheia_jax.styletts2.text.rules import Rule, rule

_SIGNS = ((".", " dot "), ("/", " slash "), ("@", " at "), ("_", " underscore "), ("-", " dash "), ("+", " plus "))


def _link(match: re.Match[str]) -> str:
    """What is said of an address: no protocol, no parameters, its digits one by one."""
    address = re.sub(r"^(https?://)?(www\.)?", "", match[0], flags=re.I)
    tail = address[len(address.rstrip(".,!?;:)")) :]
    address = address[: len(address) - len(tail)].split("?")[0].split("#")[0].rstrip("/")
    for sign, word in _SIGNS:
        address = address.replace(sign, word)
    return re.sub(r"\d+", lambda number: f" {numerals.digits(number[0])} ", address).strip() + tail


def _hashtag(match: re.Match[str]) -> str:
    """#MentalHealthMatters → hashtag Mental Health Matters."""
    return "hashtag " + re.sub(r"(?<=[a-z])(?=[A-Z0-9])|_", " ", match[1])


# The numbers of a list must not run into the numbers before them: "Call 988\n2) …" is not 9882.
_ITEM = r"(?=\s{0,3}\d{1,2}[.)]\s)"
_NOT_ENDED = r"(?<=[^\s.,;:!?…])[ \t]*\n"

RULES: tuple[Rule, ...] = (
    rule(rf"{_NOT_ENDED}{_ITEM}", ".\n"),
    rule(r"(?<=\d)[ \t]*\n(?=\s*\d)", ".\n"),
    rule(rf"(?m)(^\s{{0,3}}[-*•+]\s+\S+[ \t]+[^\n]*){_NOT_ENDED}(?=\s{{0,3}}[-*•+]\s)", r"\1.\n"),
    rule(r"(?m)^(\s{0,3}\d{1,2})\)(?=\s)", r"\1."),
    rule(r"<[A-Za-z/!][^<>\n]{0,40}>", " "),  # tags such as <br> or <emo>
    rule(r"\[([^\]\n]+)\]\(([^)\s]+)\)", r"\1"),  # [words](link)
    rule(r"(?m)^\s{0,3}(?:#{1,6}|[-*•+>])\s+", ""),
    rule(r"(?<!\w)(?:[*_`]+|~+(?!\s?[\d$€£¥₹]))(?=\S)|(?<=[^\s\d])[*_~`]+(?!\w)|(?<=\d)[*_`]+(?!\w)", ""),
    rule(r"(?:(?<=\s)|^)(?:[:;=8]-?[')(DPpOo/|\\]+|<3+|</3|\^_*\^|[xX]D|T_T|-_-)(?=\s|$|[.,!?])", " "),  # emoticons
    rule(r"(?i)\b(?:https?://|www\.)\S+", _link),
    rule(r"(?<![\w.+-])[\w+-][\w.+-]{0,63}@[\w-]+(?:\.[\w-]+)+\b", _link),
    rule(
        r"(?i)(?<![\w.-])[a-z0-9-]+(?:\.[a-z0-9-]+)*\.(?:com|org|net|edu|gov|io|co\.uk|uk|app|info)(?:/\S*)?(?!\w)",
        _link,
    ),
    rule(
        r"(?<![\w/])/?([ru])/(\w{3,})(?![\w/])", lambda match: f"{match[1].upper()} slash {match[2]}"
    ),  # communities and people of Reddit
    rule(r"(?<!\S)/(s|j|srs|gen|hj|lh|pos|neg)(?!\w)", r"slash \1"),  # how a message is meant
    rule(r"(?<!\w)@(\w+)", r"at \1"),
    rule(r"(?<!\w)#([A-Za-z]\w*)", _hashtag),
    rule(r"(?<!\w)#(?=\d)", "number "),
)
