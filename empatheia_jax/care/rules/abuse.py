"""Phrases of somebody who is hurt or controlled by another."""

from __future__ import annotations

from empatheia_jax.care.rules.rule import of_kind
from empatheia_jax.care.rules.words import KEEPER, PARTNER, STRIKES

ABUSE = [
    *of_kind(
        "abuse",
        [
            (
                "is hit",
                rf"\b(?:{PARTNER}|{KEEPER}|he|she|they)\b(?: (?!not\b|"
                rf"never\b)\w+){{0,3}} ?\b{STRIKES} (?:me\b(?! (?:at|to|in the back|up|with)\b)|my (?:face|head|"
                r"body|mother|mum)\b)",
            ),
            (
                "is hit",
                rf"\b(?:{PARTNER}|he|she)\b(?: \w+){{0,3}} (?:throws?|threw|pushed|pushes|shoved|dragged|grabbed|"
                r"grabs) (?:me|things at me)\b(?:.{0,25}\b(?:stairs|wall|floor|hair|ground|throat|neck|"
                r"arm)\b)?(?<!grabbed me)(?<!pushed me)(?<!threw me)",
            ),
            (
                "was strangled",
                r"\b(?:tried to|started to|wanted to) (?:strangle|choke|suffocate|kill|rape) (?:me|us)\b",
            ),
            (
                "was raped or assaulted",
                r"\b(?:i (?:\w+ )?(?:was|got|have been|am being|had been)|i am) (?:\w+ ){0,2}(?:raped|molested|"
                r"groped|assaulted|abused|trafficked)\b",
            ),
            (
                "was raped or assaulted",
                r"\b(?:raped|molested|groped|sexually assaulted|sexually abused|abuses|is abusing|drugged) (?:me|"
                r"us)\b",
            ),
            (
                "is forced",
                r"\b(?:force[sd]?|forcing|made|makes) me (?:to )?(?:have sex|sleep with|do things|touch|undress|"
                r"marry|work without)\b|\bsex\b.{0,20}\bwhen i say no\b",
            ),
            (
                "is touched against their will",
                r"\btouch(?:es|ed|ing)? me (?:(?:without|against|although|even though)(?: \w+)+|where i do not)\b",
            ),
            (
                "is afraid of somebody at home",
                r"\b(?:afraid|scared|terrified|frightened) (?:of (?:him|her|my (?:husband|wife|partner|boyfriend|"
                r"girlfriend|father|mother|son|ex))$|of (?:him|my (?:husband|partner|boyfriend|father|ex))\b|"
                r"to (?:go|come|be at) home\b|when he comes home)",
            ),
            (
                "is controlled",
                r"\bcontrols (?:all )?my (?:money|phone|life)\b|\b(?:takes?|took) all my money\b|\b(?:took|"
                r"takes?|keeps?|has) my passport\b",
            ),
            ("is locked in", r"\b(?:lock(?:s|ed)?|shut) me (?:in|up|inside|into)\b|\bclose the door with key\b"),
            (
                "hides injuries",
                r"\b(?:hide|cover|hiding|covering) (?:the|my) bruises\b|\bbruises\b.{0,25}\b(?:from|"
                r"because of) (?:him|her|my husband)\b",
            ),
            (
                "is hurt at home",
                r"\b(?:gets?|got|becomes?) (?:physical|violent|rough) with me\b|\b(?:he|she|husband|wife|"
                r"boyfriend|partner) (?:always |often )?hurts me\b|\bbecause of what (?:he|she) (?:does|"
                r"did) to me\b|\b(?:he|she|husband|wife|boyfriend|partner) broke my (?:arm|nose|jaw|ribs?|wrist|"
                r"finger|hand|leg|tooth|teeth)\b|\bhe hurts me\b",
            ),
        ],
    ),
    *of_kind(
        "abuse",
        [
            (
                "is not allowed to leave",
                r"\b(?:will|does|do|would) not (?:let|allow) me (?:to )?(?:leave|go out|see my|talk to|"
                r"have a phone|eat)\b(?!.{0,30}\b(?:party|concert|curfew|dessert|sweets|homework|phone after)\b)|"
                r"\bnot (?:leave the house|go out)\b.{0,30}\b(?:without money|key|passport|locked)\b",
            )
        ],
        denied=False,
    ),
    *of_kind(
        "abuse",
        [
            (
                "somebody is hit",
                r"\b(?:her|his|their|sister's|friend's|mother's|daughter's|brother's) (?:new )?(?:husband|wife|"
                rf"boyfriend|girlfriend|partner|son)(?: \w+){{0,2}} {STRIKES} (?:her|him|them)\b",
            ),
            (
                "somebody is hit",
                r"\b(?:neighbou?r|friend|mother|mum|sister|grandmother|grandma|grandfather|colleague|aunt|"
                r"brother)\b(?: \w+){0,3} (?:being|gets?|is) (?:beaten|hit|abused|raped|tortured)\b",
            ),
            (
                "somebody is hit",
                rf"\b(?:father|dad|step-?dad|step-?father|he) (?:\w+ )?{STRIKES} (?:my )?(?:mother|mum|sister)\b",
            ),
            (
                "somebody in need of care is hit",
                rf"\b(?:nurse|carer|caregiver|they|staff|home)\b(?: \w+){{0,3}} (?:{STRIKES}|tie|ties|tied|"
                r"neglect\w*|starve\w*)(?: \w+)? (?:her|him|my (?:grandmother|grandma|grandfather|mother|father|"
                r"mum|dad|brother|sister))\b|\bnurse is hitting\b",
            ),
        ],
        other=True,
    ),
]
