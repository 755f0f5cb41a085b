"""The browser's drawing is the Python drawing: the same colours from the same coefficients."""

from __future__ import annotations

import json
import shutil
import subprocess

import numpy as np
import pytest

from empatheia_jax.dreamtalk.drawn_face import coefficients, draw, perform, shader
from empatheia_jax.dreamtalk.drawn_face.profiles import identity_for_profile

NODE = shutil.which("node")
RUN = """
import fs from "fs";
import { prepare, colourAt, PERSON, MOTION, UNIFORMS } from "./face.mjs";
const { people, motion, places, size } = JSON.parse(fs.readFileSync("given.json"));
const colours = people.map((person, k) => {
  const frame = prepare(person, motion[k], 2 / size);
  return places.map(([i, j]) => colourAt(((i + 0.5) * 2) / size - 1, ((j + 0.5) * 2) / size - 1, frame));
});
process.stdout.write(JSON.stringify({ colours, sizes: [PERSON, MOTION, UNIFORMS] }));
"""


@pytest.mark.skipif(NODE is None, reason="needs node, which runs the page's drawing outside a browser")
def test_the_browser_draws_what_python_draws(tmp_path):
    size = 128
    profiles = (("elderly", "male", "gentle"), ("child", "female", "emphatic"), ("young", "female", "mild"))
    people = [identity_for_profile(*profile) for profile in profiles]
    motion = np.concatenate(
        [
            coefficients(1, jaw_open=0.7, smile=0.5, yaw=0.15, roll=0.1, shift_near=0.05),
            perform("angry", 30, seed=1)[29:30],
            coefficients(1, blink_left=0.6, brow_inner_raise=0.8, lips_round=0.9, gaze_right=0.5, crop_scale=1.2),
        ]
    )
    places = [(i, j) for j in range(1, size, 6) for i in range(1, size, 6)]
    (tmp_path / "face.mjs").write_text(shader.module(places=True))
    (tmp_path / "run.mjs").write_text(RUN)
    given = {
        "people": [shader.person(each) for each in people],
        "motion": motion.tolist(),
        "places": places,
        "size": size,
    }
    (tmp_path / "given.json").write_text(json.dumps(given))
    done = subprocess.run([NODE, "run.mjs"], cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert found["sizes"][:2] == [len(given["people"][0]), motion.shape[1]]
    for k, person in enumerate(people):
        picture = draw(person, motion[k : k + 1], size)[0]
        expected = np.stack([picture[j, i] for i, j in places])
        difference = np.abs(np.round(255 * np.asarray(found["colours"][k])) - expected)
        assert difference.max() <= 1, profiles[k]  # one rounding of 256 steps


def test_the_shader_fits_every_webgl_2():
    # 224 is the least number of uniform vectors that WebGL 2 promises to a fragment shader.
    source = shader.module()
    uniforms = int(source.split("UNIFORMS = ")[1].split(";")[0])
    assert uniforms / 4 <= 224 and "colourAt" not in source and source.isascii()
