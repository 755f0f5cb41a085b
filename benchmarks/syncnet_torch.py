"""SyncNet in PyTorch with the weights of ours, as the public demo runs it: batches of 20 windows, one window of five frames
each.

For comparisons only. The shapes of the layers follow joonson/syncnet_python.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from evaluation import cepstra, lip_sync, syncnet

BATCH = 20


class SyncNetTorch:
    """Both towers, weights copied from a Flax network."""

    def __init__(self, network: syncnet.SyncNet):
        self.audio = nn.Sequential(
            *(part for layer in network.audio for part in _layer(layer, 2)), *_head(network.audio_head)
        )
        self.lips = nn.Sequential(
            *(part for layer in network.lips for part in _layer(layer, 3)), *_head(network.lip_head)
        )
        self.audio.eval()
        self.lips.eval()

    @torch.no_grad()
    def embed(self, frames: np.ndarray, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """As `lip_sync.Judge.embed`."""
        count = lip_sync.windows(len(frames), len(samples))
        rows_of_sound = cepstra.mfcc(samples)
        pictures = torch.from_numpy(frames.transpose(3, 0, 1, 2).astype(np.float32))
        lips, audio = [], []
        for first in range(0, count, BATCH):
            rows = range(first, min(count, first + BATCH))
            lips.append(self.lips(torch.stack([pictures[:, i : i + syncnet.FRAMES] for i in rows])))
            sound = np.stack([rows_of_sound[lip_sync.ROWS_PER_FRAME * i :][: syncnet.ROWS].T[None] for i in rows])
            audio.append(self.audio(torch.from_numpy(sound.astype(np.float32))))
        return torch.cat(lips).numpy(), torch.cat(audio).numpy()


def _norm(norm: syncnet.Norm, kind: type) -> nn.Module:
    made = kind(len(norm.scale[...]), eps=norm.eps)
    for name, value in (
        ("weight", norm.scale),
        ("bias", norm.bias),
        ("running_mean", norm.mean),
        ("running_var", norm.var),
    ):
        getattr(made, name).data = torch.from_numpy(np.array(value[...]))
    return made


def _layer(layer: syncnet.Layer, dimensions: int) -> list[nn.Module]:
    conv_kind, norm_kind, pool_kind = {
        2: (nn.Conv2d, nn.BatchNorm2d, nn.MaxPool2d),
        3: (nn.Conv3d, nn.BatchNorm3d, nn.MaxPool3d),
    }[dimensions]
    conv = layer.conv
    kernel = np.array(conv.kernel[...])
    strides = conv.strides if isinstance(conv.strides, tuple) else (conv.strides,) * dimensions
    made = conv_kind(kernel.shape[-2], kernel.shape[-1], kernel.shape[:-2], strides, [p for p, _ in conv.padding])
    made.weight.data = torch.from_numpy(np.ascontiguousarray(np.moveaxis(kernel, (-1, -2), (0, 1))))
    made.bias.data = torch.from_numpy(np.array(conv.bias[...]))
    parts: list[nn.Module] = [made, _norm(layer.norm, norm_kind), nn.ReLU()]
    if layer.pool is not None:
        window, steps, padding = layer.pool
        parts.append(pool_kind(tuple(window), tuple(steps), tuple(padding)))
    return parts


def _head(head: syncnet.Head) -> list[nn.Module]:
    def linear(ours) -> nn.Linear:
        made = nn.Linear(*ours.kernel[...].shape)
        made.weight.data = torch.from_numpy(np.ascontiguousarray(np.array(ours.kernel[...]).T))
        made.bias.data = torch.from_numpy(np.array(ours.bias[...]))
        return made

    return [nn.Flatten(), linear(head.linear1), _norm(head.norm, nn.BatchNorm1d), nn.ReLU(), linear(head.linear2)]
