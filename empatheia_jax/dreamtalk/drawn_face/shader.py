"""The drawing as a program for a browser: the same formulas as `drawing`, as a WebGL shader and as JavaScript.

Nothing is written down twice. JAX traces `drawing.colour_at` for one place of the picture, and every operation of the trace
becomes one line. What does not depend on the place is computed once a frame, in JavaScript; the rest runs for every pixel.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.extend.core import ClosedJaxpr, Literal

from empatheia_jax.dreamtalk.drawn_face import drawing
from empatheia_jax.dreamtalk.drawn_face.identity import Identity
from empatheia_jax.dreamtalk.drawn_face.layout import MOTION
from empatheia_jax.dreamtalk.drawn_face.profiles import identity_for_profile

_COMPARISONS = {"gt": ">", "lt": "<", "ge": ">=", "le": "<="}
_SIGNS = {"add": "+", "sub": "-", "mul": "*", "div": "/", **_COMPARISONS}
_CALLS = {  # JAX's primitive → (GLSL, JavaScript)
    "max": ("max", "Math.max"),
    "min": ("min", "Math.min"),
    "sqrt": ("sqrt", "Math.sqrt"),
    "abs": ("abs", "Math.abs"),
    "exp": ("exp", "Math.exp"),
    "sin": ("sin", "Math.sin"),
    "cos": ("cos", "Math.cos"),
    "floor": ("floor", "Math.floor"),
    "atan2": ("atan", "Math.atan2"),
    "pow": ("pow", "Math.pow"),
}


def person(identity: Identity) -> list[float]:
    """The numbers of a person in the order in which the program takes them."""
    return [float(each) for value in identity.numbers().values() for each in jnp.ravel(value).tolist()]


def person_for_profile(age: str, gender: str, tone: str) -> list[float]:
    """`person` for the drawn person of a profile. Raises `UserError` for a profile that does not exist."""
    return person(identity_for_profile(age, gender, tone))


@functools.cache
def module(places: bool = False) -> str:
    """A JavaScript module that draws the face.

    It exports `PERSON` and `MOTION` (how many numbers a person and a motion are), `UNIFORMS`; `prepare(person, motion, pixel)`,
    which gives the `UNIFORMS` numbers of a frame as a Float32Array, `pixel` being the width of a pixel where the picture is 2
    wide; and `FRAGMENT`, a fragment shader for WebGL 2 that takes them in `uniform vec4 frame[]`, the place in `in vec2 place`
    (−1 to 1, right and down) and gives the colour.

    Args:
        places: also export `colourAt(x, y, frame)`, which gives red, green and blue (0–1) of one place without a graphics card;
            a whole picture takes seconds.
    """
    numbers = identity_for_profile("young", "female", "gentle").numbers()
    shapes = {name: value.size if value.ndim else 0 for name, value in numbers.items()}
    inputs = sum(max(1, size) for size in shapes.values())

    def colour(person: list, motion: list, pixel, x, y):
        given = iter(person)
        p = {name: tuple(next(given) for _ in range(size)) if size else next(given) for name, size in shapes.items()}
        return drawing.colour_at(p, motion, x, y, pixel)

    zero = jnp.float32(0)
    traced = jax.make_jaxpr(colour)([zero] * inputs, [zero] * MOTION, zero, zero, zero)
    names = [f"p[{k}]" for k in range(inputs)] + [f"m[{k}]" for k in range(MOTION)] + ["pixel"]
    lines = _Lines([*names, "x", "y"], once=len(names))
    return lines.module(lines.run(traced), inputs, places)


@dataclasses.dataclass(frozen=True)
class _Value:
    """A name or a number as both languages write it, whether it differs from place to place, and whether it is true or false."""

    glsl: str
    js: str
    pixel: bool
    logical: bool = False


class _Lines:
    """The lines of the program, those of a frame and those of a pixel apart."""

    def __init__(self, inputs: list[str], once: int):
        self.inputs = [_Value(name, name, pixel=k >= once) for k, name in enumerate(inputs)]
        self.frame: list[str] = []
        self.pixel: list[tuple[str, str]] = []
        self.passed: dict[str, int] = {}  # a frame's values that pixels read → place among the uniforms
        self.known: dict[tuple, _Value] = {}

    def run(self, traced: ClosedJaxpr, given: list[_Value] | None = None) -> list[_Value]:
        """Adds the lines of a traced function; returns its results."""
        jaxpr = traced.jaxpr
        values: dict[Any, _Value] = dict(zip(jaxpr.invars, self.inputs if given is None else given))
        values.update((var, _number(float(const))) for var, const in zip(jaxpr.constvars, traced.consts))

        def read(var) -> _Value:
            return _number(float(var.val)) if isinstance(var, Literal) else values[var]

        for line in jaxpr.eqns:
            operands = [read(var) for var in line.invars]
            if line.primitive.name in ("jit", "pjit"):
                results = self.run(line.params["jaxpr"], operands)
            else:
                results = [self._operation(line.primitive.name, line.params, operands)]
            values.update(zip(line.outvars, results))
        return [read(var) for var in jaxpr.outvars]

    def _operation(self, name: str, params: Mapping[str, Any], operands: list[_Value]) -> _Value:
        if name in _SIGNS:
            return self._line(f"{{}} {_SIGNS[name]} {{}}", None, operands, logical=name in _COMPARISONS)
        if name in _CALLS:
            glsl, js = (f"{call}({', '.join(['{}'] * len(operands))})" for call in _CALLS[name])
            return self._line(glsl, js, operands)
        if name == "convert_element_type":
            return self._line("float({})", "+{}", operands) if operands[0].logical else operands[0]
        if name == "integer_pow" and params["y"] > 1:
            return self._line(" * ".join(["{0}"] * params["y"]), None, operands)
        if name == "neg":
            return self._line("-{}", None, operands)
        if name == "select_n":
            return self._line("{0} ? {2} : {1}", None, operands)
        raise ValueError(f"the drawing uses {name} ({dict(params)}), which {__name__} does not know; add it there")

    def _line(self, glsl: str, js: str | None, operands: list[_Value], logical: bool = False) -> _Value:
        """The value of one operation; the same one on the same values is one line."""
        key = (glsl, *(each.glsl for each in operands))
        if key not in self.known:
            name, pixel = f"v{len(self.known)}", any(each.pixel for each in operands)
            if not pixel:
                self.frame.append(f"const {name} = {(js or glsl).format(*(each.js for each in operands))};")
            else:
                read = [self._pass(each) for each in operands]
                kind = "bool" if logical else "float"
                self.pixel.append(
                    (
                        f"{kind} {name} = {glsl.format(*(each.glsl for each in read))};",
                        f"const {name} = {(js or glsl).format(*(each.js for each in read))};",
                    )
                )
            self.known[key] = _Value(name, name, pixel, logical)
        return self.known[key]

    def _pass(self, value: _Value) -> _Value:
        """A value as a pixel reads it: what was computed for the frame comes out of the uniforms."""
        if value.pixel or _is_number(value.glsl):
            return value
        if value.logical:
            raise ValueError("the drawing decides something once a frame; uniforms hold numbers only")
        place = self.passed.setdefault(value.glsl, len(self.passed))
        return _Value(f"frame[{place // 4}].{'xyzw'[place % 4]}", f"u[{place}]", pixel=True)

    def module(self, colour: list[_Value], inputs: int, places: bool) -> str:
        """The text of the JavaScript module."""
        red, green, blue = (each.glsl for each in colour)
        uniforms = 4 * math.ceil(len(self.passed) / 4)
        shader = [
            *("#version 300 es", "precision highp float;", f"uniform vec4 frame[{uniforms // 4}];"),
            *("in vec2 place;", "out vec4 colour;", "void main() {", "float x = place.x; float y = place.y;"),
            *(glsl for glsl, _ in self.pixel),
            f"colour = vec4(clamp(vec3({red}, {green}, {blue}), 0.0, 1.0), 1.0);",
            "}",
        ]
        point = [
            *("export function colourAt(x, y, u) {", *(js for _, js in self.pixel)),
            *(f"return [{red}, {green}, {blue}].map((c) => Math.min(1, Math.max(0, c)));", "}"),
        ]
        return "\n".join(
            [
                f"export const PERSON = {inputs}, MOTION = {MOTION}, UNIFORMS = {uniforms};",
                *("export function prepare(p, m, pixel) {", *self.frame, f"const u = new Float32Array({uniforms});"),
                *(f"u[{place}] = {name};" for name, place in self.passed.items()),
                *("return u;", "}"),
                *(point if places else ()),
                f"export const FRAGMENT = {json.dumps(chr(10).join(shader))};",
                "",
            ]
        )


def _number(value: float) -> _Value:
    if not math.isfinite(value):
        raise ValueError(f"the drawing holds the constant {value}, which a shader cannot write down")
    text = repr(value)
    text = text if "." in text or "e" in text else f"{text}.0"
    text = f"({text})" if value < 0 else text
    return _Value(text, text, pixel=False)


def _is_number(text: str) -> bool:
    return text[0] in "(0123456789"
