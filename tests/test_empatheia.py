"""The wiring: where features go, where states come from, what each stage trains."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import debug
from empatheia_jax import assemble, tiny, weights
from empatheia_jax.batch import Batch
from empatheia_jax.core.llama import Llama
from empatheia_jax.empatheia import gather, place
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import resolve
from empatheia_jax.tokens import SIGNALS, SLOTS, SpecialTokens
from empatheia_jax.training import partition, schedule, stages

SPECIAL = SpecialTokens(tiny.LLM.vocab_size)
WIDTHS = assemble.Widths(**tiny.WIDTHS)


@pytest.fixture(scope="module")
def config():
    config = debug.get_config()
    config.data.update({"reply_tokens": 6, "phonemes": 7, "frames": 5})
    config.coe.learning_rate = 0.05  # LoRA on an untrained core learns little else than the frequent tokens
    return resolve(config)


@pytest.fixture(scope="module")
def model(config):
    return tiny.made_up(lambda: assemble.whole(config, Llama(tiny.LLM, rngs=nnx.Rngs(0)), WIDTHS))


def test_without_drawing_everything_but_the_core_is_zero_and_nothing_else_differs(config, model):
    core = tiny.made_up(lambda: Llama(tiny.LLM, rngs=nnx.Rngs(0)))
    own = {f"core.{path}": value for path, value in weights.flatten(core).items()}
    found, drawn = weights.flatten(assemble.undrawn(config, core, WIDTHS)), weights.flatten(model)
    assert {path: (leaf.shape, leaf.dtype) for path, leaf in found.items()} == {
        path: (leaf.shape, leaf.dtype) for path, leaf in drawn.items()
    }
    assert own.keys() < found.keys()
    for path, value in found.items():
        np.testing.assert_array_equal(value, own.get(path, np.zeros_like(value)), err_msg=path)


def example_batch(rows: int = 4, seed: int = 0) -> Batch:
    """Rows of prompt, a run of each modality, chain, reply and signals, padded to unequal lengths."""
    rng = np.random.default_rng(seed)
    tokens, loss_mask, reply_mask, lengths = [], [], [], []
    longest = 12 + 2 * SLOTS + 2 * SIGNALS + 6 + rows
    for row in range(rows):
        prompt = [*rng.integers(0, 256, 5 + row), *[SPECIAL.audio_run] * SLOTS, *[SPECIAL.video_run] * SLOTS]
        reply = list(rng.integers(0, 256, 3 + row % 3))
        whole = [*prompt, 7, *reply, *SPECIAL.signals]
        lengths.append(len(whole))
        pad = [0] * (longest - len(whole))
        tokens.append(whole + pad)
        loss_mask.append([0] * len(prompt) + [1] * (len(whole) - len(prompt)) + pad)
        reply_mask.append([0] * (len(prompt) + 1) + [1] * len(reply) + [0] * (2 * SIGNALS) + pad)

    def labels(classes):
        return rng.integers(0, classes, rows).astype(np.int32)

    def floats(*shape):
        return rng.standard_normal((rows, *shape)).astype(np.float32)

    return Batch(
        tokens=np.array(tokens, np.int32),
        loss_mask=np.array(loss_mask, bool),
        reply_mask=np.array(reply_mask, bool),
        lengths=np.array(lengths, np.int32),
        weight=np.ones(rows, np.float32),
        emotion32=labels(32),
        emotion7=labels(7),
        age=labels(4),
        gender=labels(2),
        tone=labels(3),
        example_id=np.arange(rows),
        speech=floats(SLOTS, WIDTHS.speech),
        video=floats(SLOTS, WIDTHS.video),
        speech_content=floats(7, WIDTHS.speech_content),
        speech_content_lengths=np.array([7, 5, 3, 6][:rows], np.int32),
        video_content=floats(5, WIDTHS.video_window, WIDTHS.video_content),
        video_content_lengths=np.array([5, 2, 4, 1][:rows], np.int32),
        speech_style=floats(WIDTHS.speech_style),
        video_style=floats(WIDTHS.video_style),
    )


def test_features_take_their_places_in_order_and_nowhere_else():
    x = jnp.zeros((2, 6, 1))
    mask = jnp.array([[0, 1, 1, 0, 0, 1], [1, 0, 0, 0, 0, 0]], bool)
    features = jnp.array([[1.0, 2, 3], [4, 5, 6]])[..., None]
    np.testing.assert_array_equal(place(x, mask, features)[..., 0], [[0, 1, 2, 0, 0, 3], [4, 0, 0, 0, 0, 0]])


def test_gather_takes_masked_rows_in_order_and_pads_with_zeros():
    x = jnp.arange(1.0, 7.0)[None, :, None]
    rows, lengths = gather(x, jnp.array([[0, 1, 0, 1, 1, 0]], bool), 5)
    np.testing.assert_array_equal(rows[0, :, 0], [2, 4, 5, 0, 0])
    assert lengths.tolist() == [3]
    assert gather(x, jnp.ones((1, 6), bool), 4)[1].tolist() == [4]
    assert gather(x, jnp.ones((1, 6), bool), 9)[0].shape == (1, 9, 1)


def test_signals_are_the_states_at_the_reply_and_at_the_signal_tokens(model):
    batch = example_batch()
    hidden = nnx.jit(lambda m, b: m.hidden(b))(model, batch)
    masks = [jnp.asarray(each) for each in (batch.tokens, batch.reply_mask, batch.loss_mask)]
    signals = model.signals(hidden, *masks)
    for row in range(batch.size):
        end = batch.lengths[row]
        reply = np.flatnonzero(batch.reply_mask[row])
        np.testing.assert_array_equal(signals.text[row, : len(reply)], hidden[row, reply])
        np.testing.assert_array_equal(signals.speech[row], hidden[row, end - 2 * SIGNALS : end - SIGNALS])
        np.testing.assert_array_equal(signals.video[row], hidden[row, end - SIGNALS : end])
        assert signals.text_lengths[row] == len(reply)


@pytest.mark.parametrize("longest", [200, 40])
def test_the_bridge_may_read_the_whole_answer_its_end_first(model, longest):
    batch = example_batch()
    hidden = nnx.jit(lambda m, b: m.hidden(b))(model, batch)
    masks = [jnp.asarray(each) for each in (batch.tokens, batch.reply_mask, batch.loss_mask)]
    config = model.config
    try:
        model.config = dataclasses.replace(config, signal_source="all", reply_tokens=longest)
        signals = model.signals(hidden, *masks)
    finally:
        model.config = config
    assert signals.speech is signals.text and signals.video is signals.text and signals.lengths is signals.text_lengths
    for row in range(batch.size):
        answer = np.flatnonzero(batch.loss_mask[row])[-longest:]
        assert signals.lengths[row] == len(answer)
        np.testing.assert_array_equal(signals.text[row, : len(answer)], hidden[row, answer])
    style = nnx.jit(lambda m, s: m.style(s))(model, signals)
    assert np.isfinite(np.asarray(style.speech)).all()


def test_speech_and_video_features_reach_the_states(model):
    run = nnx.jit(lambda m, b: m.hidden(b))
    batch = example_batch(1)
    base = run(model, batch)
    for name in ("speech", "video"):
        changed = run(model, dataclasses.replace(batch, **{name: getattr(batch, name) + 1}))
        assert np.abs(np.asarray(changed - base))[0, batch.lengths[0] - 1].max() > 1e-4


@pytest.mark.parametrize("stage", stages.STAGES)
def test_each_stage_trains_its_own_leaves_and_its_losses_fall(stage, config, model):
    mesh = make_mesh(1, 1, 1, devices=jax.devices()[:1])
    cut = partition.split(model, stages.TRAINABLE[stage])
    step = schedule.build_step(config, stage, cut, mesh)
    frozen = step.place_frozen(cut.frozen)
    before = {path: np.asarray(value) for path, value in frozen.items() if not path.endswith("key")}
    state = step.init(cut.trainable, 0)
    batch = step.place_batch(example_batch())
    losses = []
    for _ in range(8):
        state, values = step(state, frozen, batch)
        losses.append(float(values["loss"]))
    assert losses[-1] < 0.9 * losses[0], losses
    assert step.compilations == 1
    moved = {path for path, value in state.trainable.items() if not np.array_equal(value, cut.trainable[path])}
    if stage in ("content", "style"):
        assert not any(path.startswith(("core.", "added.")) for path in cut.trainable)
        assert all(path.startswith(("core.", "added.")) is False for path in moved)
    for path, value in before.items():  # the language model is bit-identical where it is frozen
        np.testing.assert_array_equal(frozen[path], value)
    assert len(moved) > 0.5 * len(cut.trainable)


OBJECTIVE = stages.Objective(alpha=0.3, beta=0.7)


def losses_of(stage, model, batch):
    """The sums and weights of a stage's losses, without anything random."""
    return nnx.jit(lambda m, b: stages.loss_function(stage, OBJECTIVE)(m, b, None))(model, batch)


@pytest.fixture(scope="module")
def joint_losses(model):
    return losses_of("joint", model, example_batch())


def test_joint_objective_is_the_sum_of_the_stages(model, joint_losses):
    def total(stage, pairs):
        return sum(c * pairs[name][0] / pairs[name][1] for name, c in stages.coefficients(stage, OBJECTIVE).items())

    alone = {stage: total(stage, losses_of(stage, model, example_batch())) for stage in ("coe", "content", "style")}
    want = alone["coe"] + 0.3 * alone["content"] + 0.7 * alone["style"]
    divergence = {name: joint_losses[name][0] / joint_losses[name][1] for name in ("kl_content", "kl_style")}
    want += OBJECTIVE.kl_weight * (0.7 * divergence["kl_content"] + 0.3 * divergence["kl_style"])
    np.testing.assert_allclose(total("joint", joint_losses), want, rtol=1e-5)


def test_padding_examples_have_no_weight(model, joint_losses):
    doubled = jax.tree.map(lambda x: np.concatenate([x, x]), example_batch())
    padded = dataclasses.replace(doubled, weight=np.array([1.0] * 4 + [0.0] * 4, np.float32))
    for name, pair in losses_of("joint", model, padded).items():
        np.testing.assert_allclose(pair, joint_losses[name], rtol=2e-5, err_msg=name)


def test_ablated_losses_leave_the_objective():
    joint = stages.coefficients("joint", stages.Objective(without=("ccl",)))
    assert not any(name.startswith("ccl") for name in joint) and "emp" in joint and "sal_speech" in joint
    with pytest.raises(UserError, match="no loss left"):
        stages.parts("content", stages.Objective(without=("ccl",)))
