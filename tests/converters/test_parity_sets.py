"""The parity command takes lengths, scales, batches, voices and media from a vector set, and refuses one set in one line."""

from __future__ import annotations

import json
import shutil

import jax
import numpy as np
import pytest
import torch
import transformers
from flax import nnx
from PIL import Image

from converters import interpreter
from converters.parity import __main__ as parity
from converters.parity import vectors
from converters.parity.networks import kokoro
from converters.parity.networks.dreamtalk import inputs, sampling
from converters.parity.networks.dreamtalk.vectors import Vectors, compiled
from converters.parity.networks.styletts2.comparison import Comparison, config_names, config_of
from converters.parity.networks.styletts2.diffusion import compare_diffusion, scales_of
from converters.parity.seeded import seeded_state_dict
from converters.tables import dreamtalk as dreamtalk_tables
from converters.tables.styletts2_networks import network_table
from empatheia_jax import weights
from empatheia_jax.dreamtalk import portrait
from empatheia_jax.dreamtalk.config import DenoiserConfig
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.errors import UserError
from empatheia_jax.styletts2.model import build_network
from empatheia_jax.styletts2.sampler import adpm2, ancestral_levels, karras_schedule


def seed_model(model: torch.nn.Module, seed: int) -> dict[str, dict]:
    """Gives a PyTorch model the seeded weights of its own keys, in float64; returns its manifest."""
    state = {
        key: value
        for key, value in model.state_dict().items()
        if not any(word in key for word in ("position_ids", "embed_tokens"))
    }
    manifest = {key: {"shape": list(v.shape), "dtype": str(v.dtype)[6:]} for key, v in state.items()}
    seeded = {key: torch.tensor(value) for key, value in seeded_state_dict(manifest, seed).items()}
    model.load_state_dict(seeded, strict=False)
    model.double().eval()
    return manifest


def write(folder, name: str, config: dict, manifest: dict, **arrays) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.config.json").write_text(json.dumps(config))
    (folder / f"{name}.manifest.json").write_text(json.dumps(manifest))
    np.savez(folder / f"{name}.npz", **{k: v.detach().numpy() if torch.is_tensor(v) else v for k, v in arrays.items()})


def write_t5(folder, rows: int, batch: int = 3, length: int = 41, seed: int = 4) -> None:
    config = transformers.T5Config(
        vocab_size=37, d_model=24, d_kv=6, d_ff=40, num_layers=2, num_decoder_layers=1, num_heads=4,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, relative_attention_num_buckets=8,
        relative_attention_max_distance=20, decoder_start_token_id=0, attn_implementation="eager", dropout_rate=0.0,
    )  # fmt: skip
    model = transformers.T5ForConditionalGeneration(config)
    model.lm_head.weight = torch.nn.Parameter(model.lm_head.weight.detach().clone())
    manifest = seed_model(model, seed)
    model.encoder.embed_tokens.weight = model.decoder.embed_tokens.weight = model.shared.weight
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([length, length - 7, 5][:batch])
    mask = (torch.arange(length) < lengths[:, None]).long()
    ids = torch.randint(2, 37, (batch, length), generator=generator) * mask
    labels = torch.randint(2, 37, (batch, 6), generator=generator)
    labels[0, 4:] = -100
    start = torch.cat([torch.zeros(batch, 1, dtype=torch.long), labels.clamp(min=0)[:, :-1]], 1)
    with torch.no_grad():
        encoded = model.encoder(ids, attention_mask=mask).last_hidden_state
        decoded = model.decoder(start, encoder_hidden_states=encoded, encoder_attention_mask=mask).last_hidden_state
        logits = model.lm_head(decoded)
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-100)
        bias = model.encoder.block[0].layer[0].SelfAttention.compute_bias(length, length)[0]
        decoder_bias = model.decoder.block[0].layer[0].SelfAttention.compute_bias(6, 6)[0]
        said = start[:, :1]
        for _ in range(4):
            states = model.decoder(said, encoder_hidden_states=encoded, encoder_attention_mask=mask).last_hidden_state
            said = torch.cat([said, model.lm_head(states[:, -1:]).argmax(-1)], 1)
    write(
        folder, "t5_other", config.to_dict() | {"tie_word_embeddings": False}, manifest,
        ids=ids, mask=mask, labels=labels, decoder_input_ids=start,
        encoder_last=encoded * mask[..., None], decoder_last=decoded, logits=logits, loss=loss,
        encoder_position_bias=bias[:, ::rows], decoder_position_bias=decoder_bias, greedy=said[:, 1:],
    )  # fmt: skip


def write_albert(folder, seed: int = 4) -> None:
    config = transformers.AlbertConfig(
        vocab_size=31, embedding_size=12, hidden_size=20, num_attention_heads=5, intermediate_size=24,
        max_position_embeddings=40, num_hidden_layers=2, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.AlbertModel(config)
    manifest = seed_model(model, seed)
    mask = (torch.arange(29) < torch.tensor([11, 29, 3, 17])[:, None]).long()
    ids = torch.randint(1, 31, (4, 29), generator=torch.Generator().manual_seed(0)) * mask
    with torch.no_grad():
        output = model(ids, attention_mask=mask)
        alone = model(ids[:1, :11]).last_hidden_state  # without its padding
    arrays = {"last_hidden_state": output.last_hidden_state * mask[..., None], "pooler_output": output.pooler_output}
    write(folder, "albert_other", config.to_dict(), manifest, ids=ids, mask=mask, single0=alone, **arrays)


@pytest.mark.parametrize("rows", [1, 9])
def test_t5_with_other_lengths_batch_and_rows_of_its_bias(tmp_path, capsys, rows):
    write_t5(tmp_path, rows)  # its norms and softmax stay in float32 there
    (tmp_path / "set.json").write_text(json.dumps({"seed": 4}))
    code = parity.main([str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "7 of 7 arrays" in printed


def test_the_rows_of_a_bias_may_be_stated(tmp_path, capsys):
    write_t5(tmp_path, 9)
    (tmp_path / "set.json").write_text(json.dumps({"seed": 4, "slices": {"encoder_position_bias": ":, ::9"}}))
    assert parity.main([str(tmp_path)]) == 0, capsys.readouterr().out
    (tmp_path / "set.json").write_text(json.dumps({"seed": 4, "slices": {"encoder_position_bias": ":, ::10"}}))
    assert parity.main([str(tmp_path)]) == 1


def test_a_sequence_that_ran_alone_without_its_padding(tmp_path, capsys):
    write_albert(tmp_path)
    code = parity.main(["--float64", "--seed=4", str(tmp_path)])
    assert code == 0, capsys.readouterr().out


def test_an_array_that_nothing_is_compared_with_is_named_and_a_size_beyond_memory_is_one_line(tmp_path, capsys):
    write_albert(tmp_path)
    arrays = dict(np.load(tmp_path / "albert_other.npz"))
    np.savez(tmp_path / "albert_other.npz", **arrays, single2=arrays["single0"])
    assert parity.main(["--float64", "--seed=4", str(tmp_path)]) == 0
    printed = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [line[:2] for line in printed if "left" in line] == [["albert_other.npz", "single2"]]
    manifest = json.loads((tmp_path / "albert_other.manifest.json").read_text())
    next(iter(manifest.values()))["shape"] = [10**12, 10**6]
    (tmp_path / "albert_other.manifest.json").write_text(json.dumps(manifest))
    assert parity.main(["--float64", "--seed=4", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "MemoryError" in printed and "0 of 1 arrays" in printed and "left out" not in printed


def test_a_set_without_one_of_its_files_is_one_line_and_the_next_set_runs(tmp_path, capsys):
    write_albert(tmp_path)
    shutil.copy(tmp_path / "albert_other.config.json", tmp_path / "lacking.config.json")
    shutil.copy(tmp_path / "albert_other.npz", tmp_path / "lacking.npz")
    shutil.copy(tmp_path / "albert_other.config.json", tmp_path / "damaged.config.json")
    shutil.copy(tmp_path / "albert_other.manifest.json", tmp_path / "damaged.manifest.json")
    (tmp_path / "damaged.npz").write_bytes((tmp_path / "albert_other.npz").read_bytes()[:500])
    shutil.copytree(tmp_path, tmp_path / "next")
    (tmp_path / "next" / "albert_other.config.json").write_text("{")
    assert parity.main(["--float64", "--seed=4", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "3 of 8 arrays" in printed
    lines = [line for line in printed.splitlines() if "refused" in line]
    assert len([line for line in lines if "lacking.manifest.json does not exist" in line]) == 2
    assert len([line for line in lines if "damaged.npz" in line]) == 2
    assert len([line for line in lines if "albert_other.config.json is not valid JSON" in line]) == 1
    assert len(lines) == 5


def test_a_number_of_layers_beyond_reason_is_one_line(tmp_path, capsys):
    write_albert(tmp_path)
    path = tmp_path / "albert_other.config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": 10**9}))
    assert parity.main([str(tmp_path)]) == 1  # else it would not end
    assert "passes is 1000000000, expected 1 to 1000 layers" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["[]", '{"sed": 1}', '{"seed": "4"}', "{"])
def test_settings_that_cannot_be_read_are_one_line(tmp_path, capsys, text):
    write_albert(tmp_path)
    (tmp_path / "set.json").write_text(text)
    assert parity.main([str(tmp_path)]) == 1
    assert "set.json" in capsys.readouterr().out


def test_slices_are_read_as_python_writes_them():
    whole = np.arange(60).reshape(3, 20)
    settings = {"slices": {"x": "1:, ::5", "y": "a"}}
    np.testing.assert_array_equal(whole[vectors.part(settings, "x", ":")], whole[1:, ::5])
    np.testing.assert_array_equal(whole[vectors.part(settings, "z", ":, -2:")], whole[:, -2:])
    with pytest.raises(UserError, match="cannot be read"):
        vectors.part(settings, "y", ":")


def test_the_voices_of_a_kokoro_file_are_those_it_holds(tmp_path, monkeypatch):
    arrays = {f"{voice}.tokens": np.zeros((1, 4)) for voice in ("bf_emma", "zf_xiaoni", "me")}
    np.savez(tmp_path / kokoro.REFERENCE, speed=1.25, sample_rate=24000, **arrays)
    asked = []
    monkeypatch.setattr(kokoro, "load_model", lambda source, float64: None)
    monkeypatch.setattr(kokoro, "compare_voice", lambda model, arrays, voice: asked.append(voice) or [])
    assert list(kokoro._voices(tmp_path, None, False)) == []
    assert sorted(asked) == ["bf_emma", "me", "zf_xiaoni"]


# ---------------------------------------------------------------- StyleTTS 2

STYLE = {
    "multispeaker": True, "dim_in": 8, "hidden_dim": 16, "n_layer": 1, "n_mels": 20, "n_token": 30, "max_dur": 5,
    "style_dim": 6,
    "decoder": {
        "type": "hifigan", "resblock_kernel_sizes": [3], "resblock_dilation_sizes": [[1, 3, 5]],
        "upsample_rates": [30, 10], "upsample_initial_channel": 32, "upsample_kernel_sizes": [60, 20],
    },
    "slm": {"hidden": 8, "nlayers": 3, "initial_channel": 4},
    "diffusion": {
        "transformer": {"num_layers": 1, "num_heads": 2, "head_features": 4, "multiplier": 2},
        "dist": {"sigma_data": 0.2},
    },
}  # fmt: skip
PLBERT = {
    "vocab_size": 30, "hidden_size": 12, "num_attention_heads": 2, "intermediate_size": 16,
    "max_position_embeddings": 20, "num_hidden_layers": 1, "dropout": 0.1,
}  # fmt: skip


def test_the_denoiser_with_other_scales_batch_steps_and_sigma(tmp_path):
    (tmp_path / "set.json").write_text(json.dumps({"configs": {"small": STYLE}, "plbert": PLBERT}))
    (tmp_path / "float32_vs_float64.json").write_text("{}")
    assert config_names(tmp_path) == ["small"]
    rng, batch, steps, length, style, text = np.random.default_rng(0), 3, 4, 5, 12, 12
    given = {
        "x_noisy": rng.standard_normal((batch, 1, style)), "sigmas": np.array([0.3, 1.0, 2.5]), "num_steps": steps,
        "embedding": rng.standard_normal((batch, length, text)), "features": rng.standard_normal((batch, style)),
        "noise": rng.standard_normal((1, 1, style)), "step_noise": rng.standard_normal((steps - 1, 1, 1, style)),
        "batch_noise": rng.standard_normal((batch, 1, style)), "sigma_data": np.float32(0.35),
        "batch_step_noise": rng.standard_normal((steps - 1, batch, 1, style)),
    }  # fmt: skip
    np.savez(tmp_path / "small.diffusion.npz", **given)
    config = config_of(tmp_path, "small")
    assert config.diffusion.sigma_data == 0.35
    abstract = weights.flatten(weights.abstract(lambda: build_network("diffusion", config, rngs=nnx.Rngs(0))))
    manifest = interpreter.export_manifest(abstract, network_table("diffusion", config, "module.", ""))
    (tmp_path / "manifests" / "small").mkdir(parents=True)
    (tmp_path / "manifests" / "small" / "diffusion.json").write_text(json.dumps(manifest))
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        c = Comparison(tmp_path, "small", 0, True)
        net = c.network("diffusion")
        x, embedding, features = given["x_noisy"][:, 0], given["embedding"], given["features"]
        skip, out, into, noise = net.scales(given["sigmas"])
        schedule = karras_schedule(steps)

        def sampled(start, noises, rows, w):
            take = lambda a: a[:rows]  # noqa: E731
            return adpm2(
                lambda x, s: net.denoise(x, s, take(embedding), take(features), guidance=w),
                start[:, 0],
                noises[:, :, 0],
            )[:, None]

        expected = {
            "c_skip": skip, "c_out": out, "c_in": into, "c_noise": noise, "mapping": net.mapping(noise, features),
            "net_out": net(into[:, None] * x, noise, embedding, features), "schedule": schedule,
            "sigma_up_down_mid": ancestral_levels(schedule[:-2], schedule[1:-1]),
            "sampled_scale1.5": sampled(given["noise"], given["step_noise"], 1, 1.5),
            "batch_sampled": sampled(given["batch_noise"], given["batch_step_noise"], batch, 1),
        }  # fmt: skip
        for w in (1, 3):
            expected[f"denoised_scale{w}"] = net.denoise(x, given["sigmas"], embedding, features, guidance=float(w))
        np.savez(tmp_path / "small.diffusion.npz", **given, **expected)
        results = list(compare_diffusion(c))
    assert {r.array for r in results} == set(expected)
    assert [r for r in results if not r.passed] == []


def test_scales_are_read_from_the_names():
    names = ["sampled_scale1", "sampled_scale2.5", "sampled_scale10", "sampled", "batch_sampled_scale2"]
    assert scales_of("sampled_scale", names) == [
        ("sampled_scale1", 1.0), ("sampled_scale2.5", 2.5), ("sampled_scale10", 10.0)
    ]  # fmt: skip


# ---------------------------------------------------------------- DreamTalk

DREAMTALK = {
    "denoiser": {
        "d_model": 16, "nhead": 2, "dim_feedforward": 24, "activation": "relu", "norm": "post", "layer_norm_eps": 1e-5,
        "content_encoder_layers": 1, "style_encoder_layers": 1, "decoder_layers": 1,
        "decoder_network_type": "TransformerDecoder", "dynamic_K": None, "dynamic_ratio": None, "audio_feature_dim": 8,
        "win_size": 3, "window_slots": 7, "face3d_dim": 6, "style_max_len": 12,
        "style_aggregate": "self_attention_pooling", "face3d_latent_type": "face3d", "predict_what": "x0",
        "upper_face3d_indices": [2, 4, 5], "lower_face3d_indices": [0, 1, 3],
    },
    "diffusion": {
        "num_steps": 60, "beta_1": 1e-4, "beta_T": 0.02, "mode": "linear", "ddim_num_step_default": 10,
        "cfg_scale_default": 1.0, "null_prob_training": 0.1,
    },
}  # fmt: skip


def dreamtalk_set(folder) -> None:
    """A small denoiser's vectors of 9 frames, made by our own network: what is proven is that nothing is assumed."""
    rng, frames = np.random.default_rng(0), 9
    (folder / "config.json").write_text(json.dumps(DREAMTALK))
    config = DenoiserConfig.from_source(DREAMTALK)
    model = Denoiser(config, rngs=nnx.Rngs(0))
    table = dreamtalk_tables.denoiser(config)
    manifest = interpreter.export_manifest(weights.flatten(model), table)
    (folder / "denoiser.manifest.json").write_text(json.dumps(manifest))
    buffers = {
        key: array
        for key, array in interpreter.export(weights.flatten(model), table)
        if any(word in key for word in ("null_", "pos_table", "var_sched"))
    }
    np.savez(folder / "denoiser_buffers.npz", **buffers)
    np.savez(folder / "audio_window.npz", feat=rng.standard_normal((25, 8)).astype(np.float32), win_size=3)
    np.savez(folder / "content_encoder.npz", content=np.zeros((frames, 7, 16)))
    clips = {"clip_padded": rng.standard_normal((5, 6)), "clip_full": rng.standard_normal((12, 6))}
    np.savez(folder / "style_encoder.npz", **{k: v.astype(np.float32) for k, v in clips.items()})
    v = Vectors(folder, 0, True)
    noise = rng.standard_normal((1, frames, 6)).astype(np.float32)
    net, (style_clips, padding) = v.denoiser, v.styles
    style, content = net.style_encoder(style_clips[:1], padding[:1]), net.content_encoder(v.audio)
    visited = np.array([1 + k * (60 // 5) for k in range(5)])[::-1]
    start = v.array(noise)
    first = compiled(
        net,
        lambda net, *inputs: net.predict(start, v.array(np.float64(visited[0])), net.condition(*inputs, guided=True)),
    )(content, style)

    def sampled(steps, guidance):
        options = {} if guidance is None else {"guidance": guidance}
        return compiled(net, lambda net, *i: net.sample_ddim(*i, steps=steps, **options))(content, style, start)

    arrays = {"x_T": noise, "timesteps": visited, "noguidance_out": sampled(5, None)[0][0]}
    for name, guidance in (("1", 1.0), ("3p5", 3.5)):
        out, states = sampled(5, v.array(np.float64(guidance)))
        arrays |= {f"cfg{name}_out": out[0], f"cfg{name}_xt": states[:, 0]}
        arrays |= {f"cfg{name}_cond0": first[0], f"cfg{name}_uncond0": first[1]}
    arrays["ddim3_cfg2p5_out"] = sampled(3, 2.5)[0][0]
    np.savez(folder / "ddim.npz", **{key: np.asarray(value) for key, value in arrays.items()})


def test_dreamtalk_with_another_number_of_frames_steps_and_guidance(tmp_path):
    with jax.enable_x64(True), jax.default_matmul_precision("highest"):
        dreamtalk_set(tmp_path)
        results = list(sampling.ddim(Vectors(tmp_path, 0, True)))
    assert {r.array for r in results} >= {"cfg3p5_out", "ddim3_cfg2p5_out", "timesteps", "noguidance_out"}
    assert [r for r in results if not r.passed] == []


def portrait_set(folder) -> np.ndarray:
    rng = np.random.default_rng(3)
    picture = rng.integers(0, 256, (90, 70, 3), dtype=np.uint8)
    face = (20.0, 30.0, 45.0, 60.0)
    box = portrait.box_around(face, 90, 70)
    crop = portrait.resize_bilinear(portrait.cut(picture, box, squash=True), 32, 32)[::4, ::4]
    np.savez(folder / "portrait_crop.npz", image_hw=[90, 70], face_rect_ltrb=face, bbox_ltrb=box, crop_rgb_every4=crop)
    (folder / "config.json").write_text("{}")
    return picture


def test_a_portrait_is_found_by_its_content_and_not_by_its_name(tmp_path):
    picture = portrait_set(tmp_path)
    (tmp_path / "set.json").write_text(json.dumps({"media": "pictures"}))
    (tmp_path / "pictures" / "deep").mkdir(parents=True)
    Image.fromarray(picture[:, ::-1]).save(tmp_path / "pictures" / "a.png")
    Image.fromarray(picture).save(tmp_path / "pictures" / "deep" / "z.png")
    results = list(inputs.portraits(Vectors(tmp_path, 0, False)))
    assert len(results) == 3 and all(r.passed for r in results)


def test_media_that_are_not_there_are_left_out_with_one_line(tmp_path):
    portrait_set(tmp_path)
    np.savez(tmp_path / "preprocess.npz", style_clip=np.zeros((12, 6)), mat_name="somebody", pose_len=5)
    (tmp_path / "set.json").write_text(json.dumps({"media": "nowhere"}))
    v = Vectors(tmp_path, 0, False)
    found = [*inputs.portraits(v), *inputs.clips(v)]
    assert [r.left_out for r in found] == [True, True]
    assert "no picture of 70 x 90" in found[0].note and "no somebody.mat" in found[1].note
