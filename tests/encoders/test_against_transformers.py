"""The encoders equal Hugging Face's in float64, on sizes and seeds that no stored vector has."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
import transformers

from converters.parity import __main__ as parity
from converters.parity.seeded import seeded_state_dict


def seed_model(model: torch.nn.Module, seed: int) -> dict[str, dict]:
    """Gives a PyTorch model the seeded weights of its own keys, in float64; returns its manifest."""
    manifest = {k: {"shape": list(v.shape), "dtype": str(v.dtype)[6:]} for k, v in model.state_dict().items()}
    manifest = {k: v for k, v in manifest.items() if "position_ids" not in k}
    state = {k: torch.tensor(v) for k, v in seeded_state_dict(manifest, seed).items()}
    model.load_state_dict(state, strict=False)
    model.double().eval()
    return manifest


def write(folder, name: str, config: dict, manifest: dict, **arrays) -> None:
    (folder / f"{name}.config.json").write_text(json.dumps(config))
    (folder / f"{name}.manifest.json").write_text(json.dumps(manifest))
    np.savez(folder / f"{name}.npz", **{k: v.detach().numpy() if torch.is_tensor(v) else v for k, v in arrays.items()})


def small_speech(cls, **changes) -> transformers.PretrainedConfig:
    return cls(
        **{
            "hidden_size": 36,
            "num_hidden_layers": 2,
            "num_attention_heads": 3,
            "intermediate_size": 50,
            "conv_dim": [24] * 7,
            "num_conv_pos_embeddings": 9,  # odd: nothing is dropped
            "num_conv_pos_embedding_groups": 6,
            "vocab_size": 13,
            "attn_implementation": "eager",
        }
        | changes
    )


@pytest.mark.parametrize("kind", ["hubert", "wav2vec2"])
@pytest.mark.parametrize("large", [False, True], ids=["base", "large"])
def test_speech_encoder(tmp_path, capsys, kind, large):
    names = {"hubert": ("HubertConfig", "HubertForCTC"), "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForCTC")}[kind]
    config = small_speech(
        getattr(transformers, names[0]),
        feat_extract_norm="layer" if large else "group",
        conv_bias=large,
        do_stable_layer_norm=large,
    )
    model = getattr(transformers, names[1])(config)
    manifest = seed_model(model, seed=11)
    base = getattr(model, kind)
    rng = np.random.default_rng(1)
    lengths = np.array([4321, 3000])
    wave = rng.standard_normal((2, 4321)).astype(np.float32) * (np.arange(4321) < lengths[:, None])
    extractor = transformers.Wav2Vec2FeatureExtractor(return_attention_mask=True)
    own = [w[:n] for w, n in zip(wave, lengths)]
    values = extractor(own, sampling_rate=16000, padding=True, return_tensors="pt").input_values.double()
    mask = (torch.arange(4321) < torch.tensor(lengths)[:, None]).long() if large else None
    with torch.no_grad():
        output = base(values, attention_mask=mask, output_hidden_states=True)
        frames = base._get_feat_extract_output_lengths(torch.tensor(lengths))
        keep = (torch.arange(output.last_hidden_state.shape[1]) < frames[:, None]).long()
        factor = keep[..., None] if large else 1
        weight = base.encoder.pos_conv_embed.conv.weight
        write(
            tmp_path,
            "unseen",
            config.to_dict() | {"architectures": [names[1]]},
            manifest,
            wave=wave,
            lengths=lengths,
            input_values=values,
            conv_features=base.feature_extractor(values).transpose(1, 2),
            frame_lengths=frames,
            frame_mask=keep,
            hidden_states=torch.stack(output.hidden_states) * factor,
            last_hidden_state=output.last_hidden_state * factor,
            ctc_logits=model.lm_head(output.last_hidden_state) * factor,
            single0_last_hidden_state=base(values[:1]).last_hidden_state,
            pos_conv_weight_effective_slice=weight[:3, :2],
        )
    code = parity.main(["--float64", "--seed=11", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "ctc_logits" in printed and "8 of 8 arrays" in printed


def test_clip_vision(tmp_path, capsys):
    config = transformers.CLIPVisionConfig(
        hidden_size=40,
        intermediate_size=56,
        num_hidden_layers=4,
        num_attention_heads=5,
        image_size=32,
        patch_size=8,
        hidden_act="gelu",
        layer_norm_eps=1e-6,
        attn_implementation="eager",
    )
    model = transformers.CLIPVisionModel(config)
    manifest = seed_model(model, seed=5)
    image = np.random.default_rng(2).integers(0, 256, (47, 61, 3), dtype=np.uint8)
    processor = transformers.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=32)
    pixels = torch.tensor(np.stack(processor(image)["pixel_values"]))
    plain = transformers.CLIPImageProcessorPil(
        size={"shortest_edge": 32}, crop_size=32, do_normalize=False, do_rescale=False
    )
    crop = np.asarray(plain(image)["pixel_values"][0]).transpose(1, 2, 0).astype(np.uint8)
    with torch.no_grad():
        output = model(pixels.double(), output_hidden_states=True)
    write(
        tmp_path,
        "unseen",
        config.to_dict() | {"model_type": "clip_vision_model"},
        manifest,
        image0=image,
        crop0=crop,
        pixel_values=pixels,
        hidden_states=torch.stack(output.hidden_states),
        last_hidden_state=output.last_hidden_state,
        pooler_output=output.pooler_output,
        llava_patch_features=output.hidden_states[-2][:, 1:],
    )
    code = parity.main(["--float64", "--seed=5", str(tmp_path)])
    printed = capsys.readouterr().out
    assert code == 0, printed
    assert "6 of 6 arrays" in printed


def test_albert(tmp_path, capsys):
    config = transformers.AlbertConfig(
        vocab_size=31,
        embedding_size=12,
        hidden_size=30,
        num_attention_heads=5,
        intermediate_size=44,
        max_position_embeddings=20,
        num_hidden_layers=4,
        attn_implementation="eager",
    )
    model = transformers.AlbertModel(config)
    manifest = seed_model(model, seed=8)
    ids = torch.randint(1, 31, (2, 15), generator=torch.Generator().manual_seed(0))
    mask = (torch.arange(15) < torch.tensor([15, 6])[:, None]).long()
    with torch.no_grad():
        output = model(ids * mask, attention_mask=mask)
        single = model(ids[:1]).last_hidden_state
    arrays = {"last_hidden_state": output.last_hidden_state * mask[..., None], "pooler_output": output.pooler_output}
    write(tmp_path, "unseen", config.to_dict(), manifest, ids=ids * mask, mask=mask, single0=single, **arrays)
    code = parity.main(["--float64", "--seed=8", str(tmp_path)])
    assert code == 0, capsys.readouterr().out


def test_a_wrong_seed_fails(tmp_path, capsys):
    test_albert(tmp_path, capsys)
    assert parity.main(["--float64", "--seed=9", str(tmp_path)]) == 1
    assert "FAILED" in capsys.readouterr().out


def test_a_folder_without_vectors_is_a_user_error(tmp_path, capsys):
    assert parity.main([str(tmp_path)]) == 2
    assert "no vector set found" in capsys.readouterr().err


def test_vectors_that_a_network_refuses_fail_and_the_others_still_run(tmp_path, capsys):
    test_albert(tmp_path, capsys)
    write(tmp_path, "odd", {"model_type": "clip_vision_model"}, {}, image0=np.zeros((4, 4, 3), np.uint8))
    assert parity.main(["--float64", "--seed=8", str(tmp_path)]) == 1
    printed = capsys.readouterr().out
    assert "odd.npz" in printed and "hidden_size is missing" in printed and "3 of 4 arrays" in printed
