"""Who a drawn face is: about seventy numbers, sampled from a seed and a profile (age, gender, tone of voice)."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from empatheia_jax.conversation.labels import AGES, GENDERS, TONES
from empatheia_jax.errors import UserError

_Styles = dict[str, tuple[dict[str, Any], ...]]  # by age
Colour = tuple[float, float, float]

# Colours are sRGB in 0..1, chosen by eye. Skin runs from light to deep and is interpolated.
_SKIN = (
    (0.98, 0.86, 0.78),
    (0.95, 0.78, 0.66),
    (0.88, 0.68, 0.52),
    (0.76, 0.55, 0.40),
    (0.60, 0.41, 0.29),
    (0.43, 0.29, 0.21),
)
_HAIR = {
    "black": (0.13, 0.11, 0.12),
    "dark brown": (0.25, 0.16, 0.12),
    "brown": (0.42, 0.27, 0.17),
    "auburn": (0.56, 0.27, 0.15),
    "blond": (0.86, 0.68, 0.40),
    "grey": (0.66, 0.65, 0.66),
    "white": (0.90, 0.89, 0.88),
}
_IRIS = ((0.30, 0.18, 0.10), (0.40, 0.25, 0.12), (0.30, 0.42, 0.25), (0.28, 0.45, 0.62), (0.40, 0.45, 0.48))
_CLOTHES = {
    "emphatic": ((0.82, 0.26, 0.24), (0.90, 0.48, 0.20), (0.62, 0.16, 0.36), (0.16, 0.18, 0.26)),
    "mild": ((0.22, 0.48, 0.46), (0.30, 0.42, 0.62), (0.52, 0.55, 0.34), (0.40, 0.36, 0.34)),
    "gentle": ((0.66, 0.62, 0.84), (0.92, 0.72, 0.76), (0.62, 0.80, 0.84), (0.94, 0.88, 0.76)),
}
_BACKGROUNDS = {
    "emphatic": ((0.98, 0.84, 0.66), (0.96, 0.76, 0.68), (0.98, 0.88, 0.58)),
    "mild": ((0.78, 0.88, 0.84), (0.80, 0.86, 0.94), (0.88, 0.90, 0.78)),
    "gentle": ((0.90, 0.86, 0.96), (0.97, 0.88, 0.90), (0.86, 0.94, 0.96)),
}


@dataclasses.dataclass(frozen=True)
class Identity:
    """A person. Lengths are in half widths of the picture, shares in 0..1; what a field does is seen in `drawing`."""

    age: str
    gender: str
    tone: str
    seed: int
    # Head
    head_width: float
    head_height: float
    jaw_width: float
    jaw_length: float
    chin_square: float
    ear_size: float
    neck_width: float
    shoulder_width: float
    size: float
    skin: Colour
    # Eyes and brows
    eye_x: float
    eye_y: float
    eye_width: float
    eye_height: float
    eye_tilt: float
    iris_radius: float
    iris: Colour
    lashes: float
    brow_y: float
    brow_arch: float
    brow_thickness: float
    brow_colour: Colour
    # Nose and mouth
    nose_y: float
    nose_width: float
    nose_shade: float
    mouth_y: float
    mouth_width: float
    upper_lip: float
    lower_lip: float
    lip_colour: Colour
    blush: float
    # Hair: the front ends on the curve hairline + ... (see drawing), the back reaches down to hair_length.
    hair: Colour
    hair_top: float
    hair_volume: float
    hairline: float
    hairline_tilt: float
    hairline_power: float
    hair_sides: float
    parting: float
    parting_depth: float
    fringe: float
    hair_length: float
    hair_back: float
    curls: float
    bun: float
    pigtails: float
    # The rest
    beard: float
    moustache: float
    stubble: float
    wrinkles: float
    glasses: float
    glasses_round: float
    glasses_colour: Colour
    earrings: float
    freckles: float
    clothes: Colour
    collar: float
    background: Colour

    def numbers(self) -> dict[str, np.ndarray]:
        """The fields that the drawing reads, as float32 arrays of shape () or (3,)."""
        fields = dataclasses.asdict(self)
        return {k: np.asarray(v, np.float32) for k, v in fields.items() if k not in ("age", "gender", "tone", "seed")}


def _check(name: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise UserError(f"{name} is {value!r}; a drawn face has one of {', '.join(known)}")


def _blend(first: Colour, second: Colour, share: float) -> Colour:
    """The colour that is `share` of the way from the first to the second."""
    red, green, blue = (float((1 - share) * a + share * b) for a, b in zip(first, second))
    return red, green, blue


def _times(colour: Colour, factors: Colour) -> Colour:
    """The colour with each channel times its factor."""
    red, green, blue = (float(c * f) for c, f in zip(colour, factors))
    return red, green, blue


def sample_identity(
    seed: int, *, age: str | None = None, gender: str | None = None, tone: str | None = None
) -> Identity:
    """Draws a person from `seed`; what of the profile is left out is drawn too.

    The same arguments always give the same person. Raises `UserError` for a profile that does not exist.
    """
    _check("age", age, AGES)
    _check("gender", gender, GENDERS)
    _check("tone", tone, TONES)
    rng = np.random.default_rng([seed, 20251])

    def uniform(low: float, high: float) -> float:
        return float(rng.uniform(low, high))

    def chance(p: float) -> bool:
        return bool(rng.random() < p)

    def pick(options):
        return options[int(rng.integers(len(options)))]

    drawn = (pick(AGES), pick(GENDERS), pick(TONES))
    age, gender, tone = age or drawn[0], gender or drawn[1], tone or drawn[2]
    child, elderly, female = age == "child", age == "elderly", gender == "female"
    middle = age == "middle-aged"

    depth = uniform(0, len(_SKIN) - 1.001)
    low, share = int(depth), depth - int(depth)
    skin = _blend(_SKIN[low], _SKIN[low + 1], share)

    hair_names = ["black", "dark brown", "brown", "auburn", "blond"] if depth < 2 else ["black", "black", "dark brown"]
    hair_name = pick(hair_names)
    grey = 1.0 if elderly else (uniform(0.0, 0.45) if middle and chance(0.5) else 0.0)
    target = _HAIR[pick(["grey", "white"])]
    hair = _blend(_HAIR[hair_name], target, grey)
    brow_dark = 0.72 if sum(hair) < 1.9 else 0.80
    brow_colour = _times(hair, (brow_dark, brow_dark, brow_dark))

    style = _hair_style(age, gender, uniform, chance, pick)
    lip_red = uniform(0.25, 0.6) if female and not child else uniform(0.08, 0.25)
    lip_base = _times(skin, (0.90, 0.66, 0.66))
    lip_colour = _blend(lip_base, (0.78, 0.28, 0.32), lip_red)

    can_beard = gender == "male" and not child
    beard = uniform(0.85, 1.0) if can_beard and chance(0.32 if not elderly else 0.45) else 0.0
    moustache = 1.0 if can_beard and (beard > 0 or chance(0.18)) else 0.0
    stubble = uniform(0.05, 0.22) if can_beard and beard == 0 and chance(0.5) else 0.0
    eye_height = uniform(0.060, 0.074) + (0.016 if child else 0.0) + (0.006 if female else 0.0)

    return Identity(
        age=age,
        gender=gender,
        tone=tone,
        seed=seed,
        head_width=uniform(0.43, 0.47) + (0.01 if child else 0.0) - (0.01 if female else 0.0),
        head_height=uniform(0.46, 0.49),
        jaw_width=uniform(0.33, 0.37) + (0.025 if child else 0.0) + (0.03 if gender == "male" and not child else 0.0),
        jaw_length=(0.33 if child else 0.385) + uniform(-0.012, 0.015),
        chin_square=uniform(0.0, 0.25) if female or child else uniform(0.3, 1.0),
        ear_size=uniform(0.9, 1.1) * (1.12 if elderly else 1.0),
        neck_width=(0.15 if child else 0.17 if female else 0.225) + uniform(-0.01, 0.01),
        shoulder_width=(0.52 if child else 0.66 if female else 0.78) + uniform(-0.03, 0.03),
        size=(1.12 if child else 1.17) + uniform(-0.03, 0.03),
        skin=skin,
        eye_x=uniform(0.178, 0.200),
        eye_y=(0.05 if child else -0.02) + uniform(-0.01, 0.01),
        eye_width=uniform(0.098, 0.112),
        eye_height=eye_height,
        eye_tilt=uniform(-0.10, 0.12),
        iris_radius=uniform(0.050, 0.056) + (0.008 if child else 0.0),
        iris=pick(_IRIS if depth < 2.2 else _IRIS[:2]),
        lashes=uniform(0.6, 1.0) if female else uniform(0.1, 0.3),
        brow_y=uniform(0.135, 0.155) + (0.012 if child else 0.0) - (0.012 if gender == "male" else 0.0),
        brow_arch=uniform(0.02, 0.05),
        brow_thickness=(uniform(0.012, 0.018) if female or child else uniform(0.018, 0.027))
        * (1.15 if tone == "emphatic" else 0.9 if tone == "gentle" else 1.0),
        brow_colour=brow_colour,
        nose_y=(0.19 if child else 0.185) + uniform(-0.01, 0.015),
        nose_width=uniform(0.062, 0.085) * (0.78 if child else 1.0) * (0.92 if female else 1.05),
        nose_shade=uniform(0.5, 1.0) * (0.5 if child else 1.0),
        mouth_y=(0.325 if child else 0.345) + uniform(-0.008, 0.010),
        mouth_width=uniform(0.160, 0.185) * (0.9 if child else 1.0),
        upper_lip=uniform(0.022, 0.032) * (0.7 if elderly else 1.0),
        lower_lip=uniform(0.028, 0.040) * (0.75 if elderly else 1.0),
        lip_colour=lip_colour,
        blush=uniform(0.12, 0.26) * (1.3 if child else 1.0) * (1.0 if female or child else 0.7),
        hair=hair,
        **style,
        beard=beard,
        moustache=moustache,
        stubble=stubble,
        wrinkles=0.0 if child or age == "young" else (uniform(0.25, 0.5) if middle else uniform(0.8, 1.0)),
        glasses=float(chance(0.12 if child else 0.2 if age == "young" else 0.3 if middle else 0.45)),
        glasses_round=uniform(0.0, 1.0),
        glasses_colour=pick(((0.15, 0.14, 0.16), (0.35, 0.20, 0.14), (0.50, 0.14, 0.18), (0.55, 0.50, 0.40))),
        earrings=float(female and not child and chance(0.4)),
        freckles=uniform(0.3, 0.8) if depth < 1.2 and chance(0.3) and not elderly else 0.0,
        clothes=pick(_CLOTHES[tone]),
        collar=uniform(0.0, 1.0),
        background=pick(_BACKGROUNDS[tone]),
    )


def _hair_style(age, gender, uniform, chance, pick) -> dict[str, float]:
    """The numbers of one haircut, out of those that suit the profile."""
    short = dict(
        hair_top=1.0, hair_volume=uniform(0.05, 0.09), hairline=uniform(-0.36, -0.28), hairline_tilt=uniform(-0.2, 0.2),
        hairline_power=6.0, hair_sides=uniform(-0.12, -0.02), parting=uniform(-0.2, 0.2), parting_depth=uniform(0.0, 0.08),
        fringe=uniform(0.0, 0.02), hair_length=-0.1, hair_back=0.0, curls=0.0, bun=0.0, pigtails=0.0,
    )  # fmt: skip
    curly = short | dict(hair_volume=uniform(0.09, 0.14), curls=uniform(0.012, 0.02), fringe=0.03, parting_depth=0.0)
    tousled = short | dict(fringe=uniform(0.04, 0.07), hairline=uniform(-0.28, -0.22), hair_volume=uniform(0.07, 0.1))
    balding = short | dict(
        hairline=-0.85, hairline_power=2.6, hair_sides=uniform(0.0, 0.08), hair_volume=0.035, hairline_tilt=0.0,
        parting_depth=0.0, fringe=0.0,
    )  # fmt: skip
    bob = short | dict(
        hairline=uniform(-0.30, -0.2), hairline_power=5.0, hair_sides=uniform(0.22, 0.34), hair_volume=uniform(0.07, 0.10),
        hair_length=uniform(0.30, 0.46), hair_back=1.0, fringe=uniform(0.0, 0.03), hairline_tilt=uniform(-0.15, 0.15),
    )  # fmt: skip
    long = bob | dict(hair_length=uniform(0.7, 0.95), hair_sides=uniform(0.30, 0.5), parting_depth=uniform(0.06, 0.14))
    fringed = long | dict(hairline=uniform(-0.20, -0.16), fringe=0.02, parting_depth=0.0, hairline_tilt=0.0)
    afro = curly | dict(hair_volume=uniform(0.16, 0.22), hair_back=1.0, hair_length=0.16, hair_sides=0.08, curls=0.022)
    bun = short | dict(bun=uniform(0.15, 0.19), hair_sides=0.0, hair_volume=0.06, parting_depth=uniform(0.0, 0.08))
    pigtails = short | dict(pigtails=uniform(0.13, 0.17), hairline=uniform(-0.26, -0.2), fringe=0.02, hair_sides=0.02)
    if gender == "male":
        choice: _Styles = {
            "child": (short, tousled, tousled, curly),
            "young": (short, short, tousled, curly),
        }
        choice |= {"middle-aged": (short, short, balding, curly), "elderly": (balding, balding, short)}
    else:
        choice = {"child": (pigtails, bob, fringed, curly), "young": (long, long, bob, fringed, afro)}
        choice |= {"middle-aged": (bob, bob, long, bun), "elderly": (bun, bun, bob, curly)}
    return pick(choice[age])
