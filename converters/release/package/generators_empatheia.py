"""Drives the original StyleTTS2 and DreamTalk repositories with what the bridge says.

Both keep their own code. While `drive_styletts2` or `drive_dreamtalk` is open, forward hooks put our content and style where
the originals would encode theirs:

    # yl4579/StyleTTS2: `model` is what its `build_model` gives, `tokens` (1, P) the phonemes of the reply
    content = empatheia.speech_content(reply.response_states, reply.response_lengths, tokens.shape[1])
    with drive_styletts2(model, content):
        …            # its `inference` as it is; its style vector is `style.speech`: acoustic half, prosodic half

    # ali-vilab/dreamtalk: `diff_net` is what its `get_diff_net` gives, `audio` (1, F, 11, …) windows of the speech
    content = empatheia.video_content(reply.response_states, reply.response_lengths, audio.shape[1])
    with drive_dreamtalk(diff_net, content, style.video):
        motion = diff_net.sample(audio, style_clip, style_pad_mask, output_dim=64, use_cf_guidance=True)
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn


def _module(network: Any) -> nn.Module:
    """The network inside a data-parallel wrapper."""
    return network.module if hasattr(network, "module") and isinstance(network.module, nn.Module) else network


def _mixed(own: Tensor, ours: Tensor, share: float) -> Tensor:
    ours = ours.to(own)
    if ours.shape != own.shape:
        raise ValueError(f"the bridge gives {tuple(ours.shape)} where the generator expects {tuple(own.shape)}")
    return share * ours + (1 - share) * own


@contextlib.contextmanager
def drive_styletts2(model: Mapping[str, nn.Module], content: Tensor, share: float = 1.0) -> Iterator[None]:
    """C^s (B, P, 512) in place of the text encoder's output (B, 512, P); `share` mixes it with the encoder's own.

    A C^s twice as wide (of a run with `bridge.speech_target=with_bert`) takes the place of `bert_encoder`'s output too.
    """
    bert, width = _module(model["bert_encoder"]), _module(model["bert_encoder"]).out_features
    text = content[..., :width] if content.shape[-1] == 2 * width else content
    handles = [
        _module(model["text_encoder"]).register_forward_hook(
            lambda module, inputs, output: _mixed(output, text.transpose(1, 2), share)
        )
    ]
    if content.shape[-1] == 2 * width:
        handles.append(
            bert.register_forward_hook(lambda module, inputs, output: _mixed(output, content[..., width:], share))
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def split_style(style: Tensor) -> tuple[Tensor, Tensor]:
    """S^s (B, 256) → StyleTTS2's acoustic style (its `ref`, for the decoder) and prosodic style (its `s`, for the predictor)."""
    half = style.shape[-1] // 2
    return style[..., :half], style[..., half:]


@contextlib.contextmanager
def drive_dreamtalk(diff_net: nn.Module, content: Tensor, style: Tensor, share: float = 1.0) -> Iterator[None]:
    """C^v (B, F, 11, 256) in place of the content encoder's output, S^v (B, 256) in place of the style encoder's.

    Under classifier-free guidance the batch is doubled: its second half is the unconditional one and keeps its style.
    """
    network = _module(diff_net).net

    def put_content(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return _mixed(output, content.repeat(len(output) // len(content), 1, 1, 1), share)

    def put_style(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        count = len(style)
        return torch.cat([_mixed(output[:count], style, share), output[count:]])

    handles = [network.content_encoder.register_forward_hook(put_content)]
    handles.append(network.style_encoder.register_forward_hook(put_style))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
