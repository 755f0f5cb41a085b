"""What takes a phrase its meaning: fiction and the past, laughter and games, idioms."""

from __future__ import annotations

import re

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
