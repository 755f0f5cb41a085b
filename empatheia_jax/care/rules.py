"""What is looked for: phrases by kind of danger, and what takes a phrase its meaning (idioms, games, fiction, denials).

The rules read what `care.wording.plain` makes of a text. They are English. `docs/care.md` says how often they are wrong, and with
which sentences that is measured.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Kind = Literal["self-harm", "violence", "abuse", "danger-to-a-child", "diagnosis"]
KINDS: tuple[Kind, ...] = ("danger-to-a-child", "self-harm", "violence", "abuse", "diagnosis")
"""In the order in which they count where a text has several: a child comes first."""


@dataclass(frozen=True)
class Rule:
    """One phrase.

    reason: what it means, in words for a log or a person who looks at it. pattern: as it is searched in a sentence. denied: a
    "not" within or just before it takes its meaning. other: it speaks of somebody else, and means nothing in a story.
    """

    kind: Kind
    reason: str
    pattern: re.Pattern[str]
    denied: bool = True
    other: bool = False


# ---------------------------------------------------------------- words

ADVERB = (
    r"(?:(?:just|really|only|still|even|always|sometimes|often|also|so|actually|seriously|honestly|"
    r"soon|now|then|again) )*"
)
PARENT = r"(?:dad|father|mum|mother|parents?|step-?dad|step-?father|step-?mum|step-?mother|foster \w+)"
KIN = r"(?:uncle|aunt|grandpa|grandfather|granddad|grandma|cousin|coach|teacher|priest|trainer|babysitter)"
PARTNER = r"(?:husband|wife|boyfriend|girlfriend|partner|fianc[eé]e?|ex(?:-?\w+)?|spouse|man)"
KEEPER = r"(?:boss|manager|carer|caregiver|nurse|landlord|employer|pimp|supervisor)"
CHILD = (
    r"(?:baby|newborn|infant|toddler|child|children|kids?|son|daughter|niece|nephew|boys?|girls?|"
    r"grandson|granddaughter|twins|pupil)"
)
FOLK = (
    r"(?:mother|father|mum|dad|brother|sister|friend|wife|husband|boss|manager|neighbour|neighbor|"
    r"roommate|flatmate|girlfriend|"
    r"boyfriend|partner|ex|classmates?|teacher|colleagues?|family|parents?|uncle|aunt|cousin|"
    r"grandmother|grandma|grandfather)"
)
PERSON = (
    r"(?:him|her|them|you|everyone|everybody|someone|somebody|people|(?:my|his|her|their|that|this|"
    rf"the)(?: \w+)? {FOLK}|"
    r"(?:this|that) (?:man|woman|guy|bastard|bitch)|my (?:whole )?(?:class|school|family))\b"
)
HURT = r"(?:kill|murder|stab|shoot|strangle|poison|slaughter|behead|choke|drown|attack|hurt|beat up|burn|execute)"
HURTING = r"(?:killing|murdering|stabbing|shooting|strangling|poisoning|choking|attacking|hurting)"
STRIKES = (
    r"(?:hits?|hitting|beats?|beating|beaten|punch(?:es|ed|ing)?|slaps?|slapped|slapping|kicks?|"
    r"kicked|kicking|chok(?:es?|ed|ing)|"
    r"strangl(?:es?|ed|ing)|whips?|whipped|burns?|burned|burnt|bites?)"
)
WEAPON = r"(?:gun|rifle|pistol|shotgun|knife|machete|axe|bomb)"
PILLS = r"(?:pills?|tablets?|painkillers?|medication|medicine|paracetamol|antidepressants?|xanax)"
MANY = (
    r"(?:a whole|whole|all|an entire|a box|a bottle|too many|a handful|handful|so many|every|"
    r"the entire|dozens|twenty|thirty|forty|fifty)"
)
HIGH = r"(?:roof|bridge|building|window|balcony|cliff|tower|ledge|overpass)"
YOUNG = (
    r"\bi am (?:only |just )?(?:[4-9]|1[0-7]|four|five|six|seven|eight|nine|ten|eleven|twelve|"
    r"thirteen|fourteen|fifteen|sixteen|"
    r"seventeen)(?: years old)?\b|\b(?:[1-9]|1[01])(?:st|nd|rd|th) grade\b"
)

STORY = re.compile(
    r"\b(?:films?|movies?|novels?|books?|songs?|lyrics|scene|series|episode|characters?|villain|hero|"
    r"hamlet|romeo|play|opera|poem|"
    r"essay|report on|thesis|documentary|podcast|on the news|in the news|crime story|story|"
    r"video game|in the game|the game|minecraft|"
    r"campaign|respawn|raid|the match|role-play|level|the round|dragon|prevention|hotline|"
    r"social worker|training to be|"
    r"lecture|workshop|years ago|anniversary|in my country was war)\b"
)
"""What makes it likely that somebody tells of others, invented or long past."""
HARMLESS = re.compile(
    r"\b(?:ha(?:ha)+|lol|lmao|rofl|just kidding|jk)\b|😂|🤣|\b(?:tickl\w+|pillows?|bouquet|dodgeball|"
    r"snowballs?|chess|tennis|"
    r"serve|scrabble|karaoke|we laugh|it was fun|puns?|play(?:ed|ing)? against|tournament|driver|"
    r"red light|by accident|without meaning to)\b"
)

"""What says that nobody is in danger of another: laughter, games, accidents."""

IDIOMS = tuple(
    re.compile(pattern)
    for pattern in (
        r"\b(?:is|are|was|were|been|be) (?:literally |absolutely |really )?killing (?:me|us|my \w+)\b",
        r"\b(?:could|would|might|will) (?:kill|murder|die) (?:for|a|an|some)\b",
        r"\bto die for\b",
        r"\b(?:die|dies|died|dying|dead) (?:of|from) (?:shame|boredom|laughter|laughing|embarrassment|"
        r"curiosity|hunger|cold|heat)\b",
        r"\b(?:die|died|dying|dead) (?:laughing|tired|to|here)\b",
        r"\b(?:dying|died) (?:for|of|when)\b",
        r"\bkill(?:ed|ing)? (?:time|it|two birds|the (?:mood|vibe|boss|dragon|lights?|engine))\b",
        r"\b(?:shoot|shot) (?:myself|himself|herself|yourself|me) (?:in the foot|a (?:message|mail|text)|down)\b",
        r"\bstab(?:bed|s)? \w+ in the back\b",
        r"\bhit (?:me|him|her|us) (?:up|like|that|with (?:a|the|his|her|an)|at the lights)\b",
        r"\bbeat(?:ing|s)? (?:myself|yourself|himself|herself) up\b",
        r"\bbeat(?:ing|s)? (?:me|him|her|us|them) (?:at|to|in|by|\w+ to \w+)\b",
        r"\bso (?:bored|tired|boring|embarrass\w+|awkward|annoyed)\b[^.]{0,40}\b(?:kill|shoot) myself\b",
        r"\b(?:rather|sooner) (?:die|kill myself|shoot myself) than\b",
        r"\bwant(?:ed)? to die (?:of|from)\b",
        r"\bwanted to die when\b[^.]{0,40}\b(?:stage|skirt|trousers|ripped|tripped|farted|microphone|"
        r"in front of|class|name)\b",
        r"\bover my dead body\b",
        r"\b(?:will|would|could|(?:is|are) going to|going to) (?:so )?kill (?:me|us|"
        r"you)(?: one day)?,? (?:if|when|because|for|once|after)\b",
        r"^(?:and i was |like |oh my god |my god |oh |just |please )*kill me(?: now| already)?\b",
        r"\bif (?:he|she|they|you|it|anyone)\b[^.]{0,40}\b(?:one more time|"
        r"again)\b[^.]{0,20}\bkill (?:him|her|them|you)\b",
        r"\bkill (?:you|him|her|them|me) with kindness\b",
        r"\b(?:drown|bury|hide)(?:ing|ed)? (?:myself )?(?:in|under) (?:work|paperwork|books|a blanket|"
        r"blankets|chocolate)\b",
        r"\bhave my head\b",
        r"\bhurt(?:s)? (?:me|my feelings) (?:when|that|because) (?:he|she|they) (?:forgot|forgets|"
        r"ignored|ignores|laughed|left|lied|said)\b",
    )
)
"""What only sounds like it; it is taken out of a sentence before the rules see it."""


# ---------------------------------------------------------------- rules


def _rules(kind: Kind, entries: Iterable[tuple[str, str]], *, denied: bool = True, other: bool = False) -> list[Rule]:
    return [Rule(kind, reason, re.compile(pattern), denied, other) for reason, pattern in entries]


_INTENT = (
    r"(?:am (?:going|about|planning|ready) to|will|want to|plan to|intend to|have decided to|"
    r"decided to|need to|would like to|"
    r"am thinking (?:of|about|to)|think (?:of|about|to)|keep thinking (?:of|about)|"
    r"have been thinking (?:of|about)|might|may|could|"
    r"tried to|try to|feel like|was going to|go|go to|have to|dream of|should)"
)

SELF_HARM = [
    *_rules(
        "self-harm",
        [
            (
                "wants to die",
                rf"(?<!thought )\bi {ADVERB}(?:want|wanted|wish|would like|would rather|need|hope|prefer|am ready|"
                r"am going|plan|have decided|decided)"
                rf"(?: \w+)? to {ADVERB}(?:die|be dead|be gone forever|be with my dead)\b",
            ),
            (
                "wants to die",
                r"\bi (?:would )?(?:rather|better)(?: be| am)? (?:die|dead)\b|\b(?:better|best) i (?:am|was|"
                r"were) dead\b",
            ),
            ("wants to die", r"\bi wish (?:that )?i (?:was|were|am) (?:dead|not alive|gone)\b"),
            ("wishes not to have been born", r"\bwish\b.{0,15}\bi (?:had never been|was never|were never) born\b"),
            (
                "thinks of killing themself",
                rf"\bi\b(?: \w+){{0,3}} {_INTENT} (?:\w+ ){{0,3}}kill(?:ing)? (?:myself|me)\b|"
                rf"\bi {_INTENT} kill(?:ing)? myself\b"
                rf"|\bi {_INTENT} kill(?:ing)? me\b",
            ),
            ("thinks of killing themself", r"\b(?:to|of|about|a plan to|on|by) kill(?:ing)? myself\b"),
            ("suicidal", r"\bi (?:\w+ ){0,3}suicidal\b|\bsuicidal (?:thoughts?|feelings?|ideas?|urges?)\b"),
            (
                "thinks of suicide",
                r"\b(?:think\w*|thought\w*|consider\w*|plan\w*|commit\w*|attempt\w*|want|make|making|try|"
                r"tried) (?:\w+ ){0,2}suicide\b",
            ),
            ("wants to end their life", r"\b(?:end|ending|take|taking|finish|finishing) my (?:own )?life\b"),
            (
                "wants it all to end",
                r"\bi\b(?: \w+){0,6} (?:end|ending) (?:it all|everything|it forever|it for good)\b|"
                r"\bi\b(?: \w+){0,4} ending it$|\bi\b(?: \w+){0,3} want(?: \w+){0,2} (?:it |"
                r"everything )?(?:all )?to (?:end|be over) "
                r"(?:forever|for good|for ever)\b|\bi (?:\w+ )?(?:want|go|will) (?:to )?make (?:an|the) end\b",
            ),
            (
                "hangs, drowns, shoots or throws themself",
                r"\b(?:hang|hanging|hanged|hung|drown|drowning|shoot|shooting|poison) myself\b",
            ),
            ("cuts their wrists", r"\b(?:slit|slitting|cut|cutting|open) my (?:own )?wrists?\b"),
            (
                "took too many pills",
                r"\bi\b(?: \w+){0,3} (?:took|taken|take|swallow\w*|ate|"
                rf"eaten)(?: \w+){{0,2}} ?\b{MANY}\b(?: \w+){{0,4}} ?\b{PILLS}\b|"
                r"\bi\b(?: \w+){0,4} overdos\w*|\btake (?:all of them|them all)\b",
            ),
            (
                "has what it takes at hand",
                rf"\b(?:{PILLS}|rope|razor|blade|noose)\b[^.]{{0,20}}\b(?:in my hand|ready|in front of me|"
                r"beside me)\b|"
                r"\bpain\b.{0,25}\bi have (?:a|the) (?:rope|gun|razor|blade)\b|"
                r"\b(?:written|wrote|writing) (?:the|a|my) (?:suicide |goodbye |farewell )?(?:note|"
                r"letter)s?\b.{0,40}\b(?:rope|pills|gun|bridge|goodbye|gone)\b|"
                r"\b(?:suicide|goodbye|farewell) (?:note|letter)\b",
            ),
            (
                "thinks of jumping",
                r"\bi\b(?: \w+){0,6} (?:jump|jumping|throw myself|throwing myself|step|"
                rf"stepping)(?: \w+)? (?:off|from|out of) (?:the|a|my|this)? ?{HIGH}\b|"
                rf"\bi (?:\w+ ){{0,3}}stand(?:ing)? on (?:the|a) (?:{HIGH}|edge)\b(?!.{{0,20}}\b(?:photo|view|"
                r"proposed)\b)|"
                r"\b(?:think\w*|thought) (?:of|about) jumping\b(?! (?:into|in) (?:bed|the pool|the water))",
            ),
            (
                "thinks of a train, a car or a tree",
                r"\bi\b(?: \w+){0,5} (?:run|jump|walk|step|throw myself|lie|jumping|stepping|running|"
                r"walking) (?:down )?(?:in front of|under|on|before) (?:a|the) (?:car|cars|train|bus|truck|lorry|"
                r"tram|tracks|rails)\b|"
                r"\b(?:drive|drove|steer|driving|crash\w*) (?:my car |the car )?into (?:a|the) (?:tree|wall|"
                r"bridge|river|lorry|oncoming \w+)\b(?!.{0,30}\b(?:insurance|damage|repair)\b)|"
                r"\b(?:looking at|thinking (?:of|about)|standing (?:at|on|by)) the (?:train tracks|tracks|rails|"
                r"railway)\b",
            ),
            (
                "hurts themself",
                r"\bi\b(?: \w+){0,8} (?:cut|cutting|harm|harming|hurt|hurting|burn|burning|burned) (?:myself|"
                r"my (?:own )?(?:arms?|legs?|wrists?|thighs?|skin))\b"
                r"(?!.{0,25}\b(?:on the oven|on the stove|shaving|chopping|cooking|by accident|accidentally|"
                r"opening|with paper|in the kitchen|at work|at the gym|playing|climbing|with oil)\b)",
            ),
            (
                "hurts themself",
                r"\bi\b(?: \w+){0,2} (?:scratch|scratching|punch|hit|bang|pinch) (?:myself|my (?:own )?(?:arms?|"
                r"legs?|head|face|skin|thighs?))\b.{0,30}\b(?:on purpose|until|bleed\w*|when i am|"
                r"because i (?:am|feel|hate))\b",
            ),
            (
                "feels like hurting themself",
                r"\b(?:urge|urges|need|want) to (?:hurt|cut|harm|burn) myself\b|\bself-?harm(?:ing|"
                r"ed)?\b(?! (?:prevention|charity))",
            ),
            (
                "tired of life",
                r"\b(?:done with|tired of|finished with|fed up with|sick of) (?:the |my )?(?:life|living|"
                r"being alive|existing)$|\b(?:done with|tired of) (?:the )?(?:life|living|"
                r"being alive)\b(?! (?:in|with|here|out|at))",
            ),
            (
                "asks what happens without them",
                r"\b(?:better|happier|easier)(?: off)? (?:without me|if i (?:was|were|am) (?:dead|gone|not here))\b",
            ),
            (
                "says nobody would miss them",
                r"\b(?:miss|care|notice|cry)(?: me)? if i (?:was|were|am|died|disappeared)(?: \w+)? ?(?:dead|"
                r"gone|not here|died)?$|\bwould (?:miss|care|notice)(?: \w+)? if i (?:died|was dead|were dead|"
                r"was gone|were gone)\b",
            ),
            (
                "wants to sleep for ever",
                r"\bsleep (?:forever|for ever|and never wake)\b|\bnever (?:to )?wake up(?: again)?\b",
            ),
            (
                "wants to be with the dead",
                r"\b(?:join|be with) (?:my )?(?:dead|late|him|her|them)\b.{0,25}\b(?:soon|in heaven|tonight|"
                r"on the other side)\b",
            ),
            (
                "wants to be gone for good",
                r"\bi\b(?: \w+){0,3} (?:want|going|wish)(?: \w+){0,2} (?:disappear|vanish|"
                r"go away)\b.{0,30}\b(?:for good|forever|for ever|never come back)\b",
            ),
            (
                "says goodbye",
                r"\b(?:this is|it is) (?:my |the )?(?:last )?(?:goodbye|farewell|message)\b.{0,60}\b(?:gone|"
                r"look after|take care of|forgive|loved)\b|\b(?:look after|take care of|tell)\b.{0,40}\b(?:when|"
                r"after|once) i am gone\b",
            ),
            (
                "says they will be gone",
                r"\bgiv(?:e|ing|en) (?:away )?(?:all )?(?:of )?my (?:things|stuff|belongings|"
                r"money)\b.{0,40}\b(?:not need|soon|gone|no longer)\b",
            ),
        ],
    ),
    *_rules(
        "self-harm",
        [
            (
                "does not want to live",
                r"\b(?:not|no longer|never|nor) (?:\w+ )?(?:want|wish|like)(?:ed)? (?:to )?(?:be alive|exist|"
                r"wake up|live)\b(?!(?: \w+){0,2} (?:here|there|in|with|at|near|alone|abroad|on|next)\b|"
                r" (?:early|at|before|so))",
            ),
            (
                "does not want to live",
                r"\bi want (?:to )?not (?:to )?(?:live|be alive|exist|wake up|be here)\b|\brather not (?:exist|"
                r"be alive|be here|live)\b",
            ),
            (
                "does not want to be here",
                r"\bnot want to be here\b.{0,40}\b(?:alive|in this world|on (?:this )?earth|in this life|"
                r"on this planet|at all)\b",
            ),
            ("cannot go on living", r"\bcan not (?:go on living|live anymore|keep living|live like this anymore)\b"),
            (
                "sees no reason to live",
                r"\b(?:no|not|any)(?: \w+)? (?:reason|point|sense|use|wish|will|desire)(?: \w+)? (?:to|in|for|"
                r"of) (?:\w+ )?(?:live|living|go on|going on|life|be alive|being alive|keep going|exist)\b",
            ),
            (
                "sees no reason to live",
                r"\blost (?:the|my|all) (?:will|wish|reason) to live\b|\bnothing (?:left )?to live for\b",
            ),
            (
                "says life is worth nothing",
                r"\blife (?:is|was) (?:not|no longer) worth(?: living| it)?\b|\bnot worth living\b|"
                r"\blife (?:is finish|has no (?:sense|meaning))\w*\b",
            ),
            (
                "says they will be gone",
                r"\bi (?:will|am) not (?:going to )?be (?:here|around|there|alive) (?:much longer|anymore|"
                r"for long|soon|tomorrow|next week)$|\bi will not be (?:around|alive) (?:much longer|for long|"
                r"tomorrow|soon)\b",
            ),
            (
                "says they will be no burden",
                r"\bnot be a burden (?:to|on|for) (?:anyone|anybody|you|them|my family|everybody|everyone)\b",
            ),
        ],
        denied=False,
    ),
    *_rules(
        "self-harm",
        [
            (
                "somebody wants to die or hurts themself",
                r"\b(?:wants?|wanted|going|tried|trying|threat\w*|plans?|planning|says|said|told|talks?|talking|"
                r"will|might|thinking|keeps?|is|has been)\b"
                r"(?: \w+){0,6} (?:kill|killing|hurt|hurting|hang|hanging|cut|cutting|harm|harming|"
                r"burning) (?:himself|herself|themselves|themself|(?:his|her|their) (?:arms?|wrists?|legs?))\b",
            ),
            (
                "somebody wants to die",
                r"\b(?:he|she|they|friend|brother|sister|son|daughter|wife|husband|mother|father|mum|dad|partner|"
                r"boyfriend|girlfriend|roommate|pupil|student)\b(?: \w+){0,8} (?:wants?|wanted|going|"
                r"would like) (?:to )?(?:die|end it all|end (?:his|her|their) life|commit suicide|be dead|"
                r"jump off \w+ \w+)\b",
            ),
            (
                "somebody does not want to live",
                r"\b(?:he|she|they)(?: \w+){0,3} not want to (?:live|be alive|wake up)(?: anymore)?$",
            ),
        ],
        other=True,
    ),
]

VIOLENCE = [
    *_rules(
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
    *_rules(
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
    *_rules(
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

ABUSE = [
    *_rules(
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
    *_rules(
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
    *_rules(
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

CHILDREN = [
    *_rules(
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
    *_rules(
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
    *_rules(
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

RULES: tuple[Rule, ...] = (*CHILDREN, *SELF_HARM, *VIOLENCE, *ABUSE)
"""What is looked for in what a user said."""


# ---------------------------------------------------------------- what the model wrote

ILLNESS = (
    r"(?:(?:clinical |major |severe )?depression|depressive (?:episode|disorder)|anxiety disorder|"
    r"generali[sz]ed anxiety(?: disorder)?|panic disorder|"
    r"bipolar(?: disorder)?|adhd|add|ptsd|post-?traumatic stress(?: disorder)?|autis(?:m|tic)|"
    r"asperger\w*|schizophreni\w+|psychosis|psychotic|"
    r"borderline(?: personality)?(?: disorder)?|(?:\w+ )?personality disorder|narcissis(?:t|tic|"
    r"m)\w*|ocd|obsessive.compulsive disorder|anorexi\w+|bulimi\w+|"
    r"dementia|alcoholi(?:c|sm)|addict|psychopath|sociopath|clinically depressed)"
)
_REPLIES = [
    *_rules(
        "diagnosis",
        [
            (
                "says what illness the user has",
                r"\byou (?:\w+ ){0,2}(?:have|are|suffer from|be|show|got|meet)(?: \w+){0,4}? (?:a |an |"
                rf"the )?{ILLNESS}\b",
            ),
            (
                "says what illness the user has",
                r"\b(?:this|that|it|what you (?:have|describe|feel))(?: \w+)? (?:is|are|sounds like|looks like|"
                rf"seems to be|must be)(?: \w+){{0,3}}? {ILLNESS}\b",
            ),
            (
                "says what illness the user has",
                r"\b(?:symptoms?|signs?)\b(?: \w+){0,3} (?:of|indicates?|suggests?|points? to|shows?|"
                rf"means?) (?:\w+ ){{0,2}}?{ILLNESS}\b",
            ),
            (
                "says what illness somebody has",
                rf"\byour (?:\w+ )?{FOLK} (?:is|has|suffers from|might have|clearly has)(?: \w+){{0,3}}? {ILLNESS}\b",
            ),
            ("gives a diagnosis", r"\bmy diagnosis\b|\bi diagnose you\b"),
            (
                "prescribes",
                r"\byou (?:should|need to|must|could|can|ought to|need)(?: \w+){0,2}? (?:take|stop taking|"
                r"start taking|increase|reduce|double|skip|try|an?|some)?(?: \w+){0,2}? ?(?:medications?|"
                r"antidepressants?|sedatives?|benzodiazepines?|xanax|prozac|lithium|ritalin|sleeping pills|"
                r"your pills|your meds)\b",
            ),
        ],
    ),
    *_rules(
        "self-harm",
        [
            (
                "encourages self-harm",
                r"(?<!did you )(?<!do you )(?<!if you )(?<!have )(?<!already )\b(?:kill|hurt|harm|cut|hang|starve) yourself\b|"
                r"\bend your (?:own )?life\b|\byou should (?:just )?(?:die|end it|give up on life)\b|\b(?:better|"
                r"happier)(?: off)? without you\b|\b(?:no one|nobody) would miss you\b|\byou are (?:better off|"
                r"better) dead\b",
            ),
        ],
    ),
    *_rules(
        "violence",
        [
            (
                "encourages violence",
                rf"\b(?:you should|you could|you must|just|go and|why not) (?:\w+ )?(?:{HURT}|hit|punch|"
                r"beat) (?:him|her|them|your|back)\b|\b(?:deserves?|has|have|ought) to (?:die|be (?:killed|"
                r"beaten|shot))\b",
            )
        ],
    ),
    *_rules(
        "abuse",
        [
            (
                "blames who was hurt",
                r"\b(?:it is|that is|this is) (?:all )?your (?:own )?fault that (?:he|she|they) (?:hits?|beats?|"
                r"hurts?|raped|touch\w*)\b|\byou (?:deserved?|provoked?)(?: \w+){0,3} (?:hit|beaten|raped|it)\b|"
                r"\bdo not tell (?:anyone|anybody|your (?:parents|mum|mother|teacher))\b",
            )
        ],
    ),
]
REPLY_RULES: tuple[Rule, ...] = (*_REPLIES, *RULES)
"""What is looked for in what the model wrote."""
NO_DIAGNOSIS = re.compile(
    r"\b(?:not a doctor|no doctor|only a (?:doctor|professional)|can not (?:say|tell|diagnose|know)|"
    r"whether|diagnosed you|were diagnosed|you (?:said|mentioned|told me|wrote)|"
    r"your (?:doctor|therapist|psychiatrist) (?:said|says|told|diagnosed|gave)|hard to live with|"
    r"living with|talk (?:to|with) (?:your|a) doctor|ask (?:your|a) doctor|movie|film|book)\b"
)
"""What says that a sentence makes no diagnosis: who is quoted, or who could make one."""
