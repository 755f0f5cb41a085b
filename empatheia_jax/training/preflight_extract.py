"""The program of `--mode=extract` for `preflight`: every network that makes a feature or a target, on a batch of longest clips.

`data_pipeline.extract` runs on one device per process; so every device here gets clips of its own, as many as it encodes at once
(`encoders.batching.BATCH`), and nothing moves between them.
Sizes are those of the full networks (`training.released`), of which the toy ones are small copies.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from empatheia_jax import weights
from empatheia_jax.dreamtalk import released as dreamtalk
from empatheia_jax.dreamtalk.denoiser import Denoiser
from empatheia_jax.encoders import released as encoders
from empatheia_jax.encoders.batching import BATCH
from empatheia_jax.encoders.clip_vision import ClipVision
from empatheia_jax.encoders.wav2vec2 import Wav2Vec2
from empatheia_jax.parallel import mesh as meshes
from empatheia_jax.parallel.preflight import Footprint, analyse
from empatheia_jax.parallel.targets import Target
from empatheia_jax.settings import Experiment
from empatheia_jax.styletts2.mel import HOP
from empatheia_jax.styletts2.style_encoder import StyleEncoder
from empatheia_jax.styletts2.text_encoder import TextEncoder
from empatheia_jax.tokens import SLOTS
from empatheia_jax.training import released

FRAMES_PER_SECOND, SPEECH_RATE, VOICE_RATE, MELS = 25, 16_000, 24_000, 80


class Extractors(nnx.Module):
    """The frozen encoders of speech and video, and the encoders that the generators' targets come from."""

    def __init__(self, config: Experiment, *, rngs: nnx.Rngs):
        dtype = jnp.dtype(config.networks.dtype)
        kinds: dict[str, Any] = {"rngs": rngs, "dtype": dtype, "param_dtype": dtype}
        wide: dict[str, Any] = {"rngs": rngs, "dtype": jnp.float32, "param_dtype": jnp.float32}
        self.layer = config.networks.video_layer
        self.hubert = Wav2Vec2(encoders.HUBERT_LARGE, **kinds)
        self.clip = ClipVision(encoders.CLIP_LARGE_336, **kinds)
        self.text = TextEncoder(**released.STYLETTS2_TEXT, weight_norm=True, **wide)
        self.acoustic = StyleEncoder(**released.STYLETTS2_STYLE, **wide)
        self.prosodic = StyleEncoder(**released.STYLETTS2_STYLE, **wide)
        self.wav2vec = Wav2Vec2(encoders.XLSR_53, **wide)
        self.dreamtalk = Denoiser(dreamtalk.DENOISER, **wide)

    def __call__(self, wave, pictures, phonemes, mel, windows, expressions):
        """What the cache holds of the clips on the leading axis: speech, video, C^s, S^s, C^v, S^v; also DreamTalk's rows."""
        clips = len(wave)
        together = lambda x: x.reshape(-1, *x.shape[2:])  # noqa: E731
        apart = lambda x: x.reshape(clips, -1, *x.shape[1:])  # noqa: E731
        whole = lambda x: jnp.full(x.shape[:1], x.shape[1], jnp.int32)  # noqa: E731
        return (
            self.hubert(wave, lengths=whole(wave)).last,
            apart(self.clip.patch_features(together(pictures), layer=self.layer).mean(axis=1)),
            self.text(phonemes, whole(phonemes)),
            jnp.concatenate([self.acoustic(mel), self.prosodic(mel)], axis=-1),
            # Between these two the rows of speech are gathered to windows on the host.
            self.wav2vec(wave, lengths=whole(wave)).last,
            apart(self.dreamtalk.content_encoder(together(windows))),
            self.dreamtalk.style_encoder(expressions, jnp.zeros(expressions.shape[:2], bool)),
        )


def inputs(config: Experiment, clips: int) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of `clips` longest clips: as long as `data.frames` and `data.phonemes` allow."""
    frames, image = config.data.frames, encoders.CLIP_LARGE_336.image
    denoiser = dreamtalk.DENOISER
    window = (2 * denoiser.window_radius + 1, denoiser.audio_feature_dim)
    array = lambda *shape, dtype=jnp.float32: jax.ShapeDtypeStruct((clips, *shape), dtype)  # noqa: E731
    return (
        array(frames * SPEECH_RATE // FRAMES_PER_SECOND),
        array(SLOTS, image, image, 3, dtype=jnp.dtype(config.networks.dtype)),
        array(config.data.phonemes, dtype=jnp.int32),
        array(frames * VOICE_RATE // FRAMES_PER_SECOND // HOP, MELS),
        array(frames, *window),
        array(denoiser.style_max_len, denoiser.face3d_dim),
    )


def footprint(config: Experiment, target: Target, mesh: Mesh) -> Footprint:
    """Compiles the extraction of a batch of clips per device; `tokens` of the result counts clips."""
    devices = mesh.devices.size
    count = devices * BATCH
    graph, state = nnx.split(weights.abstract(lambda: Extractors(config, rngs=nnx.Rngs(0))))
    own, shared = PartitionSpec(meshes.AXES), PartitionSpec()
    program = jax.jit(
        jax.shard_map(
            lambda state, *clips: nnx.merge(graph, state)(*clips),
            mesh=mesh,
            in_specs=(shared, *(own,) * 6),
            out_specs=own,
            check_vma=False,
        )
    )
    put = lambda tree, spec: jax.tree.map(  # noqa: E731
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=NamedSharding(mesh, spec)), tree
    )
    networks, clips = put(state, shared), put(inputs(config, count), own)
    return analyse(
        "extract",
        program.trace(networks, *clips),
        target,
        weights=networks,
        optimizer=(),
        batch=clips,
        tokens=count,
        devices=1,  # the traced program is already that of one device
        share=target.count / devices if target.device.platform == "tpu" else 1.0,
    )
