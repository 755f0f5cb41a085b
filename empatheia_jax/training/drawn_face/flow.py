"""Where every point of a drawn face goes: the exact answer to what a warping network has to find out.

The drawing's own geometry is inverted: for every pixel of a frame, the place in the portrait (the face at rest) that shows the
same point. What only appears (teeth, lines of a frown, a blush) has no place there and is left to the editing network.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from empatheia_jax.dreamtalk.drawn_face.drawing import CURVE, FACE, LOW, NECK, OUTLINE, hair_edge, mouth_shape
from empatheia_jax.dreamtalk.drawn_face.identity import Identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, FULL
from empatheia_jax.dreamtalk.drawn_face.shapes import box

_REST = dict.fromkeys(ACTIONS, 0.0)


def _fade(distance: np.ndarray, width: float) -> np.ndarray:
    """1 inside (distance ≤ 0), falling off smoothly over about `width` outside."""
    return np.exp(-((np.maximum(distance, 0.0) / width) ** 2))


def _mouth(p: dict, a: dict, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far back (dx, dy) the rest position lies, around the mouth: see `drawing._mouth`."""
    now = {k: float(v) for k, v in mouth_shape(p, a).items()}
    rest_width = float(mouth_shape(p, _REST)["width"])
    x = x - 0.02 * a["jaw_sideways"]
    s = np.clip(x / now["width"], -1.0, 1.0)
    bell = 1.0 - s**2
    smile = 0.12 + a["smile"] + np.clip(np.sign(x) * a["smirk"], 0.0, 1.2) * np.abs(s)
    line = p["mouth_y"] - 0.085 * smile * s**2 + 0.022 * a["smile"] - 0.014 * np.clip(a["nose_wrinkle"], 0.0, 1.0)
    line = line - 0.018 * np.clip(a["chin_raise"], 0.0, 1.0) * bell
    rest = p["mouth_y"] - 0.085 * 0.12 * s**2
    upper, lower = line - now["upper"] * bell, line + now["lower"] * bell
    beside = _fade(np.abs(x) - now["width"], 0.05)
    above = (rest - upper) * _fade(upper - y, 0.08) * beside
    # The skin below goes from the lip's movement to the chin's, which only the jaw moves (see `drawing._head`).
    drop = 0.055 * now["jaw"] - 0.012 * np.clip(a["chin_raise"], 0.0, 1.0)
    chin = -drop * _fade(y - (0.155 + p["jaw_length"] + drop), 0.12) * _fade(np.abs(x) - 0.12, 0.16)
    below = chin + ((rest - lower) * beside - chin) * _fade(y - lower, 0.09)
    dy = np.where(y < upper, above, np.where(y > lower, below, (rest - y) * beside))
    near = _fade(np.maximum(upper - y, y - lower), 0.06) * beside
    dx = x * (rest_width / now["width"] - 1.0) * near - 0.02 * a["jaw_sideways"] * near
    return dx, dy


def _eye(
    p: dict, a: dict, side: float, x: np.ndarray, y: np.ndarray, edge: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The same around one eye and its brow, below the hair's `edge`: see `drawing._eyes`, `drawing._brows`."""
    blink = np.clip(a["blink_left" if side < 0 else "blink_right"], 0.0, 1.0)
    wide = np.clip(a["eyes_wide"], 0.0, 1.2)
    squint = np.clip(a["squint"] + 0.25 * a["cheek_raise"], 0.0, 1.2)
    height, width = p["eye_height"], p["eye_width"]
    u = side * x - p["eye_x"]
    v = y - p["eye_y"] + p["eye_tilt"] * u
    bulge = np.clip(1.0 - (u / width) ** 2, 0.0, 1.0)
    low = height * (0.62 + 0.08 * wide - 0.34 * squint)
    high = low - height * 1.54 * np.clip(1.0 + 0.30 * wide - 0.34 * squint, 0.2, 1.5) * (1.0 - blink)
    lower, upper = low * bulge, high * bulge
    lower_rest, upper_rest = 0.62 * height * bulge, -0.92 * height * bulge
    inside = (v >= upper) & (v <= lower) & (bulge > 0)
    above = (upper_rest - upper) * np.clip(1.0 - (upper - v) / 0.045, 0.0, 1.0)
    below = (lower_rest - lower) * np.clip(1.0 - (v - lower) / 0.05, 0.0, 1.0)
    lids = np.where(v < upper, above, np.where(v > lower, below, 0.0)) * (bulge > 0)
    gaze_x = -0.040 * np.clip(a["gaze_right"], -1.2, 1.2) * inside
    gaze_y = -0.030 * np.clip(a["gaze_down"], -1.2, 1.2) * inside

    def brow(b: dict) -> np.ndarray:
        frown = np.clip(b["brow_frown"], -0.2, 1.2)
        inner = np.clip((0.09 - u) / 0.22, 0.0, 1.0)
        rise = 0.070 * b["brow_raise"] + side * 0.050 * b["brow_tilt"]
        rise = rise + inner * (0.075 * b["brow_inner_raise"] - 0.075 * frown) - 0.022 * frown
        rise = (
            rise - 0.03 * (1.0 - inner) * np.clip(b["brow_inner_raise"], 0, 1) - 0.02 * np.clip(b["nose_wrinkle"], 0, 1)
        )
        arch = p["brow_arch"] * (1.0 + 0.5 * np.clip(b["brow_raise"], 0.0, 1.0) - 0.6 * np.clip(frown, 0.0, 1.0))
        return -p["brow_y"] - rise - arch * (1.0 - ((u - 0.012) / 0.145) ** 2) + 0.05 * u

    # The skin above and below a brow stretches with it; the hair above and the frame of glasses do not, but a brow is
    # drawn over hair (see the order in `drawing._picture`).
    now, rest, height = brow(a), brow(_REST), y - p["eye_y"]
    bottom, open_skin = upper - 0.01, 1.0
    if p["glasses"] > 0:
        high = 0.118 + 0.010 * p["glasses_round"]
        rounded = 0.055 + 0.065 * p["glasses_round"]
        lens = np.asarray(box(u, height, 0.008, 0.012, 0.150, high, rounded))
        open_skin = np.clip((np.abs(lens) - 0.008) / 0.012, 0.0, 1.0)
        bottom = np.minimum(bottom, np.where(np.abs(u - 0.008) < 0.15, 0.005 - high, bottom))
    down = np.clip((bottom - height) / np.maximum(bottom - now, 0.03), 0.0, 1.0)
    hidden = np.minimum(y, y + rest - now) < edge  # where hair is, or where it would come from
    skin = np.where(height < now, _fade(now - height, 0.10), down) * ~hidden
    stroke = np.abs(height - now) < 0.8 * p["brow_thickness"]
    brows = (rest - now) * np.maximum(skin, stroke) * _fade(np.abs(u) - 0.13, 0.03)
    return gaze_x * open_skin, (lids + gaze_y + brows) * open_skin


def true_flow(
    person: Identity, motion: Float[np.ndarray, " 73"], size: int
) -> tuple[Float[np.ndarray, "size size 2"], Float[np.ndarray, "size size"]]:
    """Flow (x, y) from a frame to the portrait, in pixels of a map of `size` as the warping network counts them.

    Also returns how far expression alone moves each pixel, in the same pixels.
    """
    p = {k: float(v) for k, v in person.numbers().items() if v.ndim == 0}
    a = {name: float(motion[index]) / FULL for name, index in ACTIONS.items()}
    pitch, yaw, roll, right, down, near, crop, crop_x, crop_y = (float(v) for v in motion[EXPRESSION:])
    axis = (np.arange(size) + 0.5) * (2.0 / size) - 1.0
    x, y = np.meshgrid(axis, axis)
    x0, y0 = (x - crop_x) / crop, (y - crop_y) / crop
    cos, sin = np.cos(roll), np.sin(roll)
    scale = p["size"] * (1.0 + near)
    dx, dy = x0 - right, y0 - down - NECK - LOW
    hx, hy = (cos * dx + sin * dy) / scale, (-sin * dx + cos * dy) / scale + NECK
    # Depth falls from the face to the outline of hair and ears; what is farther away stays.
    px, py = hx / 0.56, (hy + 0.05) / 0.70
    outside = (np.sqrt(px**2 + py**2) - 1.0) * 0.6
    depth = OUTLINE + (FACE - CURVE * (hx**2 + hy**2) - OUTLINE) * np.clip(-outside / 0.2, 0.0, 1.0)
    fx, fy = hx - np.sin(yaw) * depth, hy - np.sin(pitch) * depth
    head = np.clip(0.75 - outside / 0.3, 0.0, 1.0)
    edge = np.asarray(hair_edge(p, fx)) if p["hair_top"] > 0 else np.full_like(fy, -1.0)
    parts = [_mouth(p, a, fx, fy), *(_eye(p, a, side, fx, fy, edge) for side in (-1.0, 1.0))]
    move_x, move_y = sum(part[0] for part in parts) * head, sum(part[1] for part in parts) * head
    from_x = (fx + move_x) * p["size"]
    from_y = (fy + move_y - NECK) * p["size"] + NECK + LOW
    body = np.clip((y0 - 0.75) / 0.1, 0.0, 1.0)
    still_x, still_y = x0 - 0.3 * right * body, y0 - 0.2 * down * body
    at_x, at_y = still_x + head * (from_x - still_x), still_y + head * (from_y - still_y)
    # The renderer builds its grid from edge to edge and samples from centre to centre: its zero flow is no identity.
    first = 2.0 * np.arange(size) / (size - 1) - 1.0
    half = (size - 1) / 2.0
    flow = np.stack([(at_x - first[None, :]) * half, (at_y - first[:, None]) * half], -1)
    return flow.astype(np.float32), (np.hypot(move_x, move_y) * p["size"] * half).astype(np.float32)
