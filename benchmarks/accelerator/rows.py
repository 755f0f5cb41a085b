"""What is measured, in order of worth, and how long each row may take. Checks come before what is timed."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Row:
    """One row.

    seconds   its limit on each side, compilation included
    fresh     in a process of its own, since peak memory is counted over a process's life
    pytorch   whether PyTorch does the same
    check     says whether numbers are right, not how fast they come: checks run side by side, each in a process of its own
    goal      what is wanted of it on one H100, in words
    """

    name: str
    title: str
    seconds: float
    fresh: bool = False
    pytorch: bool = False
    check: bool = False
    goal: str = ""


PARITY = (
    *("albert", "chatglm", "clip", "dreamtalk", "hubert", "kokoro", "llama", "metrics", "styletts2", "t5", "wav2vec2"),
)
"""The networks that have vectors of their references: `converters.parity.networks`."""

ROWS = (
    Row("card", "the card and its rates", 60),
    Row("attention", "fused attention equals XLA's", 120, check=True),
    Row("stages_debug", "four stages, here and on the CPU", 240, check=True),
    Row("bfloat16", "networks in bfloat16 near float32", 240, check=True),
    *(Row(f"parity_{name}", f"vectors of the reference in float32: {name}", 240, check=True) for name in PARITY),
    Row("lora", "LoRA step, 8 × 1,024", 90, fresh=True, pytorch=True, goal="≥ 1.2 × PyTorch"),
    Row(
        "lora_packed", "LoRA step, packed 4,096, products kept", 90, fresh=True, pytorch=True, goal="≥ 16,000 tokens/s"
    ),
    Row("decode_1", "decode, batch 1", 60, pytorch=True, goal="≥ 75 % of the memory rate"),
    Row("prefill", "prefill, 1,024 tokens", 45, pytorch=True, goal="≥ 1.2 × PyTorch"),
    Row("hubert", "HuBERT-large, clips of 5 s", 45, pytorch=True, goal="≥ 1.2 × PyTorch"),
    Row("clip", "CLIP-L/336, 24 frames", 45, pytorch=True, goal="≥ 1.2 × PyTorch"),
    Row("render", "renderer, 256²", 60, goal="≥ 100 frames/s"),
    Row("motion", "DreamTalk, guided DDIM-10", 60),
    Row("speech", "StyleTTS2, 100 phonemes", 120, goal="≥ 100 × real time"),
    Row("reply", "a whole streamed reply", 150, goal="first sound ≤ 0.5 s"),
    Row("lora_dots", "LoRA step, 8 × 1,024, products kept", 90, fresh=True, pytorch=True, goal="≥ 1.2 × PyTorch"),
    Row("decode_1_int8", "decode, batch 1, int8", 60, goal="≥ 75 % of the memory rate"),
    Row("joint", "stage joint, 4 × 1,024", 75, fresh=True),
    Row("content", "stage content, 8 × 1,024", 60, fresh=True),
    Row("style", "stage style, 8 × 1,024", 60, fresh=True),
    Row("lora_int8", "LoRA step on an int8 base, 8 × 1,024", 60, fresh=True),
    Row("decode_8", "decode, batch 8", 60, pytorch=True),
    Row("decode_32", "decode, batch 32", 60, pytorch=True),
    Row("decode_8_int8", "decode, batch 8, int8", 60),
    Row("decode_32_int8", "decode, batch 32, int8", 60),
    Row("prefill_int8", "prefill, 1,024 tokens, int8", 45),
    Row("processes", "two processes equal one", 120),
)
