"""A signed file says that it was generated, and every change is found."""

from __future__ import annotations

import random

import numpy as np
import pytest

from empatheia_jax.dialogue import verify
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import write_wav
from empatheia_jax.media.video_writer import VideoWriter
from empatheia_jax.provenance import certificate, manifest


@pytest.fixture(scope="module")
def signed(tmp_path_factory):
    """{ending: a signed file}."""
    folder = tmp_path_factory.mktemp("signed")
    sound = (0.1 * np.sin(np.arange(12_000) / 20)).astype(np.float32)
    write_wav(folder / "reply.wav", sound, 24_000)
    with VideoWriter(folder / "reply.mp4", 25, (32, 32), sound, 24_000) as video:
        video.write(np.zeros((12, 32, 32, 3), np.uint8))
    for ending in manifest.TYPES:
        assert manifest.read(folder / f"reply{ending}").state == "absent"
        manifest.sign(folder / f"reply{ending}", {"run": "0123abcd"})
    return {ending: folder / f"reply{ending}" for ending in manifest.TYPES}


@pytest.mark.parametrize("ending", manifest.TYPES)
def test_a_signed_file_says_that_a_model_made_it_and_that_nobody_vouches_for_the_name(signed, ending):
    found = manifest.read(signed[ending])
    assert (found.state, found.trusted, found.generated) == ("intact", False, True)
    assert found.signer == certificate.NAME and found.facts == {"run": "0123abcd"}


@pytest.mark.parametrize("ending", manifest.TYPES)
def test_a_flipped_byte_is_found(signed, ending, tmp_path):
    content, path, rng = signed[ending].read_bytes(), tmp_path / f"changed{ending}", random.Random(0)
    missed = []
    for place in rng.sample(range(len(content)), 60):
        changed = bytearray(content)
        changed[place] ^= 0xFF
        path.write_bytes(changed)
        if manifest.read(path).state != "changed":
            missed.append(place)
    assert missed == []


@pytest.mark.parametrize("mask", [0xFF, 0x01, 0x20])
@pytest.mark.parametrize("ending", manifest.TYPES)
def test_a_change_of_what_no_signature_covers_is_found(signed, ending, mask, tmp_path):
    """C2PA itself reads past these: names and lengths of the boxes of the statement, and what is beside its signature."""
    content, path = signed[ending].read_bytes(), tmp_path / f"changed{ending}"
    begin, last = content.index(b"jumb") - 4, content.rindex(b"c2pa.signature")
    beside = content.index(b"\xa2\x63pad", last)
    seal = content.index(b"org.empatheia.sha256", beside)
    places = [
        *range(begin, begin + 60),
        *range(last - 40, last + 24),
        *range(beside, beside + 12),
        *range(seal - 2, seal + 60),
    ]
    missed = []
    for place in places:
        changed = bytearray(content)
        changed[place] ^= mask
        path.write_bytes(changed)
        if manifest.read(path).state != "changed":
            missed.append(place - begin)
    assert missed == []


def test_what_somebody_else_signed_is_judged_by_c2pa_alone(signed, tmp_path, monkeypatch):
    path = tmp_path / "theirs.wav"
    write_wav(path, np.zeros(4_000, np.float32), 24_000)
    monkeypatch.setattr(manifest, "FACTS", "com.example.facts")
    monkeypatch.setattr(manifest, "_sealed", lambda content: content)
    manifest.sign(path)
    monkeypatch.undo()
    assert manifest.read(path).state == "intact"
    content = bytearray(path.read_bytes())
    content[2_000] ^= 1
    path.write_bytes(content)
    assert manifest.read(path).state == "changed"


def test_the_certificate_is_made_once_and_its_key_is_for_this_user_alone(signed):
    assert certificate.chain_and_key() == certificate.chain_and_key()
    assert (certificate.folder() / certificate.KEY).stat().st_mode & 0o077 == 0


def test_the_command_says_what_it_found(signed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert verify.main([str(signed[".wav"])]) == 0
    told = capsys.readouterr().out
    assert "every byte is as it was signed" in told and "untrusted" in told and "run: 0123abcd" in told
    changed = tmp_path / "changed.wav"
    content = bytearray(signed[".wav"].read_bytes())
    content[5_000] ^= 1
    changed.write_bytes(content)
    assert verify.main([str(changed)]) == 1 and "CHANGED" in capsys.readouterr().out


def test_what_cannot_carry_a_manifest_is_one_line(tmp_path):
    path = tmp_path / "reply.txt"
    path.write_text("x")
    with pytest.raises(UserError, match="no .mp4 or .wav"):
        manifest.sign(path)
