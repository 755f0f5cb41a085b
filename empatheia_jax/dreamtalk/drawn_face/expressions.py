"""How a drawn face feels: templates of the seven emotions and of rest, and the small movements of a living face."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from empatheia_jax.dreamtalk.drawn_face.layout import (
    ACTIONS,
    EXPRESSION,
    FRAMES_PER_SECOND,
    FULL,
    MOTION,
    NEUTRAL_POSE,
)
from empatheia_jax.errors import UserError

# AvaMERG's order of the seven emotions; rest comes last.
EMOTIONS = ("happy", "surprised", "angry", "fear", "sad", "disgusted", "contempt", "neutral")

# Shares of whole actions at full intensity, after the action units that FACS names for each emotion.
TEMPLATES: dict[str, dict[str, float]] = {
    "happy": dict(smile=0.95, cheek_raise=0.8, squint=0.35, lips_stretch=0.35, brow_raise=0.15, flush=0.25, upper_lip_raise=0.25),
    "surprised": dict(brow_raise=1.0, eyes_wide=1.0, jaw_open=0.28, lips_round=0.25),
    "angry": dict(brow_frown=1.0, squint=0.45, lips_press=0.25, smile=-0.35, nose_wrinkle=0.25, flush=0.45, lips_stretch=-0.1),
    "fear": dict(
        brow_inner_raise=0.85, brow_raise=0.45, eyes_wide=0.8, lips_stretch=0.55, smile=-0.35, flush=-0.3, lower_lip_drop=0.3
    ),
    "sad": dict(
        brow_inner_raise=0.95, smile=-0.75, chin_raise=0.55, gaze_down=0.35, blink_left=0.25, blink_right=0.25, brow_raise=-0.1
    ),
    "disgusted": dict(nose_wrinkle=1.0, upper_lip_raise=0.8, brow_frown=0.45, squint=0.6, smile=-0.45, cheek_raise=0.3),
    "contempt": dict(smirk=0.85, brow_tilt=0.55, blink_left=0.22, blink_right=0.22, gaze_right=0.25, lips_press=0.2, smile=-0.05),
    "neutral": {},
}  # fmt: skip
_POSES = {
    "sad": (0.07, 0.0, 0.05),
    "contempt": (-0.06, 0.05, 0.04),
    "angry": (0.04, 0.0, 0.0),
    "surprised": (-0.04, 0.0, 0.0),
}


def template(emotion: str, intensity: float = 1.0) -> Float[np.ndarray, 64]:
    """The 64 expression coefficients of an emotion, silent and still, at an intensity of 0 to 1."""
    if emotion not in TEMPLATES:
        raise UserError(f"no expression is called {emotion!r}; there are {', '.join(EMOTIONS)}")
    out = np.zeros(EXPRESSION, np.float32)
    for name, share in TEMPLATES[emotion].items():
        out[ACTIONS[name]] = share * intensity * FULL
    return out


def smooth_noise(
    rng: np.random.Generator, frames: int, seconds: float, channels: int
) -> Float[np.ndarray, "frames channels"]:
    """Noise of unit variance that wanders over about `seconds`: knots a smooth curve passes through."""
    step = max(1, round(seconds * FRAMES_PER_SECOND))
    knots = rng.standard_normal((frames // step + 4, channels))
    time = np.arange(frames) / step + 1.0
    index, share = time.astype(int), (time % 1.0)[:, None]
    p0, p1, p2, p3 = (knots[index + i - 1] for i in range(4))
    # Catmull-Rom.
    curve = p1 + 0.5 * share * (p2 - p0 + share * (2 * p0 - 5 * p1 + 4 * p2 - p3 + share * (3 * (p1 - p2) + p3 - p0)))
    return curve.astype(np.float32)


def blinks(rng: np.random.Generator, frames: int, every: float = 3.2) -> Float[np.ndarray, " frames"]:
    """Lid closure, 0 to 1: a blink lasts about a quarter of a second and comes every few seconds."""
    shape = np.array([0.35, 0.9, 1.0, 0.75, 0.4, 0.12], np.float32)
    out = np.zeros(frames + len(shape), np.float32)
    at = rng.uniform(0.3, every)
    while at * FRAMES_PER_SECOND < frames:
        start = int(at * FRAMES_PER_SECOND)
        out[start : start + len(shape)] = np.maximum(out[start : start + len(shape)], shape)
        at += 0.8 + rng.exponential(every - 0.8)
    return out[:frames]


def perform(
    emotion: str,
    frames: int,
    *,
    seed: int,
    intensity: float = 1.0,
    mouth: dict[str, Float[np.ndarray, " frames"]] | None = None,
    idle: bool = True,
) -> Float[np.ndarray, "frames 73"]:
    """A face living through `frames` frames of an emotion, and speaking if `mouth` gives actions of speech.

    Blinks, glances, the swelling and ebbing of the expression and small motions of the head are drawn from `seed`. Speech adds
    to the expression; without `idle` only speech and emotion are left, and the head is still.
    While the jaw opens, pressed lips give way, and the head nods a little with the voice.
    """
    rng = np.random.default_rng([seed, 314])
    out = np.zeros((frames, MOTION), np.float32)
    swell = np.clip(1.0 + 0.12 * smooth_noise(rng, frames, 1.2, 1), 0.6, 1.25) if idle else np.ones((frames, 1))
    out[:, :EXPRESSION] = template(emotion, intensity)[None] * swell
    mouth = mouth or {}
    talk = np.zeros(frames, np.float32)
    for name, share in mouth.items():
        out[:, ACTIONS[name]] += share * FULL
        if name == "jaw_open":
            talk = np.asarray(share, np.float32)
    open_share = np.clip(talk / 0.15, 0.0, 1.0)
    press = ACTIONS["lips_press"]
    spoken_press = mouth.get("lips_press", np.zeros(frames, np.float32))
    out[:, press] = (out[:, press] - spoken_press * FULL) * (1 - open_share) + spoken_press * FULL

    out[:, ACTIONS["brow_raise"]] += 0.12 * talk * FULL
    if not idle:
        out[:, EXPRESSION:] = NEUTRAL_POSE
        return out
    out[:, ACTIONS["brow_raise"]] += 0.05 * smooth_noise(rng, frames, 0.6, 1)[:, 0] * FULL
    out[:, EXPRESSION:] = idle_pose(rng, frames, emotion, intensity, talk)
    return blink_and_glance(out, rng)


def blink_and_glance(
    motion: Float[np.ndarray, "frames 73"], rng: np.random.Generator
) -> Float[np.ndarray, "frames 73"]:
    """A copy of a motion with blinks and small glances: what neither speech nor emotion decides."""
    out, frames = motion.copy(), len(motion)
    lids = blinks(rng, frames)
    for name in ("blink_left", "blink_right"):
        column = ACTIONS[name]
        out[:, column] += (1.0 - out[:, column] / FULL) * lids * FULL
    glances = np.repeat(rng.standard_normal((frames // 20 + 1, 2)), 20, 0)[:frames] * (0.10, 0.06)
    out[:, ACTIONS["gaze_right"]] += glances[:, 0] * FULL
    out[:, ACTIONS["gaze_down"]] += glances[:, 1] * FULL
    return out


def idle_pose(
    rng: np.random.Generator,
    frames: int,
    emotion: str = "neutral",
    intensity: float = 1.0,
    talk: np.ndarray | None = None,
) -> Float[np.ndarray, "frames 9"]:
    """Small motions of a head: sway, the attitude of an emotion, and a slight nod with the voice."""
    pose = np.tile(np.asarray(NEUTRAL_POSE, np.float32), (frames, 1))
    pose[:, :3] = smooth_noise(rng, frames, 1.1, 3) * (0.035, 0.06, 0.025)
    pose[:, :3] += np.asarray(_POSES.get(emotion, (0.0, 0.0, 0.0)), np.float32) * intensity
    pose[:, 3:6] = smooth_noise(rng, frames, 1.8, 3) * (0.012, 0.008, 0.008)
    if talk is not None:
        pose[:, 0] += 0.04 * np.convolve(talk, np.ones(5) / 5, "same")
    return pose
