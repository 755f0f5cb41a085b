"""What a small model writes by mistake and what would hurt a person who trusts it, though no word of it is a danger.

A language model of this size does not know what it says. It tells somebody that others despise them, that it was their fault or
that they will not be happy; it brings up a death that nobody spoke of, or is glad and sorry at once. Each rule is one such kind
of sentence. It is no finding where the user said it first: to say it back is to listen.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from empatheia_jax.care.rules.words import FOLK

_OTHERS = (
    r"(?:they|he|she|people|everyone|everybody|(?:the|all) others|"
    rf"your (?:\w+ )?(?:{FOLK}|friends|class|team|neighbou?rs))"
)
_GLAD = r"(?:\bi am (?:so |really |very |just )*(?:glad|happy|delighted|pleased)\b|\bcongratulations\b)"
_SORRY = r"\bi am (?:so |very |really )*sorry\b"
_WITHOUT_BUT = r"(?:(?!\bbut\b).){0,300}?"
_ILLNESS = r"(?:illness(?:es)?|cancer|disease|tumou?r|dementia|infection|surgery|diabetes|heart attack)"


@dataclass(frozen=True)
class Hurtful:
    """One kind of sentence.

    reason: what it does to the user. pattern: as it is searched in the whole reply. said: words of the user that make it an echo
    of theirs, or give it a ground; None = nothing does. needs: what the user must have said for it to hurt; None = nothing.
    """

    reason: str
    pattern: re.Pattern[str]
    said: re.Pattern[str] | None = None
    needs: re.Pattern[str] | None = None

    def found(self, reply: str, said: str) -> str | None:
        """The words of a reply that are of this kind, after these words of the user, both plain (`care.wording`)."""
        match = self.pattern.search(reply)
        if match is None or (self.said is not None and self.said.search(said)):
            return None
        return match[0] if self.needs is None or self.needs.search(said) else None


def _rule(reason: str, *patterns: str, said: str | None = None, needs: str | None = None) -> Hurtful:
    pattern = re.compile("|".join(patterns), re.DOTALL)
    ground = None if said is None else re.compile(said)
    return Hurtful(reason, pattern, ground, None if needs is None else re.compile(needs))


HURTFUL: tuple[Hurtful, ...] = (
    _rule(
        "tells the user that others think ill of them",
        rf"\b{_OTHERS} (?:is|are|was|were|must be|will be)(?: \w+)? (?:angry|mad|cross|furious|ashamed|disappointed|annoyed|"
        r"fed up|disgusted|embarrassed|tired|sick) (?:with|at|of|by|in) you\b",
        rf"\b{_OTHERS} (?:is|are|was|were|will) (?:not|never)(?: be)? (?:\w+ )?"
        r"(?:happy|pleased|proud|glad|satisfied|interested) (?:with|of|for|about|in) you\b",
        rf"\b{_OTHERS} (?:do|does|did|will|would) (?:not|never) (?:really )?"
        r"(?:like|love|want|need|miss|care about|trust|believe|respect) you\b",
        rf"\b{_OTHERS} (?:hates?|hated|despises?|laugh(?:s|ed)? at|pit(?:y|ies)|looks? down on) you\b",
        rf"\b{_OTHERS} (?:sees?|saw|thinks?|thought) (?:of )?you (?:are |as )(?:\w+ )?"
        r"(?:stupid|silly|ugly|weak|foolish|worthless|a fool|a burden)\b",
        r"\b(?:glad|happy|happier|better)(?: off)?(?: that)? (?:you are (?:gone|not (?:here|there))|without you)\b",
        said=r"\b(?:angry|mad|cross|furious|ashamed|disappoint|annoy|fed up|hate|laugh|stupid|not (?:like|love|want|care))",
    ),
    _rule(
        "gives the user the blame",
        r"(?<!not )(?<!says )(?<!said )(?<!somehow )\b(?:it|that|this) (?:is|was)(?: all| also)? your (?:own )?fault\b",
        r"\byou (?:should|could)(?: just| not)? have just \w+",
        r"(?<!that )\byou are (?:just |so |such |being )?(?:a |an )?"
        r"(?:stupid|selfish|lazy|a fool|weak|rude|liar|coward|burden|useless|ridiculous|thief)\b",
        said=r"\b(?:fault|blame|must have|should have|should not have|could have|stupid|lazy|rude|selfish|coward|thief)",
    ),
    _rule(
        "foretells the user nothing good",
        r"\byou (?:are (?:not|never) going to|will (?:not|never)) (?:be |get |have )?(?:\w+ )?"
        r"(?:happy|respected|loved|liked|safe|better|okay|heard|welcome|forgiven)\b",
        r"\byou are not (?:loved|wanted|welcome|good enough|needed|liked)\b",
    ),
    _rule(
        "names an illness of which nobody spoke",
        rf"\b{_ILLNESS}\b",
        said=r"\b(?:ill\b|illness|sick|cancer|disease|tumou?r|dement|infect|surge|diabet|heart|stroke|hospital|doctor|nurse|pain|fever|"
        r"medic|operat|clinic|ward|flu\b|therap|treatment|scan|chemo|needle|blood)",
    ),
    _rule(
        "tells a death of which nobody spoke",
        r"\b(?:he|she|your \w+) (?:has |have |just )?(?:died|passed away|(?:is|was) dead)\b|\bsorry (?:for|about) your loss\b",
        said=r"\b(?:died|dies?\b|dead|death|dying|passed away|funeral|grave|buried|lost|loss|killed|widow|gone|cemetery|"
        r"ashes|coffin|accident|memory|memories|memorial|heaven|goodbye)",
    ),
    _rule(
        "is sorry and glad in one breath",
        rf"{_SORRY}{_WITHOUT_BUT}{_GLAD}",
        rf"{_GLAD}{_WITHOUT_BUT}{_SORRY}",
    ),
    _rule(
        "speaks of a joy that nobody told to somebody who tells of a lack",
        r"\bglad(?: that)? you are (?:so |really |very )?(?:happy|excited|enjoying|having (?:fun|a good time))\b",
        said=r"!|\b(?:happ|glad|excit|lov|laugh|fun\b|great|good|nice|enjoy|joy|proud|smil|wonderful|awesome|amazing|cool\b|"
        r"best|beaut|won\b|win|thank|cute|can not wait|look(?:ing)? forward|better|pleased|pleasure|pleasant|celebrat|"
        r"relief|relieved|bless|sweet|perfect|like)",
        needs=r"\b(?:no|not|none|never|nobody|nothing|without|alone|only)\b",
    ),
)
