"""A tiny model with its generators, made once for the tests of this folder."""

from __future__ import annotations

import pytest

from configs import debug
from empatheia_jax import assemble
from empatheia_jax.dialogue.faces import DrawnFaces
from empatheia_jax.dialogue.responder import Blend, Responder
from empatheia_jax.dialogue.writer import Writer
from empatheia_jax.parallel.mesh import local_mesh
from empatheia_jax.settings import resolve


@pytest.fixture(scope="package")
def responder() -> Responder:
    """The debug config's networks as they are made, without a run."""
    config = resolve(debug.get_config())
    assembly = assemble.empatheia(config, local_mesh(*config.mesh.sizes))
    writer = Writer.of(config, assembly, assemble.towers(config))
    speaker, animator = assemble.speaker(config), assemble.animator(config)
    return Responder(writer, speaker, animator, DrawnFaces(), blend=Blend.of(0.5, 0.5), seed=config.seed)
