"""Damaged sound, films, pictures, motion, dialogues and caches: the original's result, what the file now says, or one line."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pytest
import scipy.io
import soundfile
from hypothesis import strategies as st

from data_pipeline import toy
from data_pipeline.cache import FeatureCache
from empatheia_jax.conversation import schema
from empatheia_jax.media.image import png_bytes
from tests.fuzz import media_readers
from tests.fuzz.damage import check, damaged
from tests.fuzz.sandbox import Sandbox, digest
from tests.media.hostile import film, wav


@pytest.fixture(scope="module")
def call():
    """Calls a reader by its name in a process of its own: `call("sound", path)`."""
    with Sandbox("tests.fuzz.media_readers:read") as sandbox:
        yield lambda reader, path: sandbox.call(f"{reader}:{path}")


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def test_damaged_sound_is_what_the_file_says_or_one_line(call, room):
    original = wav(room / "a.wav", 0.3, channels=2).read_bytes()
    path = room / "b.wav"

    def claim(copy):
        path.write_bytes(copy.data)
        outcome = call("sound", path)
        if outcome.refusal is None:
            assert outcome.shape["dtype"] == "float32" and outcome.shape["finite"]
            assert len(outcome.shape["shape"]) == 1
        if copy.data[:44] == original[:44] and len(copy.data) == len(original):
            samples = soundfile.read(io.BytesIO(copy.data), dtype="float32", always_2d=True)[0]
            assert outcome.digest == digest(samples.T.mean(axis=0, dtype=np.float32))

    check(claim, damaged(original, head=44 / len(original)), examples=300)


@pytest.mark.parametrize("kind", ["flac", "ogg", "mp3", "aiff"])
def test_damaged_compressed_sound_is_finite_or_one_line(call, room, kind):
    tone = 0.3 * np.sin(np.arange(8000) * 0.1)
    soundfile.write(room / f"a.{kind}", tone, 16_000, format=kind.upper())
    original, path = (room / f"a.{kind}").read_bytes(), room / f"b.{kind}"

    def claim(copy):
        path.write_bytes(copy.data)
        outcome = call("sound", path)
        assert outcome.refusal or (outcome.shape["finite"] and len(outcome.shape["shape"]) == 1)

    check(claim, damaged(original, head=0.1), examples=100)


def test_a_damaged_film_is_a_film_or_one_line(call, room):
    original = film(room / "a.mp4", 12, 48, 64).read_bytes()
    path = room / "b.mp4"

    def claim(copy):
        path.write_bytes(copy.data)
        outcome = call("film", path)
        assert outcome.refusal or (outcome.shape["dtype"], outcome.shape["shape"][0]) == ("uint8", 6)

    check(claim, damaged(original), examples=300)


def test_a_damaged_png_is_the_same_picture_or_one_line(call, room):
    original = png_bytes(np.random.default_rng(0).integers(0, 255, (24, 32, 3), np.uint8))
    path = room / "a.png"
    path.write_bytes(original)
    expected = call("picture", path).digest

    def claim(copy):
        path.write_bytes(copy.data)
        outcome = call("picture", path)
        assert outcome.refusal or outcome.digest == expected

    check(claim, damaged(original, head=0.05), examples=400)


@pytest.mark.parametrize("ending", [".npy", ".npz", ".mat"])
def test_damaged_motion_is_a_table_or_one_line(call, room, ending):
    track = np.random.default_rng(0).standard_normal((6, 257)).astype(np.float32)
    path = room / f"a{ending}"
    if ending == ".mat":
        content = {"coeff": track, "transform_params": np.zeros((6, 5), np.float32)}
        scipy.io.savemat(path, content, do_compression=True)
    else:
        (np.save if ending == ".npy" else np.savez_compressed)(path, track)
    original = path.read_bytes()
    expected = call("expression", path)

    def claim(copy):
        path.write_bytes(copy.data)
        outcome = call("expression", path)
        if outcome.refusal is None:
            assert outcome.shape["finite"] and outcome.shape["shape"][1] == 64
            assert outcome.digest == expected.digest or ending != ".npz"  # only a zip has checksums of its arrays

    check(claim, damaged(original, head=0.05), examples=150)


def test_a_damaged_file_of_dialogues_is_dialogues_or_one_line(call, room):
    values = [schema.conversation_to_json(each) for each in toy.conversations("valid", 1)]
    original, path = json.dumps(values, ensure_ascii=False, indent=1).encode(), room / "a.json"
    words = [
        b'"',
        b"{",
        b"[",
        b"]",
        b"}",
        b",",
        b"null",
        b"-1",
        b"1e999",
        b"NaN",
        b"\\ud800",
        b"\xff",
        b'""',
        b"true",
        b"[" * 5000,
    ]
    spliced = st.builds(
        lambda at, cut, word: original[: int(at * len(original))] + word + original[int(at * len(original)) + cut :],
        st.floats(0, 1),
        st.integers(0, 40),
        st.sampled_from([*words, b"9" * 5000, b"[" * 100_000]),
    )

    def claim(copy):
        path.write_bytes(copy)
        call("dialogues", path)

    check(claim, st.one_of(damaged(original).map(lambda copy: copy.data), spliced), examples=400)


def test_a_damaged_cache_never_gives_other_numbers(call, room):
    root = room / "cache"
    cache = FeatureCache(root, "speech", media_readers.FINGERPRINT)
    rng = np.random.default_rng(0)
    entries = [(f"{n:064x}", {"speech": rng.standard_normal((4, 6)).astype(np.float32)}, {}) for n in range(12)]
    cache.append(entries[:8])
    cache.append(entries[8:])
    (root / "keys.json").write_text(json.dumps([key for key, _, _ in entries]))
    expected = {key: digest(arrays) for key, arrays, _ in entries}
    files = {path.relative_to(root): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    damage = st.one_of(
        *(
            damaged(content, head=0.02).map(lambda copy, name=name: (name, copy))
            for name, content in files.items()
            if name.name != "keys.json"
        )
    )
    assert call("features", root).shape == expected

    def claim(change):
        shutil.rmtree(root)
        for name, content in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(change[1].data if name == change[0] else content)
        outcome = call("features", root)
        assert outcome.refusal or outcome.shape.items() <= expected.items()

    check(claim, damage, examples=300)
