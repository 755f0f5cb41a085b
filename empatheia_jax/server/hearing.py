"""What is said in recordings: transcribed where a recogniser is installed (the extra `transcribe`).

The words are the text of a request that has none. They are checked for a crisis in any case.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from empatheia_jax.errors import UserError
from empatheia_jax.media import transcription
from empatheia_jax.media.audio import read_audio
from empatheia_jax.server.uploads import LONGEST, Upload

NOT_HEARD = (
    "What is said in a recording is not transcribed here, so it is not checked for a crisis. Please write it, too."
)
NOTE = f"what is said in recordings is not transcribed, and so not checked for a crisis; run: {transcription.INSTALL}"
_one = threading.Lock()
"""A recogniser takes all processors: one recording at a time."""


def is_deaf() -> bool:
    """Whether nothing is transcribed here."""
    return not transcription.is_installed()


def words(uploads: Iterable[Upload]) -> str:
    """The words of recordings, in order; "" where nobody speaks, where a sound is damaged, or where nothing is transcribed."""
    if is_deaf():
        return ""
    heard = []
    for upload in uploads:
        if upload.speech is None:
            continue
        try:
            sound = read_audio(upload.speech, transcription.RATE, max_seconds=LONGEST)
        except UserError:  # the model will say so, in words that name the recording
            continue
        with _one:
            heard.append(transcription.words(sound))
    return " ".join(filter(None, heard))
