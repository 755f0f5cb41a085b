"""Text encoder and PL-BERT."""

from __future__ import annotations

from collections.abc import Iterator

from converters.parity.networks.styletts2.comparison import (
    Comparison,
    cf,
)
from converters.parity.result import Result


def compare_text_encoder(c: Comparison) -> Iterator[Result]:
    z = c.arrays("text_encoder")
    out = c.call("text_encoder", lambda net, t, n: net(t, n), z["tokens"], z["lengths"])
    yield c.result("text_encoder", "out", cf(out), z["out"])
    for row, length in enumerate(z["lengths"]):
        if (key := f"out_row{row}_alone") in z:  # the README's unpadded run of a row must equal our padded one
            yield c.result("text_encoder", key, cf(out)[row : row + 1, :, : int(length)], z[key])


def compare_bert(c: Comparison) -> Iterator[Result]:
    z = c.arrays("bert")

    def parts(net, tokens, lengths):
        positions = net.positions[...][: tokens.shape[1]]
        embeddings = net.embedding_norm(net.tokens[...][tokens] + net.types[...][0] + positions)
        return embeddings, net.projection(embeddings), net(tokens, lengths=lengths)

    found = c.call("bert", parts, z["tokens"], z["attention_mask"].sum(1))
    for key, ours in zip(("embeddings", "hidden0", "out"), found):
        yield c.result("bert", key, ours, z[key])


def compare_bert_encoder(c: Comparison) -> Iterator[Result]:
    z = c.arrays("bert_encoder")
    yield c.result("bert_encoder", "out", c.call("bert_encoder", lambda net, x: net(x), z["x"]), z["out"])
