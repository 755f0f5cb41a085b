"""Tiny checkpoints in the file forms of the originals, and a data set in the released layout: what a lab downloads, in small.

The networks are those of `empatheia_jax.tiny`; their parameters go out through the converters' own tables.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import scipy.io
import torch
import yaml
from flax import nnx

from converters import interpreter
from converters.formats.torch_writer import write_torch_file
from converters.registry import find_conversion
from converters.tables import dreamtalk as dreamtalk_table
from converters.tables.llama import release_config
from data_pipeline import toy
from empatheia_jax import tiny, weights
from empatheia_jax.conversation import schema
from empatheia_jax.conversation.recordings import media_name
from empatheia_jax.core.llama import Llama
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.dreamtalk.drawn_face.profiles import portrait_for_profile
from empatheia_jax.dreamtalk.renderer import Renderer
from empatheia_jax.encoders.clip_vision import ClipVision
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.image import resize, write_image
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.styletts2.config import SYNTHESIS
from empatheia_jax.styletts2.model import StyleTTS2
from tests.tokenizers_of_families import _bpe

VOCABULARY, FILM = 700, 96
WAV2VEC2 = dataclasses.replace(tiny.HUBERT, model_type="wav2vec2")
DENOISER = dataclasses.replace(tiny.DREAMTALK.denoiser, audio_feature_dim=WAV2VEC2.width)
RENDERER = tiny.DREAMTALK.renderer
"""DreamTalk's files hold no sizes: a test puts these in the place of `dreamtalk.released`'s."""
SPEECH = dataclasses.replace(
    tiny.STYLE_TTS2,
    networks=(*SYNTHESIS, "style_encoder", "predictor_encoder"),
    max_conv_dim=tiny.STYLE_TTS2.hidden_dim,
    weight_norm=True,
)


def _state(source: str, config, construct) -> dict[str, np.ndarray]:
    """The parameters of a tiny network under the names of a release."""
    made = tiny.made_up(lambda: construct(config, rngs=nnx.Rngs(0)))
    flat = weights.flatten(nnx.state(made))
    # Files of a generator's full-size layers are large; numbers that repeat are packed and unpacked in a moment.
    flat = {path: np.resize(np.asarray(leaf).ravel()[:4096], leaf.shape) for path, leaf in flat.items()}
    table = find_conversion(source).table(config)
    return {key: np.asarray(array) for key, array in interpreter.export(flat, table)}


def _bin(folder: Path, config: dict, state: dict[str, np.ndarray], **files: dict) -> None:
    """A Hugging Face folder as releases of 2023 are: `pytorch_model.bin` and JSON files."""
    folder.mkdir(parents=True)
    manifest = {key: {"shape": array.shape, "dtype": array.dtype.name} for key, array in state.items()}
    write_torch_file(folder / "pytorch_model.bin", state.items(), manifest)
    for name, content in {"config": config, **files}.items():
        (folder / f"{name}.json").write_text(json.dumps(content))


def _wav2vec2_config(config) -> dict:
    return {
        "model_type": config.model_type,
        "architectures": ["Wav2Vec2Model" if config.model_type == "wav2vec2" else "HubertModel"],
        "hidden_size": config.width,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "intermediate_size": config.mlp,
        "conv_dim": config.conv_channels,
        "conv_kernel": config.conv_widths,
        "conv_stride": config.conv_strides,
        "conv_bias": config.conv_bias,
        "feat_extract_norm": config.conv_norm,
        "feat_extract_activation": config.conv_activation,
        "hidden_act": config.activation,
        "do_stable_layer_norm": config.pre_norm,
        "num_conv_pos_embeddings": config.position_width,
        "num_conv_pos_embedding_groups": config.position_groups,
        "layer_norm_eps": config.eps,
        "feat_proj_layer_norm": True,
    }


def _clip_config(config) -> dict:
    return {
        "model_type": "clip_vision_model",
        "hidden_size": config.width,
        "intermediate_size": config.mlp,
        "num_hidden_layers": config.layers,
        "num_attention_heads": config.heads,
        "image_size": config.image,
        "patch_size": config.patch,
        "num_channels": config.channels,
        "hidden_act": config.activation,
        "layer_norm_eps": config.eps,
        "projection_dim": 8,
    }


def _torch(state: dict[str, np.ndarray]) -> dict[str, torch.Tensor]:
    return {key: torch.from_numpy(np.array(array)) for key, array in state.items()}


def vicuna(folder: Path) -> None:
    """A LLaMA with SentencePiece's own tokenizer file, as lmsys/vicuna-7b-v1.5."""
    config = dataclasses.replace(tiny.LLM, vocab_size=VOCABULARY, tie_word_embeddings=False)
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "add_bos_token": True}
    _bin(folder, release_config(config), _state("llama", config, Llama), tokenizer_config=names)
    (folder / "tokenizer.model").write_bytes(_bpe())


def encoders(hubert: Path, clip: Path) -> None:
    """HuBERT and CLIP's vision tower."""
    _bin(hubert, _wav2vec2_config(tiny.HUBERT), _state("hubert", tiny.HUBERT, Wav2Vec2))
    side = tiny.CLIP.image
    preprocess = {"crop_size": side, "size": side, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}
    _bin(clip, _clip_config(tiny.CLIP), _state("clip-vision", tiny.CLIP, ClipVision), preprocessor_config=preprocess)


def styletts2(folder: Path) -> None:
    """`epochs_2nd_00020.pth` with its `config.yml`, which points at PL-BERT's."""
    decoder = dataclasses.asdict(SPEECH.decoder)
    decoder |= {"gen_istft_n_fft": decoder.pop("n_fft"), "gen_istft_hop_size": decoder.pop("hop")}
    names = (
        "multispeaker",
        "dim_in",
        "hidden_dim",
        "n_layer",
        "n_mels",
        "n_token",
        "max_dur",
        "style_dim",
        "max_conv_dim",
    )
    transformer = {"num_layers": 1, "num_heads": 2, "head_features": 8, "multiplier": 2}
    params = {name: getattr(SPEECH, name) for name in names} | {
        "decoder": {key: json.loads(json.dumps(value)) for key, value in decoder.items()},
        "diffusion": {"transformer": transformer, "dist": {"sigma_data": 0.2}},
        "slm": {"hidden": 8, "nlayers": 2, "initial_channel": 4},
        "dropout": 0.2,
    }
    bert = {key: value for key, value in dataclasses.asdict(SPEECH.bert).items() if key != "pooler"}
    (folder / "Utils" / "PLBERT").mkdir(parents=True)
    (folder / "Utils" / "PLBERT" / "config.yml").write_text(yaml.safe_dump({"model_params": bert}))
    (folder / "config.yml").write_text(yaml.safe_dump({"model_params": params, "PLBERT_dir": "Utils/PLBERT/"}))
    speech = dataclasses.replace(SPEECH, bert=dataclasses.replace(SPEECH.bert, pooler=True))
    state = _state("styletts2", speech, StyleTTS2)
    net: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in _torch(state).items():
        _, network, name = key.split(".", 2)
        net.setdefault(network, {})[name] = tensor
    torch.save({"net": net, "epoch": 20, "iters": 1}, folder / "epochs_2nd_00020.pth")


def dreamtalk(folder: Path) -> None:
    """The two files that DreamTalk's authors give out, and the folder of the speech model that its program downloads."""
    _bin(folder / "wav2vec2-large-xlsr-53-english", _wav2vec2_config(WAV2VEC2), _state("wav2vec2", WAV2VEC2, Wav2Vec2))
    denoiser = _torch(_state("dreamtalk-denoiser", DENOISER, Denoiser))
    torch.save({"model_state_dict": denoiser}, folder / dreamtalk_table.DENOISER_FILE)
    renderer = _torch(_state("dreamtalk-renderer", RENDERER, Renderer))
    torch.save({"net_G_ema": renderer}, folder / dreamtalk_table.RENDERER_FILE)


def track(path: Path, frames: int, seed: int) -> None:
    """A track as Deep3DFaceRecon writes it."""
    random = np.random.default_rng(seed)
    coefficients = random.standard_normal((frames, 257)).astype(np.float32)
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"coeff": coefficients, "transform_params": np.ones((frames, 5), np.float32)})


def avamerg(root: Path, train: int = 4) -> None:
    """The first toy dialogues with a tone of 1.5 s and a film of a face at rest for each utterance, and no face coefficients."""
    face = resize(np.asarray(portrait_for_profile("young", "female", "mild")), FILM, FILM)
    for split, count in (("train", train), ("valid", 1), ("test", 1)):
        conversations = toy.conversations(split, count)
        for folder in ("audio_v5_0", "video_v5_0"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        schema.write(root / f"{split}.json", conversations)
        for conversation in conversations:
            for said in conversation.utterances():
                avatar = conversation.profile(said.role).media_id
                seed = int(conversation.conversation_id) * 10 + said.index
                name = lambda kind: media_name(conversation.conversation_id, said.index, avatar, kind)  # noqa: B023, E731
                tone = 0.2 * np.sin(np.arange(36_000) * (0.02 + 0.001 * (seed % 50)))
                write_wav(root / "audio_v5_0" / name("audio"), tone.astype(np.float32), 24_000)
                with VideoWriter(root / "video_v5_0" / name("video"), 25, (FILM, FILM)) as film:
                    film.write(np.stack([np.roll(face, seed % 3, axis=0)] * 37))


def motion(root: Path) -> None:
    """A face track for every film."""
    for number, film in enumerate(sorted((root / "video_v5_0").glob("*.mp4"))):
        track(root / "motion_v5_0" / f"{film.stem}.mat", 37, number)


def style_clips(folder: Path) -> None:
    """Films of two people with their tracks; they nod."""
    for name, gender in (("M030_front_calm", "male"), ("W009_front_calm", "female")):
        track(folder / f"{name}.mat", 12, len(gender))
        face = resize(np.asarray(portrait_for_profile("young", gender, "mild")), FILM, FILM)
        with VideoWriter(folder / f"{name}.mp4", 25, (FILM, FILM)) as film:
            film.write(np.stack([np.roll(face, n % 4, axis=0) for n in range(12)]))


def faces(folder: Path) -> None:
    """A portrait and a style clip."""
    folder.mkdir()
    write_image(folder / "default.png", portrait_for_profile("young", "female", "mild"))
    track(folder / "neutral.mat", 40, 0)
