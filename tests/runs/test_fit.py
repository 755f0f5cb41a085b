"""A run and a config fit, or the keys at which they do not are named."""

from __future__ import annotations

import json

import pytest

from configs import debug
from empatheia_jax import assemble
from empatheia_jax.errors import UserError
from empatheia_jax.parallel.mesh import make_mesh
from empatheia_jax.runs import fit
from empatheia_jax.runs.integrity import write_record
from empatheia_jax.settings import STAGES, resolve
from tests.runs import folders


def config(**changes):
    values = debug.get_config()
    values.update_from_flattened_dict(changes)
    return resolve(values)


def of(stage, features=None, after=None, **changes):
    weights = {"llm": "a", "tts": "b"}
    return fit.fingerprint(config(**changes), stage, weights=weights, features=features or {}, after=after or {})


SEEN = {
    "networks.video_layer": (-1, STAGES),
    "networks.video_pooling": ("cls", STAGES),
    "networks.dtype": ("bfloat16", STAGES),
    "networks.frozen_int8": (True, STAGES),
    "lora.rank": (4, STAGES),
    "data.chain_of_empathy": (False, STAGES),
    "seed": (5, STAGES),
    "coe.learning_rate": (1e-3, ("coe",)),
    "objective.kl_weight": (0.5, ("content", "style", "joint")),
    "objective.alpha": (0.5, ("joint",)),
    "bridge.mlp": (32, ("content", "style", "joint")),
    "bridge.style_kind": ("linear", ("style", "joint")),
    "data.phonemes": (32, ("content", "joint")),
    "data.quarantine_limit": (0.5, ()),
    "data.workers": (1, ()),
    "networks.voices": ("voices", ()),
    "data.expression": ("mirror", ()),
    "networks.remat": ("full", ()),
    "decoding.temperature": (0.0, ()),
    "log_every": (7, ()),
    "coe.save_every": (1, ()),
    "mesh.data": (1, ()),
}


@pytest.mark.parametrize("key", SEEN)
def test_a_stage_depends_on_a_key_or_it_does_not(key):
    value, stages = SEEN[key]
    for stage in STAGES:
        assert (of(stage) != of(stage, **{key: value})) == (stage in stages), stage


def test_features_weights_and_the_stages_before_count():
    plain = of("content")
    assert plain["weights.llm"] == "a" and "weights.tts" not in plain
    assert of("content", features={"speech_content": "x"}) != plain != of("content", after={"coe": "y"})


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return folders.untrained(config(), tmp_path_factory.mktemp("run"))


def hashes(settings):
    return assemble.empatheia(settings, make_mesh(1, 1, 1)).hashes


@pytest.mark.parametrize(
    "key, value",
    [("lora.rank", 4), ("lora.alpha", 16.0), ("networks.llm", "debug-chatglm3"), ("data.persona", False)],
)
def test_a_run_is_used_with_its_own_network_and_prompts_alone(run, key, value):
    llm = f"{value}-13" if key == "networks.llm" else "debug-13"
    shown = "weights.llm" if key == "networks.llm" else key
    with pytest.raises(UserError, match=f"stage coe .* was trained with other settings \\({shown}: ") as caught:
        fit.require_usable(run, config(**{key: value}), {"llm": llm})
    assert "\n" not in str(caught.value)


def trained_beside(folder, stages, **changes):
    """A run whose stages were trained beside encoders and generators with these hashes; nothing but its records."""
    weights = {"llm": "debug-13", "speech_encoder": "s", "video_encoder": "v", "tts": "t", "talking_head": "h"}
    own = folders.Run(folder)
    for stage in stages:
        (own.stage_folder(stage) / "1").mkdir(parents=True)
        known = fit.fingerprint(config(**changes), stage, weights=weights, features={}, after={})
        record = {"fingerprint": known, "metadata": {"weights": weights}, "versions": {}}
        write_record(own.stage_folder(stage) / "run.json", record)
    return own, weights


@pytest.mark.parametrize("prompts", [True, False])
@pytest.mark.parametrize(
    "network, stages, changes, refused",
    [
        ("speech_encoder", ["coe"], {}, "coe"),
        ("video_encoder", ["coe"], {}, "coe"),
        ("video_encoder", ["coe"], {"data.modalities": "speech"}, None),
        ("speech_encoder", ["coe"], {"data.modalities": ""}, None),
        ("tts", ["coe"], {}, None),
        ("tts", ["coe", "content"], {}, "content"),
        ("talking_head", ["coe", "style"], {}, "style"),
        ("tts", ["joint"], {}, "joint"),
        ("tts", ["joint"], {"objective.without": "ccl,sac", "schedule": "coe,joint"}, None),
        ("tts", ["coe", "content"], {"decoding.content_blend": 0.0, "decoding.style_blend": 0.0}, None),
        ("talking_head", ["coe", "content"], {"decoding.content_blend": 0.0, "decoding.style_blend": 0.5}, "content"),
    ],
)
def test_a_run_is_used_beside_the_encoders_and_generators_that_it_was_trained_on(
    tmp_path, prompts, network, stages, changes, refused
):
    own, weights = trained_beside(tmp_path, stages, **changes)
    same, other = config(**changes), {**weights, network: "other"}
    fit.require_usable(own, same, weights, prompts=prompts)
    fit.require_usable(own, same, {"llm": "debug-13"}, prompts=prompts)  # nothing is known of the others
    if refused is None:
        fit.require_usable(own, same, other, prompts=prompts)
        return
    shown = f"the stage {refused} of .*weights.{network}: '{weights[network]}' there, 'other' here, .*networks.{network}=debug"
    with pytest.raises(UserError, match=f"{shown}.*put the weights of the training back") as caught:
        fit.require_usable(own, same, other, prompts=prompts)
    assert "\n" not in str(caught.value)


def test_what_changes_no_network_is_free(run):
    fit.require_usable(
        run, config(**{"decoding.temperature": 0.0, "bridge.width": 64, "lora.dropout": 0.3}), {"llm": "debug-13"}
    )


def test_an_edited_config_is_refused(tmp_path):
    own = folders.untrained(config(), tmp_path / "own")
    assert own.config()["lora"]["rank"] == 8
    text = own.config_path.read_text()
    values = json.loads(text)
    values["lora"]["rank"] = 4
    for damaged in (json.dumps(values), "", text[: len(text) // 2], "[]", "null"):
        own.config_path.write_text(damaged)
        with pytest.raises(UserError, match="config.json is damaged") as caught:
            own.config()
        assert "\n" not in str(caught.value)


def test_a_run_of_an_earlier_version_lacks_a_key_and_goes_on_as_it_was(tmp_path):
    found, wanted = {"bridge.width": 8}, {"bridge.width": 8, "bridge.speech_target": "text_encoder"}
    fit.require_same(tmp_path, found, wanted)
    with pytest.raises(UserError, match="bridge.speech_target: 'text_encoder' there, 'with_bert' here"):
        fit.require_same(tmp_path, found, wanted | {"bridge.speech_target": "with_bert"})
    values = debug.get_config().to_dict()
    del values["bridge"]["speech_target"]
    assert resolve(values).bridge.speech_target == "text_encoder"
    del values["bridge"]["width"]
    with pytest.raises(UserError, match="bridge.width"):
        resolve(values)


def test_keys_that_counted_in_an_earlier_version_are_passed_over(tmp_path):
    wanted = {"bridge.width": 8}
    earlier = {**wanted, "networks.voices": "", "data.expression": "empathic"}
    fit.require_same(tmp_path, earlier, {**wanted})
    assert fit.known_as(tmp_path, wanted) == fit.digest(wanted)
    write_record(tmp_path / "run.json", {"fingerprint": earlier, "metadata": {}, "versions": {}})
    assert fit.known_as(tmp_path, wanted) == fit.digest(earlier)
    assert fit.known_as(tmp_path, {"bridge.width": 9}) == fit.digest({"bridge.width": 9})


def test_a_run_is_used_on_the_devices_that_are_here(tmp_path):
    trained = config(**{"mesh.data": 4, "mesh.fsdp": 2, "lora.rank": 4})
    folders.Run(tmp_path).write_config(fit.plain(trained))
    used = fit.as_trained(config(), tmp_path, [])
    assert used.mesh == config().mesh and used.lora.rank == 4
