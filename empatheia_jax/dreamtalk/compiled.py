"""A function of a module as one compiled program per shape of its inputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import jax
from flax import nnx


class Compiled:
    """`function(module, *inputs)`, compiled once per shape; the weights are an argument, not constants of the program.

    Args:
        module: whose weights are used.
        function: called as `function(module, *inputs, **options)` while it is traced.
        static: names of options that shape the program.
    """

    def __init__(self, module: nnx.Module, function: Callable, static: Sequence[str] = ()):
        graph, self.state = nnx.split(module)
        self.traces = 0  # how often it was compiled

        def call(state, *inputs, **options):
            self.traces += 1
            return function(nnx.merge(graph, state), *inputs, **options)

        self._call = jax.jit(call, static_argnames=static)

    def __call__(self, *inputs, **options):
        return self._call(self.state, *inputs, **options)
