"""The flags of `launch.py` beside `--config`."""

from __future__ import annotations

from collections.abc import Mapping

from absl import flags

MODES = ("train", "check", "extract", "reply", "chat", "serve", "evaluate", "export", "preflight")
ASKED: Mapping[str, str] = {
    "text": "what you say",
    "speech": "a recording of it: any sound file; without words, it is transcribed",
    "video": "a film of your face while you say it",
    "profile": 'who answers: an age, a gender and a tone, for example "elderly male gentle"',
    "voice": "the voice that answers: a name of the voice table, a mixture (a:0.7+b:0.3), or a recording of a person",
    "portrait": "the face that answers: a photograph of one person, seen from the front",
    "emotion": "what face and voice show: happy, surprised, angry, fear, sad, disgusted, contempt, neutral",
    "history": "what was said before: a file with an utterance in each line, yours first, or a dialogue in JSON",
}
"""What a person asks: the names of flags, and of commands in a chat (`dialogue.asking`)."""


def define(values: flags.FlagValues) -> None:
    """Adds the flags to `values`."""

    def text(name: str, default: str | None, told: str) -> None:
        flags.DEFINE_string(name, default, told, flag_values=values)

    flags.DEFINE_enum("mode", "train", MODES, "What to do.", flag_values=values)
    text("workdir", None, "The run's folder; runs/<name of the config> by default.")
    text(
        "input",
        None,
        "reply: a dialogue as AvaMERG has it (JSON), or train, valid, test; with --modalities=text a file of many. evaluate: a "
        "split, or the folder of another data set. train: the dialogue that is answered at the end, for the report.",
    )
    text(
        "output",
        None,
        "reply, chat: folder for reply.json, reply.wav, reply.mp4, or replies.jsonl; serve: for sessions; export: the release.",
    )
    text("parts", None, "export: of merged,base_with_tokens,gguf,speech,face; all that licences allow by default.")
    flags.DEFINE_enum(
        "modalities",
        "text,speech,video",
        ("text", "text,speech,video"),
        "reply: text alone answers every turn of --input, many at once.",
        flag_values=values,
    )
    text("withhold", "", "reply to a split: inputs that the model does not get, of text, speech and video.")
    text(
        "rows",
        None,
        "evaluate: rows of the tables, with commas between them; all that need no other backbone by default.",
    )
    text("folders", None, "evaluate: further folders of replies, ROW=FOLDER,ROW=FOLDER.")
    flags.DEFINE_integer("limit", None, "reply to many: the first turns only.", 1, flag_values=values)
    for name, what in ASKED.items():
        text(name, None, f"reply, chat: {what}.")
    text("bind", "127.0.0.1:8080", "serve: the address and port; any but this machine's own needs --token.")
    text("token", None, "serve: what clients have to show; better in the variable EMPATHEIA_TOKEN.")
    text("origins", "", "serve: pages of other servers that may call it, for example https://lab.example,https://…")
    text("names", "", "serve: host names under which it may be called, beside addresses.")
    text(
        "texts",
        None,
        "reply, chat, serve: what is said in a crisis, a file as empatheia_jax/care/texts.toml; that one by default.",
    )
    text("locale", "en", "reply, chat, serve: where the users are, en-GB say: whose emergency numbers are said.")
    flags.DEFINE_bool("marks", True, "reply, chat, serve: mark sounds and sign files as generated.", flag_values=values)
    text("target", "a100-80gb:1", "preflight: hardware, for example v5e:4x4.")
    text("json", None, "preflight: also write the result to this file.")
    flags.DEFINE_bool("verify", False, "extract: read all recordings and records again.", flag_values=values)
    flags.DEFINE_bool("help", False, "Show this help.", short_name="h", flag_values=values)
