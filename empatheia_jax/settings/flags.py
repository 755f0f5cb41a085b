"""The flags of `launch.py` beside `--config`."""

from __future__ import annotations

from absl import flags

MODES = ("train", "check", "extract", "reply", "chat", "preflight")
LATER = ("evaluate", "serve", "export")
"""Modes that do not exist yet; they are named so that the refusal can say so."""


def define(values: flags.FlagValues) -> None:
    """Adds the flags to `values`."""

    def text(name: str, default: str | None, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    flags.DEFINE_enum("mode", "train", MODES + LATER, "What to do.", flag_values=values)
    text("workdir", None, "The run's folder; runs/<name of the config> by default.")
    text(
        "input",
        None,
        "reply: a dialogue in the released AvaMERG layout (JSON), or train, valid, test; with --modalities=text a file of many.",
    )
    text("output", None, "reply, chat: folder for reply.json, reply.wav, reply.mp4, or replies.jsonl.")
    flags.DEFINE_enum(
        "modalities",
        "text,speech,video",
        ("text", "text,speech,video"),
        "reply: text alone answers every turn of --input, many at once.",
        flag_values=values,
    )
    flags.DEFINE_integer("limit", None, "reply to many: the first turns only.", 1, flag_values=values)
    text("target", "a100-80gb:1", "preflight: hardware, for example v5e:4x4.")
    text("json", None, "preflight: also write the result to this file.")
    flags.DEFINE_bool("verify", False, "extract: read all recordings and records again.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
