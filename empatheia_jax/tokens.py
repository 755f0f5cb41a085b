"""The tokens that Empatheia adds to a core's vocabulary: places for media in the prompt, signals after the reply."""

from __future__ import annotations

import dataclasses

SLOTS = 24
"""Places per `<Aud>` or `<Vid>` run: pooled encoder features per utterance (the released baseline's configuration)."""
SIGNALS = 16
"""Signal tokens per modality."""
AUDIO_RUN, VIDEO_RUN = "<Aud>", "<Vid>"
AUDIO_SIGNALS = tuple(f"[AUD{i}]" for i in range(SIGNALS))
VIDEO_SIGNALS = tuple(f"[VID{i}]" for i in range(SIGNALS))
ADDED_TOKENS = (AUDIO_RUN, VIDEO_RUN, *AUDIO_SIGNALS, *VIDEO_SIGNALS)
"""The 34 added tokens in the order of their ids."""
TAGS = ("<emo>", "</emo>", "</response>")
"""What frames the parts of an answer. Vocabularies without "<" get them as further tokens, after `ADDED_TOKENS`."""


@dataclasses.dataclass(frozen=True)
class SpecialTokens:
    """Ids of the added tokens, which follow the core's own vocabulary of `base` rows."""

    base: int

    @property
    def audio_run(self) -> int:
        """`<Aud>`: a place for one pooled speech feature."""
        return self.base

    @property
    def video_run(self) -> int:
        """`<Vid>`: a place for one video frame's feature."""
        return self.base + 1

    @property
    def audio_signals(self) -> range:
        """`[AUD0]` … `[AUD15]`."""
        return range(self.base + 2, self.base + 2 + SIGNALS)

    @property
    def video_signals(self) -> range:
        """`[VID0]` … `[VID15]`."""
        return range(self.base + 2 + SIGNALS, self.base + 2 + 2 * SIGNALS)

    @property
    def signals(self) -> range:
        """All 32 signal tokens, as they follow a reply."""
        return range(self.base + 2, self.base + 2 + 2 * SIGNALS)
