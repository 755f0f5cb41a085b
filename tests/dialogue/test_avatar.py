"""The Python interface: a run answers in three modalities, and the example notebook runs as it is printed."""

from __future__ import annotations

import json

import numpy as np
import pytest

from configs import debug
from empatheia_jax import Empatheia
from empatheia_jax.conversation.schema import Profile
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from tests.conftest import ROOT
from tests.runs import folders


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    config = debug.get_config()
    config.decoding.max_new_tokens = 24
    return folders.untrained(resolve(config), tmp_path_factory.mktemp("run")).folder


def test_the_example_notebook_runs_from_top_to_bottom(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("EMPATHEIA_RUN", str(run))
    monkeypatch.chdir(tmp_path)
    book = json.loads((ROOT / "examples" / "first_reply.ipynb").read_text())
    names: dict = {}
    for cell in book["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    assert "['reply.json', 'reply.mp4', 'reply.wav']" in capsys.readouterr().out
    reply = names["reply"]
    assert reply.text and reply.profile.ids == (3, 0, 2)
    assert reply.speech.dtype == np.float32 and abs(len(reply.frames) / 25 - len(reply.speech) / reply.rate) <= 0.04
    shown = reply._repr_html_()
    assert "<video" in shown and "data:video/mp4;base64," in shown

    # A profile that nobody knows, no words and half an exchange are one line each.
    avatar = names["avatar"]
    for arguments, message in (
        ({"text": " "}, "no words"),
        ({"text": "Hello.", "history": ["one"]}, "even number"),
        ({"text": "Hello.", "profile": "old man"}, "an age, a gender and a tone"),
    ):
        with pytest.raises(UserError, match=message):
            avatar.reply(**arguments)


def test_a_folder_that_is_no_run_is_one_line(tmp_path):
    with pytest.raises(UserError, match="is no run"):
        Empatheia.from_run(tmp_path)


@pytest.mark.parametrize("text", ["elderly male gentle", "gentle, male, elderly", "Elderly Male low"])
def test_a_profile_is_read_from_words_in_any_order(text):
    assert Profile.parse(text).ids == (3, 0, 2)


@pytest.mark.parametrize(
    "text", ["", "elderly male", "elderly male female gentle", "elderly elderly gentle", "old male low"]
)
def test_other_words_are_no_profile(text):
    with pytest.raises(UserError, match="expected an age, a gender and a tone"):
        Profile.parse(text)
