"""SyncNet for a CPU against the network that it computes."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from empatheia_jax.nn.platform import target_platform
from evaluation import cepstra, lip_sync, syncnet, syncnet_on_cpu


def test_a_cpu_finds_the_same_embeddings_with_fewer_products():
    rng = np.random.default_rng(0)
    network = syncnet.SyncNet(syncnet.SyncNetConfig(), rngs=nnx.Rngs(0))
    for layer in (*network.lips, *network.audio, network.audio_head, network.lip_head):
        norm = layer.norm
        for value, low, high in (
            (norm.scale, 0.5, 1.5),
            (norm.bias, -0.3, 0.3),
            (norm.mean, -0.3, 0.3),
            (norm.var, 0.5, 2),
        ):
            value[...] = jnp.asarray(rng.uniform(low, high, value[...].shape), jnp.float32)
    count = syncnet_on_cpu.WINDOWS + 1  # a second program's worth, almost empty
    frames = rng.integers(0, 256, (count + syncnet.FRAMES, 224, 224, 3), np.uint8)
    samples = rng.integers(-9000, 9000, len(frames) * 640).astype(np.int16)
    lips, audio = lip_sync.Judge(network).embed(frames, samples)
    assert lips.shape == audio.shape == (count, 1024)
    with target_platform("gpu"):
        judge = lip_sync.Judge(network, batch=3)
    kept = [0, syncnet_on_cpu.WINDOWS - 1, syncnet_on_cpu.WINDOWS]
    wanted = np.asarray(judge._lips(judge._state, frames, np.asarray(kept)))
    np.testing.assert_allclose(lips[kept], wanted, atol=3e-6 * np.abs(wanted).max())
    heard = cepstra.mfcc(samples)
    sound = np.stack([heard[lip_sync.ROWS_PER_FRAME * i :][: syncnet.ROWS].T for i in kept]).astype(np.float32)
    wanted = np.asarray(judge._audio(judge._state, sound))
    np.testing.assert_allclose(audio[kept], wanted, atol=3e-6 * np.abs(wanted).max())


def test_a_score_of_large_embeddings_keeps_its_digits():
    rng = np.random.default_rng(0)
    lips, audio = (rng.normal(size=(40, 1024)).astype(np.float32) for _ in range(2))
    lips += 50
    exact = lip_sync.score(lips.astype(np.float64), audio.astype(np.float64))
    found = lip_sync.score(lips, audio)
    assert found.distance == pytest.approx(exact.distance, abs=1e-9) and found.distance > 1500
    assert found.confidence == pytest.approx(exact.confidence, abs=1e-9)
