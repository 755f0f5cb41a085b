"""The words of chats, spellings that are heard as other words, and contractions without their apostrophe."""

from __future__ import annotations

import re

from empatheia_jax.styletts2.text.rules import Rule, rule, words

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


def _chat(match: re.Match[str]) -> str:
    said = _CHAT[match[1].lower()]
    start = not match.string[: match.start()].strip() or match.string[: match.start()].rstrip()[-1] in ".!?\n"
    return said[0].upper() + said[1:] if start else said


def _bare(match: re.Match[str]) -> str:
    word = match[1]
    said = _BARE[word.lower()]
    return said[0].upper() + said[1:] if word[0].isupper() and not word.isupper() else said


def _small_chat(match: re.Match[str]) -> str:
    return _SMALL_CHAT[match[1]]


RULES: tuple[Rule, ...] = (
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
