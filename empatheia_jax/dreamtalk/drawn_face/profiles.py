"""The people who stand for a profile: one drawn person for every age, gender and tone of voice."""

from __future__ import annotations

from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.dreamtalk.drawn_face.identity import Identity, sample_identity

# No person of these seeds trains the networks or tests them (`performances.HELD_OUT`).
_FIRST = 5_000_000


def identity_for_profile(age: str, gender: str, tone: str, variant: int = 0) -> Identity:
    """The person of a profile (24 profiles); `variant` asks for another one of the same profile.

    Raises `UserError` for an age, gender or tone that does not exist.
    """
    person = sample_identity(0, age=age, gender=gender, tone=tone)  # checks the words
    number = (AGES.index(person.age) * len(GENDERS) + GENDERS.index(person.gender)) * len(TONES) + TONES.index(
        person.tone
    )
    return sample_identity(_FIRST + 24 * variant + number, age=age, gender=gender, tone=tone)


def portrait_for_profile(age: str, gender: str, tone: str, variant: int = 0, size: int = 128):
    """The portrait of a profile's person at rest, (size, size, 3) uint8. Raises `UserError` for an unknown profile."""
    from empatheia_jax.dreamtalk.drawn_face.drawing import portrait

    return portrait(identity_for_profile(age, gender, tone, variant), size)
