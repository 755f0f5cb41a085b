"""Sums of money: signs, scales, ranges, and what they are for."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, decimal
from empatheia_jax.styletts2.text.rules import NUMBER, Rule, rule, words

# sign → (singular, plural, singular of the hundredth, plural of the hundredth)
_CURRENCIES = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "€": ("euro", "euros", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "¥": ("yen", "yen", "", ""),
    "₹": ("rupee", "rupees", "paisa", "paise"),
    "₱": ("peso", "pesos", "", ""),
    "₩": ("won", "won", "", ""),
    "₦": ("naira", "naira", "", ""),
    "₪": ("shekel", "shekels", "", ""),
    "₺": ("lira", "lira", "", ""),
    "₽": ("ruble", "rubles", "", ""),
}
_COUNTRIES = {
    "US": "U S ",
    "HK": "Hong Kong ",
    "S": "Singapore ",
    "A": "Australian ",
    "AU": "Australian ",
    "C": "Canadian ",
    "CA": "Canadian ",
    "NZ": "New Zealand ",
}
CODES = {
    "USD": ("U S dollar", "U S dollars"),
    "EUR": ("euro", "euros"),
    "GBP": ("pound", "pounds"),
    "JPY": ("yen", "yen"),
    "AUD": ("Australian dollar", "Australian dollars"),
    "CAD": ("Canadian dollar", "Canadian dollars"),
    "NZD": ("New Zealand dollar", "New Zealand dollars"),
    "INR": ("rupee", "rupees"),
    "CHF": ("Swiss franc", "Swiss francs"),
    "SEK": ("Swedish krona", "Swedish kronor"),
    "NOK": ("Norwegian krone", "Norwegian kroner"),
    "DKK": ("Danish krone", "Danish kroner"),
    "PLN": ("zloty", "zlotys"),
    "MXN": ("Mexican peso", "Mexican pesos"),
    "BRL": ("real", "reais"),
    "ZAR": ("rand", "rand"),
    "CNY": ("yuan", "yuan"),
    "RMB": ("yuan", "yuan"),
    "CZK": ("koruna", "korunas"),
    "Kc": ("koruna", "korunas"),
    "kr": ("krona", "kronor"),
    "zl": ("zloty", "zlotys"),
    "Rs.": ("rupee", "rupees"),
    "Rs": ("rupee", "rupees"),
    "rs": ("rupee", "rupees"),
}
"""Letters beside an amount → (singular, plural)."""
_HUNDREDTHS = dict.fromkeys(("USD", "EUR", "AUD", "CAD", "NZD"), ("cent", "cents")) | {"GBP": ("penny", "pence")}
_SCALES = {
    "k": "thousand",
    "K": "thousand",
    "m": "million",
    "M": "million",
    "mil": "million",
    "mn": "million",
    "mm": "million",
    "b": "billion",
    "B": "billion",
    "bn": "billion",
    "t": "trillion",
    "T": "trillion",
    "tn": "trillion",
    "Cr": "crore",
    "cr": "crore",
    "Mio": "million",
    "mio": "million",
}
_SCALE = r"(?:thousand|million|billion|trillion|lakh|crore|[Cc]r|mil|[Mm]io|mm|mn|bn|tn|[kKmMbBtT])"
PER = {
    "hr": "hour",
    "hrs": "hour",
    "h": "hour",
    "hour": "hour",
    "min": "minute",
    "minute": "minute",
    "day": "day",
    "night": "night",
    "wk": "week",
    "week": "week",
    "mo": "month",
    "month": "month",
    "yr": "year",
    "year": "year",
    "person": "person",
    "pp": "person",
    "lb": "pound",
    "kg": "kilogram",
    "oz": "ounce",
    "gal": "gallon",
    "gallon": "gallon",
    "mi": "mile",
    "mile": "mile",
    "km": "kilometer",
    "session": "session",
    "visit": "visit",
    "item": "item",
    "ea": "item",
    "sq ft": "square foot",
    "sqft": "square foot",
    "unit": "unit",
    "sec": "second",
    "second": "second",
    "d": "day",
    "w": "week",
    "L": "liter",
    "l": "liter",
    "liter": "liter",
    "litre": "liter",
    "mL": "milliliter",
    "ml": "milliliter",
    "dL": "deciliter",
    "dl": "deciliter",
    "class": "class",
    "meal": "meal",
    "ticket": "ticket",
    "child": "child",
    "kid": "kid",
    "serving": "serving",
    "dose": "dose",
    "shift": "shift",
}
"""What stands behind a slash after an amount."""

SIGN = "[" + "".join(re.escape(sign) for sign in _CURRENCIES) + "]"
# "a $5 bill": one thing that is described, so that the unit stays singular.
DESCRIBING = r"(?P<describing>\b(?:[Aa]n?|[Aa]nother|[Tt]hat|[Tt]his|[Ee]ach|[Ee]very|[Oo]ne)\s(?:[a-z]+\s)??)?"
DESCRIBED = (
    r"(?P<described>(?=-?\s?(?!(?:and|or|but|to|for|of|in|on|at|by|per|an?|the|with|from|is|was|are|were|than|each|every|more|less|off"
    r"|back|up|down|into|you|he|she|we|they|who|that|which|so|as|if|when|while|because|until|before|after|total|extra|now|then|too|also"
    r"|just|worth|only|again|plus|today|yesterday|tomorrow|tonight|away|ago|last|this|every|here|there|not|it|long|tall|high|wide)\b)[a-z]{3,}))?"
)


def _whole_and_cents(amount: str, sign: str, singular: bool) -> str:
    one, many, cent, cents = _CURRENCIES[sign]
    many = one if singular else many
    whole, _, rest = amount.partition(".")
    if len(rest) == 2 and cents and not singular:
        parts = []
        if int(whole or 0) or not int(rest):
            parts.append(f"{cardinal(int(whole or 0))} {one if int(whole or 0) == 1 else many}")
        if int(rest):
            parts.append(f"{cardinal(int(rest))} {cent if int(rest) == 1 else cents}")
        return " and ".join(parts)
    return f"{decimal(amount)} {one if amount == '1' else many}"


def _money(match: re.Match[str]) -> str:
    groups = match.groupdict()
    country, sign = _COUNTRIES.get(groups.get("country") or "", ""), match["sign"]
    amount, last = match["amount"].replace(",", ""), (groups.get("last") or "").replace(",", "")
    scale, end = groups.get("scale"), groups.get("end")
    plus = " plus" if groups.get("plus") else ""
    singular = bool(groups.get("describing")) and groups.get("described") is not None
    one, many = (country + word for word in _CURRENCIES[sign][:2])
    unit = one if singular else many
    before = groups.get("describing") or ""
    if groups.get("minus") or groups.get("below"):
        before += "minus "
    per = f" per {PER[groups['per']]}" if groups.get("per") else ""

    def scaled(number: str, name: str | None) -> str:
        return f"{decimal(number)} {_SCALES.get(name, name)}" if name else decimal(number)

    if last:
        if "." in amount + last and not (scale or end):
            said = f"{_whole_and_cents(amount, sign, singular)} to {_whole_and_cents(last, sign, singular)}"
            return before + said + per
        return f"{before}{scaled(amount, scale)} to {scaled(last, end or scale)} {unit}{per}"
    if scale or plus:
        return f"{before}{scaled(amount, scale)}{plus} {country + many if plus else unit}{per}"
    if country:
        return f"{before}{decimal(amount)} {one if amount == '1' else unit}{per}"
    return before + _whole_and_cents(amount, sign, singular) + per


def _coded(first: str | None, last: str, scale: str | None, code: str) -> str:
    """50-60 EUR → fifty to sixty euros; 12.50 CHF → twelve point five zero Swiss francs."""
    whole, _, cents = last.replace(",", "").partition(".")
    if code in _HUNDREDTHS and len(cents) == 2 and not (first or scale):
        units = f"{cardinal(int(whole or 0))} {CODES[code][whole != '1']}"
        if not int(cents):
            return units
        cent = f"{cardinal(int(cents))} {_HUNDREDTHS[code][int(cents) != 1]}"
        return f"{units} and {cent}" if int(whole or 0) else cent
    said = f"{decimal(first)} to {decimal(last)}" if first else decimal(last)
    said += f" {_SCALES.get(scale, scale)}" if scale else ""
    return f"{said} {CODES[code][first is not None or scale is not None or last != '1']}"


# What is counted by millions: beside these "m" is no meter.
_MANY = (
    "(?:yen|won|dollars|euros|pounds|rupees|pesos|people|persons|users|followers|subscribers|subs|views|likes|viewers|listeners|voters|votes"
    "|customers|copies|deaths|refugees|children|kids|women|men|workers|jobs|homes|streams|downloads|hits|tweets|posts)"
)
_AMOUNT = rf"(?P<amount>{NUMBER})(?:\s?(?P<scale>{_SCALE})\b)?"
_PER = rf"(?:\s?/\s?(?P<per>{words(PER)})\b)?"
_SPANS = {
    "pcm": "month",
    "pm": "month",
    "pw": "week",
    "pa": "year",
    "ph": "hour",
    "pn": "night",
    "pd": "day",
    "pp": "person",
}
_NOT_WITHIN = r"(?<![\w.,$€£₹-])(?<![$€£] )"
_PLUS = r"(?P<plus>\+(?=\s|[.,;:!?)/]|$))?"
_UP_TO = rf"(?:\s?(?:[-–—]|\bto\b)\s?{SIGN}?(?P<last>{NUMBER})(?:\s?(?P<end>{_SCALE})\b)?)?"

RULES: tuple[Rule, ...] = (
    rule(rf"(?<![\w+)])\+\s?(?={SIGN}\s?\d)", "plus "),
    rule(r"(?<![\w/])(\d{1,2})/(?=[$€£]\d)", r"\1 for "),  # 3/£10
    rule(  # 1.2m yen; but 3m from here
        rf"(?<![\w.,])({NUMBER})\s?(m|mn|bn|tn|b)\s(?={_MANY}\b)",
        lambda match: f"{decimal(match[1])} {_SCALES[match[2]]} ",
    ),
    rule(  # as Britain writes it: £850pcm, £12 p/h
        rf"(?<={SIGN})(\s?{NUMBER}k?)\s?({words(_SPANS)}|p/[hdwma]|p\.[hdwma]\.)(?![\w/])",
        lambda m: f"{m[1]}/{_SPANS[re.sub('[./]', '', m[2])]}",
    ),
    rule(rf"\bR\$\s?(?={NUMBER})", "BRL "),
    rule(
        rf"{_NOT_WITHIN}(?P<amount>{NUMBER})(?:\s?(?P<scale>{_SCALE}))?\s?{SIGN}?\s?[-–—]\s?(?P<last>{NUMBER})"
        rf"(?:\s?(?P<end>{_SCALE})\.?)?\s?(?P<sign>{SIGN})(?!\d){_PER}",
        _money,
    ),
    rule(
        rf"{_NOT_WITHIN}(?P<amount>{NUMBER})(?:\s?(?P<scale>{_SCALE})\.?)?\s?(?P<sign>{SIGN})(?!\d){_PLUS}{_PER}",
        _money,
    ),
    rule(
        rf"{DESCRIBING}(?P<minus>[-−](?=[\s$€£¥₹₱₩₦]))?(?:\b(?P<country>{words(_COUNTRIES)}))?(?P<sign>{SIGN})\s?(?P<below>[-−](?=\d))?"
        rf"{_AMOUNT}{_UP_TO}{_PLUS}{_PER}{DESCRIBED}",
        _money,
    ),
    rule(
        rf"(?<![\w.,])(?:({NUMBER})\s?[-–—]\s?)?({NUMBER})(?:\s?({_SCALE})\.?)?\s?({words(CODES)})(?!\w)",
        lambda m: _coded(m[1], m[2], m[3], m[4]),
    ),
    rule(
        rf"(?<![\w$])({words(CODES)})\s?({NUMBER})(?:\s?[-–—]\s?({NUMBER}))?(?:\s?({_SCALE}))?(?!\w)",
        lambda m: _coded(m[2] if m[3] else None, m[3] or m[2], m[4], m[1]),
    ),
    rule(rf"\b({NUMBER})\s?¢", lambda match: f"{decimal(match[1])} {'cent' if match[1] == '1' else 'cents'}"),
)
