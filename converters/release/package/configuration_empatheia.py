"""The configuration of a released Empatheia: sizes of the bridge, and which frozen language model it stands on."""

from __future__ import annotations

from typing import Any

from transformers import PretrainedConfig

RELEASE_FORMAT = 1
"""The newest format of a release that this code reads."""


class EmpatheiaConfig(PretrainedConfig):
    """What `config.json` of a release says.

    base_model_name_or_path: the frozen language model. base_sha256: hash of its weights, see `modeling_empatheia.base_hash`.
    base_vocab_size: rows of its vocabulary; the tokens `added_tokens` follow. speech_features, video_features: widths of the
    two encoders. slots: features of one recording. reply_tokens: the longest reply that the bridge reads. signal_source:
    "tokens" or "all". synchronizer, disentangler: sizes. labels: names of the classes by task. prompt: how a dialogue becomes
    a prompt (`processing_empatheia`). decoding: how an answer is written, as in the training's config.
    """

    model_type = "empatheia"

    def __init__(
        self,
        release_format: int = RELEASE_FORMAT,
        base_model_name_or_path: str | None = None,
        base_sha256: str | None = None,
        base_vocab_size: int = 0,
        added_tokens: list[str] | None = None,
        signals: int = 16,
        speech_features: int = 0,
        video_features: int = 0,
        reply_tokens: int = 0,
        signal_source: str = "tokens",
        synchronizer: dict[str, Any] | None = None,
        disentangler: dict[str, Any] | None = None,
        labels: dict[str, list[str]] | None = None,
        prompt: dict[str, Any] | None = None,
        decoding: dict[str, Any] | None = None,
        **others: Any,
    ):
        self.release_format = release_format
        self.base_model_name_or_path = base_model_name_or_path
        self.base_sha256, self.base_vocab_size = base_sha256, base_vocab_size
        self.added_tokens, self.signals = list(added_tokens or ()), signals
        self.speech_features, self.video_features = speech_features, video_features
        self.reply_tokens, self.signal_source = reply_tokens, signal_source
        self.synchronizer, self.disentangler = dict(synchronizer or {}), dict(disentangler or {})
        self.labels, self.prompt, self.decoding = dict(labels or {}), dict(prompt or {}), dict(decoding or {})
        super().__init__(**others)

    @property
    def vocab_size(self) -> int:
        """Rows of the resized vocabulary."""
        return self.base_vocab_size + len(self.added_tokens)
