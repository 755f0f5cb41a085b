"""KEMP, CEM and CASE against their equations, written again in PyTorch."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from flax import nnx

from empatheia_jax.baselines import case, losses
from empatheia_jax.baselines.layers import shifted, timing
from empatheia_jax.baselines.settings import KINDS
from empatheia_jax.baselines.words import EOS, KG, PAD, SOS


def close(ours, theirs, tolerance=2e-5):
    np.testing.assert_allclose(np.asarray(ours), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)


def t(value) -> torch.Tensor:
    return torch.tensor(np.asarray(value))


def lin(layer, x):
    return x @ t(layer.kernel[...]) + (0 if layer.bias is None else t(layer.bias[...]))


def norm(layer, x):
    found = (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6)
    return t(layer.scale[...]) * found + t(layer.bias[...])


def attend(layer, x, source, mask=None):
    """One dialogue without padding: (L, D) each; (output, mean scores)."""
    heads = layer.heads
    split = lambda y: y.reshape(len(y), heads, -1).transpose(0, 1)  # noqa: E731
    q, k, v = split(lin(layer.query, x)), split(lin(layer.key, source)), split(lin(layer.value, source))
    scores = q @ k.transpose(1, 2) / math.sqrt(q.shape[-1])
    if mask is not None:
        scores = scores.masked_fill(~mask, -1e18)
    read = (torch.softmax(scores, -1) @ v).transpose(0, 1).reshape(len(x), -1)
    return lin(layer.out, read), scores.mean(0)


def feed(layer, x, padding):
    for each in (layer.up, layer.down):
        kernel = t(each.kernel[...]).permute(2, 1, 0)
        x = F.relu(F.conv1d(F.pad(x.T[None], padding), kernel, t(each.bias[...])))[0].T
    return x


def encode(encoder, x):
    x = lin(encoder.project, x) + t(timing(len(x), encoder.layer.norm_feed.scale.shape[0]))
    y = norm(encoder.layer.norm_attention, x)
    x = x + attend(encoder.layer.attention, y, y)[0]
    x = x + feed(encoder.layer.feed, norm(encoder.layer.norm_feed, x), (1, 1))
    return norm(encoder.norm, x)


def embed(network, numbers):
    numbers = np.asarray(numbers)
    return t(network.words.table.embedding[...])[torch.tensor(numbers[numbers != PAD].astype(np.int64))] * math.sqrt(16)


@pytest.fixture(scope="module")
def examples(encoder, said):
    """Per kind: the four turns of one batch with knowledge."""
    return {kind: encoder(kind).batch(said[:4], 4) for kind in KINDS}


def context(network, batch, row):
    return embed(network, batch.context[row]) + embed(network, batch.roles[row])


def answer(net, batch):
    """(memory, states, scores, log P of each next word) of a batch."""
    memory = net.encode(batch)
    states, scores = net.states(memory, shifted(jnp.asarray(batch.target)))
    return memory, states, scores, net.log_probabilities(memory, states, scores)


@pytest.fixture(scope="module")
def answers(network, run, examples):
    """`answer` of each kind's examples."""
    return {kind: run(network(kind), answer, examples[kind]) for kind in KINDS}


def test_cem_refines_and_gates_as_its_repository_does(network, examples, answers):
    cem, batch = network("cem"), examples["cem"]
    memory, *_ = answers["cem"]
    for row in range(2):
        states = encode(cem.encoder, context(cem, batch, row))
        summaries = [encode(cem.cognition, embed(cem, batch.relations[row, each]))[0] for each in range(4)]
        reaction = encode(cem.affection, embed(cem, batch.relations[row, 4])).mean(0)
        beside = lambda each, states=states: torch.cat([states, each.expand(len(states), -1)], -1)  # noqa: E731
        affection = encode(cem.refine_affection, beside(reaction))
        joined = torch.cat([*(encode(cem.refine_cognition, beside(each)) for each in summaries), affection], -1)
        joined = lin(cem.join2, F.relu(lin(cem.join1, torch.sigmoid(joined) * joined)))
        close(memory["sources"][0][0][row, : len(states)], joined)
        close(memory["emotion"][row], lin(cem.emotion, affection[0]))


def test_the_decoder_reads_the_words_so_far_and_each_of_its_sources(network, examples, answers):
    cem, batch = network("cem"), examples["cem"]
    memory, found, scores, _ = answers["cem"]
    source = t(memory["sources"][0][0][0])[: int((np.asarray(batch.context[0]) != PAD).sum())]
    written = np.asarray([SOS, *batch.target[0][:-1]])
    x = lin(cem.decoder.project, embed(cem, written))
    x = x + t(timing(len(x), 16))
    layer = cem.decoder.layer
    y = norm(layer.norm_attention, x)
    x = x + attend(layer.attention, y, y, torch.tril(torch.ones(len(x), len(x), dtype=torch.bool)))[0]
    y, seen = attend(layer.cross[0], norm(layer.norm_cross[0], x), source)
    x = x + y
    x = norm(cem.decoder.norm, x + feed(layer.feed, norm(layer.norm_feed, x), (2, 0)))
    close(found[0, : len(x)], x)
    close(scores[0, : len(x), : len(source)], seen)


def test_cems_diversity_weighs_words_by_how_often_they_were_written(network):
    rng = np.random.default_rng(0)
    words, length, size = 12, 5, 3
    logits = rng.normal(size=(size, length, words)).astype(np.float32)
    target = rng.integers(9, words, (size, length))
    target[0, 3:], target[1, -1] = (EOS, PAD), EOS
    before = rng.integers(0, 9, words).astype(np.float32)
    log = jax.nn.log_softmax(jnp.asarray(logits))
    (total, weight), (moving, _) = losses.diversity(
        log, jnp.asarray(target), jnp.ones(size), jnp.asarray(before) * losses.COUNT
    )
    # As src/models/CEM/model.py: count what is best up to the end, weigh, then NLLLoss.
    counts = before.astype(np.float64)
    for row in range(size):
        for place in range(length):
            best = logits[row, place].argmax()
            if best == EOS:
                break
            counts[best] += target[row, place] != PAD
    relative = counts / counts.sum()
    weights = -relative / relative.max() + 1
    weights = torch.tensor(weights / weights.sum() * words, dtype=torch.float32)
    loss = F.nll_loss(
        t(log).reshape(-1, words), torch.tensor(target).reshape(-1), weights, ignore_index=PAD, reduction="sum"
    )
    close(total / weight, loss / (target != PAD).sum())
    # The running count is the second pair's gradient.
    assert float(moving) == 0
    frequency = jnp.asarray(before) * losses.COUNT
    gradient = jax.grad(lambda f: losses.diversity(log, jnp.asarray(target), jnp.ones(size), f)[1][0])(frequency)
    np.testing.assert_array_equal((frequency - gradient) / losses.COUNT, counts)


def test_kemps_graph_emotion_and_copying_are_its_repositorys(network, examples, answers):
    kemp, batch = network("kemp"), examples["kemp"]
    memory, states, scores, found = answers["kemp"]
    row, length = 0, batch.context.shape[1]
    spoken, concepts = (int((each[row] != PAD).sum()) for each in (batch.context, batch.concepts.words))
    kept = [*range(spoken), *range(length, length + concepts)]
    words = context(kemp, batch, row)
    beside = embed(kemp, batch.concepts.words[row]) + embed(kemp, [KG])
    nodes = torch.cat([words, beside])
    graph, links = kemp.graph, t(batch.concepts.links[row])[:spoken][:, kept]
    attention = (lin(graph.query, words) @ lin(graph.key, nodes).T).masked_fill(~links, 1e-24)
    words = norm(graph.norm, words + lin(graph.out, torch.softmax(attention, -1) @ lin(graph.value, nodes)))
    nodes = encode(kemp.encoder, torch.cat([words, beside]))
    strength = torch.softmax(t(batch.concepts.intensity[row])[kept], -1)
    emotion = lin(kemp.emotion, (strength[:, None] * nodes).sum(0))
    close(memory["emotion"][row], emotion)
    close(memory["start"][row], lin(kemp.emotion_embedding, emotion))
    # The generator on our states: written anew, or copied.
    hidden, seen = t(states[row]), t(scores[row])[:, : len(kept)]
    share = torch.sigmoid(lin(kemp.generates, hidden))
    numbers = torch.tensor(np.concatenate([batch.context[row], batch.concepts.words[row]])[kept].astype(np.int64))
    vocabulary = share * torch.softmax(lin(kemp.head, hidden), -1)
    copied = vocabulary.scatter_add(1, numbers.expand(len(hidden), -1), (1 - share) * torch.softmax(seen, -1))
    close(found[row], torch.log(copied + 1e-18))
    np.testing.assert_allclose(np.exp(found).sum(-1), 1, rtol=1e-5)


def test_kemps_smoothed_loss_is_the_divergence_from_the_smoothed_target():
    rng = np.random.default_rng(1)
    log = jax.nn.log_softmax(jnp.asarray(rng.normal(size=(2, 3, 11)).astype(np.float32)))
    target = np.array([[9, 10, EOS], [9, EOS, PAD]])
    total, examples = losses.smoothed(log, jnp.asarray(target), jnp.ones(2))
    truth = torch.full((6, 11), 0.1 / 9).scatter_(1, torch.tensor(target).reshape(-1, 1), 0.9)
    truth[:, PAD] = 0
    truth[torch.tensor(target).reshape(-1) == PAD] = 0
    close(total, F.kl_div(t(log).reshape(6, 11), truth, reduction="sum"))
    assert float(examples) == 2


def test_cases_attention_over_kinds_of_edges_is_its_repositorys():
    size, nodes, width = 2, 5, 16
    layer = case.RelationAttention(width, 0.0, rngs=nnx.Rngs(3))
    rng = np.random.default_rng(2)
    x = rng.normal(size=(size, nodes, width)).astype(np.float32)
    kinds = rng.normal(size=(len(case.EDGES), width)).astype(np.float32)
    edges = rng.integers(0, len(case.EDGES), (size, nodes, nodes))
    edges[:, np.arange(nodes), np.arange(nodes)] = 1
    found = layer(jnp.asarray(x), jnp.asarray(edges), jnp.asarray(kinds), None)
    # As RelationMultiHeadAttention: queries and keys of every pair of nodes, plus those of the edge.
    split = lambda y: y.reshape(*y.shape[:-1], case.HEADS, -1)  # noqa: E731
    q, k, v = (split(lin(each, t(x))) for each in (layer.query, layer.key, layer.value))
    u, w = (split(each) for each in lin(layer.relation, t(kinds)[torch.tensor(edges)]).chunk(2, -1))
    scale = (width // case.HEADS) ** -0.5
    # The repository scales queries before it adds the edge's.
    scores = ((q[:, :, None] * scale + u) * (k[:, None] + w)).sum(-1)
    scores = scores.masked_fill(torch.tensor(edges == 0)[..., None], float("-inf"))
    read = torch.einsum("bijh,bjhn->bihn", torch.softmax(scores, 2), v).reshape(size, nodes, width)
    close(found, lin(layer.out, read))


def test_cases_alignment_and_divergence_are_its_repositorys():
    rng = np.random.default_rng(3)
    a, b = (rng.normal(size=(4, 6)).astype(np.float32) for _ in range(2))
    rolled = [np.roll(each, 1, axis=0) for each in (a, b)]
    found = losses.alignment(*map(jnp.asarray, (a, b, *rolled)))
    right, one, other = (torch.sigmoid((t(x) * t(y)).sum(-1)) for x, y in ((a, b), (rolled[0], b), (a, rolled[1])))
    ones = torch.ones(4)
    expected = sum(F.binary_cross_entropy_with_logits(torch.sigmoid(right - wrong), ones) for wrong in (one, other))
    close(found.mean(), expected)
    prior, posterior = (torch.softmax(t(each), -1) for each in (a, b))
    total, count = losses.divergence(jnp.asarray(posterior), jnp.asarray(prior), jnp.ones((4, 6), bool), jnp.ones(4))
    close(total / count, torch.nn.KLDivLoss(reduction="mean")(torch.log(prior + 1e-20), posterior))


def test_cases_emotion_comes_through_a_gate_of_concept_and_reaction(network, examples, answers):
    net, batch = network("case"), examples["case"]
    memory, *_ = answers["case"]
    concept, fine = t(memory["concept"]), t(memory["reactions"][:, 0])
    gate = torch.sigmoid(lin(net.emotion_gate, lin(net.emotion_join, torch.cat([concept, fine], -1))))
    close(memory["emotion"], lin(net.emotion, gate * concept + (1 - gate) * fine))
    # What the prior chooses: a dot product with what stands behind tanh.
    query = torch.tanh(lin(net.prior, t(encode(net.encoder, context(net, batch, 0)).detach())[0]))
    (cognition, valid), *_ = memory["sources"]
    seen = torch.tanh(t(cognition[0]))[t(valid[0])]
    close(memory["inference"][0], torch.softmax(seen @ query, -1) @ seen)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_takes_no_part(network, encoder, said, run, answers, kind):
    wide = {"context": 40, "reply": 14, "relation": 17, "concepts": 7, "sentences": 3, "event": 13}
    batch = encoder(kind, **wide).batch(said[:3], 5)  # and two examples without weight
    memory, _, _, log = run(network(kind), answer, batch)
    before, _, _, log_before = answers[kind]
    np.testing.assert_allclose(memory["emotion"][:3], before["emotion"][:3], rtol=2e-5, atol=2e-5)
    words = np.asarray(batch.target[:3, :10]) != PAD
    np.testing.assert_allclose(log[:3, :10][words], log_before[:3][words], rtol=2e-5, atol=5e-5)
