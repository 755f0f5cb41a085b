"""The flags of `launch.py` beside `--config`."""

from __future__ import annotations

from collections.abc import Mapping

from absl import flags

from empatheia_jax.errors import UserError

MODES = ("train", "check", "extract", "reply", "chat", "serve", "evaluate", "export", "preflight")
ASKED: Mapping[str, str] = {
    "text": "what you say",
    "speech": "a recording of what you say, in any sound format; it is transcribed if you give no text",
    "video": "a film of your face while you say it",
    "profile": 'who answers: an age, a gender and a tone, for example "elderly male gentle"',
    "voice": "the voice that answers: a name of the voice table, a mixture (a:0.7+b:0.3), or a recording of a person",
    "portrait": "the face that answers: a photograph of one person, taken from the front",
    "emotion": "what face and voice express: happy, surprised, angry, fear, sad, disgusted, contempt, neutral",
    "history": "what was said before: a file with an utterance in each line, yours first, or a dialogue in JSON",
}
"""What a person asks: the names of flags, and of commands in a chat (`dialogue.asking`)."""


_TALKS = ("reply", "chat", "serve")
USED_BY: Mapping[str, tuple[str, ...]] = {
    "input": ("train", "check", "reply", "evaluate"),
    "output": (*_TALKS, "evaluate", "export"),
    "parts": ("export",),
    "modalities": ("reply",),
    "withhold": ("reply",),
    "rows": ("evaluate",),
    "folders": ("evaluate",),
    "limit": ("reply", "evaluate"),
    **dict.fromkeys(ASKED, ("reply", "chat")),
    **dict.fromkeys(("bind", "token", "origins", "names"), ("serve",)),
    **dict.fromkeys(("texts", "locale", "marks"), _TALKS),
    "target": ("preflight",),
    "json": ("preflight",),
    "verify": ("extract",),
}
"""Which modes a flag is for; `--config`, `--mode` and `--workdir` are for all."""


_MAY_BE_EMPTY = ("text", "withhold", "origins", "names")
"""Flags of which nothing at all is a value; in the others it is mostly a variable of the shell that is not set."""


def require_used(values: flags.FlagValues) -> None:
    """Raises `UserError` with a line for each flag that was given and that the mode would take no notice of.

    That a flag is empty is said, too: `--speech=$FILE` without `FILE` would answer as if no recording had been given, and
    `--token=$TOKEN` would open the port to all.
    """
    idle = [name for name, modes in USED_BY.items() if values[name].present and values.mode not in modes]
    if idle:
        raise UserError.of(
            [
                f"--{name} is not for --mode={values.mode}; expected it with {' or '.join(USED_BY[name])}"
                for name in idle
            ]
        )
    empty = [name for name in USED_BY if values[name].value == "" and name not in _MAY_BE_EMPTY]
    if empty:
        raise UserError.of(
            [
                f"--{name} is empty; leave it out, or give it a value (is a variable of the shell not set?)"
                for name in empty
            ]
        )


def define(values: flags.FlagValues) -> None:
    """Adds the flags to `values`."""

    def text(name: str, default: str | None, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    flags.DEFINE_enum("mode", "train", MODES, "What to do.", flag_values=values)
    text("workdir", None, "The run's folder; runs/<name of the config> by default.")
    text(
        "input",
        None,
        "reply: a dialogue in the JSON form of AvaMERG, or a split (train, valid or test); with --modalities=text also a file of "
        "many dialogues. evaluate: a split, or the folder of another data set. train: the dialogue that is answered at the end, "
        "for the report.",
    )
    text(
        "output",
        None,
        "reply, chat: the folder for reply.json, reply.wav and reply.mp4, or for replies.jsonl; serve: the folder for sessions; "
        "export: the folder of the release.",
    )
    text(
        "parts",
        None,
        "export: which of merged,base_with_tokens,gguf,speech,face to write; by default all that licences allow.",
    )
    flags.DEFINE_enum(
        "modalities",
        "text,speech,video",
        ("text", "text,speech,video"),
        "reply: with text, every turn of --input is answered in text alone, many at once.",
        flag_values=values,
    )
    text("withhold", "", "reply to a split: which of text, speech and video the model does not get.")
    text(
        "rows",
        None,
        "evaluate: rows of the tables, with commas between them; by default all that need no other backbone.",
    )
    text("folders", None, "evaluate: more folders of replies, ROW=FOLDER,ROW=FOLDER.")
    flags.DEFINE_integer("limit", None, "reply to many turns: answer only the first ones.", 1, flag_values=values)
    for name, what in ASKED.items():
        text(name, None, f"reply, chat: {what}.")
    text("bind", "127.0.0.1:8080", "serve: the address and port; an address that other machines reach needs --token.")
    text("token", None, "serve: the secret that clients must send; safer in the environment variable EMPATHEIA_TOKEN.")
    text("origins", "", "serve: other web sites whose pages may call it, for example https://lab.example,https://…")
    text("names", "", "serve: host names under which clients may call it, besides localhost and IP addresses.")
    text(
        "texts",
        None,
        "reply, chat, serve: the texts that are said in a crisis; by default empatheia_jax/care/texts.toml.",
    )
    text(
        "locale",
        "en",
        "reply, chat, serve: where the users are, for example en-GB: which emergency numbers are given.",
    )
    flags.DEFINE_bool("marks", True, "reply, chat, serve: mark sounds and sign files as generated.", flag_values=values)
    text("target", "a100-80gb:1", "preflight: the hardware to plan for, for example v5e:4x4.")
    text("json", None, "preflight: also write the result to this file.")
    flags.DEFINE_bool(
        "verify",
        False,
        "extract: read again what seems unchanged, too.",
        flag_values=values,
    )
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
