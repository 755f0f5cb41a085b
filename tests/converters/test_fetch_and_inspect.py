"""A download is pinned, checked and resumable; `inspect` says what a checkpoint is and what does not fit."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest

from converters import convert, fetch, inspect
from converters.fetch import FetchedFolder, Release, RemoteFile
from converters.formats.safetensors_writer import write_safetensors
from converters.parity.seeded import seeded_state_dict
from converters.registry import conversions
from empatheia_jax import weights
from empatheia_jax.errors import UserError

RELEASE = Release("tiny", "someone/tiny", "c0ffee", "albert", ("*.safetensors", "*.json"), "CC0")


@pytest.fixture
def fetched(tmp_path, shared):
    """A folder as an earlier fetch left it: a small PL-BERT."""
    folder = tmp_path / "earlier"
    folder.mkdir()
    vectors = shared / "parity" / "backbones"
    manifest = json.loads((vectors / "albert_plbert.manifest.json").read_text())
    write_safetensors(folder, seeded_state_dict(manifest).items(), manifest)
    (folder / "config.json").write_bytes((vectors / "albert_plbert.config.json").read_bytes())
    files = {
        p.name: {"size": p.stat().st_size, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in folder.iterdir()
    }
    record = {"repository": "someone/tiny", "revision": "c0ffee", "files": files}
    (folder / fetch.RECORD).write_text(json.dumps(record))
    return folder


def test_every_release_is_pinned_to_a_commit_and_can_be_converted():
    for release in fetch.RELEASES.values():
        assert release.source in conversions()
        assert len(release.revision) == 40 and int(release.revision, 16)


def test_a_fetch_brings_every_file_and_notes_its_hash(fetched, tmp_path):
    folder = fetch.fetch(RELEASE, tmp_path / "new", FetchedFolder(fetched))
    for name in ("model.safetensors", "config.json"):
        assert (folder / name).read_bytes() == (fetched / name).read_bytes()
    assert fetch.read_record(folder)["files"] == fetch.read_record(fetched)["files"]


def test_an_interrupted_fetch_continues_and_whole_files_are_not_fetched_again(fetched, tmp_path):
    whole = (fetched / "model.safetensors").read_bytes()
    folder = tmp_path / "new"

    class Counting(FetchedFolder):
        names: list[str] = []

        def download(self, release, name, target):
            self.names.append(name)
            super().download(release, name, target)

    folder.mkdir()
    (folder / "config.json").write_bytes((fetched / "config.json").read_bytes())
    (folder / "model.safetensors.partial").write_bytes(whole[:1000])
    with pytest.raises(UserError, match="ends a complete fetch"):
        fetch.read_record(folder)
    # the first part is not read again: what stands there is kept
    (fetched / "model.safetensors").write_bytes(b"\0" * 1000 + whole[1000:])
    fetch.fetch(RELEASE, folder, Counting(fetched))
    assert (folder / "model.safetensors").read_bytes() == whole
    assert Counting.names == ["model.safetensors"]


def test_a_damaged_file_is_refused_and_removed(fetched, tmp_path):
    data = bytearray((fetched / "model.safetensors").read_bytes())
    data[-1] ^= 1
    (fetched / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="arrived damaged"):
        fetch.fetch(RELEASE, tmp_path / "new", FetchedFolder(fetched))
    assert not (tmp_path / "new" / "model.safetensors").exists()
    assert not (tmp_path / "new" / fetch.RECORD).exists()


def test_another_revision_is_refused(fetched, tmp_path):
    record = json.loads((fetched / fetch.RECORD).read_text()) | {"revision": "deadbeef"}
    (fetched / fetch.RECORD).write_text(json.dumps(record))
    with pytest.raises(UserError, match="at deadbeef, expected someone/tiny at c0ffee"):
        fetch.fetch(RELEASE, tmp_path / "new", FetchedFolder(fetched))


def test_small_files_are_checked_by_their_git_hash(tmp_path):
    (tmp_path / "a").write_bytes(b"hello\n")
    right = "ce013625030ba8dba906f756967f9e9ca394464a"  # git hash-object of "hello\n"
    assert fetch._is_whole(tmp_path / "a", RemoteFile("a", 6, None, right))
    assert not fetch._is_whole(tmp_path / "a", RemoteFile("a", 6, None, "0" * 40))
    assert not fetch._is_whole(tmp_path / "a", RemoteFile("a", 6))


def test_the_command_fetches_and_converts(fetched, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(fetch.RELEASES, "tiny", RELEASE)
    monkeypatch.setenv("EMPATHEIA_WEIGHTS", str(tmp_path / "weights"))
    arguments = ["tiny", f"--output={tmp_path / 'new'}", f"--from={fetched}", "--convert"]
    assert fetch.main(arguments) == 0, capsys.readouterr().err
    assert inspect.main([str(tmp_path / "weights" / "tiny"), "--verify"]) == 0
    assert "weights folder of the kind 'albert'" in capsys.readouterr().out
    assert fetch.main(["nothing"]) == 2 and "known are vicuna-7b-v1.5" in capsys.readouterr().err


def test_inspect_says_what_a_release_is(fetched, capsys):
    assert inspect.main([str(fetched), "--keys"]) == 0
    printed = capsys.readouterr().out
    assert "albert, ALBERT and PL-BERT" in printed and "fits exactly" in printed
    assert "pooler.weight  float32[48, 48]" in printed


def test_inspect_lists_what_does_not_fit(fetched, capsys):
    config = json.loads((fetched / "config.json").read_text())
    (fetched / "config.json").write_text(json.dumps(config | {"intermediate_size": 81}))
    assert inspect.main([str(fetched)]) == 1
    assert "misshapen: encoder.albert_layer_groups.0.albert_layers.0.ffn.bias: found (80,), expected (81,)" in (
        capsys.readouterr().out
    )


def test_inspect_finds_a_damaged_weights_folder(fetched, tmp_path, capsys):
    assert convert.main([f"--input={fetched}", f"--output={tmp_path / 'w'}"]) == 0
    description = json.loads((tmp_path / "w" / "config.json").read_text())
    description["params"]["pooler.bias"]["sha256"] = "0" * 64
    (tmp_path / "w" / "config.json").write_text(json.dumps(description))
    assert inspect.main([str(tmp_path / "w"), "--verify"]) == 2
    assert "the SHA-256 of config.json differs from SHA256SUMS" in capsys.readouterr().err
    weights.seal(tmp_path / "w")
    assert inspect.main([str(tmp_path / "w"), "--verify"]) == 2
    assert "the SHA-256 differs of pooler.bias" in capsys.readouterr().err


def test_inspect_of_what_is_nothing(tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=np.ones(1))
    assert inspect.main([str(tmp_path / "x.npz")]) == 2
    assert "looks like nothing" in capsys.readouterr().err
