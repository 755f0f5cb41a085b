"""From settings to networks with weights; `requirements` says beforehand what is missing and which folder holds what.

`empatheia` gives the whole model to train: a frozen core in the compute dtype, adapters and bridge in float32. `towers`,
`speaker` and `animator` give the frozen encoders and generators.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from empatheia_jax import tiny, weights
from empatheia_jax.bridge.content_synchronizer import SynchronizerConfig
from empatheia_jax.bridge.style_disentangler import DisentanglerConfig
from empatheia_jax.bridge.transformer import BlockConfig
from empatheia_jax.core import lora
from empatheia_jax.core.adapter_folder import RELEASE_KIND, start, start_whole
from empatheia_jax.core.chatglm import ChatGLM, ChatGLMConfig
from empatheia_jax.core.language_model import LanguageModel
from empatheia_jax.core.llama import Llama, LlamaConfig
from empatheia_jax.core.t5 import T5, T5Config
from empatheia_jax.core.tokenizer import Tokenizer
from empatheia_jax.dreamtalk.animator import Animator
from empatheia_jax.empatheia import Empatheia, EmpatheiaConfig
from empatheia_jax.encoders.clip_image import ClipPreprocessor
from empatheia_jax.encoders.clip_vision import ClipVision, ClipVisionConfig
from empatheia_jax.encoders.towers import SpeechTower, Towers, VideoTower
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2, Wav2Vec2Config
from empatheia_jax.errors import UserError
from empatheia_jax.nn import int8
from empatheia_jax.parallel import rules
from empatheia_jax.requirements import NETWORKS, adapter_folder, folder, is_debug
from empatheia_jax.settings import Experiment
from empatheia_jax.styletts2.speaker import Speaker
from empatheia_jax.tokens import ADDED_TOKENS, TAGS


class Core(NamedTuple):
    """A language model that may be the core: network, config, and the words that its vocabulary must get."""

    network: type[LanguageModel]
    config: type
    words: tuple[str, ...] = ()


CORES: Mapping[str, Core] = {
    "llama": Core(Llama, LlamaConfig),
    "chatglm": Core(ChatGLM, ChatGLMConfig),
    "t5": Core(T5, T5Config, TAGS),  # its SentencePiece model has no "<"
}
"""By the kind of the weights folder."""


@dataclasses.dataclass(frozen=True)
class Widths:
    """What the bridge must know of its neighbours: feature widths and target shapes."""

    speech: int
    video: int
    speech_content: int
    speech_style: int
    video_window: int
    video_content: int
    video_style: int


@dataclasses.dataclass(frozen=True)
class Assembly:
    """A model ready to train or to reply: the whole, its tokenizer, and the hashes of its frozen weights by name."""

    model: Empatheia
    tokenizer: Tokenizer
    hashes: Mapping[str, str]
    widths: Widths


def widths(config: Experiment) -> Widths:
    """Feature widths and target shapes from the folders' configs."""
    made_up: Mapping[str, Any] = {
        "speech_encoder": {"width": tiny.HUBERT.width},
        "video_encoder": {"width": tiny.CLIP.width},
        "tts": {"hidden_dim": tiny.STYLE_TTS2.hidden_dim, "style_dim": tiny.STYLE_TTS2.style_dim},
        "talking_head": {"denoiser": dataclasses.asdict(tiny.DREAMTALK.denoiser)},
    }
    of = {
        network: sizes if is_debug(config, network) else weights.describe(folder(config, network))["config"]
        for network, sizes in made_up.items()
    }
    speech, video, tts, head = (of[n] for n in ("speech_encoder", "video_encoder", "tts", "talking_head"))
    denoiser = head["denoiser"]
    window, channels = video_target(config, denoiser)
    return Widths(
        speech=speech["width"],
        video=video["width"],
        speech_content=speech_target(config, tts["hidden_dim"]),
        speech_style=2 * tts["style_dim"],
        video_window=window,
        video_content=channels,
        video_style=denoiser["d_model"],
    )


def speech_target(config: Experiment, width: int) -> int:
    """Channels of a phoneme of C^s: the text encoder's, of this width, or the PL-BERT states' beside them, as many again."""
    return 2 * width if config.bridge.speech_target == "with_bert" else width


def video_target(config: Experiment, denoiser: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and channels of a frame of C^v: tokens of the content encoder, or rows of the speech features before it.

    denoiser: sizes of the talking head's denoiser, by the names of its config.
    """
    if config.bridge.video_target == "speech":
        return denoiser["audio_rows_per_frame"], denoiser["audio_feature_dim"]
    return 2 * denoiser["window_radius"] + 1, denoiser["d_model"]


def words_of(network: LanguageModel) -> tuple[str, ...]:
    """The words that a core's vocabulary must get."""
    return next(core.words for core in CORES.values() if core.network is type(network))


def empatheia_config(config: Experiment, network: LanguageModel, sizes: Widths) -> EmpatheiaConfig:
    """Sizes of the whole around a core."""
    hidden = network.config.hidden_size
    bridge = config.bridge
    block = BlockConfig(width=bridge.width, heads=bridge.heads, mlp=bridge.mlp, layers=bridge.layers)
    return EmpatheiaConfig(
        speech_features=sizes.speech,
        video_features=sizes.video,
        reply_tokens=config.data.reply_tokens,
        added=len(ADDED_TOKENS) + len(words_of(network)),
        signal_source=bridge.signal_source,
        synchronizer=SynchronizerConfig(
            hidden=hidden,
            block=block,
            latent=bridge.content_latent,
            speech_channels=sizes.speech_content,
            video_window=sizes.video_window,
            video_channels=sizes.video_content,
            kind=bridge.content_kind,
            source_positions=bridge.source_positions,
        ),
        disentangler=DisentanglerConfig(
            hidden=hidden,
            block=block,
            latent=bridge.style_latent,
            speech_style=sizes.speech_style,
            video_style=sizes.video_style,
            sharing=bridge.sharing,
            inputs=bridge.style_inputs,
            fuse=bridge.fuse,
            kind=bridge.style_kind,
        ),
    )


def lora_config(config: Experiment) -> lora.LoRAConfig:
    """`config.lora` as the core's dataclass."""
    values = config.lora
    return lora.LoRAConfig(
        rank=values.rank,
        alpha=values.alpha,
        targets=values.targets,
        dropout=values.dropout,
        rslora=values.rslora,
    )


def core_options(config: Experiment) -> dict[str, Any]:
    """What the config says of how the core computes."""
    values, dtype = config.networks, jnp.dtype(config.networks.dtype)
    return {"dtype": dtype, "param_dtype": dtype, "remat": values.remat, "implementation": values.attention}


def core(config: Experiment, mesh: Mesh) -> LanguageModel:
    """The language model with its weights, in the compute dtype, laid out on the mesh."""
    options = core_options(config)
    if is_debug(config):
        kind, sizes = tiny.CORES[config.networks.llm]
        network: Callable[..., LanguageModel] = CORES[kind].network
        return network(sizes, rngs=nnx.Rngs(config.seed), **options)
    path = folder(config, "llm")
    kind = weights.describe(path)["kind"]
    if kind not in CORES:
        raise UserError(f"{path} holds a {kind!r}; expected a language model: {', '.join(CORES)}")
    found = CORES[kind]
    return weights.restore(
        path, found.network, found.config, kind=kind, shardings=lambda state: rules.shardings(state, mesh), **options
    )


def empatheia(config: Experiment, mesh: Mesh, *, draw: bool = True) -> Assembly:
    """The whole: frozen core with adapters, added rows, projections, CS and SD, the latter freshly initialised.

    Args:
      config: of the whole.
      mesh: where the core lies.
      draw: whether what is not read from a folder gets its initial values; otherwise it is zero. Drawing takes seconds, and a
        reply does not use what nothing has trained.

    Raises:
      UserError: weights are missing or are not what the config says.
    """
    sizes = widths(config)
    if is_debug(config):
        made_up = tiny.made_up(lambda: whole(config, core(config, mesh), sizes), config.seed)
        tokenizer = tiny.tokenizer(words_of(made_up.core))
        hashes = {"llm": f"{config.networks.llm}-{config.seed}"}
        hashes |= start_adapter(config, made_up, hashes)
        hashes |= start_from(config, made_up, hashes)
        return Assembly(made_up, tokenizer, hashes, sizes)
    made = whole if draw or config.networks.frozen_int8 else undrawn  # int8 is computed from the core's values
    model = made(config, core(config, mesh), sizes)
    path = folder(config, "llm")
    hashes = {network: weights.describe(folder(config, network))["sha256"] for network in NETWORKS}
    hashes |= start_adapter(config, model, hashes)
    hashes |= start_from(config, model, hashes)
    return Assembly(model, Tokenizer.load(path, words=words_of(model.core)), hashes, sizes)


def start_adapter(config: Experiment, model: Empatheia, hashes: Mapping[str, str]) -> dict[str, str]:
    """Starts the core's adapter from `config.networks.adapter`, in place; its hash, nothing where none is named. A release
    starts everything that it trained.

    Raises: UserError where it does not fit the core or `config.lora`, or a release was trained on other weights of the core.
    """
    if not config.networks.adapter:
        return {}
    place = adapter_folder(config)
    if weights.describe(place)["kind"] == RELEASE_KIND:
        start_whole(model, model.core, place, lora_config(config), hashes["llm"])
        return {"adapter": weights.describe(place)["sha256"]}
    left_out = start(model.core, place, lora_config(config))
    if left_out:
        print(f"{place}: left out, for our model has no place for them: {', '.join(left_out)}", file=sys.stderr)
    return {"adapter": weights.describe(place)["sha256"]}


def start_from(config: Experiment, model: Empatheia, hashes: Mapping[str, str]) -> dict[str, str]:
    """Puts the trained leaves that `config.start` names into the model, in place; their hash, nothing where none is named.

    Raises: UserError where they are missing, damaged, of another network, or were trained on another language model.
    """
    if not config.start:
        return {}
    start = weights.open_start(config.start)
    if start.weights.get("llm") != hashes["llm"]:
        raise UserError(
            f"start={config.start}: {start.folder} was trained on other weights of the language model than those of "
            f'networks.llm={config.networks.llm}; convert these again, or begin from them alone with --config.start=""'
        )
    leaves, ours = start.leaves(), weights.flatten(model)
    wrong = sorted(path for path in leaves if path not in ours or ours[path].shape != leaves[path].shape)
    if wrong:
        raise UserError(
            f"start={config.start}: {start.folder} belongs to a network of other sizes ({wrong[0]} and {len(wrong) - 1} more "
            'do not fit); leave lora and bridge as they were in its training, or set --config.start=""'
        )
    weights.overlay(model, leaves)
    return {"start": start.sha256}


def whole(config: Experiment, network: LanguageModel, sizes: Widths) -> Empatheia:
    """`Empatheia` around a core; traceable, so that `nnx.eval_shape` gives it without weights."""
    rngs = nnx.Rngs(config.seed)
    if config.networks.frozen_int8:
        int8.quantise_model(network)
    lora.add_lora(network, lora_config(config), rngs=rngs)
    return Empatheia(empatheia_config(config, network, sizes), network, rngs=rngs, dtype=network.dtype)


def undrawn(config: Experiment, network: LanguageModel, sizes: Widths) -> Empatheia:
    """`whole` with zeros for everything around the core's own weights: nothing is drawn."""
    graph, state = nnx.split(network)

    def construct() -> Empatheia:
        return whole(config, nnx.merge(graph, state), sizes)

    empty = weights.abstract(construct)
    values: dict[str, Any] = {path: np.zeros(leaf.shape, leaf.dtype) for path, leaf in weights.flatten(empty).items()}
    values = jax.device_put(values) | {f"core.{path}": value for path, value in weights.flatten(network).items()}
    return weights.materialize(construct, values, empty)


def towers(config: Experiment) -> Towers:
    """The frozen encoders of speech and video. Raises `UserError` where a folder holds something else."""
    networks, dtype = config.networks, jnp.dtype(config.networks.dtype)
    if is_debug(config, "speech_encoder"):
        hear = tiny.speech_tower()
    else:
        path = folder(config, "speech_encoder")
        speech = weights.restore(path, Wav2Vec2, Wav2Vec2Config, dtype=dtype, param_dtype=dtype)
        hear = SpeechTower(speech)
    if is_debug(config, "video_encoder"):
        return Towers(hear, tiny.video_tower(networks.video_layer, networks.video_pooling))
    path = folder(config, "video_encoder")
    video = weights.restore(path, ClipVision, ClipVisionConfig, kind="clip-vision", dtype=dtype, param_dtype=dtype)
    described = path / "preprocessor_config.json"
    if not described.is_file():
        raise UserError(f"{path} has no {described.name}; convert the encoder together with that file")
    preprocess = ClipPreprocessor.from_source(json.loads(described.read_text()))
    return Towers(hear, VideoTower(video, preprocess, layer=networks.video_layer, pooling=networks.video_pooling))


def speaker(config: Experiment) -> Speaker:
    """The speech generator."""
    if is_debug(config, "tts"):
        return tiny.speaker()
    return Speaker.load(folder(config, "tts"), phonemizer=config.networks.phonemizer)


def animator(config: Experiment) -> Animator:
    """The talking-head generator."""
    return tiny.animator() if is_debug(config, "talking_head") else Animator.load(folder(config, "talking_head"))
