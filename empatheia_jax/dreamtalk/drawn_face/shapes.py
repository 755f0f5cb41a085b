"""Anti-aliased shapes as signed distances (negative inside), and how they are painted. All of it is pointwise in jax.numpy."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

Plane = Float[Array, "*picture"]  # (height, width), or () where a program for one pixel is made of it (`shader`)


def grid(size: int) -> tuple[Plane, Plane]:
    """Pixel centres: x to the right and y down, both from -1 to 1 over the picture."""
    axis = (jnp.arange(size, dtype=jnp.float32) + 0.5) * (2.0 / size) - 1.0
    return jnp.broadcast_to(axis[None, :], (size, size)), jnp.broadcast_to(axis[:, None], (size, size))


def circle(x: Plane, y: Plane, cx, cy, radius) -> Plane:
    """Signed distance from a circle, in units of the drawing."""
    return jnp.sqrt((x - cx) ** 2 + (y - cy) ** 2 + 1e-9) - radius


def ellipse(x: Plane, y: Plane, cx, cy, rx, ry) -> Plane:
    """First-order distance to an axis-aligned ellipse: exact on the outline, good near it."""
    px, py = x - cx, y - cy
    k0 = jnp.sqrt((px / rx) ** 2 + (py / ry) ** 2 + 1e-9)
    k1 = jnp.sqrt((px / rx**2) ** 2 + (py / ry**2) ** 2 + 1e-9)
    return k0 * (k0 - 1.0) / k1


def box(x: Plane, y: Plane, cx, cy, half_width, half_height, radius) -> Plane:
    """A rectangle with rounded corners."""
    qx, qy = jnp.abs(x - cx) - half_width + radius, jnp.abs(y - cy) - half_height + radius
    outside = jnp.sqrt(jnp.maximum(qx, 0) ** 2 + jnp.maximum(qy, 0) ** 2 + 1e-9)
    return outside + jnp.minimum(jnp.maximum(qx, qy), 0.0) - radius


def capsule(x: Plane, y: Plane, ax, ay, bx, by, radius) -> Plane:
    """A line from a to b with round ends."""
    dx, dy = bx - ax, by - ay
    t = jnp.clip(((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy), 0.0, 1.0)
    return circle(x - ax - t * dx, y - ay - t * dy, 0.0, 0.0, radius)


def stroke(offset: Plane, slope, along: Plane, half_length, thickness) -> Plane:
    """A line along a curve, thinning towards its ends.

    `offset` is the vertical distance to the curve, `slope` the curve's slope, `along` the position along it measured from
    its middle.
    """
    taper = 1.0 - 0.75 * jnp.clip(jnp.abs(along) / half_length, 0.0, 1.0) ** 2
    distance = jnp.abs(offset) / jnp.sqrt(1.0 + slope**2) - thickness * taper
    return jnp.maximum(distance, jnp.abs(along) - half_length)


def union(a: Plane, b: Plane, blend: float = 0.0) -> Plane:
    """Both shapes; with `blend` > 0 their joint is rounded (polynomial smooth minimum)."""
    if not blend:
        return jnp.minimum(a, b)
    h = jnp.clip(0.5 + 0.5 * (b - a) / blend, 0.0, 1.0)
    return b + (a - b) * h - blend * h * (1.0 - h)


def blob(x: Plane, y: Plane, cx, cy, rx, ry) -> Plane:
    """A soft spot: a Gaussian with value 1 in its middle."""
    return jnp.exp(-(((x - cx) / rx) ** 2) - ((y - cy) / ry) ** 2)


def cover(distance: Plane, pixel: float | Float[Array, ""], opacity=1.0, softness: float = 1.0) -> Plane:
    """The share of every pixel that a shape covers, from its signed distance."""
    return jnp.clip(0.5 - distance / (pixel * softness), 0.0, 1.0) * opacity


def paint(canvas: tuple[Plane, Plane, Plane], alpha: Plane, colour) -> tuple[Plane, Plane, Plane]:
    """Lays a colour (three numbers or planes) over the canvas."""
    return tuple(c + alpha * (colour[i] - c) for i, c in enumerate(canvas))


def shade(canvas: tuple[Plane, Plane, Plane], alpha: Plane, tint=(0.55, 0.32, 0.30)) -> tuple[Plane, Plane, Plane]:
    """Multiplies the canvas towards `tint`: a shadow that keeps the hue of what it falls on."""
    return tuple(c * (1.0 - alpha * (1.0 - t)) for c, t in zip(canvas, tint))
