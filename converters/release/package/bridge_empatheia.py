"""The bridge of Empatheia in PyTorch: content synchronizer and style disentangler, from hidden states to speech and face.

Letters: B batch, R tokens of a reply, G signal tokens, D width of the bridge.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Attention(nn.Module):
    """Multi-head attention of queries (B, Q, D) over a source (B, S, D); `mask` (B, S) is True at valid rows."""

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, x: Tensor, source: Tensor, mask: Tensor) -> Tensor:
        def split(y: Tensor) -> Tensor:
            return y.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q, k, v = split(self.query(x)), split(self.key(source)), split(self.value(source))
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=mask[:, None, None, :])
        return self.out(mixed.transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Linear, ReLU, Linear."""

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.up, self.down = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(F.relu(self.up(x)))


class Layer(nn.Module):
    """A pre-norm Transformer layer; with `cross` it also attends to a source."""

    def __init__(self, width: int, heads: int, mlp: int, cross: bool):
        super().__init__()
        self.norm_attention, self.attention = nn.LayerNorm(width), Attention(width, heads)
        if cross:
            self.norm_cross, self.cross = nn.LayerNorm(width), Attention(width, heads)
        self.norm_mlp, self.mlp = nn.LayerNorm(width), Mlp(width, mlp)

    def forward(
        self, x: Tensor, mask: Tensor, source: Tensor | None = None, source_mask: Tensor | None = None
    ) -> Tensor:
        y = self.norm_attention(x)
        x = x + self.attention(y, y, mask)
        if source is not None:
            x = x + self.cross(self.norm_cross(x), source, source_mask)
        return x + self.mlp(self.norm_mlp(x))


class Block(nn.Module):
    """One encoder-decoder Transformer: source (B, S, D) and queries (B, Q, D) → (B, Q, D)."""

    def __init__(self, width: int, heads: int, mlp: int, layers: int):
        super().__init__()
        self.encoder = nn.ModuleList([Layer(width, heads, mlp, cross=False) for _ in range(layers)])
        self.encoder_norm = nn.LayerNorm(width)
        self.decoder = nn.ModuleList([Layer(width, heads, mlp, cross=True) for _ in range(layers)])
        self.decoder_norm = nn.LayerNorm(width)

    def forward(self, source: Tensor, source_mask: Tensor, queries: Tensor, query_mask: Tensor) -> Tensor:
        for layer in self.encoder:
            source = layer(source, source_mask)
        memory = self.encoder_norm(source)
        for layer in self.decoder:
            queries = layer(queries, query_mask, memory, source_mask)
        return self.decoder_norm(queries)


class Gaussian(nn.Module):
    """The latent of a VAE: its mean, or a sample of it where `sample` is asked for."""

    def __init__(self, width: int, latent: int):
        super().__init__()
        self.mean, self.log_variance = nn.Linear(width, latent), nn.Linear(width, latent)

    def forward(self, x: Tensor, sample: bool = False) -> Tensor:
        mean = self.mean(x)
        if not sample:
            return mean
        return mean + torch.exp(0.5 * self.log_variance(x).clamp(-20.0, 10.0)) * torch.randn_like(mean)


def sinusoids(length: int, width: int, like: Tensor) -> Tensor:
    """Sinusoidal positions (length, width): sines in the first half of the width, then cosines."""
    half = width // 2
    places = torch.arange(length, dtype=torch.float32, device=like.device)[:, None]
    rates = torch.arange(half, dtype=torch.float32, device=like.device) / half
    angles = places / 10000.0 ** rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], -1).to(like.dtype)


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """True at positions below each row's length."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]


def resize(x: Tensor, lengths: Tensor, wanted: Tensor, size: int) -> Tensor:
    """Linear resampling in time of each row's valid part, ends aligned, to `size` positions, `wanted` of them valid."""
    scale = (lengths - 1).clamp(min=0) / (wanted - 1).clamp(min=1)
    last = (lengths - 1).clamp(min=0)[:, None]
    at = torch.minimum(torch.arange(size, device=x.device)[None, :] * scale[:, None], last)
    low = at.floor().long()
    high = torch.minimum(low + 1, last)
    part = (at - low)[..., None].to(x.dtype)

    def take(index: Tensor) -> Tensor:
        return torch.gather(x, 1, index[..., None].expand(-1, -1, x.shape[-1]))

    return (1 - part) * take(low) + part * take(high)


class ContentSynchronizer(nn.Module):
    """CS (paper §4.3, (1), (2)): r^t → C^s at the phonemes, C^v at the frames of the reply."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        self.config = config
        block = config["block"]
        width = block["width"]
        self.input = nn.Linear(config["hidden"], width)
        if config["kind"] == "vae":
            self.encoder, self.decoder = Block(**block), Block(**block)
            self.latent, self.latent_input = Gaussian(width, config["latent"]), nn.Linear(config["latent"], width)
            self.speech_query, self.video_query = nn.Parameter(torch.zeros(width)), nn.Parameter(torch.zeros(width))
        self.speech_head = nn.Linear(width, config["speech_channels"])
        self.video_head = nn.Linear(width, config["video_window"] * config["video_channels"])

    def forward(
        self, text: Tensor, text_lengths: Tensor, lengths: Tensor, modality: str, sample: bool = False
    ) -> Tensor:
        """r^t (B, R, H) with its lengths (B,) and the wanted lengths (B,) → (B, longest, 512) or (B, longest, 11, 256)."""
        size = int(lengths.max())
        x = self.input(text)
        if self.config["kind"] == "linear":
            out = resize(x, text_lengths, lengths, size)
        else:
            if self.config["source_positions"]:
                x = x + sinusoids(x.shape[1], x.shape[2], x)
            query = self.speech_query if modality == "speech" else self.video_query
            queries = (query + sinusoids(size, x.shape[2], x)).expand(len(x), -1, -1)
            mask = length_mask(lengths, size)
            z = self.latent(self.encoder(x, length_mask(text_lengths, x.shape[1]), queries, mask), sample)
            out = self.decoder(self.latent_input(z), mask, queries, mask)
        if modality == "speech":
            return self.speech_head(out)
        return self.video_head(out).unflatten(-1, (self.config["video_window"], self.config["video_channels"]))


@dataclasses.dataclass
class Style:
    """S^s (B, 256: 128 acoustic, 128 prosodic), S^v (B, 256), fused E and P (B, D), class logits by task."""

    speech: Tensor
    video: Tensor
    emotion: Tensor | None
    profile: Tensor | None
    logits: dict[str, Tensor]


class Vae(nn.Module):
    """One encoder and decoder of the disentangler, with the latent between them."""

    def __init__(self, config: dict[str, Any]):
        super().__init__()
        width = config["block"]["width"]
        self.encoder, self.decoder = Block(**config["block"]), Block(**config["block"])
        self.latent, self.latent_input = Gaussian(width, config["latent"]), nn.Linear(config["latent"], width)

    def forward(self, states: Tensor, valid: Tensor, query: Tensor, sample: bool) -> Tensor:
        query = query.to(states.dtype).expand(len(states), 1, -1)
        one = torch.ones(len(states), 1, dtype=torch.bool, device=states.device)
        z = self.latent(self.encoder(states, valid, query, one), sample)
        return self.decoder(self.latent_input(z), one, query, one)[:, 0]


class StyleDisentangler(nn.Module):
    """SD (paper §4.3, (3)–(7), (11)): r^s, r^v → styles, emotion and profile with their classes."""

    QUERIES = ("emotion_speech", "emotion_video", "profile_speech", "profile_video")

    def __init__(self, config: dict[str, Any], classes: dict[str, int]):
        super().__init__()
        self.config = config
        width = config["block"]["width"]
        self.input = nn.Linear(config["hidden"], width)
        styled = width
        if config["kind"] == "vae":
            pairs = {"all": 1, "modality": 2, "none": 4}[config["sharing"]]
            self.vaes = nn.ModuleList([Vae(config) for _ in range(pairs)])
            self.queries = nn.Parameter(torch.zeros(len(self.QUERIES), width))
            styled = 2 * width
            if config["fuse"] == "linear":
                self.fuse_emotion, self.fuse_profile = nn.Linear(styled, width), nn.Linear(styled, width)
            self.heads = nn.ModuleDict({task: nn.Linear(width, count) for task, count in classes.items()})
        self.speech_style = nn.Linear(styled, config["speech_style"])
        self.video_style = nn.Linear(styled, config["video_style"])

    def forward(self, speech: Tensor, video: Tensor, lengths: Tensor | None = None, sample: bool = False) -> Style:
        config = self.config
        video = speech if config["inputs"] == "speech" else video
        speech, video = self.input(speech), self.input(video)
        count = speech.shape[1]
        lengths = torch.full((len(speech),), count, device=speech.device) if lengths is None else lengths
        valid = length_mask(lengths, count)
        if config["kind"] == "linear":

            def mean(x: Tensor) -> Tensor:
                return (x * valid[..., None]).sum(1) / lengths[:, None].to(x.dtype)

            return Style(self.speech_style(mean(speech)), self.video_style(mean(video)), None, None, {})
        out = [
            self.vaes[place % len(self.vaes)](states, valid, self.queries[place], sample)
            for place, states in enumerate((speech, video, speech, video))
        ]
        emotions, profiles = out[:2], out[2:]
        if config["fuse"] == "linear":
            emotion, profile = self.fuse_emotion(torch.cat(emotions, -1)), self.fuse_profile(torch.cat(profiles, -1))
        else:
            emotion, profile = sum(emotions) / 2, sum(profiles) / 2
        return Style(
            self.speech_style(torch.cat([out[0], out[2]], -1)),
            self.video_style(torch.cat([out[1], out[3]], -1)),
            emotion,
            profile,
            {task: head(emotion if task == "emotion" else profile) for task, head in self.heads.items()},
        )
