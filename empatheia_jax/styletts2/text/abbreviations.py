"""Titles, streets, abbreviations with a full stop, and the words of chats."""

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
# Written small or in capitals.
_CHAT = {
    "lol": "ha ha",
    "lmao": "ha ha",
    "rofl": "ha ha",
    "omg": "oh my god",
    "omfg": "oh my god",
    "idk": "I don't know",
    "idc": "I don't care",
    "idgaf": "I don't care",
    "ikr": "I know, right",
    "ily": "I love you",
    "ilysm": "I love you so much",
    "imo": "in my opinion",
    "imho": "in my humble opinion",
    "tbh": "to be honest",
    "ngl": "not gonna lie",
    "btw": "by the way",
    "brb": "be right back",
    "ttyl": "talk to you later",
    "gtg": "got to go",
    "g2g": "got to go",
    "smh": "shaking my head",
    "nvm": "never mind",
    "jk": "just kidding",
    "fyi": "for your information",
    "asap": "as soon as possible",
    "afaik": "as far as I know",
    "iirc": "if I remember correctly",
    "irl": "in real life",
    "tmi": "too much information",
    "tysm": "thank you so much",
    "ty": "thank you",
    "thx": "thanks",
    "thnx": "thanks",
    "tnx": "thanks",
    "np": "no problem",
    "yw": "you're welcome",
    "pls": "please",
    "plz": "please",
    "ppl": "people",
    "rn": "right now",
    "wyd": "what are you doing",
    "hbu": "how about you",
    "wbu": "what about you",
    "hmu": "hit me up",
    "lmk": "let me know",
    "tgif": "thank god it's Friday",
    "wtf": "what the fuck",
    "wth": "what the hell",
    "bff": "best friend forever",
    "bffs": "best friends forever",
    "fomo": "fomo",
    "yolo": "yolo",
    "diy": "D I Y",
    "tl;dr": "too long, didn't read",
    "tldr": "too long, didn't read",
    "lmfao": "ha ha",
    "idek": "I don't even know",
    "idec": "I don't even care",
    "fwiw": "for what it's worth",
    "icymi": "in case you missed it",
    "omw": "on my way",
    "wdym": "what do you mean",
    "ofc": "of course",
    "ttys": "talk to you soon",
    "hbd": "happy birthday",
    "nbd": "no big deal",
    "tbf": "to be fair",
    "istg": "I swear to god",
    "stfu": "shut the fuck up",
    "aita": "am I the asshole",
    "aitah": "am I the asshole here",
    "xoxo": "hugs and kisses",
    "sry": "sorry",
    "srsly": "seriously",
    "rly": "really",
    "kys": "kill yourself",
    "ily2": "I love you too",
    "ffs": "for fuck's sake",
    "idts": "I don't think so",
    "wdyt": "what do you think",
    "wym": "what do you mean",
    "cya": "see you",
    "iykyk": "if you know, you know",
    "obvs": "obviously",
    "ymmv": "your mileage may vary",
}
# Written small only: in capitals they are something else.
_SMALL_CHAT = {
    "u": "you",
    "ur": "your",
    "r u": "are you",
    "u r": "you are",
    "ya'll": "y'all",
    "cuz": "because",
    "coz": "because",
    "bc": "because",
    "gr8": "great",
    "b4": "before",
    "l8r": "later",
    "2day": "today",
    "2nite": "tonight",
    "2morrow": "tomorrow",
    "tmrw": "tomorrow",
    "tmr": "tomorrow",
    "bday": "birthday",
    "bf": "boyfriend",
    "gf": "girlfriend",
    "hubby": "hubby",
    "dunno": "don't know",
    "y": "why",
    "k": "okay",
    "kk": "okay",
    "hrs": "hours",
    "yrs": "years",
    "wks": "weeks",
    "nite": "night",
    "tonite": "tonight",
    "shld": "should",
    "cld": "could",
    "wld": "would",
    "b-day": "birthday",
    "abt": "about",
    "msg": "message",
    "sth": "something",
    "smth": "something",
    "tho": "though",
    "thru": "through",
    "imy": "I miss you",
    "hru": "how are you",
    "ik": "I know",
    "dw": "don't worry",
    "fr": "for real",
    "af": "as fuck",
    "gn": "good night",
    "w8": "wait",
    "m8": "mate",
    "h8": "hate",
    "l8": "late",
    "sk8": "skate",
    "4ever": "forever",
    "4eva": "forever",
    "2moro": "tomorrow",
    "2moz": "tomorrow",
    "2gether": "together",
    "4get": "forget",
    "4got": "forgot",
    "4give": "forgive",
    "wat": "what",
    "luv": "love",
    "kms": "kill myself",
    "c u": "see you",
    "cnt": "can't",
    "sm": "so much",
    "acct": "account",
    "prob": "probably",
    "probs": "probably",
    "def": "definitely",
    "2mrw": "tomorrow",
    "2u": "to you",
    "1ce": "once",
    "no1": "no one",
    "any1": "anyone",
    "some1": "someone",
    "every1": "everyone",
    "dx": "diagnosis",
    "rx": "prescription",
    "hx": "history",
}
# Contractions without their apostrophe, as chats have them; none that is another word (ill, id, well, were, its, lets).
_NOT = (
    "do",
    "ca",
    "wo",
    "did",
    "does",
    "is",
    "was",
    "are",
    "were",
    "have",
    "has",
    "had",
    "could",
    "would",
    "should",
    "ai",
    "must",
)
_BARE = {f"{verb}nt": f"{verb}n't" for verb in _NOT}
_BARE |= {f"{who}{end}": f"{who}'{end}" for who in ("you", "they") for end in ("re", "ve", "ll")}
_BARE |= {f"{who}s": f"{who}'s" for who in ("that", "what", "there", "where", "who", "how", "he", "she", "here")}
_BARE |= {f"{verb}ve": f"{verb}'ve" for verb in ("could", "should", "would", "might", "we")}
_BARE |= {"im": "I'm", "ive": "I've", "yall": "y'all", "itll": "it'll", "thatll": "that'll"}


def _abbreviation(match: re.Match[str]) -> str:
    key = match[1]
    return _ABBREVIATIONS[key] + ("." if key in _MAY_END and ends_sentence(match) else "")


def _chat(match: re.Match[str]) -> str:
    said = _CHAT[match[1].lower()]
    start = not match.string[: match.start()].strip() or match.string[: match.start()].rstrip()[-1] in ".!?\n"
    return said[0].upper() + said[1:] if start else said


def _bare(match: re.Match[str]) -> str:
    word = match[1]
    said = _BARE[word.lower()]
    return said[0].upper() + said[1:] if word[0].isupper() and not word.isupper() else said


def _in_law(match: re.Match[str]) -> str:
    """With whose it is: my MIL → my mother in law."""
    relatives = {"M": "mother", "F": "father", "S": "sister", "B": "brother"}
    return f"{match[1]} {relatives[match[2][0]]} in law"


def _small_chat(match: re.Match[str]) -> str:
    return _SMALL_CHAT[match[1]]


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
_CHAT_SPELLINGS = (
    *_CHAT,
    *(key.upper() for key in _CHAT),
    *(key.capitalize() for key in _CHAT if key != "ty"),
)  # Ty: a name
# Between these, "ur" is you're, 2 is to.
_AFTER_YOU_ARE = (
    "a|an|the|so|not|my|gonna|going|welcome|too|very|really|just|never|always|amazing|beautiful|worth|loved|doing|being|kidding"
    "|ok|okay|right"
)
_BEFORE_TO = (
    "need|want|wanna|have|had|going|go|try|trying|used|able|ready|listen|listening|talk|talked|talking|spoke|speak|speaking"
    "|happened|what|how|idk|wat|nice|mean|lied|lies|says?|said|back|i|u|you|dont|don't"
)
_AFTER_TO = (
    "talk|b|be|bed|me|u|you|some1|someone|him|her|them|sleep|die|do|cry|say|see|hear|get|help|live|know|make|tell|go|school|stop"
    "|eat|my|the|any1|anyone|this|that"
)
_CAPITAL = r"[A-Z][A-Za-z'-]*"

RULES: tuple[Rule, ...] = (
    rule(
        rf"(?P<name>\b\d+[A-Za-z]?\s+(?:{_CAPITAL}\s+|\d+(?:st|nd|rd|th)\s+)+)(?P<kind>{words(_STREETS)})\b(?P<stop>\.?)(?!\w)",
        _street,
    ),
    rule(
        rf"(?P<name>\b(?:on|at|of|from|to|near|along|down|up|off|in|and)\s+(?:{_CAPITAL}\s+|\d+(?:st|nd|rd|th)\s+)+)"
        r"(?P<kind>St|Ave|Blvd|Rd|Ln)\b(?P<stop>\.?)(?!\w)",
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
    rule(r"(?<![\w.'/&-])ok(?![\w'/&-])", "okay"),
    rule(rf"(?<![\w.'/&])({words(_CHAT_SPELLINGS)})(?![\w'/&])", _chat),
    rule(rf"(?<![\w.'/&#@-])((?![A-Z]{{2,3}}\b)(?i:{words(_BARE)}))(?![\w'/&-])", _bare),
    rule(
        rf"\b([Uu])r (?=(?:{_AFTER_YOU_ARE})\b(?! (?:hand|arm|leg|foot|eye|side)\b))",
        lambda match: "You're " if match[1] == "U" else "you're ",
    ),
    rule(rf"(\b(?:{_BEFORE_TO}) )2 (?=(?:{_AFTER_TO})\b)", r"\1to "),
    rule(r"^2 (?=b\b|be\b)", "To "),
    rule(
        r"(?i)(\b(?:its|it's|is|was|way|far|i'm|im|m|ur|u r|so|you're|r|are|never|not) )2 "
        r"(?=(?:late|much|far|soon|bad|tired|sad|young|old|early|long|busy"
        r"|scared|hard|weak|loud|fast|slow|kind|cute|nice|stupid|dumb|weird|sick)\b(?! [a-z]+s\b))",
        r"\1too ",
    ),
    rule(r"(?<!\w)((?:[Tt]o|gonna|wanna|will|can|cant|should|would|must) )b(?= [a-z])", r"\1be"),
    rule(
        r"(?i)(\b(?:thanks|thank you|thx|ty|tysm|so much|sorry|wait|waiting|here|there|good|bad|kind|love|sad|happy|time) )4 "
        r"(?=(?:u|ur|you|your|me|him|her|them|us|it|this|that|the|everything|listening|being|asking|reading|helping|now)\b)",
        r"\1for ",
    ),
    rule(rf"(?<![\w.'/&#-])(?<!(?<![A-Za-z])\d )({words(_SMALL_CHAT)})(?![\w'/&.-]\w|[/&'])\b", _small_chat),
)
