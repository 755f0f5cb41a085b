"""What the 73 coefficients of a drawn face mean.

The layout is DreamTalk's: 64 expression coefficients, then 9 of pose: three angles (pitch, yaw, roll, in radians), a
translation (right, down and towards the viewer; the first two in half widths of the picture, the third as the share by
which the head grows) and a crop (scale, right and down in half widths of the picture; 1, 0, 0 at rest).

DreamTalk decodes the lower face (expression indices 0-5, 7 and 9-14) and the upper face (all others) apart, so actions
of the mouth sit on the former and actions of eyes and brows on the latter. As in a 3D morphable model a coefficient
counts standard deviations: 0 is rest and `FULL` (3) is the whole action. Indices without a name are not drawn.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

EXPRESSION = 64
POSE = 9
MOTION = EXPRESSION + POSE
FULL = 3.0
FRAMES_PER_SECOND = 25
SIZE = 128

LOWER_INDICES = (0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14)
UPPER_INDICES = tuple(i for i in range(EXPRESSION) if i not in LOWER_INDICES)

ACTIONS = {
    # The mouth.
    "jaw_open": 0,
    "lips_stretch": 1,  # negative: narrow
    "lips_round": 2,  # pucker, as in "oo"
    "smile": 3,  # corners up; negative: down
    "upper_lip_raise": 4,
    "lower_lip_drop": 5,
    "lips_press": 7,
    "tongue": 9,
    "smirk": 10,  # one corner up (the picture's right); negative: the left
    "cheek_puff": 11,
    "jaw_sideways": 12,
    "chin_raise": 13,
    # Eyes, brows, nose and cheeks.
    "brow_raise": 6,
    "brow_frown": 8,  # down and together
    "brow_inner_raise": 15,
    "brow_tilt": 16,  # one brow up, the other down
    "blink_left": 17,  # the picture's left
    "blink_right": 18,
    "eyes_wide": 19,
    "squint": 20,
    "nose_wrinkle": 21,
    "gaze_right": 22,
    "gaze_down": 23,
    "cheek_raise": 24,
    "flush": 25,  # colour in the cheeks; negative: pallor
}

POSE_NAMES = (
    "pitch",
    "yaw",
    "roll",
    "shift_right",
    "shift_down",
    "shift_near",
    "crop_scale",
    "crop_right",
    "crop_down",
)
NEUTRAL_POSE = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0)


def coefficients(frames: int, **actions: float | np.ndarray) -> Float[np.ndarray, "frames 73"]:
    """Coefficients at rest, but for the named actions and pose parameters (a number or one value per frame).

    Actions are given as shares of the whole action (1 = `FULL`), pose parameters in their own units.
    """
    out = np.zeros((frames, MOTION), np.float32)
    out[:, EXPRESSION:] = NEUTRAL_POSE
    for name, value in actions.items():
        if name in ACTIONS:
            out[:, ACTIONS[name]] = np.asarray(value) * FULL
        elif name in POSE_NAMES:
            out[:, EXPRESSION + POSE_NAMES.index(name)] = value
        else:
            known = ", ".join([*ACTIONS, *POSE_NAMES])
            raise ValueError(f"no action is called {name!r}; there are {known}")
    return out


def action(motion: Float[np.ndarray, "... 73"], name: str) -> np.ndarray:
    """The share of the whole action `name` in every frame of `motion` (64 or 73 coefficients)."""
    return motion[..., ACTIONS[name]] / FULL
