"""The paper's three backbones as the core of Empatheia: every stage trains, and a reply comes out of the same states.

`coe` and `joint` train the core, and joint trains all the rest, too. With `EMPATHEIA_FULL=1` content and style are trained alone,
and CS and SD are what they are in `tests/test_empatheia.py`.
"""

from __future__ import annotations

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from configs import joint
from empatheia_jax import assemble, tiny, weights
from empatheia_jax.core.decoding import DecodingSettings, generate
from empatheia_jax.dialogue import commands
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.settings import resolve
from empatheia_jax.tokens import ADDED_TOKENS, SIGNALS, TAGS
from empatheia_jax.training import partition, preflight, schedule, stages
from tests.dialogue.test_reply import DIALOGUE, recordings, write
from tests.runs import folders
from tests.test_empatheia import WIDTHS, example_batch

CORES = tuple(joint.CORES)  # the LLaMA is what every other test uses
FULL = bool(os.environ.get("EMPATHEIA_FULL"))
STAGES = stages.STAGES if FULL else ("coe", "joint")
TARGETS = {"chatglm3": {"query_key_value"}, "flan-t5": {"q", "v"}}


@pytest.fixture(scope="module", params=CORES)
def core(request):
    return request.param


@pytest.fixture(scope="module")
def config(core):
    config = joint.get_config(f"debug-{core}")
    config.data.update({"reply_tokens": 6, "phonemes": 7, "frames": 5})
    config.coe.learning_rate = 0.05
    if not FULL:  # the bridge sees states, and knows no core: a linear one compiles in a part of the time
        config.bridge.update({"content_kind": "linear", "style_kind": "linear"})
    return resolve(config)


@pytest.fixture(scope="module")
def model(config):
    kind, sizes = tiny.CORES[config.networks.llm]
    constructor = assemble.CORES[kind].network
    return tiny.made_up(lambda: assemble.whole(config, constructor(sizes, rngs=nnx.Rngs(0)), WIDTHS))


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_trains_and_its_losses_fall(stage, config, model, core):
    cut = partition.split(model, stages.TRAINABLE[stage])
    step = schedule.build_step(config, stage, cut, make_mesh(1, 1, 1, devices=jax.devices()[:1]))
    frozen, state, batch = step.place_frozen(cut.frozen), step.init(cut.trainable, 0), step.place_batch(example_batch())
    losses = []
    for _ in range(6):
        state, values = step(state, frozen, batch)
        losses.append(float(values["loss"]))
    assert losses[-1] < 0.95 * losses[0], losses
    if stage in ("coe", "joint"):
        adapted = {path.split(".lora.")[0].rsplit(".", 1)[-1] for path in cut.trainable if ".lora." in path}
        assert adapted == TARGETS[core]
        moved = {path for path, value in state.trainable.items() if not np.array_equal(value, cut.trainable[path])}
        assert {"added.embedding", "added.head"} <= moved and any(".lora." in path for path in moved)


def test_decoding_gives_the_states_that_training_sees(model):
    batch = jax.tree.map(jnp.asarray, example_batch())
    embeds = model.embed(batch.tokens, batch.speech, batch.video)[:2]
    prompts = np.asarray(batch.loss_mask).argmax(axis=1)[:2]
    settings = DecodingSettings(5, forced_ids=tuple(model.special.signals))
    decoded = generate(model.core, model.added, embeds, prompts, settings)
    for row, length in enumerate(prompts):
        said = [*decoded.row(row), *model.special.signals]
        behind = model.embed(jnp.asarray([said]))
        whole = jnp.concatenate([embeds[row : row + 1, :length], behind], axis=1)
        answers = jnp.arange(whole.shape[1])[None] >= length
        states = model.core.teacher_forced(whole, answers)[0]
        assert int(model.logits(states[None, length - 1 : length])[0, 0].argmax()) == said[0]
        np.testing.assert_allclose(decoded.hidden[row], states[length:][: -2 * SIGNALS], atol=2e-5)
        np.testing.assert_allclose(decoded.forced_hidden[row], states[-2 * SIGNALS :], atol=2e-5)


def test_what_follows_a_packed_row_or_its_padding_changes_nothing(model):
    batch = jax.tree.map(jnp.asarray, example_batch())
    run = jax.jit(lambda state, x, a, **places: nnx.merge(graph, state).teacher_forced(x, a, **places))
    graph, state = nnx.split(model.core)
    embeds = model.embed(batch.tokens, batch.speech, batch.video)
    alone = run(state, embeds[:2], batch.loss_mask[:2], lengths=batch.lengths[:2])
    ends = [int(n) for n in batch.lengths[:2]]
    joined = [jnp.concatenate([x[0, : ends[0]], x[1, : ends[1]]])[None] for x in (embeds, batch.loss_mask)]
    segments = jnp.repeat(jnp.asarray([1, 2]), jnp.asarray(ends), total_repeat_length=sum(ends))[None]
    positions = jnp.concatenate([jnp.arange(ends[0]), jnp.arange(ends[1])])[None]
    packed = run(state, *joined, segment_ids=segments, positions=positions)[0]
    begins = [0, ends[0]]
    for row in range(2):
        learnt = np.flatnonzero(batch.loss_mask[row])
        learnt = np.concatenate([learnt[:1] - 1, learnt])  # the state before the answer predicts its first token
        np.testing.assert_allclose(packed[begins[row] + learnt], alone[row, learnt], atol=2e-5)


def test_a_reply_is_text_speech_and_film(tmp_path, core):
    config = joint.get_config(f"debug-{core}")
    config.decoding.max_new_tokens = 24
    recordings(tmp_path)
    output = tmp_path / "out"
    config = resolve(config)
    run = folders.untrained(config, tmp_path / "run")
    assert commands.reply(config, run.folder, write(tmp_path, DIALOGUE), output) == 0
    assert sorted(path.name for path in output.iterdir()) == ["reply.json", "reply.mp4", "reply.wav"]
    assert json.loads((output / "reply.json").read_text())["response"]


def test_a_vocabulary_without_angle_brackets_gets_the_tags_as_words_of_its_text():
    tokenizer = tiny.tokenizer(TAGS)
    assert len(tokenizer) == tiny.BYTES + len(ADDED_TOKENS) + len(TAGS)
    ids = tokenizer.encode("<emo> sad </emo>[AUD0]</response>")
    assert ids[0] == tiny.BYTES + len(ADDED_TOKENS) and ids[-1] == len(tokenizer) - 1
    assert tokenizer.decode(ids) == "<emo> sad </emo></response>"
    assert tokenizer.special_ids.isdisjoint(ids[:1])


@pytest.mark.parametrize(("variant", "weights_of_core"), [("chatglm3", 6_243_584_000), ("flan-t5", 11_135_332_352)])
def test_full_size_variants_are_described_without_weights(variant, weights_of_core, tmp_path):
    config = joint.get_config(variant)
    config.networks.weights_dir = str(tmp_path)
    model, _ = preflight.abstract_model(resolve(config))
    leaves = weights.flatten(model)
    base = [leaf for path, leaf in leaves.items() if path.startswith("core.") and ".lora." not in path]
    assert sum(leaf.size for leaf in base) == weights_of_core
    assert {p.split(".lora.")[0].rsplit(".", 1)[-1] for p in leaves if ".lora." in p} == TARGETS[variant]
    added = len(ADDED_TOKENS) + (len(TAGS) if variant == "flan-t5" else 0)
    assert leaves["added.embedding"].shape == leaves["added.head"].shape == (added, 4096)
