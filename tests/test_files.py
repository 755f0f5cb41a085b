"""Files: only regular ones are opened; what is written appears whole or not at all."""

from __future__ import annotations

import json
import os
import socket

import numpy as np
import pytest

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing, require_regular, write_json
from tests.full_disk import files_end_at


def make(kind, path):
    if kind == "a folder":
        path.mkdir()
    elif kind == "a named pipe (FIFO)":
        os.mkfifo(path)
    elif kind == "a device":
        path.symlink_to("/dev/zero")
    elif kind == "a link to a file that does not exist":
        path.symlink_to(path.with_name("gone"))
    elif kind == "a socket":
        socket.socket(socket.AF_UNIX).bind(str(path))
    elif kind == "empty (0 bytes)":
        path.touch()


@pytest.mark.parametrize(
    "kind",
    [
        "a folder",
        "a named pipe (FIFO)",
        "a device",
        "a link to a file that does not exist",
        "a socket",
        "empty (0 bytes)",
    ],
)
def test_what_is_no_regular_file_is_named_and_never_opened(tmp_path, kind):
    path = tmp_path / "talk.wav"
    make(kind, path)
    with pytest.raises(UserError, match="expected a sound file") as caught:
        require_regular(path, "a sound file")
    assert f"{path} is {kind}" in str(caught.value) and "\n" not in str(caught.value)


def test_names_that_no_file_system_holds_are_refused_in_one_line():
    for name in ("a\0b.wav", "x" * 5000, "no/such/folder/a.wav"):
        with pytest.raises(UserError) as caught:
            require_regular(name, "a sound file")
        assert "\n" not in str(caught.value)


def test_a_file_appears_whole_or_the_old_one_stays(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_json(path, {"b": "é"})
    assert path.read_text(encoding="utf-8") == '{\n "b": "é"\n}\n'
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError("interrupted")
    assert json.loads(path.read_text()) == {"b": "é"} and os.listdir(path.parent) == ["a.json"]


def test_a_file_name_that_is_no_utf8_can_be_listed_in_a_report(tmp_path):
    name = os.fsdecode(b"dia00001utt0_\xff.wav")
    write_json(tmp_path / "report.json", [name])
    assert json.loads((tmp_path / "report.json").read_text()) == [name]


def test_a_device_is_never_replaced_by_a_file(tmp_path):
    target = tmp_path / "null"
    target.symlink_to("/dev/null")
    with pytest.raises(UserError, match="is a device"), replacing(target):
        pass
    assert target.is_symlink()


def test_a_full_disk_is_one_line(tmp_path):
    with pytest.raises(UserError, match="No space left"), replacing(tmp_path / "a") as temporary:
        with open("/dev/full", "wb", buffering=0) as file:
            file.write(b"x" * 10)
        temporary.write_bytes(b"")


def write_with(save, place):
    with replacing(place) as path, open(path, "wb") as file:
        save(file, np.ones(5_000))


@pytest.mark.parametrize("save", [np.save, np.savez])
def test_arrays_on_a_full_disk_are_one_line_and_leave_nothing(tmp_path, save):
    with files_end_at(2_000), pytest.raises(UserError, match="x.npz cannot be written: ") as caught:
        write_with(save, tmp_path / "x.npz")
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())
