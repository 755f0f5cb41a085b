"""Phrases of somebody who wants to die or to hurt themselves, and of others who speak of such a person."""

from __future__ import annotations

from empatheia_jax.care.rules.rule import of_kind
from empatheia_jax.care.rules.words import ADVERB, HIGH, MANY, PILLS

_INTENT = (
    r"(?:am (?:going|about|planning|ready) to|will|want to|plan to|intend to|have decided to|"
    r"decided to|need to|would like to|"
    r"am thinking (?:of|about|to)|think (?:of|about|to)|keep thinking (?:of|about)|"
    r"have been thinking (?:of|about)|might|may|could|"
    r"tried to|try to|feel like|was going to|go|go to|have to|dream of|should)"
)

SELF_HARM = [
    *of_kind(
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
    *of_kind(
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
    *of_kind(
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
