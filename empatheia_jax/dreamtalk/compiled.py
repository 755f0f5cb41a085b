"""A function of a module as one compiled program per shape of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from flax import nnx

from empatheia_jax.nn.programs import Program


class Compiled:
    """`function(module, *inputs)`, compiled once per shape; the weights are an argument, not constants of the program.

    Args:
        module: the network whose weights are used.
        function: called as `function(module, *inputs, **options)` while it is traced. One at the top level of a module can
            be kept from one process to the next (`nn.programs`).
        static: names of options that shape the program.
    """

    def __init__(self, module: nnx.Module, function: Callable, static: Sequence[str] = ()):
        graph, self.state = nnx.split(module)
        self._program = Program(_call, function, graph, static=static)

    @property
    def traces(self) -> int:
        """How often it was compiled."""
        return self._program.compilations

    def __call__(self, *inputs, **options):
        return self._program(self.state, *inputs, **options)


def _call(function: Callable, graph: nnx.GraphDef, state: Any, *inputs, **options):
    return function(nnx.merge(graph, state), *inputs, **options)
