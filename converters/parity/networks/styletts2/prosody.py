"""The prosody predictor."""

from __future__ import annotations

from collections.abc import Iterator

import jax.numpy as jnp

from converters.parity.networks.styletts2.comparison import (
    Comparison,
    cf,
    cl,
)
from converters.parity.result import Result


def compare_predictor(c: Comparison) -> Iterator[Result]:
    z = c.arrays("predictor")

    def parts(net, text, style, lengths, alignment):
        d = net.encode(text, style, lengths)
        durations = net.durations(d, lengths)
        unpacked = net.duration_logits(d, None)
        return d, net.duration_logits(d, lengths), unpacked, durations, jnp.einsum("btc,btf->bfc", d, alignment)

    d, logits, unpacked, durations, en = c.call(
        "predictor", parts, cl(z["d_en"]), z["style"], z["lengths"], z["alignment"]
    )
    yield c.result("predictor", "d", d, z["d"])
    for row, length in enumerate(z["lengths"]):
        if (key := f"d_row{row}_alone") in z:
            yield c.result("predictor", key, d[row : row + 1, : int(length)], z[key])
    yield c.result("predictor", "duration_logits", logits, z["duration_logits"])
    yield c.result("predictor", "duration_logits_unpacked_lstm", unpacked, z["duration_logits_unpacked_lstm"])
    yield c.result("predictor", "duration", durations, z["duration"])
    yield c.result("predictor", "en", cf(en), z["en"])
    shared, (f0, energy) = c.call(
        "predictor", lambda net, x, s: (net.shared_states(x), net.curves(x, s)), cl(z["f0n_en"]), z["style"]
    )
    yield c.result("predictor", "f0n_shared", shared, z["f0n_shared"])
    yield c.result("predictor", "F0", f0, z["F0"])
    yield c.result("predictor", "N", energy, z["N"])
