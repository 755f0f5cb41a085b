"""What a listener shows: not what the speaker feels, but the answer to it. Who is met with anger sees concern.

Two readings. `empathic` takes the expression from the table below. `mirror` shows the speaker's own emotion, weaker, as the
recordings of AvaMERG do (paper §3.2).
"""

from __future__ import annotations

from collections.abc import Mapping

from empatheia_jax.conversation import labels
from empatheia_jax.errors import UserError
from empatheia_jax.settings.choices import Expression

NEUTRAL = "neutral"
MIRRORED = 0.6
"""How strongly a listener who mirrors shows the speaker's emotion."""

# Label of 32 → (expression, intensity, why). Concern is the face of sadness, weaker than the speaker's own would be: raised
# inner brows and a mouth without a smile. Below 0.6 a drawn face is not told from one at rest.
LISTENER: Mapping[str, tuple[str, float, str]] = {
    "surprised": ("surprised", 0.7, "takes part in the surprise, whatever it brings"),
    "excited": ("happy", 0.9, "is glad with them, nearly as much as they are"),
    "annoyed": ("sad", 0.6, "concern: takes the trouble seriously and does not join the annoyance"),
    "proud": ("happy", 0.9, "a smile: shares the success"),
    "angry": ("sad", 0.7, "concern: anger met with anger grows"),
    "sad": ("sad", 0.8, "feels with them"),
    "grateful": ("happy", 0.7, "warmth: receives the thanks"),
    "lonely": ("sad", 0.7, "feels with them"),
    "impressed": ("happy", 0.7, "shares the admiration"),
    "afraid": ("sad", 0.7, "concern: fear in the listener's face would confirm the danger"),
    "disgusted": ("sad", 0.6, "concern: disgust would seem to be meant for the speaker"),
    "confident": ("happy", 0.7, "encourages"),
    "terrified": ("sad", 0.8, "strong concern, and no fear"),
    "hopeful": ("happy", 0.7, "hopes with them"),
    "anxious": ("sad", 0.6, "concern: calm, and takes the worry seriously"),
    "disappointed": ("sad", 0.7, "feels with them"),
    "joyful": ("happy", 1.0, "shares the joy"),
    "prepared": ("happy", 0.6, "approves"),
    "guilty": ("sad", 0.6, "concern without blame"),
    "furious": ("sad", 0.8, "strong concern: fury met with fury grows"),
    "nostalgic": ("happy", 0.6, "a gentle smile: the memory was a good one"),
    "jealous": (NEUTRAL, 1.0, "open: neither blames nor agrees"),
    "anticipating": ("happy", 0.7, "looks forward with them"),
    "embarrassed": (NEUTRAL, 1.0, "makes nothing of it: a smile could be taken for laughing at them"),
    "content": ("happy", 0.6, "a gentle smile"),
    "devastated": ("sad", 0.9, "feels with them deeply"),
    "sentimental": ("happy", 0.6, "a gentle smile"),
    "caring": ("happy", 0.7, "warmth: values their care"),
    "trusting": ("happy", 0.7, "warmth: is worth the trust"),
    "ashamed": ("sad", 0.6, "concern without blame"),
    "apprehensive": ("sad", 0.6, "concern: calm, and takes the worry seriously"),
    "faithful": ("happy", 0.6, "approves"),
}
# Where only the emotion of the 7 is known (it was heard, not written): the label of the 32 that stands for it.
_OF_7 = dict(zip(labels.EMOTIONS_7, ("joyful", "surprised", "angry", "afraid", "sad", "disgusted", "jealous")))


def listener_emotion(label: str) -> tuple[str, float]:
    """The expression, one of the 7 or neutral, and its intensity with which a listener meets one of the 32 emotions.

    Raises:
        UserError: `label` is none of the 32.
    """
    if label not in LISTENER:
        raise UserError(
            f"{label!r} is none of the 32 emotion labels; take a free word through `labels.emotion32` before"
        )
    expression, intensity, _ = LISTENER[label]
    return expression, intensity


def shown(of_32: str | None, of_7: str | None, reading: Expression, label_map: str = "paper") -> tuple[str, float]:
    """What the listener's face and voice show under a reading: (one of the 7 or neutral, intensity).

    Args:
        of_32: the speaker's emotion; None where it is unknown or no label.
        of_7: likewise of the 7, used where `of_32` is None. Both None: a face at rest.
        label_map: takes a label to the 7 for the mirror (`labels.MAPS_TO_7`).
    """
    if reading == "mirror":
        emotion = of_7 if of_32 is None else labels.emotion7(of_32, label_map)
        return (emotion, MIRRORED) if emotion in labels.EMOTIONS_7 else (NEUTRAL, 1.0)
    label = of_32 or _OF_7.get(of_7 or "")
    return listener_emotion(label) if label else (NEUTRAL, 1.0)
