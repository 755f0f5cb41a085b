"""Draws a face: an identity and 73 coefficients become a picture, pixel by pixel, in one compiled function.

The head is drawn flat with a little depth: every layer (ears, outline, face, nose) is moved by the pose according to how
far it stands out. All measures are in half widths of the picture, x to the right and y down.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from empatheia_jax.dreamtalk.drawn_face.identity import Identity
from empatheia_jax.dreamtalk.drawn_face.layout import ACTIONS, EXPRESSION, FULL, MOTION, SIZE, coefficients
from empatheia_jax.dreamtalk.drawn_face.shapes import (
    Plane,
    blob,
    box,
    capsule,
    circle,
    cover,
    ellipse,
    grid,
    paint,
    shade,
    stroke,
    union,
)
from empatheia_jax.errors import UserError
from empatheia_jax.nn.programs import Program

# How far the layers stand out towards the viewer, and how strongly the face curves away to its sides.
BACK, OUTLINE, FACE, NOSE, CURVE = -0.14, 0.03, 0.30, 0.42, 0.30
NECK = 0.58  # the head turns about this height of its own
LOW = 0.13  # and that point sits this much lower in the picture


def mouth_shape(p: dict, a: dict) -> dict:
    """The mouth's half width and how far the inner edges of the lips are from its middle line, in half widths of the picture.

    This is the ground truth for the opening: `upper + lower`, times half the picture's size and the head's scale, is the
    gap between the lips in pixels.
    """
    jaw = jnp.clip(a["jaw_open"], 0.0, 1.3)
    press = jnp.clip(a["lips_press"], 0.0, 1.0)
    pucker = jnp.clip(a["lips_round"], -0.2, 1.2)
    width = p["mouth_width"] * (
        1.0
        + 0.22 * jnp.clip(a["lips_stretch"], -1.0, 1.2)
        - 0.42 * pucker
        + 0.16 * jnp.clip(a["smile"], -0.5, 1.2)
        - 0.06 * jaw
    )
    shut = 1.0 - press
    upper = (0.025 * jaw + 0.028 * jnp.clip(a["upper_lip_raise"], 0.0, 1.2)) * shut
    lower = (0.150 * jaw + 0.035 * jnp.clip(a["lower_lip_drop"], 0.0, 1.2)) * shut
    return {"width": width, "upper": upper, "lower": lower, "jaw": jaw, "press": press, "pucker": pucker}


def colour_at(
    p: dict, motion: Sequence | Array, x0: Plane, y0: Plane, pixel: float | Float[Array, ""]
) -> tuple[Plane, Plane, Plane]:
    """Red, green and blue (0–1) of the picture at some places: pointwise, so that a single place will do.

    Args:
        p: the identity's numbers (`Identity.numbers`); colours as anything with three entries.
        motion: the 73 coefficients.
        x0, y0: places from −1 to 1, right and down.
        pixel: how wide a pixel is in the same measure; edges are softened over it.
    """
    a = {name: motion[index] / FULL for name, index in ACTIONS.items()}
    pitch, yaw, roll, right, down, near, crop, crop_x, crop_y = (motion[EXPRESSION + i] for i in range(9))
    x0, y0 = (x0 - crop_x) / crop, (y0 - crop_y) / crop

    # Background and body, which follow the head's shift a little.
    glow = blob(x0, y0, -0.2, -0.45, 1.3, 1.3)
    canvas = tuple(p["background"][i] * (0.90 + 0.12 * glow) for i in range(3))
    bx, by = (x0 - 0.3 * right) / 1.12, (y0 - 0.2 * down - 0.08) / 1.02
    cos, sin = jnp.cos(roll), jnp.sin(roll)
    scale = p["size"] * (1.0 + near)
    dx, dy = x0 - right, y0 - down - NECK - LOW
    hx, hy = (cos * dx + sin * dy) / scale, (-sin * dx + cos * dy) / scale + NECK
    pixel_head = pixel / (scale * crop)
    around = hx**2 + hy**2
    sin_yaw, sin_pitch = jnp.sin(yaw), jnp.sin(pitch)

    def layer(depth, curve=0.0):
        """The head's plane at a depth, moved by yaw and pitch."""
        z = depth - curve * around
        return hx - sin_yaw * z, hy - sin_pitch * z

    ox, oy = layer(OUTLINE)
    fx, fy = layer(FACE, CURVE)
    kx, ky = layer(BACK)
    nx, ny = layer(NOSE, CURVE)
    mouth = mouth_shape(p, a)

    head = _head(p, a, mouth, ox, oy)
    canvas = _hair_back(canvas, p, kx, ky, pixel_head)
    canvas = _body(canvas, p, bx, by, hx, hy, head, pixel)
    canvas = _ears(canvas, p, kx, ky, pixel_head)
    canvas = _skin(canvas, p, a, head, ox, oy, fx, fy, pixel_head)
    canvas = _beard(canvas, p, mouth, head, fx, fy, pixel_head)
    canvas = _eyes(canvas, p, a, fx, fy, pixel_head)
    canvas = _nose(canvas, p, a, nx, ny, pixel_head)
    canvas = _mouth(canvas, p, a, mouth, fx, fy, pixel_head)
    canvas = _hair_front(canvas, p, head, ox, oy, fx, fy, pixel_head)
    canvas = _brows(canvas, p, a, fx, fy, pixel_head)
    return _glasses(canvas, p, fx, fy, head, pixel_head)


def _picture(p: dict, motion: Float[Array, " 73"], size: int) -> Float[Array, "size size 3"]:
    return jnp.stack(colour_at(p, motion, *grid(size), 2.0 / size), -1)


def _head(p, a, mouth, x, y):
    drop = 0.055 * mouth["jaw"] - 0.012 * jnp.clip(a["chin_raise"], 0.0, 1.0)
    side = 0.03 * a["jaw_sideways"]
    width = p["jaw_width"] + 0.03 * jnp.clip(a["cheek_puff"], 0.0, 1.0) + 0.008 * jnp.clip(a["smile"], 0.0, 1.0)
    cranium = ellipse(x, y, 0.0, -0.14, p["head_width"], p["head_height"])
    jaw = ellipse(x, y, side, 0.155 + 0.5 * drop, width, p["jaw_length"] + 0.5 * drop)
    chin = box(x, y, side, 0.30 + drop, 0.17 + 0.05 * p["chin_square"], p["jaw_length"] - 0.17, 0.14)
    return union(union(cranium, jaw, 0.12), chin + 0.012 * (1.0 - p["chin_square"]), 0.05)


def _hair_colours(p, x, y):
    """Hair with strands and a sheen."""
    strands = 0.05 * jnp.sin(46.0 * x + 9.0 * jnp.sin(3.0 * y)) * (1.0 - 0.6 * p["curls"] / 0.02)
    sheen = 0.16 * jnp.exp(-(((y + 0.52 - 0.5 * x**2) / 0.07) ** 2)) * jnp.exp(-((x + 0.12) ** 2) / 0.08)
    light = 1.0 + strands - 0.12 * jnp.clip(y + 0.2, 0.0, 1.0)
    return tuple(jnp.clip(p["hair"][i] * light + sheen * (0.35 + 0.65 * p["hair"][i]), 0.0, 1.0) for i in range(3))


def _curl(p, x, y):
    return p["curls"] * (
        jnp.sin(17.0 * jnp.arctan2(y + 0.12, x)) + 0.6 * jnp.sin(29.0 * jnp.arctan2(y + 0.12, x) + 1.0)
    )


def _hair_back(canvas, p, x, y, pixel):
    volume = p["hair_volume"]
    crown = ellipse(x, y, 0.0, -0.16, p["head_width"] + volume, p["head_height"] + volume)
    length = p["hair_length"]
    middle, half = 0.5 * (length - 0.2), 0.5 * (length + 0.2)
    fall = box(x, y, 0.0, middle, p["head_width"] + volume - 0.01 + 0.05 * jnp.clip(y - 0.1, 0.0, 1.0), half, 0.14)
    hair = union(crown, fall, 0.05) - _curl(p, x, y)
    colours = _hair_colours(p, x, y)
    canvas = paint(canvas, cover(hair, pixel, p["hair_back"]), tuple(0.72 * c for c in colours))
    # Hair behind the temples, so that nothing shines through between it and the ears.
    under = jnp.maximum(
        ellipse(x, y, 0.0, -0.16, p["head_width"] + 0.6 * volume, p["head_height"]), y - p["hair_sides"]
    )
    under = jnp.maximum(under, -0.25 - y)
    canvas = paint(canvas, cover(under, pixel, p["hair_top"]), tuple(0.80 * c for c in colours))
    knot = circle(x, y, 0.0, -0.70, jnp.maximum(p["bun"], 1e-3))
    canvas = paint(canvas, cover(knot, pixel, p["bun"] > 0), tuple(0.86 * c for c in colours))
    tails = jnp.minimum(
        ellipse(x, y, 0.56, 0.10, jnp.maximum(p["pigtails"], 1e-3), 1.5 * jnp.maximum(p["pigtails"], 1e-3)),
        ellipse(x, y, -0.56, 0.10, jnp.maximum(p["pigtails"], 1e-3), 1.5 * jnp.maximum(p["pigtails"], 1e-3)),
    )
    canvas = paint(canvas, cover(tails, pixel, p["pigtails"] > 0), tuple(0.92 * c for c in colours))
    ties = jnp.minimum(circle(x, y, 0.49, -0.06, 0.045), circle(x, y, -0.49, -0.06, 0.045))
    return paint(canvas, cover(ties, pixel, p["pigtails"] > 0), p["clothes"])


def _body(canvas, p, x, y, hx, hy, head, pixel):
    cloth = p["clothes"]
    shoulders = union(
        ellipse(x, y, 0.0, 1.22, p["shoulder_width"], 0.42),
        box(x, y, 0.0, 0.92, 0.8 * p["neck_width"], 0.2, 0.05),
        0.16,
    )
    light = 1.02 - 0.16 * jnp.clip(x + 0.1, 0.0, 1.0) - 0.05 * blob(x, y, 0.0, 0.95, 0.5, 0.1)
    canvas = paint(canvas, cover(shoulders, pixel), tuple(jnp.clip(cloth[i] * light, 0, 1) for i in range(3)))
    # The neck leans with the head: its top follows the head's plane, its foot the body's.
    lean = jnp.clip((0.92 - y) / 0.5, 0.0, 1.0)
    nx = lean * hx + (1.0 - lean) * x
    neck = box(nx, y, 0.0, 0.56, p["neck_width"], 0.34, 0.06)
    opening = ellipse(x, y, 0.0, 0.84, p["neck_width"] + 0.055, 0.10 + 0.05 * p["collar"])
    skin = tuple(0.96 * p["skin"][i] for i in range(3))
    rim = cover(jnp.abs(opening) - 0.018, pixel, (y > 0.84).astype(jnp.float32))
    bare = jnp.where(y > 0.84, opening, jnp.minimum(neck, opening))
    canvas = paint(canvas, cover(bare, pixel), skin)
    canvas = paint(canvas, rim, tuple(0.82 * cloth[i] for i in range(3)))
    below = cover(head - 0.085, pixel, softness=7.0) * cover(bare, pixel)
    return shade(canvas, 0.42 * below)


def _ears(canvas, p, x, y, pixel):
    half = 0.115 * p["ear_size"]
    for side in (-1.0, 1.0):
        cx = side * (p["head_width"] + 0.005)
        ear = ellipse(x, y, cx, 0.03, 0.066 * p["ear_size"], half)
        canvas = paint(canvas, cover(ear, pixel), tuple(0.94 * p["skin"][i] for i in range(3)))
        inner = ellipse(x, y, cx + side * 0.008, 0.03, 0.034 * p["ear_size"], 0.62 * half)
        canvas = shade(canvas, cover(inner, pixel, 0.28, softness=2.5))
        drop = circle(x, y, cx + side * 0.005, 0.03 + half + 0.015, 0.020)
        canvas = paint(canvas, cover(drop, pixel, p["earrings"]), (0.96, 0.84, 0.50))
    return canvas


def _skin(canvas, p, a, head, x, y, fx, fy, pixel):
    skin = p["skin"]
    light = 1.015 - 0.05 * jnp.clip(x + 0.05, -0.3, 0.5) - 0.03 * y
    inside = cover(head, pixel)
    canvas = paint(canvas, inside, tuple(jnp.clip(skin[i] * light, 0.0, 1.0) for i in range(3)))
    edge = jnp.clip(1.0 + head / 0.13, 0.0, 1.0) ** 2
    canvas = shade(canvas, inside * 0.20 * edge * (0.7 + 0.6 * (x > 0)), (0.62, 0.42, 0.38))
    flush = jnp.clip(p["blush"] + 0.45 * a["flush"] + 0.12 * jnp.clip(a["smile"], 0, 1), 0.0, 0.8)
    raised = 0.03 * jnp.clip(a["cheek_raise"], 0.0, 1.2)
    for side in (-1.0, 1.0):
        cheek = blob(fx, fy, side * 0.245, 0.19 - raised, 0.11, 0.085)
        red = tuple(skin[i] * t for i, t in enumerate((1.0, 0.62, 0.58)))
        canvas = paint(canvas, inside * cheek * flush * 0.75, red)
        apple = blob(fx, fy, side * 0.24, 0.12 - raised, 0.07, 0.035)
        canvas = paint(canvas, inside * apple * 0.22 * (0.4 + jnp.clip(a["cheek_raise"], 0.0, 1.0)), (1.0, 0.95, 0.9))
    spots = jnp.sin(95.0 * fx + 2.0 * jnp.sin(40.0 * fy)) * jnp.sin(88.0 * fy + 2.5 * jnp.sin(31.0 * fx)) > 0.72
    zone = blob(jnp.abs(fx), fy, 0.17, 0.13, 0.13, 0.06)
    canvas = shade(canvas, inside * spots * zone * 0.30 * p["freckles"], (0.6, 0.36, 0.25))

    # Lines of age and of expression.
    lines = jnp.zeros_like(fx)
    forehead = 0.45 * p["wrinkles"] + 0.45 * jnp.clip(a["brow_raise"], 0.0, 1.0)
    for height in (-0.37, -0.31, -0.25):
        offset = fy - (height - 0.02 * jnp.clip(a["brow_raise"], 0, 1) + 0.10 * fx**2)
        lines = jnp.maximum(lines, cover(stroke(offset, 0.2 * fx, fx, 0.21, 0.007), pixel, 0.55 * forehead))
    frown = jnp.clip(a["brow_frown"], 0.0, 1.2)
    bridge = p["eye_y"] - 0.09
    for side in (-1.0, 1.0):
        crease = capsule(fx, fy, side * 0.030, bridge - 0.05, side * 0.024, bridge + 0.03, 0.007)
        lines = jnp.maximum(lines, cover(crease, pixel, 0.55 * frown))
        mx = side * fx
        deep = (
            0.50 * p["wrinkles"] + 0.38 * jnp.clip(a["smile"], 0.0, 1.0) + 0.40 * jnp.clip(a["nose_wrinkle"], 0.0, 1.0)
        )
        middle = 0.5 * (p["nose_y"] + p["mouth_y"]) + 0.01
        curve = 0.135 + 0.40 * (fy - p["nose_y"] + 0.03) + 0.03 * jnp.clip(a["smile"], 0.0, 1.0)
        fold = stroke(mx - curve, 0.40, fy - middle, 0.095, 0.009)
        lines = jnp.maximum(lines, cover(fold, pixel, 0.62 * jnp.clip(deep, 0.0, 1.0)))
        corner = p["eye_x"] + p["eye_width"]
        feet = 0.5 * p["wrinkles"] + 0.35 * jnp.clip(a["squint"] + 0.5 * a["cheek_raise"], 0.0, 1.0)
        for tilt in (-0.035, 0.0, 0.035):
            foot = capsule(
                mx, fy, corner + 0.02, p["eye_y"] + 0.4 * tilt, corner + 0.075, p["eye_y"] + 1.4 * tilt, 0.0055
            )
            lines = jnp.maximum(lines, cover(foot, pixel, 0.6 * feet))
        bag_offset = fy - (p["eye_y"] + 0.095 - 2.6 * (mx - p["eye_x"]) ** 2)
        bag = stroke(bag_offset, -5.2 * (mx - p["eye_x"]), mx - p["eye_x"], 0.085, 0.008)
        lines = jnp.maximum(lines, cover(bag, pixel, 0.5 * p["wrinkles"]))
        for height in (0.02, 0.05):
            ridge = capsule(fx, fy, side * 0.035, bridge + height + 0.05, side * 0.060, bridge + height + 0.02, 0.006)
            lines = jnp.maximum(lines, cover(ridge, pixel, 0.6 * jnp.clip(a["nose_wrinkle"], 0.0, 1.0)))
    chin = stroke(fy - p["mouth_y"] - 0.115 - 0.5 * fx**2, fx, fx, 0.07, 0.008)
    lines = jnp.maximum(lines, cover(chin, pixel, 0.12 + 0.5 * jnp.clip(a["chin_raise"], 0.0, 1.0)))
    return shade(canvas, inside * lines * 0.75, (0.58, 0.36, 0.32))


def _beard(canvas, p, mouth, head, x, y, pixel):
    inside = cover(head + 0.002, pixel)
    colours = tuple(0.92 * p["brow_colour"][i] + 0.02 for i in range(3))
    strands = 1.0 + 0.10 * jnp.sin(60.0 * x + 6.0 * jnp.sin(9.0 * y))
    drop = 0.5 * mouth["lower"]
    top = p["mouth_y"] + 0.06 + drop - 3.2 * jnp.abs(x) ** 2.2 - 0.05 * jnp.clip(jnp.abs(x) - 0.2, 0.0, 1.0)
    area = (top - y) * 0.6
    hole = ellipse(x, y, 0.0, p["mouth_y"] + 0.5 * drop, mouth["width"] + 0.03, 0.065 + drop)
    patch = jnp.maximum(area, -hole)
    lip = p["mouth_y"] - p["upper_lip"] - mouth["upper"]
    whiskers = stroke(y - (lip - 0.035 + 1.2 * x**2), 2.4 * x, x, mouth["width"] + 0.03, 0.040)
    canvas = shade(canvas, inside * cover(patch, pixel, p["stubble"], softness=8.0), (0.45, 0.42, 0.42))
    canvas = paint(canvas, inside * cover(patch, pixel, p["beard"], softness=3.0), tuple(c * strands for c in colours))
    return paint(canvas, cover(whiskers, pixel, p["moustache"], softness=2.0), tuple(c * strands for c in colours))


def _eyes(canvas, p, a, x, y, pixel):
    wide = jnp.clip(a["eyes_wide"], 0.0, 1.2)
    squint = jnp.clip(a["squint"] + 0.25 * a["cheek_raise"], 0.0, 1.2)
    lash_colour = (0.13, 0.09, 0.09)
    width, height = p["eye_width"], p["eye_height"]
    for side, blink_name in ((-1.0, "blink_left"), (1.0, "blink_right")):
        blink = jnp.clip(a[blink_name], 0.0, 1.0)
        u = side * x - p["eye_x"]
        v = y - p["eye_y"] + p["eye_tilt"] * u
        bulge = jnp.clip(1.0 - (u / width) ** 2, 0.0, 1.0)
        curve = -2.0 * u / width**2
        lower = height * (0.62 + 0.08 * wide - 0.34 * squint)
        upper = lower - height * (0.62 + 0.92) * jnp.clip(1.0 + 0.30 * wide - 0.34 * squint, 0.2, 1.5) * (1.0 - blink)
        socket = blob(u, v, 0.0, -0.035, 0.13, 0.065)
        canvas = shade(canvas, 0.16 * socket, (0.62, 0.42, 0.40))
        lid_slope, low_slope = upper * curve, lower * curve
        inside = jnp.maximum(
            (upper * bulge - v) / jnp.sqrt(1.0 + lid_slope**2), (v - lower * bulge) / jnp.sqrt(1.0 + low_slope**2)
        )
        inside = jnp.maximum(inside, jnp.abs(u) - width)
        white = cover(inside, pixel)
        canvas = paint(canvas, white, (0.985, 0.975, 0.965))
        gaze_u = side * 0.040 * jnp.clip(a["gaze_right"], -1.2, 1.2) - 0.004
        gaze_v = 0.030 * jnp.clip(a["gaze_down"], -1.2, 1.2) - 0.012
        radius = p["iris_radius"]
        iris = circle(u, v, gaze_u, gaze_v, radius)
        glow = blob(u, v, gaze_u, gaze_v + 0.5 * radius, 0.7 * radius, 0.6 * radius)
        canvas = paint(canvas, white * cover(iris, pixel), tuple(0.60 * p["iris"][i] for i in range(3)))
        tint = tuple(p["iris"][i] * (0.95 + 0.5 * glow) for i in range(3))
        canvas = paint(canvas, white * cover(iris + 0.010, pixel), tint)
        canvas = paint(canvas, white * cover(circle(u, v, gaze_u, gaze_v, 0.52 * radius), pixel), (0.05, 0.04, 0.05))
        canvas = shade(
            canvas, white * cover(jnp.abs(v - upper * bulge) - 0.018, pixel, 0.38, softness=2.0), (0.4, 0.35, 0.4)
        )
        shine = circle(side * u, v, side * gaze_u - 0.38 * radius, gaze_v - 0.38 * radius, 0.26 * radius)
        canvas = paint(canvas, white * cover(shine, pixel), (1.0, 1.0, 1.0))
        # Lids: the upper with lashes, the crease above it, the lower one faint.
        thick = 0.009 + 0.006 * p["lashes"]
        lid = stroke(v - upper * bulge, lid_slope, u, width + 0.008, thick)
        canvas = paint(canvas, cover(lid, pixel, 0.92), lash_colour)
        wing = capsule(u, v, width - 0.012, 0.002, width + 0.030, -0.024 + 0.03 * blink, 0.0065)
        canvas = paint(canvas, cover(wing, pixel, 0.85 * jnp.clip(p["lashes"] - 0.3, 0.0, 1.0)), lash_colour)
        low = stroke(v - lower * bulge, low_slope, u, width * 0.92, 0.006)
        canvas = shade(canvas, cover(low, pixel, 0.40), (0.42, 0.28, 0.26))
        crease_y = (upper - 0.030 + 0.018 * wide) * jnp.clip(1.0 - (u / (width * 1.15)) ** 2, 0.0, 1.0) - 0.004
        crease = stroke(v - crease_y, lid_slope, u, width * 1.02, 0.006)
        canvas = shade(canvas, cover(crease, pixel, 0.42), (0.50, 0.32, 0.30))
    return canvas


def _brows(canvas, p, a, x, y, pixel):
    for side in (-1.0, 1.0):
        frown = jnp.clip(a["brow_frown"], -0.2, 1.2)
        u = side * x - (p["eye_x"] + 0.005 - 0.016 * frown)
        inner = jnp.clip((0.09 - u) / 0.22, 0.0, 1.0)  # 1 at the inner end, 0 at the outer
        rise = 0.070 * a["brow_raise"] + side * 0.050 * a["brow_tilt"]
        rise = rise + inner * (0.075 * a["brow_inner_raise"] - 0.075 * frown) - 0.022 * frown
        rise = (
            rise
            - 0.03 * (1.0 - inner) * jnp.clip(a["brow_inner_raise"], 0.0, 1.0)
            - 0.02 * jnp.clip(a["nose_wrinkle"], 0, 1)
        )
        arch = p["brow_arch"] * (1.0 + 0.5 * jnp.clip(a["brow_raise"], 0.0, 1.0) - 0.6 * jnp.clip(frown, 0.0, 1.0))
        line = p["eye_y"] - p["brow_y"] - rise - arch * (1.0 - ((u - 0.012) / 0.145) ** 2)
        line = line + 0.05 * u
        slope = 0.05 + 2.0 * arch * (u - 0.012) / 0.145**2 + 0.34 * (a["brow_inner_raise"] - frown)
        thickness = p["brow_thickness"] * (1.0 + 0.35 * jnp.clip((0.05 - u) / 0.15, -0.6, 1.0))
        brow = stroke(y - line, slope, u, 0.128, thickness)
        canvas = paint(canvas, cover(brow, pixel, 0.94, softness=1.4), p["brow_colour"])
    return canvas


def _nose(canvas, p, a, x, y, pixel):
    wrinkle = jnp.clip(a["nose_wrinkle"], 0.0, 1.2)
    tip = p["nose_y"] - 0.022 * wrinkle
    width = p["nose_width"] * (1.0 + 0.16 * wrinkle)
    side = jnp.exp(-(((x - 0.052 - 0.10 * (y - 0.05)) / 0.030) ** 2)) * jnp.exp(-(((y - 0.06) / 0.11) ** 2))
    canvas = shade(canvas, 0.22 * p["nose_shade"] * side, (0.62, 0.42, 0.38))
    canvas = paint(canvas, 0.26 * blob(x, y, -0.012, tip - 0.045, 0.030, 0.055), (1.0, 0.96, 0.92))
    base = stroke(y - (tip + 0.006 - 0.030 * (x / width) ** 2), -0.06 * x / width**2, x, width, 0.010)
    canvas = shade(canvas, cover(base, pixel, 0.50, softness=1.6), (0.58, 0.36, 0.32))
    for s in (-1.0, 1.0):
        hole = ellipse(s * x, y, 0.45 * width, tip - 0.004, 0.30 * width, 0.011)
        canvas = shade(canvas, cover(hole, pixel, 0.62, softness=1.3), (0.38, 0.20, 0.18))
        wing = jnp.abs(ellipse(s * x, y, 0.66 * width, tip - 0.024, 0.40 * width, 0.032)) - 0.0065
        wing = jnp.maximum(wing, 0.78 * width - s * x)
        canvas = shade(canvas, cover(wing, pixel, 0.38 + 0.2 * wrinkle, softness=1.3), (0.58, 0.36, 0.32))
    return canvas


def _mouth(canvas, p, a, mouth, x, y, pixel):
    width, upper, lower = mouth["width"], mouth["upper"], mouth["lower"]
    x = x - 0.02 * a["jaw_sideways"]
    s = jnp.clip(x / width, -1.0, 1.0)
    bell = 1.0 - s**2
    smile = 0.12 + a["smile"] + jnp.clip(jnp.where(x > 0, 1.0, -1.0) * a["smirk"], 0.0, 1.2) * jnp.abs(s)
    # Corners go up (or down) along a parabola; the middle follows the nose and gives way to the smile.
    line = p["mouth_y"] - 0.085 * smile * s**2 + 0.022 * a["smile"] - 0.014 * jnp.clip(a["nose_wrinkle"], 0.0, 1.0)
    line = line - 0.018 * jnp.clip(a["chin_raise"], 0.0, 1.0) * bell
    fullness = (
        (1.0 - 0.62 * mouth["press"]) * (1.0 + 0.30 * mouth["pucker"]) * (1.0 - 0.12 * jnp.clip(a["smile"], 0.0, 1.0))
    )
    inner_up, inner_low = line - upper * bell, line + lower * bell
    bow = 1.0 - 0.30 * jnp.exp(-((s / 0.22) ** 2)) + 0.10 * jnp.exp(-(((jnp.abs(s) - 0.35) / 0.2) ** 2))
    outer_up = inner_up - p["upper_lip"] * fullness * bell * bow
    outer_low = inner_low + p["lower_lip"] * fullness * (1.0 - s**4) ** 1.2
    beyond = jnp.abs(x) - width
    slope = jnp.sqrt(1.0 + ((0.17 * smile * s + 2.0 * upper * s) / width) ** 2)
    slope_low = jnp.sqrt(1.0 + ((0.17 * smile * s - 2.0 * lower * s) / width) ** 2)

    below = blob(x, y, 0.0, p["mouth_y"] + 0.07 + lower, 0.11, 0.030)
    canvas = shade(canvas, 0.20 * below, (0.6, 0.42, 0.38))
    lips = jnp.maximum(jnp.maximum((outer_up - y) / slope, (y - outer_low) / slope_low), beyond)
    light = jnp.where(y < line, 0.86, 1.0)
    canvas = paint(canvas, cover(lips, pixel, 0.95), tuple(p["lip_colour"][i] * light for i in range(3)))
    gloss = blob(x, y, -0.02, inner_low + 0.5 * p["lower_lip"] * fullness, 0.055, 0.010)
    canvas = paint(canvas, cover(lips, pixel) * gloss * 0.32, (1.0, 0.93, 0.90))

    hollow = jnp.maximum(jnp.maximum((inner_up - y) / slope, (y - inner_low) / slope_low), beyond)
    gap = cover(hollow, pixel) * jnp.clip((upper + lower) / 0.012, 0.0, 1.0)
    canvas = paint(canvas, gap, (0.30, 0.08, 0.09))
    tongue = ellipse(
        x, y, 0.0, line + lower * (1.02 - 0.45 * jnp.clip(a["tongue"], 0.0, 1.0)), 0.62 * width, 0.42 * lower + 0.004
    )
    canvas = paint(canvas, gap * cover(tongue, pixel, softness=1.5), (0.82, 0.40, 0.40))
    teeth = jnp.maximum(
        y - (inner_up + 0.020 + 0.26 * (upper + lower) * (1.0 - 0.6 * mouth["pucker"])), jnp.abs(x) - 0.80 * width
    )
    canvas = paint(canvas, gap * cover(teeth, pixel), (0.97, 0.96, 0.94))
    seam = stroke(y - inner_up, slope - 1.0, x, width + 0.006, 0.0075)
    return paint(canvas, cover(seam, pixel, 0.80), (0.34, 0.13, 0.13))


def hair_edge(p: dict, x: Plane) -> Plane:
    """Where the front of the hair ends, by place across the face: what lies higher is hair (where there is any)."""
    share = jnp.clip(jnp.abs(x) / p["head_width"], 0.0, 1.3)
    edge = p["hairline"] + p["hairline_tilt"] * x
    edge = edge + (p["hair_sides"] - p["hairline"]) * share ** p["hairline_power"]
    edge = edge - p["parting_depth"] * jnp.exp(-(((x - p["parting"]) / 0.10) ** 2))
    saw = jnp.abs(2.0 * (x * 4.2 - jnp.floor(x * 4.2 + 0.5)))  # a zigzag between 0 and 1
    return edge + p["fringe"] * (saw - 0.5) * (1.0 - jnp.clip(share, 0.0, 1.0) ** 4)


def _hair_front(canvas, p, head, x, y, fx, fy, pixel):
    edge = hair_edge(p, fx)
    shell = head - p["hair_volume"] * jnp.clip(0.75 - 0.9 * y, 0.25, 1.1) - _curl(p, x, y)
    hair = jnp.maximum(shell, (fy - edge) * 0.7)
    colours = _hair_colours(p, x, y)
    # A shadow of the hair on the forehead, then the hair itself.
    inside = cover(head, pixel)
    canvas = shade(canvas, inside * cover(jnp.maximum(shell, fy - edge - 0.035), pixel, 0.26 * p["hair_top"], 4.0))
    return paint(canvas, cover(hair, pixel, p["hair_top"]), colours)


def _glasses(canvas, p, x, y, head, pixel):
    colour = p["glasses_colour"]
    cy = p["eye_y"] + 0.012
    for side in (-1.0, 1.0):
        u = side * x
        rounded = 0.055 + 0.065 * p["glasses_round"]
        lens = box(u, y, p["eye_x"] + 0.008, cy, 0.150, 0.118 + 0.010 * p["glasses_round"], rounded)
        canvas = paint(canvas, cover(lens, pixel, 0.10 * p["glasses"]), (0.92, 0.97, 1.0))
        canvas = paint(canvas, cover(jnp.abs(lens) - 0.010, pixel, p["glasses"]), colour)
        temple = jnp.maximum(
            capsule(u, y, p["eye_x"] + 0.155, cy - 0.03, p["head_width"] + 0.1, cy - 0.045, 0.009), head
        )
        canvas = paint(canvas, cover(temple, pixel, p["glasses"]), colour)
    bridge = stroke(y - (cy - 0.035 + 3.0 * x**2), 6.0 * x, x, p["eye_x"] - 0.140, 0.010)
    return paint(canvas, cover(bridge, pixel, p["glasses"]), colour)


def _pictures(numbers: dict, motion: Float[Array, "frames 73"], *, size: int) -> UInt8[Array, "frames size size 3"]:
    # Not a loop over pictures: on a CPU, XLA runs a loop's body about five times as slowly.
    picture = jax.vmap(lambda person, row: _picture(person, row, size))(numbers, motion)
    return jnp.round(jnp.clip(picture, 0.0, 1.0) * 255.0).astype(jnp.uint8)


_draw = Program(_pictures, static=("size",))
_CHUNK = 25
_PIXELS = _CHUNK * 128**2
"""Drawn by one call at most: its planes take 1.6 MB each, and some dozens are alive at once."""


def draw_many(
    identities: list[Identity], motion: Float[np.ndarray, "frames C"], size: int = SIZE
) -> UInt8[np.ndarray, "frames size size 3"]:
    """One picture per pair of identity and row of C = 73 coefficients; another C is refused."""
    rows = np.asarray(motion, np.float32)
    if rows.ndim != 2 or rows.shape[1] != MOTION:
        raise UserError(
            f"motion has shape {rows.shape}; a drawn face takes (frames, {MOTION}): 64 of expression, 9 of pose"
        )
    if not np.isfinite(rows).all():
        raise UserError("motion holds NaN or infinite values; a drawn face takes finite coefficients")
    if len(identities) != len(rows):
        raise UserError(f"{len(identities)} identities and {len(rows)} rows of coefficients; one each is needed")
    people = [identity.numbers() for identity in identities]
    frames = []
    # Portraits are drawn alone, often.
    chunk = 1 if len(rows) == 1 else min(_CHUNK, max(1, _PIXELS // size**2))
    for start in range(0, len(rows), chunk):
        # The last chunk is filled up, so that one compilation serves all lengths.
        index = np.minimum(np.arange(start, start + chunk), len(rows) - 1)
        numbers = {k: np.stack([people[i][k] for i in index]) for k in people[0]}
        frames.append(np.asarray(_draw(numbers, rows[index], size=size))[: len(rows) - start])
    return np.concatenate(frames) if frames else np.zeros((0, size, size, 3), np.uint8)


def draw(
    identity: Identity, motion: Float[np.ndarray, "frames C"], size: int = SIZE
) -> UInt8[np.ndarray, "frames size size 3"]:
    """Draws a person through a motion, one picture per row of 73 coefficients (see `layout`)."""
    return draw_many([identity] * len(motion), motion, size)


def draw_batches(
    identity: Identity, motion: Float[np.ndarray, "frames 73"], size: int = SIZE
) -> Iterator[UInt8[np.ndarray, "batch size size 3"]]:
    """Draws as `draw` does, one second at a time: any length in bounded memory, with one compiled program."""
    for start in range(0, len(motion), _CHUNK):
        rows = np.asarray(motion[start : start + _CHUNK])
        filled = rows[np.minimum(np.arange(_CHUNK), len(rows) - 1)]
        yield draw(identity, filled, size)[: len(rows)]


def portrait(identity: Identity, size: int = SIZE) -> UInt8[np.ndarray, "size size 3"]:
    """The person at rest, looking at the viewer."""
    return draw(identity, coefficients(1), size)[0]
