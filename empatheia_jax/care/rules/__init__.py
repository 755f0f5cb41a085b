"""What is looked for: phrases by kind of danger, and what takes a phrase its meaning (idioms, games, fiction, denials).

The rules read what `care.wording.plain` makes of a text. They are English. `docs/care.md` says how often they are wrong, and with
which sentences that is measured.
"""

from __future__ import annotations

from empatheia_jax.care.rules.abuse import ABUSE
from empatheia_jax.care.rules.children import CHILDREN
from empatheia_jax.care.rules.hurtful import HURTFUL, Hurtful
from empatheia_jax.care.rules.innocent import HARMLESS, IDIOMS, STORY
from empatheia_jax.care.rules.replies import NO_DIAGNOSIS, REPLIES
from empatheia_jax.care.rules.rule import KINDS, Kind, Rule
from empatheia_jax.care.rules.self_harm import SELF_HARM
from empatheia_jax.care.rules.violence import VIOLENCE

__all__ = [
    "HARMLESS",
    "HURTFUL",
    "IDIOMS",
    "KINDS",
    "NO_DIAGNOSIS",
    "REPLY_RULES",
    "RULES",
    "STORY",
    "Hurtful",
    "Kind",
    "Rule",
]

RULES: tuple[Rule, ...] = (*CHILDREN, *SELF_HARM, *VIOLENCE, *ABUSE)
"""What is looked for in what a user said."""
REPLY_RULES: tuple[Rule, ...] = (*REPLIES, *RULES)
"""What is looked for in what the model wrote."""
