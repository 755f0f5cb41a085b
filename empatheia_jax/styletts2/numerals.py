"""Numbers as English words: cardinals, ordinals, years, digits."""

from __future__ import annotations

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["_", "_", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SCALES = ("", " thousand", " million", " billion", " trillion")
_LIMIT = 10**15

_IRREGULAR_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def digits(number: str) -> str:
    """'007' → 'zero zero seven'; characters that are no digits are skipped."""
    return " ".join(_ONES[int(digit)] for digit in number if digit in "0123456789")


def _below_thousand(number: int) -> str:
    words = []
    if number >= 100:
        words.append(f"{_ONES[number // 100]} hundred")
        number %= 100
    if number >= 20:
        words.append(_TENS[number // 10] + (f" {_ONES[number % 10]}" if number % 10 else ""))
    elif number or not words:
        words.append(_ONES[number])
    return " ".join(words)


def cardinal(number: int) -> str:
    """1234 → 'one thousand two hundred thirty four'; numbers of 16 digits and more are read digit by digit."""
    if number < 0:
        return f"minus {cardinal(-number)}"
    if number >= _LIMIT:
        return digits(str(number))
    if number < 1000:
        return _below_thousand(number)
    parts, scale = [], 0
    while number:
        number, group = divmod(number, 1000)
        if group:
            parts.append(_below_thousand(group) + _SCALES[scale])
        scale += 1
    return " ".join(reversed(parts))


def ordinal(number: int) -> str:
    """21 → 'twenty first'."""
    head, _, last = cardinal(number).rpartition(" ")
    if last in _IRREGULAR_ORDINALS:
        last = _IRREGULAR_ORDINALS[last]
    elif last.endswith("y"):
        last = f"{last[:-1]}ieth"
    else:
        last = f"{last}th"
    return f"{head} {last}".strip()


def decimal(number: str) -> str:
    """'3.14' → 'three point one four'; '.5' → 'zero point five'; '1,234' → as a cardinal."""
    whole, _, fraction = number.replace(",", "").partition(".")
    words = cardinal(int(whole or "0"))
    return f"{words} point {digits(fraction)}" if fraction else words


def year(number: int) -> str:
    """1999 → 'nineteen ninety nine', 2005 → 'two thousand five', 1905 → 'nineteen oh five'."""
    century, rest = divmod(number, 100)
    if not 1000 <= number <= 9999 or (century % 10 == 0 and rest < 10):
        return cardinal(number)
    if rest == 0:
        return f"{cardinal(century)} hundred"
    return f"{cardinal(century)} {'oh ' if rest < 10 else ''}{cardinal(rest)}"


def hundreds(number: int) -> str:
    """120 → 'one twenty', 404 → 'four oh four', 200 → 'two hundred': as pairs of numbers, and numbers in names, are read."""
    high, low = divmod(number, 100)
    if number < 100 or not low:
        return cardinal(number)
    return f"{cardinal(high)} {'oh ' if low < 10 else ''}{cardinal(low)}"


def plural(words: str) -> str:
    """'nineteen nineties' from 'nineteen ninety', 'twos' from 'two'."""
    if words.endswith("y"):
        return f"{words[:-1]}ies"
    return f"{words}{'es' if words.endswith(('x', 's')) else 's'}"


_ROMAN = {"I": 1, "V": 5, "X": 10, "L": 50, "C": 100, "D": 500, "M": 1000}


def roman(numeral: str) -> int:
    """'XIV' → 14 (any numeral below 4000)."""
    values = [_ROMAN[letter] for letter in numeral]
    return sum(-value if value < after else value for value, after in zip(values, [*values[1:], 0]))
