"""Which hardware a program is built for: the one place where a choice of implementation asks."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

import jax

_TARGET: ContextVar[str | None] = ContextVar("target_platform", default=None)


def platform() -> str:
    """Either "cpu", "gpu" or "tpu": of `target_platform`, otherwise of this process."""
    return _TARGET.get() or jax.default_backend()


@contextlib.contextmanager
def target_platform(name: str) -> Iterator[None]:
    """Chooses as if for `name` ("cpu", "gpu", "tpu"): for compiling a program for hardware that is not there."""
    token = _TARGET.set(name)
    try:
        yield
    finally:
        _TARGET.reset(token)


def separate_layers() -> bool:
    """Whether decoding shall keep the weights and caches of every layer in arrays of their own.

    A CPU and a GPU copy a layer's slice out of the stacked array at every token before they multiply, and so move the weights
    three times; taken apart once, they are read in place. The weights are then held twice while a reply is decoded, 27 GB for
    seven billion in bfloat16, unless `stack.unstack_in_place` finds them on a CPU. A TPU's compiler reads the slice within the
    product, and one scanned body compiles faster.
    """
    return platform() in ("cpu", "gpu")
