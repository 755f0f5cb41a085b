"""Titles, streets, and abbreviations with and without a full stop."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.text.rules import Rule, ends_sentence, rule, words

# Written without a full stop too.
_TITLES = {"Mr": "Mister", "Mrs": "Missus", "Ms": "Miz", "Dr": "Doctor", "Prof": "Professor", "Mt": "Mount"}
_DOTTED_TITLES = {
    "Rev": "Reverend",
    "Hon": "Honorable",
    "Capt": "Captain",
    "Cpt": "Captain",
    "Lt": "Lieutenant",
    "Col": "Colonel",
    "Gen": "General",
    "Sgt": "Sergeant",
    "Cpl": "Corporal",
    "Pvt": "Private",
    "Gov": "Governor",
    "Sen": "Senator",
    "Rep": "Representative",
    "Pres": "President",
    "Fr": "Father",
    "Ft": "Fort",
}
_STREETS = {
    "St": "Street",
    "Dr": "Drive",
    "Ave": "Avenue",
    "Blvd": "Boulevard",
    "Rd": "Road",
    "Ln": "Lane",
    "Ct": "Court",
}
_NUMBERED = {
    "p": "page",
    "ch": "chapter",
    "Ch": "Chapter",
    "vol": "volume",
    "Vol": "Volume",
    "fig": "figure",
    "Fig": "Figure",
}
_NUMBERED |= {"Art": "Article", "art": "article"}
_NUMBERED |= {"Rm": "Room", "rm": "room", "Sec": "Section", "sec": "section", "Ste": "Suite"}
_BEFORE_A_NUMBER = {"pg": "page", "pgs": "pages", "ep": "episode", "eps": "episodes", "vol": "volume", "Vol": "Volume"}
_BEFORE_A_NUMBER |= {
    "ch": "chapter",
    "pt": "part",
    "Pt": "Part",
    "wk": "week",
    "Wk": "Week",
    "yr": "year",
    "Yr": "Year",
}
_BEFORE_A_NUMBER |= {
    "Apt": "Apartment",
    "apt": "apartment",
    "Rm": "Room",
    "rm": "room",
    "ext": "extension",
    "Hwy": "Highway",
    "Gr": "Grade",
    "bldg": "building",
    "Bldg": "Building",
    "para": "paragraph",
    "Para": "Paragraph",
    "eq": "equation",
    "Eq": "Equation",
}
_BEFORE_A_NUMBER |= {"Rt": "Route", "Rte": "Route", "Ste": "Suite", "Vit": "Vitamin", "vit": "vitamin"}
# Their full stop may be the sentence's as well.
_ABBREVIATIONS = {
    "e.g.": "for example",
    "eg.": "for example",
    "i.e.": "that is",
    "E.g.": "For example",
    "I.e.": "That is",
    "cf.": "compare",
    "viz.": "namely",
    "etc.": "et cetera",
    "etc": "et cetera",
    "et al.": "and others",
    "vs.": "versus",
    "vs": "versus",
    "v.": "versus",
    "approx.": "approximately",
    "approx": "approximately",
    "w/c": "week commencing",
    "appt.": "appointment",
    "appt": "appointment",
    "appts": "appointments",
    "dept.": "department",
    "Dept.": "Department",
    "est.": "established",
    "misc.": "miscellaneous",
    "incl.": "including",
    "excl.": "excluding",
    "min.": "minimum",
    "max.": "maximum",
    "temp.": "temperature",
    "ext.": "extension",
    "w/o": "without",
    "w/": "with",
    "b/c": "because",
    "Jr.": "Junior",
    "Sr.": "Senior",
    "Apt.": "Apartment",
    "apt.": "apartment",
    "Ave.": "Avenue",
    "Blvd.": "Boulevard",
    "Rd.": "Road",
    "Hwy.": "Highway",
    "Inc.": "Incorporated",
    "Ltd.": "Limited",
    "Co.": "Company",
    "Corp.": "Corporation",
    "Bros.": "Brothers",
    "Univ.": "University",
    "a.k.a.": "also known as",
    "a.k.a": "also known as",
    "A.k.a.": "Also known as",
    "OB/GYN": "O B G Y N",
    "OB/Gyn": "O B G Y N",
    "ob/gyn": "O B G Y N",
    "ob-gyn": "O B G Y N",
    "OB-GYN": "O B G Y N",
    "aka": "also known as",
    "AKA": "also known as",
    "p.s.": "P S",
    "P.S.": "P S",
    "RSVP": "R S V P",
    "R.I.P.": "R I P",
    "N/A": "N A",
    "n/a": "N A",
    "A/C": "A C",
    "a/c": "A C",
    "AC/DC": "A C D C",
    "AM/FM": "A M F M",
    "HIV/AIDS": "H I V Aids",
    "B/W": "black and white",
    "C/O": "care of",
    "I/O": "I O",
    "DP/DR": "D P D R",
    "D/C": "D C",
    "B/F": "boyfriend",
    "b/f": "boyfriend",
    "G/F": "girlfriend",
    "g/f": "girlfriend",
    "P/T": "part time",
    "p/t": "part time",
    "F/T": "full time",
    "f/t": "full time",
    "M/F": "male or female",
    "T/F": "true or false",
    "Y/N": "yes or no",
    "y/n": "yes or no",
    "R/O": "rule out",
    "r/o": "rule out",
    "h/o": "history of",
    "H/O": "history of",
    "f/u": "follow up",
    "c/o": "care of",
    "d/t": "due to",
    "s/o": "shout out",
    "S/O": "significant other",
    "w/e": "whatever",
    "w/in": "within",
    "w/out": "without",
    "b/w": "between",
    "b/t": "between",
    "either/or": "either or",
    "SAHM": "stay at home mom",
    "Nr.": "number",
}
_MAY_END = frozenset(
    (
        "etc.",
        "et al.",
        "Jr.",
        "Sr.",
        "Ave.",
        "Blvd.",
        "Rd.",
        "Hwy.",
        "Inc.",
        "Ltd.",
        "Co.",
        "Corp.",
        "Bros.",
        "appt.",
        "dept.",
    )
)


def _abbreviation(match: re.Match[str]) -> str:
    key = match[1]
    return _ABBREVIATIONS[key] + ("." if key in _MAY_END and ends_sentence(match) else "")


def _in_law(match: re.Match[str]) -> str:
    """With whose it is: my MIL → my mother in law."""
    relatives = {"M": "mother", "F": "father", "S": "sister", "B": "brother"}
    return f"{match[1]} {relatives[match[2][0]]} in law"


def _street(match: re.Match[str]) -> str:
    return match["name"] + _STREETS[match["kind"]] + ("." if match["stop"] and ends_sentence(match, names=True) else "")


def _degree(match: re.Match[str]) -> str:
    """Ph.D. → P H D."""
    letters = match[1].replace(".", "")
    said = "Psy D" if letters.startswith("Psy") else " ".join(letters.removesuffix("s").upper())
    said += "'s" if letters.endswith("s") else ""
    return said + ("." if match[0].endswith(".") and ends_sentence(match, names=True) else "")


_SAINTS = (
    "Albans|Andrew|Anne?|Bernard|Catherine|Christopher|David|Francis|George|Helens|Ives|James|John|Joseph|Jude|Kitts|Louis|Lucia|Luke"
    "|Mark|Martin|Mary|Matthew|Michael|Moritz|Nicholas|Pancras|Patrick|Paul|Peter|Petersburg|Stephen|Thomas|Tropez|Valentine|Vincent"
)
_HAVE_NUMBERS = (
    "bus|room|house|flat|apartment|telephone|phone|ticket|platform|question|case|order|gate|route|door|unit|ward|bed"
)
_CAPITAL = r"[A-Z][A-Za-z'-]*"

RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<name>\b\d+[A-Za-z]?\s+(?:{_CAPITAL}\s+|\d+(?:st|nd|rd|th)\s+)+)(?P<kind>{words(_STREETS)})\b(?P<stop>\.?)(?!\w)",
        _street,
    ),
    rule(
        rf"(?P<name>\b(?:on|at|of|from|to|near|along|down|up|off|in|and)\s+(?:{_CAPITAL}\s+|\d+(?:st|nd|rd|th)\s+)+)"
        r"(?P<kind>St|Ave|Blvd|Rd|Ln|Dr(?!\.?\s+[A-Z]))\b(?P<stop>\.?)(?!\w)",
        _street,
    ),
    rule(
        r"(?P<name>\b\d+(?:st|nd|rd|th)\s+)(?P<kind>St|Ave|Blvd|Rd|Ln)\b(?P<stop>\.?)(?!\w)",
        _street,
    ),
    rule(r"(?<=\d(?:st|nd|rd|th))\s[Ff]lr?\b(\.?)", lambda m: " floor" + ("." if m[1] and ends_sentence(m) else "")),
    rule(r"(?<=\dth)\s?c\.(?=\s[a-z]|\s(?:BCE?|AD|CE)\b)", " century"),
    rule(r"\bSts\.", "Saints"),
    rule(r"\bSt\.(?=\s+[A-Z])", "Saint"),
    rule(rf"\bSt(?= (?:{_SAINTS})\b)", "Saint"),
    rule(r"\bSt\.(?=\s*$)", "Street."),
    rule(r"\bSt\.", "Street"),
    rule(r"(?<!&)\b(Mr|Mrs|Ms)\b\.?(?!')", lambda match: _TITLES[match[1]]),
    rule(rf"\b({words(_TITLES)})\b\.?(?=\s+(?:[A-Z]|(?:and|or|&)\s+(?:{words(_TITLES)})\b))", lambda m: _TITLES[m[1]]),
    rule(rf"\b({words(_DOTTED_TITLES)})\.(?=\s+[A-Z])", lambda match: _DOTTED_TITLES[match[1]]),
    rule(
        r"\b([Dd])r\b\.?(?=\s+[a-z]|[,;!?]|'s)",
        lambda match: "Doctor" if match[1] == "D" and not match.start() else "doctor",
    ),
    rule(r"\b[Dd]r\.(?=\s*$)", "doctor."),
    rule(r"\b[Dd]rs\.(?=\s)", "doctors"),
    rule(r"\bNos?\.(?=\s*\d)", "number"),
    rule(r"\bno\.(?=\d)", "number "),
    rule(rf"(?i)(\b(?:{_HAVE_NUMBERS}) )no\.?(?=\s*\d)", r"\1number"),
    rule(r"\bnos\.(?=\s*\d)", "numbers"),
    # mac n cheese; but "for n people"
    rule(r"(?<=[A-Za-z,] )'?n'?(?= [A-Za-z])(?<!\b(?:for|the) n)(?<!\b(?:of|is|an) n)(?<!\b(?:with|find) n)", "and"),
    rule(r"\bpp\.?\s?(?=\d)", "pages "),
    rule(
        rf"(?<![\w.,/])(?<!\d )({words(_BEFORE_A_NUMBER)})\b\.?\s(?=#?\d|[IVX]+\b)",
        lambda match: _BEFORE_A_NUMBER[match[1]] + " ",
    ),
    rule(r"\b(this|next|last|each|the) w/e\b", r"\1 weekend"),
    rule(r"\b([Mm]y|[Yy]our|his|her|our) (MIL|FIL|SIL|BIL)\b", _in_law),
    rule(r"\b([Mm]y|[Yy]our|his|her|our) SO\b(?! [A-Z]{2})", r"\1 significant other"),
    rule(r"\b([Mm]y|[Yy]our|his|her|our) s/o\b", r"\1 significant other"),
    rule(r"(?<!\bthe )(?<!\ban )(?<!\bat )\batm\b", "at the moment"),
    rule(r"\b(have|has|having|with) DID\b", r"\1 D I D"),
    rule(rf"\b({words(_NUMBERED)})\.\s?(?=[\dIVX])", lambda match: _NUMBERED[match[1]] + " "),
    rule(r"\b(Ph\.?\s?D|Psy\.?D|Ed\.D|[BM]\.?Sc)s?\b\.?", _degree),
    rule(r"(?<=\d)(-| ?)min\.(?=\s[a-z])", r"\1min"),
    rule(rf"(?<![\w.])({words(_ABBREVIATIONS)})(?![\w/])", _abbreviation),
)
