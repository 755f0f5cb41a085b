"""Phrases of violence against others."""

from __future__ import annotations

from empatheia_jax.care.rules.rule import of_kind
from empatheia_jax.care.rules.words import ADVERB, HURT, HURTING, PERSON, WEAPON

VIOLENCE = [
    *of_kind(
        "violence",
        [
            (
                "wants to hurt somebody",
                rf"\bi {ADVERB}(?:am (?:going|about|planning|ready) to|will|want to|plan to|intend to|"
                rf"have decided to|need to|would love to) {ADVERB}(?:{HURT}|beat|shoot up|blow up|bomb) {PERSON}",
            ),
            (
                "wants to hurt somebody",
                rf"\bi {ADVERB}(?:am )?(?:planning|thinking|dreaming)(?: \w+)? (?:to|of|on|about) (?:{HURT}|"
                rf"{HURTING}) {PERSON}",
            ),
            (
                "wants to hurt somebody",
                rf"\bi {ADVERB}kill {PERSON}.{{0,20}}\b(?:if|when|come|again|knife|gun)\b|"
                r"\bi (?:will )?make (?:him|her|them) dead\b",
            ),
            ("fears to hurt somebody", rf"\bi (?:will|might|am going to|could|may) (?:\w+ )?{HURT} {PERSON}"),
            (
                "wants to hurt somebody with a weapon",
                r"\b(?:bring|take|carry|buy|bought|get|have|"
                rf"got)(?:ing)? (?:\w+ ){{0,3}}{WEAPON}\b.{{0,40}}\b(?:stab|shoot|kill|pay|regret|class|school|"
                r"work|boss|dead|make him|make her|laughing)\b",
            ),
            (
                "wants to hurt somebody with a weapon",
                rf"\b(?:pay|regret|sorry)\b.{{0,30}}\b(?:with|have) (?:my|a|the) {WEAPON}\b|\bput a bullet in\b|"
                rf"\bcome with my {WEAPON}\b",
            ),
            ("builds a bomb", r"\b(?:build|building|built|making|make|planting|plant) (?:a|the|my) (?:pipe )?bomb\b"),
            (
                "wants somebody dead",
                r"\bmake (?:him|her|them) pay with (?:his|her|their) li(?:fe|ves)\b|\bi want (?:him|her|them|"
                r"my \w+) (?:dead|to die)\b",
            ),
            (
                "was threatened",
                r"\bthreat\w* (?:\w+ )?(?:to|me|us|that|with)\b.{0,30}\b(?:kill|shoot|stab|hurt|burn|beat|"
                rf"{WEAPON}|death)\b|\bthreatened (?:me|us) with\b",
            ),
            (
                "was threatened",
                r"\b(?:says?|said|shout\w*|scream\w*|swore|swears|wrote|texted|told (?:me|us))\b(?: (?!or\b|it\b|"
                r"if\b)\w+){0,8} (?:kill|shoot|stab|burn|find|murder|hurt) (?:me|us|my (?:family|children|kids|"
                r"son|daughter|mother|sister|brother))\b",
            ),
            (
                "was attacked with a weapon",
                r"\b(?:pointed|points|pulled|pulls|held|holds|came at me with|comes at me with|"
                rf"attacked me with)(?: \w+){{0,2}} {WEAPON}\b",
            ),
            (
                "is in danger now",
                rf"\b(?:outside|at) my door\b.{{0,25}}\b(?:{WEAPON}|kill|break in)\b|\b(?:is|"
                r"are) (?:trying to )?break(?:ing)? into my (?:house|flat|home) (?:right )?now\b",
            ),
            (
                "is followed",
                r"\b(?:man|men|stranger|guy|ex|he|somebody|someone)\b(?: \w+){0,2} (?:is|keeps|are) (?:following|"
                r"stalking) me\b(?! (?:on|back))|\bstalking me\b",
            ),
        ],
    ),
    *of_kind(
        "violence",
        [
            (
                "wants somebody dead",
                r"\b(?:will|would) not (?:live to see|be breathing|be alive|survive)\b.{0,40}\b(?:weekend|"
                r"tomorrow|morning|tonight|sure|done with|finished with)\b",
            )
        ],
        denied=False,
    ),
    *of_kind(
        "violence",
        [
            (
                "somebody wants to hurt others",
                r"\b(?:he|she|brother|sister|friend|roommate|son|husband|colleague|classmate|neighbour|father|"
                r"boy|man|guy)\b(?: \w+){0,6} (?:wants?|will|going|plans?|planning|"
                rf"threat\w*)(?: to)? (?:{HURT}|shoot up|bomb|blow up) (?:{PERSON}|(?:his|her|"
                r"the) (?:\w+ )?(?:office|school|class|workplace|church))",
            ),
        ],
        other=True,
    ),
]
