"""Names with numbers in them: star codes, forms and laws, roads and flights, seasons and grades, blood and tests.

What no rule here knows is left to `numbers`, which reads "B12" as "B twelve".
"""

from __future__ import annotations

import re

from empatheia_jax.styletts2.numerals import cardinal, digits, hundreds, plural, year
from empatheia_jax.styletts2.text.rules import Rule, ends_sentence, rule, words
from empatheia_jax.styletts2.text.telephone import COUNTED

_PRESSED = r"(?P<before>(?i:\b(?:dial|press|call|enter|use|type|hit|code|with|then)(?:ing|ed|led|ling)?(?: the)?) )"
_KNOWN_STAR_CODES = "57|60|66|67|69|70|72|73|77|80|82|86|87|98|611"
_KEYS = {"*": "star", "#": "pound"}
# As people have come to say them.
_HABITS = {
    "401k": "four oh one K",
    "401(k)": "four oh one K",
    "401K": "four oh one K",
    "403b": "four oh three b",
    "403(b)": "four oh three b",
    "5150": "fifty one fifty",
    "504 plan": "five oh four plan",
    "504 plans": "five oh four plans",
    "1099": "ten ninety nine",
    "20-20": "twenty twenty",
    "24-7": "twenty four seven",
    "24-7-365": "twenty four seven, three sixty five",
    "7-Eleven": "seven eleven",
    "1080p": "ten eighty p",
    "720p": "seven twenty p",
    "WWII": "World War two",
    "WWI": "World War one",
    "WWIII": "World War three",
    "WW3": "World War three",
    "WW2": "World War two",
    "WW1": "World War one",
    "ELI5": "explain like I'm five",
}
_NUMBERED = r"Boeing|Airbus|[Ff]light|[Rr]oute|[Hh]ighway|Interstate|Xbox|[Ee]rror|[Rr]oom"
_ANSWERS = {"+": "positive", "-": "negative"}
_NO_COURSE = (
    "(?:Only|Over|About|The|Almost|Nearly|Around|Exactly|Under|All|For|With|At|In|On|Of|By|To|From|And|Or|My|Your|These|Those"
    "|There|Have|I)"
)
_SCREENS = "TV|tv|video|videos|screen|monitor|camera|movie|film|resolution|display|quality"
_RUN = r"\b(?:ran|run|runs|running|jog|jogged|walk|walked|did|do|finished|completed|signed up for|training for)"


def _star_code(match: re.Match[str]) -> str:
    """*67 → star six seven, *#06# → star pound zero six pound."""
    before = match.groupdict().get("before") or ""
    keys = [_KEYS[key] for key in match["keys"]]
    return before + " ".join([*keys, digits(match["number"]), *(["pound"] if match["end"] else [])])


_DURATIONS = {"d": "day", "w": "week", "m": "month"}


def _two_numbers(match: re.Match[str]) -> str:
    return " ".join(cardinal(int(part)) for part in re.split("[/:]", match[0]))


_EVERY = {"b": "twice", "t": "three times", "q": "four times"}
_DOSE = r"(?P<dose>\b\d[\d.]{0,8}\s?(?:mg|mcg|g|ml|mL|units?|tabs?|tablets?|pills?|caps?|capsules?|puffs?|drops?),? )"
# What stands behind a dose; elsewhere OD is an overdose and bid a word.
_HOW_OFTEN = {
    "od": "once a day",
    "bd": "twice a day",
    "tds": "three times a day",
    "qds": "four times a day",
    "qd": "once a day",
}
_HOW_OFTEN |= {
    "bid": "twice a day",
    "tid": "three times a day",
    "qid": "four times a day",
    "po": "by mouth",
    "qhs": "at bedtime",
}


def _stone(match: re.Match[str]) -> str:
    """9st 4lb, 9st → nine stone four pounds, nine stone; 21st alone is an ordinal."""
    stone, pounds = int(match["stone"]), match["pounds"]
    if pounds is None and stone % 10 == 1 and stone != 11:
        return match[0]
    return f"{cardinal(stone)} stone" + (
        f" {cardinal(int(pounds))} {'pound' if pounds == '1' else 'pounds'}" if pounds else ""
    )


def _round(match: re.Match[str]) -> str:
    """100s, 10,000s of people → hundreds, tens of thousands."""
    zeros = match[0].count("0")
    if zeros == 1:
        return "tens"
    unit = "hundreds" if zeros == 2 else ("thousands" if zeros < 6 else "millions")
    return ("", "tens of ", "hundreds of ")[zeros % 3 if zeros > 2 else 0] + unit


def in_a_name(match: re.Match[str]) -> str:
    """The digits of F150, COVID19, FY2023: few as a number, three and four in two parts, more one by one."""
    number = match[0]
    if number[0] == "0" and len(number) > 1 or len(number) > 4:
        said = digits(number)
    elif len(number) == 4:
        said = year(int(number))
    else:
        said = hundreds(int(number))
    return f" {said}" if match.string.startswith("'s", match.end()) else f" {said} "


STAR_CODES: tuple[Rule, ...] = (
    rule(r"(?<![\w*#])(?P<keys>\*#|#|\*(?=\d+#))(?P<number>\d{2,3})(?P<end>#)(?![\w*#])", _star_code),
    rule(rf"{_PRESSED}(?P<keys>\*)(?P<number>\d{{1,3}})(?P<end>#)?(?![\w*#])", _star_code),
    # Alone it may be emphasis, or correct what was written before, so only those that people know.
    rule(
        rf"(?P<before>(?<![\w*#])(?<!\d ))(?P<keys>\*)(?P<number>{_KNOWN_STAR_CODES})(?P<end>#)?(?=[.,;!?)\"']|\s*$"
        r"|\s(?:and|or|before|then|first|to|is|when|on|hides|calls|blocks)\b)(?![^*\n]*\w\*)",
        _star_code,
    ),
    rule(r"(?i)(?<=\bpress )(\d+)#(?!\w)", r"\1 pound"),
    rule(r"(?i)(?<=\bpress )([*#])(?=\s|[.,;!?]|$)", lambda match: _KEYS[match[1]]),
)
"""Before markup is taken away, since a star may be markup, too."""

RULES: tuple[Rule, ...] = (
    rule(
        rf"(?<![\w$€£.,/-])(?:{words(_HABITS)})(?![\w/]|-\w|[.,]\d)(?! (?:{COUNTED})\b)",
        lambda match: _HABITS[match[0]],
    ),
    rule(
        r"(?<![\d/])7/11(?![\d/])(?<!\b[Oo]n 7/11)(?! (?:right|correct|of|questions|points|people)\b)", "seven eleven"
    ),
    rule(
        r"(?i)(\b(?:the|a|our|local|to|at|near|outside|every) )7-11\b(?!\s?[ap]\.?m|\s(?:years?|people|kids|days|hours))",
        r"\1seven eleven",
    ),
    rule(r"(?:(?<=^)|(?<=[.!?] ))10-4(?=[,.!?]|$| (?:good )?(?:buddy|boss))", "Ten four"),
    rule(
        r"\b([Ss])0?(\d{1,2}) ?[Ee]0?(\d{1,3})\b",
        lambda m: f"season {cardinal(int(m[2]))}, episode {cardinal(int(m[3]))}",
    ),
    rule(r"\b((?:[Pp]re-?)?K)-(12|[2-8])\b", lambda match: f"{match[1]} through {cardinal(int(match[2]))}"),
    rule(r"\b([Gg]rades?|[Yy]ears?) K\s?[-–]\s?(?=\d{1,2}\b)", r"\1 K to "),
    rule(r"\b(([A-Z]{1,2})\d{1,3})\s?[-–—]\s?(?=\2\d{1,3}\b)", r"\1 to "),  # Q1-Q3, C5–C6
    rule(r"\bA-Z\b", "A to Z"),
    rule(r"(?i)(\b(?:day|week|session|page|round|step|part) \d{1,3})/(?=\d{1,3}\b)", r"\1 of "),
    rule(r"\bSAT(?=s? (?:score|test|exam|prep|tutor|result)s?\b| \d)", "S A T"),
    rule(
        r"(?<=\bthe )(SAT|ACT)(?=s?\b(?:[.,;!?)]|\s*$| (?:and|or|is|was|in|last|this|next|again|twice)\b))",
        lambda m: " ".join(m[1]),
    ),
    rule(r"\bACT(?=s? (?:score|test|exam|prep|tutor|result)s?\b| \d)", "A C T"),
    rule(r"(\b[Aa]n |\b(?:MD|DO|NP|BSN|LPN|CNA),? ?(?:and |or |/ ?)?)RN\b", r"\1R N"),
    rule(r"\bRN(?=s\b|, (?:BSN|MSN|NP|MD)\b)", "R N"),
    rule(
        r"(\b(?:[Aa]|[Tt]he|[Mm]y|our|another|first|next|last|charity|local|fun) (?:first |last |next |local |charity )?)"
        r"(5|10)[kK]\b"
        r"(?=[.,;!?)]|\s*$|\s(?:on|for|with|and|this|next|last|is|was)\b)",
        lambda m: f"{m[1]}{cardinal(int(m[2]))} K",
    ),
    rule(
        r"(\b(?:[Rr]an|[Rr]un|[Rr]unning|[Jj]ogged|[Ww]alked) (?:a |an |my |the )?)(\d{1,3})[kK]"
        r"(?= in (?:\d|under|about|the rain))",
        lambda m: f"{m[1]}{cardinal(int(m[2]))} K",
    ),
    rule(r"\b(\d{1,2})[kK](?=\s(?:race|run|walk|jog)\b)", lambda match: f"{cardinal(int(match[1]))} K"),
    rule(
        r"(?<![\w.,])10{1,2}(?:,?0{3})*s\b(?= of\b)|(?<![\w.,])1(?:,?0{3})+s\b(?= of\b)|(?<![\w.,])(?<!\bthe )100s\b",
        _round,
    ),
    rule(
        r"(?i)(\b(?:omega|under|over|year|grade|class)[ -])(?!\d0s)(\d{1,2})s\b",
        lambda match: match[1] + plural(cardinal(int(match[2]))),
    ),
    rule(r"\b([Vv])it\b\.?(?= ?[A-EK](?:-?\d{1,2})?\b)", r"\1itamin"),
    rule(r"\b(Section|Sec\.|IEP/|IEP or|IEP and) ?504\b", r"\1 five oh four"),
    rule(r"\b([Rr])m\b\.? (?=\d)", r"\1oom "),
    rule(r"\bHwy\b\.? (?=\d)", "Highway "),
    rule(rf"\b((?:{_NUMBERED}) )([1-9]\d\d)\b(?![.,]\d)", lambda match: match[1] + hundreds(int(match[2]))),
    rule(r"\b([A-Z]{1,2})-(\d{3})\b(?![.,-]\d)", lambda match: f"{match[1]} {hundreds(int(match[2]))}"),
    rule(rf"\b(?!{_NO_COURSE}\b)([A-Z][a-z]+ )101\b(?![.,]\d)(?! people\b)", r"\1one oh one"),
    rule(rf"\b([48])[kK](?=\s(?:{_SCREENS})\b)", lambda match: f"{cardinal(int(match[1]))} K"),
    rule(
        rf"({_RUN}(?: (?:a|an|my|the|our|another|this|that)(?: [a-z]+)?)?) (\d{{1,3}})[kK]\b"
        r"(?! (?:steps|words|people|miles|followers|dollars|a|per|in|of|more)\b)",
        lambda m: f"{m[1]} {cardinal(int(m[2]))} K",
    ),
    rule(
        r"\b(HIV|COVID|Covid|covid|HER2|HBV|HCV|HSV|HPV|TB|[Rr]h|RH)([-+])(?=\s|[.,;:!?)]|$)",
        lambda m: f"{m[1]} {_ANSWERS[m[2]]}",
    ),
    rule(r"\b(AB|A|B|O)([-+])(?=\s(?:blood|donor|type)\b)", lambda m: f"{m[1]} {_ANSWERS[m[2]]}"),
    rule(
        r"(?i)(\bblood(?: type| group)?(?: is|:)? )(AB|A|B|O)([-+])(?=\s|[.,;:!?)]|$)",
        lambda m: f"{m[1]}{m[2]} {_ANSWERS[m[3]]}",
    ),
    rule(r"\b(AB|O)([-+])(?=\s|[.,;:!?)]|$)", lambda m: f"{m[1]} {_ANSWERS[m[2]]}"),
    # --- doses and weights ------------------------------------------------------------------------------------------
    rule(
        r"(?i)\bq\s?(\d{1,2})-(\d{1,2})\s?h\b", lambda m: f"every {cardinal(int(m[1]))} to {cardinal(int(m[2]))} hours"
    ),
    rule(r"(?i)\bq\s?(\d{1,2})\s?h(?:rs?)?\b", lambda match: f"every {cardinal(int(match[1]))} hours"),
    rule(
        r"(?i)\b([btq])\.i\.d\.?(?!\w)",
        lambda match: (
            f"{_EVERY[match[1].lower()]} a day" + ("." if match[0].endswith(".") and ends_sentence(match) else "")
        ),
    ),
    rule(
        rf"{_DOSE}(?P<often>{words(_HOW_OFTEN)}|{words(key.upper() for key in _HOW_OFTEN)})\b(?!')",
        lambda match: match["dose"] + _HOW_OFTEN[match["often"].lower()],
    ),
    rule(
        r"(?i)(?<=[a-z]) x ?(\d{1,2}) ?(d|days?|wks?|weeks?|months?)\b",
        lambda m: f" for {cardinal(int(m[1]))} {_DURATIONS[m[2][0].lower()]}{'' if m[1] == '1' else 's'}",
    ),
    rule(r"\b(\d{1,3})(?:U|IU|iu)\b", r"\1 units"),
    rule(r"\b(\d[\d,.]*) (?:IU|iu)\b", r"\1 units"),
    rule(r"\b(\d[\d,]*)(?:IU|iu)\b", r"\1 units"),
    rule(r"\b(16/8|18/6|20/4|14/10|5:2)(?=,? (?:fast(?:ing)?|IF|intermittent|diet|plan|schedule)\b)", _two_numbers),
    rule(r"\b(?:PRN|prn|p\.r\.n\.)(?!\w)", "as needed"),
    rule(r"(?<=\w)\s?/\s?(12|24|36|48|72)\s?(?:h|hrs?|hours?)\b", lambda match: f" in {cardinal(int(match[1]))} hours"),
    rule(r"(?<![\w.,/])(?P<stone>\d{1,2})\s?st(?:\.?,?\s?(?P<pounds>\d{1,2})\s?(?:lbs?|pounds?)\b|\b)", _stone),
)
