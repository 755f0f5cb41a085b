"""Phrases of a child in danger."""

from __future__ import annotations

from empatheia_jax.care.rules.rule import of_kind
from empatheia_jax.care.rules.words import CHILD, KIN, PARENT, STRIKES, YOUNG

CHILDREN = [
    *of_kind(
        "danger-to-a-child",
        [
            (
                "a child is hit",
                rf"\b{PARENT}\b(?: (?!not\b|never\b|forgot)\w+){{0,3}} ?\b(?:{STRIKES}|hurts) me\b(?! (?:at|to|"
                r"with (?:a|the|his|her) (?:pillow|ball))\b)",
            ),
            (
                "a child is locked in",
                rf"\b(?:{PARENT})\b(?: \w+){{0,3}} (?:lock(?:s|ed)?|shuts?) (?:me|us|him|her|my (?:brother|"
                r"sister)) (?:in|up|out|inside)\b",
            ),
            (
                "a child is touched",
                rf"\b(?:{PARENT}|{KIN}|boyfriend|neighbou?r|he|man)\b(?: \w+){{0,4}} touch(?:es|ed|"
                r"ing)? (?:me (?:under|down|there|between|in|at night|and said|and says|inappropriately|where|"
                r"sexually)|my (?:private|privates|body|bottom|chest|breasts|daughter|son|niece|sister|brother))",
            ),
            (
                "a child is touched",
                r"\bprivate (?:parts?|places?)\b|\bmolest(?:s|ed|ing)? (?:my|a|the|his|her|our|small|little|"
                r"children|kids)\b",
            ),
            (
                "a child shall keep a secret",
                r"\b(?:our|a|the)(?: \w+)? secret\b.{0,50}\b(?:mum|dad|night|touch\w*|clothes|must not|mustn't|"
                r"not tell)\b|\b(?:night|touch\w*|clothes|bed)\b.{0,50}\b(?:our|a)(?: \w+)? secret\b",
            ),
            (
                "a child is undressed or asked for pictures",
                r"\b(?:nudes?|naked|nude|no clothes|without (?:my )?clothes|undressed|took off my clothes|"
                r"underwear|sexy) ?(?:pictures?|photos?|pics?|videos?)?\b.{0,60}(?:\bi am (?:only |"
                r"just )?(?:1[0-7]|[5-9])\b|\bgrade\b|\beleven\b|\btwelve\b|\bthirteen\b|\bten\b|\bnine\b|"
                r"\bi do not like\b)",
            ),
            (
                "a child is undressed or asked for pictures",
                r"\b(?:uncle|stepdad|stepfather|grandpa|coach|teacher|dad)\b.{0,60}\b(?:naked|without clothes|"
                r"no clothes|underwear|clothes off)\b",
            ),
            (
                "a stranger wants to meet a child",
                r"\b(?:man|guy|someone|somebody|stranger|he)\b.{0,30}\b(?:online|internet|chat|instagram|"
                r"snapchat|game)\b.{0,60}(?:meet|pictures?|secret|tell my parents|"
                rf"tell anyone).{{0,40}}(?:{YOUNG})",
            ),
            (
                "somebody comes at night",
                rf"\b(?:{PARENT}|{KIN}|boyfriend|brother|he)\b(?: \w+){{0,2}} (?:comes?|came) (?:in|into|"
                r"to) my (?:room|bed) (?:at night|every night|when)\b|\b(?:does|did) things to me\b",
            ),
            (
                "a child was hurt by who cares for it",
                r"\bi (?:\w+ ){0,2}(?:shook|shake|shaken|hit|beat|slapped|hurt|burned|drown|smother|kill|"
                rf"kicked|threw) (?:my|the|our) (?:\w+ )?{CHILD}\b(?!.{{0,20}}\b(?:feelings|record|hand)\b)",
            ),
            (
                "a parent fears to hurt a child",
                r"\bi\b(?: \w+){0,3} (?:hurt|shake|hit|drown|kill|smother|harm|throw|killing|hurting|"
                rf"harming) (?:my|the|our) (?:\w+ )?{CHILD}\b",
            ),
            (
                "a child is left alone",
                r"(?=.*\b(?:alone|by (?:himself|herself|themselves))\b).*?\b(?:left|leave|leaves|"
                rf"alone)\b(?: \w+){{0,6}} ?\b(?:{CHILD}|alone)\b.{{0,40}}\b(?:for (?:\w+ )?(?:days|nights|weeks)|"
                r"since yesterday|two days|all night|all weekend)\b|\b(?:kids|children|"
                rf"{CHILD})\b.{{0,30}}\bleft alone for (?:\w+ )?(?:days|nights|weeks)\b",
            ),
            (
                "a child's parent does not wake up",
                r"\b(?:mum|dad|grandma|grandpa)\b.{0,10}\b(?:will not|does not|is not|can not) wak(?:e|ing) up\b",
            ),
        ],
    ),
    *of_kind(
        "danger-to-a-child",
        [
            (
                "a child has nothing to eat",
                r"\b(?:no food|nothing to eat|not eaten|no one gives us food)\b.{0,50}\b(?:mum|dad|alone|days|"
                r"baby sister|baby brother)\b",
            ),
            (
                "a child's parent does not wake up",
                r"\b(?:mum|dad|grandma|grandpa)\b.{0,10}\b(?:will not|does not|is not|can not) wak(?:e|ing) up\b",
            ),
        ],
        denied=False,
    ),
    *of_kind(
        "danger-to-a-child",
        [
            (
                "a child is hit or abused",
                rf"\b(?:{STRIKES}|abus\w+|molest\w+|rap(?:es?|ed|ing)|hurts?|hurting|touch(?:es|ed|"
                rf"ing)?)(?: with)? (?:my|our|his|her|the|their|small|little|a)(?: \w+){{0,2}} {CHILD}\b(?!')",
            ),
            (
                "a child is hit",
                rf"\b{STRIKES} (?:my )?(?:little|baby|younger|small) (?:brother|sister)\b|\b(?:beats?|hits?|"
                r"beating|hitting|abus\w+) (?:our|my|her|his) (?:\w+ )?(?:son|daughter|child|children|kids|boy|"
                r"girl)\b",
            ),
            (
                "a child is hit",
                r"\b(?:child|children|daughter|son|niece|nephew|pupil|student|girl|boy|"
                r"kids?)\b(?: \w+){0,3} (?:is|are|gets?|being|was) (?:\w+ )?(?:beaten|hit|abused|molested|"
                r"raped|starved|locked)\b",
            ),
            (
                "a child is hit",
                r"\b(?:pupil|student|girl|boy|child|niece|nephew|friend)\b.{0,25}\b(?:her|his) (?:father|"
                rf"mother|dad|mum|parents|stepfather|stepdad|uncle)(?: \w+)? {STRIKES} (?:her|him)\b",
            ),
            (
                "a child is abused",
                r"\bbad things (?:with|to) (?:small |little |young |the |a )?(?:girls?|boys?|child|children|kids)\b",
            ),
            (
                "a child has injuries",
                rf"\b{CHILD}\b.{{0,60}}\b(?:burns|bruises|cigarette burns|belt marks)\b on (?:his|her|their)\b",
            ),
        ],
        other=True,
    ),
]
