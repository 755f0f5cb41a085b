"""Features are computed once, survive a kill, and are never taken for those of another recording or other weights."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest

from configs import debug
from data_pipeline import extract as extraction
from data_pipeline import loader, records
from data_pipeline.cache import PART, ContentHashes, FeatureCache, clip_key, folder_of, state_of
from data_pipeline.features import CachedFeatures
from data_pipeline.fill_cache import extract
from data_pipeline.layout import Clip, Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.errors import UserError
from empatheia_jax.settings import resolve
from empatheia_jax.tokens import SLOTS
from tests.data_pipeline.trees import small_tree
from tests.data_pipeline.words import Words


def clips(count):
    return [Clip("00001", n, "speaker", f"words {n}", None, None) for n in range(count)]


def numbers(clip):
    return np.full((2, 3), len(clip.text) + clip.index, np.float32)


class Counting:
    feature, fingerprint, roles, batch = "speech", "a" * 64, ("speaker",), 4

    def __init__(self, stop_after=None, bad=()):
        self.seen, self.stop_after, self.bad = [], stop_after, bad

    def __call__(self, some):
        if self.stop_after is not None and len(self.seen) >= self.stop_after:
            raise KeyboardInterrupt
        for clip in some:
            if clip.index in self.bad:
                raise UserError(f"utterance {clip.index} is only noise")
        self.seen += [clip.index for clip in some]
        return [{"speech": numbers(clip)} for clip in some]


def run(root, extractor, some, quarantine=None, **hosts):
    cache = FeatureCache(root, extractor.feature, extractor.fingerprint)
    return extract(some, extractor, cache, ContentHashes(), quarantine or Quarantine(1.0), **hosts), cache


def test_arrays_survive_the_record():
    import ml_dtypes

    arrays = {
        "a": np.arange(6, dtype=np.int32).reshape(2, 3),
        "b": np.float32(2.5),
        "c": np.zeros((0, 4), np.float16),
        "d": np.ones(3, ml_dtypes.bfloat16),
    }
    found, note = records.unpack(records.pack(arrays, {"id": "ü"}))
    assert note == {"id": "ü"}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == np.asarray(array).dtype and found[name].shape == np.shape(array)
    with pytest.raises(ValueError, match="checksum"):
        records.unpack(records.pack(arrays, {})[:-2])
    with pytest.raises(ValueError, match="not a record"):
        records.unpack(b"something else")


def test_nothing_is_computed_twice_and_a_kill_costs_at_most_one_part(tmp_path):
    some = clips(3 * PART + 10)
    killed = Counting(stop_after=2 * PART + 20)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, killed, some)
    folder = folder_of(tmp_path, Counting.feature, Counting.fingerprint)
    assert state_of(folder) == "unfinished"
    again = Counting()
    added, cache = run(tmp_path, again, some)
    assert state_of(folder) == "filled"
    assert len(cache) == len(some) and added == len(again.seen) <= len(some) - 2 * PART
    for clip in some:
        key = clip_key(clip, Counting.fingerprint, ContentHashes())
        np.testing.assert_array_equal(cache.read(key)["speech"], numbers(clip))
    assert run(tmp_path, Counting(), some)[0] == 0


def test_an_extraction_is_unfinished_until_every_host_of_it_has_ended(tmp_path):
    folder = folder_of(tmp_path, Counting.feature, Counting.fingerprint)
    assert state_of(folder) == "empty"
    run(tmp_path, Counting(), clips(20), host=0, hosts=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Counting(stop_after=4), clips(20), host=1, hosts=2)
    assert state_of(folder) == "unfinished"
    run(tmp_path, Counting(), clips(20))  # one host alone goes on with what two began
    assert state_of(folder) == "filled"


def test_a_half_written_part_does_not_exist(tmp_path):
    _, cache = run(tmp_path, Counting(), clips(10))
    (cache.folder / "part-h000-00001.arrayrecord").write_bytes(b"half")
    assert len(FeatureCache(tmp_path, "speech", Counting.fingerprint)) == 10
    added, cache = run(tmp_path, Counting(), clips(12))
    assert added == 2 and len(cache) == 12


def keys_of(some):
    return [clip_key(clip, Counting.fingerprint, ContentHashes()) for clip in some]


def everything(root, some):
    """What the cache says of all clips."""
    cache = FeatureCache(root, Counting.feature, Counting.fingerprint)
    return [cache.read(key)["speech"] for key in keys_of(some)]


@pytest.mark.parametrize("part", [0, 1, 2])
@pytest.mark.parametrize(
    "damage", ["cut", "flipped", "file gone", "index gone", "both gone", "index cut", "index of others"]
)
def test_a_damaged_part_is_made_anew_and_nothing_else_is_touched(tmp_path, damage, part):
    some = clips(2 * PART + 10)
    _, cache = run(tmp_path, Counting(), some)
    expected = everything(tmp_path, some)
    before = {path: path.read_bytes() for path in cache.folder.iterdir()}
    path = sorted(cache.folder.glob("*.arrayrecord"))[part]
    index = path.with_suffix(".json")
    blob, known = path.read_bytes(), json.loads(index.read_text())
    content = [place for place, byte in enumerate(blob) if byte]  # the rest is padding, whose bits do not matter
    body = content[len(content) // 2]
    {
        "cut": lambda: path.write_bytes(blob[: len(blob) // 2]),
        "flipped": lambda: path.write_bytes(blob[:body] + bytes([blob[body] ^ 4]) + blob[body + 1 :]),
        "file gone": path.unlink,
        "index gone": index.unlink,
        "both gone": lambda: (path.unlink(), index.unlink()),
        "index cut": lambda: index.write_text(index.read_text()[:100]),
        "index of others": lambda: index.write_text(json.dumps(known | {"keys": known["keys"][::-1]})),
    }[damage]()
    if damage == "index of others":
        assert run(tmp_path, Counting(), some)[0] == 0  # the file did not change: this one needs to be looked for
        with pytest.raises(UserError, match="--verify"):
            everything(tmp_path, some)
    again = Counting()
    added, _ = run(tmp_path, again, some, verify=True)
    lost = 0 if damage in ("index gone", "index cut") else len(known["keys"])
    assert added == lost == len(again.seen)
    np.testing.assert_array_equal(everything(tmp_path, some), expected)
    for other, content in before.items():
        if other.stem not in (path.stem, "about"):
            assert other.read_bytes() == content
    assert run(tmp_path, Counting(), some)[0] == 0


def test_a_flipped_bit_of_a_record_is_never_read_as_other_numbers(tmp_path):
    some = clips(4)
    _, cache = run(tmp_path, Counting(), some)
    path = cache.folder / "part-h000-00000.arrayrecord"
    blob, expected = path.read_bytes(), everything(tmp_path, some)
    read = 0
    for place in np.random.default_rng(0).integers(len(blob), size=100):
        path.write_bytes(blob[:place] + bytes([blob[place] ^ 1 << place % 8]) + blob[place + 1 :])
        try:
            np.testing.assert_array_equal(everything(tmp_path, some), expected)
            read += 1
        except UserError as error:
            assert "\n" not in str(error) and "--mode=extract" in str(error)
    assert read < 100


def test_a_recording_that_changed_with_equal_size_and_time_is_another_one(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"one sound")
    hashes = ContentHashes(tmp_path / "hashes.json")
    first, stat = hashes(path), path.stat()
    hashes.save()
    assert ContentHashes(tmp_path / "hashes.json")(path) == first
    path.write_bytes(b"two sound")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert ContentHashes(tmp_path / "hashes.json")(path) != first
    known = json.loads((tmp_path / "hashes.json").read_text())
    known[str(path)][:-1] = [getattr(path.stat(), name) for name in ("st_size", "st_mtime_ns", "st_ctime_ns", "st_ino")]
    (tmp_path / "hashes.json").write_text(json.dumps(known))  # as a file system that keeps no times would have it
    assert ContentHashes(tmp_path / "hashes.json")(path) == first
    assert ContentHashes(tmp_path / "hashes.json", verify=True)(path) != first


@pytest.mark.parametrize("number", ["Infinity", "NaN", "1e400", '"1"', "[]"])
def test_an_index_whose_numbers_are_none_is_written_anew(tmp_path, number):
    _, cache = run(tmp_path, Counting(), clips(4))
    index = cache.folder / "part-h000-00000.json"
    good = json.loads(index.read_text())
    index.write_text(json.dumps(good).replace(str(good["changed"]), number))
    (cache.folder / "unfinished-h000 (copy)").touch()
    os.mkfifo(cache.folder / "part-h000-00001.json")
    assert run(tmp_path, Counting(), clips(4))[0] == 0
    assert json.loads(index.read_text()) == good and state_of(cache.folder) == "filled"


@pytest.mark.parametrize(
    "name",
    [
        *("part-h000-00000.arrayrecord", "part-h000-00000.json", "about.json", "unfinished-h000", "unfinished-h001"),
        *("part-h000-00007.arrayrecord", "part-h001-00000.arrayrecord", ".part-h000-00001-x.arrayrecord"),
    ],
)
def test_a_folder_or_a_pipe_in_place_of_a_file_of_a_cache_is_removed_where_that_loses_nothing(tmp_path, name):
    some = clips(PART + 10)
    run(tmp_path, Counting(), some)
    path = folder_of(tmp_path, Counting.feature, Counting.fingerprint) / name
    for make in (os.mkfifo, os.mkdir):
        path.unlink(missing_ok=True)
        make(path)
        _, cache = run(tmp_path, Counting(), some)
        for clip in some:
            key = clip_key(clip, Counting.fingerprint, ContentHashes())
            np.testing.assert_array_equal(cache.read(key)["speech"], numbers(clip))
        assert run(tmp_path, Counting(), some)[0] == 0
    path.unlink(missing_ok=True)
    path.mkdir()
    (path / "notes").write_text("mine")
    with pytest.raises(UserError, match=f"{name} is a folder that holds something; .*; move it away"):
        run(tmp_path, Counting(), some)
    assert (path / "notes").read_text() == "mine"


def test_what_a_damaged_record_advises_makes_it_anew(tmp_path):
    """A disk that changes bits changes no time: only `--verify` looks."""
    _, cache = run(tmp_path, Counting(), clips(4))
    path, expected = cache.folder / "part-h000-00000.arrayrecord", everything(tmp_path, clips(4))
    stat, blob = path.stat(), bytearray(path.read_bytes())
    content = [place for place, byte in enumerate(blob) if byte]  # the rest is padding
    blob[content[len(content) // 2]] ^= 4
    path.write_bytes(blob)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    with pytest.raises(UserError, match="is damaged at record.*run --mode=extract --verify"):
        everything(tmp_path, clips(4))
    assert run(tmp_path, Counting(), clips(4))[0] == 0
    assert run(tmp_path, Counting(), clips(4), verify=True)[0] == 4
    np.testing.assert_array_equal(everything(tmp_path, clips(4)), expected)


@pytest.mark.parametrize("content", ["", "[", "[1]", '{"a": 1, "b": [], "c": null}', "[" * 100_000, "\0"])
def test_a_broken_memory_of_hashes_is_an_empty_one(tmp_path, content):
    (tmp_path / "hashes.json").write_text(content)
    (tmp_path / "a.wav").write_bytes(b"sound")
    hashes = ContentHashes(tmp_path / "hashes.json")
    assert hashes(tmp_path / "a.wav") == ContentHashes()(tmp_path / "a.wav")
    hashes.save()


@pytest.mark.parametrize(
    "content",
    [
        *("", "null", "[]", '{"fingerprint": 3}', '{"fingerprint": "x", "reads": ["odd"]}', "[" * 100_000),
        '{"fingerprint": "x", "reads": [["text"]]}',
    ],
)
def test_a_broken_description_of_a_cache_is_one_line_and_is_written_anew(tmp_path, content):
    _, cache = run(tmp_path, Counting(), clips(4))
    (cache.folder / "about.json").write_text(content)
    with pytest.raises(UserError, match="damaged|was made by") as caught:
        FeatureCache(tmp_path, Counting.feature, Counting.fingerprint)
    assert "\n" not in str(caught.value)
    (cache.folder / "about.json").unlink()
    assert run(tmp_path, Counting(), clips(4))[0] == 0


def test_only_what_is_read_makes_the_key(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"sound")
    os.mkfifo(tmp_path / "a.npy")
    bare = Clip("00001", 0, "speaker", "hello", tmp_path / "a.wav", None)
    full = Clip("00001", 0, "speaker", "hello", tmp_path / "a.wav", tmp_path / "gone.mp4", tmp_path / "a.npy")
    hashes = ContentHashes()
    assert clip_key(bare, "m", hashes, ("audio",)) == clip_key(full, "m", hashes, ("audio",))
    assert clip_key(bare, "m", hashes, ("audio",)) != clip_key(bare, "m", hashes, ("text",))
    with pytest.raises(UserError, match="FIFO"):
        clip_key(full, "m", hashes, ("motion",))
    assert clip_key(Clip("1", 0, "speaker", "\ud800", None, None), "m", hashes)


def test_hosts_divide_the_work_and_every_clip_is_done_once(tmp_path):
    seen = []
    for host in range(4):
        worker = Counting()
        run(tmp_path, worker, clips(50), host=host, hosts=4)
        assert 0 < len(worker.seen) < 50
        seen += worker.seen
    assert sorted(seen) == list(range(50))
    assert len(FeatureCache(tmp_path, "speech", Counting.fingerprint)) == 50


def test_one_unusable_clip_does_not_cost_its_neighbours(tmp_path):
    quarantine = Quarantine(0.5)
    _, cache = run(tmp_path, Counting(bad=(5, 6)), clips(20), quarantine)
    assert len(cache) == 18 and quarantine.counts == {"unusable for speech": 2}
    assert {entry.id for entry in quarantine.entries} == {"00001/5", "00001/6"}
    with pytest.raises(UserError, match="2 of 20"):
        run(tmp_path / "strict", Counting(bad=(5, 6)), clips(20), Quarantine(0.05))


def test_a_stale_or_foreign_record_is_refused(tmp_path):
    _, cache = run(tmp_path, Counting(), clips(4))
    keys = [clip_key(clip, Counting.fingerprint, ContentHashes()) for clip in clips(4)]
    index = cache.folder / "part-h000-00000.json"
    found = json.loads(index.read_text())
    index.write_text(json.dumps(found | {"keys": found["keys"][::-1]}))
    swapped = FeatureCache(tmp_path, "speech", Counting.fingerprint)
    with pytest.raises(UserError, match="stale or foreign"):
        swapped.read(keys[0])
    about = cache.folder / "about.json"
    about.write_text(json.dumps({"what": "speech", "fingerprint": "b" * 64}))
    with pytest.raises(UserError, match="was made by"):
        FeatureCache(tmp_path, "speech", Counting.fingerprint)


def test_the_key_follows_content_and_maker_and_nothing_else(tmp_path):
    path = tmp_path / "a.wav"
    path.write_bytes(b"sound")
    hashes = ContentHashes(tmp_path / "hashes.json")
    clip = Clip("00001", 0, "speaker", "hello", path, None)
    key = clip_key(clip, "m", hashes)
    other = tmp_path / "b.wav"
    other.write_bytes(b"sound")
    assert clip_key(Clip("00009", 3, "listener", "hello", other, None), "m", hashes) == key
    assert clip_key(clip, "n", hashes) != key
    assert clip_key(Clip("00001", 0, "speaker", "hallo", path, None), "m", hashes) != key
    hashes.save()
    path.write_bytes(b"other sound")
    assert clip_key(clip, "m", ContentHashes(tmp_path / "hashes.json")) != key


def config_for(path):
    config = debug.get_config()
    config.data.update(
        {"path": str(path), "max_length": 600, "answer_length": 0, "reply_tokens": 48, "phonemes": 40, "frames": 30}
    )
    config.data.update({"modalities": "speech,video", "quarantine_limit": 0.0})
    config.seed = 1
    for stage in (config.coe, config.joint):
        stage.batch = 2
    return resolve(config)


SHAPES = {"speech": (SLOTS, 4), "video": (SLOTS, 5), "speech_content": (60, 8), "speech_style": (256,)}
SHAPES |= {"video_content": (20, 3, 6), "video_style": (9,)}


def made(change=None):
    def function(what):
        return lambda clip: np.full(SHAPES[what], len(clip.text) + len(what), np.float32)

    return [
        extraction.PerClip(
            what, f"{what}-{change}", ("speaker",) if what in ("speech", "video") else ("listener",), function(what)
        )
        for what in SHAPES
    ]


def test_training_reads_what_extraction_wrote_and_a_changed_recording_is_noticed(tmp_path, monkeypatch):
    config = config_for(small_tree(tmp_path / "set"))
    monkeypatch.setattr(
        loader,
        "fingerprints",
        lambda config, wanted: {each.feature: each.fingerprint for each in made() if each.feature in wanted},
    )
    with pytest.raises(UserError, match="--mode=extract"):
        loader.make(config, "joint", "train", Words(), None)
    added = extraction.run_extractors(config, made(), show=False)
    assert added == dict.fromkeys(SHAPES, 12)
    assert extraction.run_extractors(config, made(), show=False) == dict.fromkeys(SHAPES, 0)

    stream = loader.make(config, "joint", "train", Words(), None)
    batch = next(stream)
    assert batch.speech.shape == (2, 2 * SLOTS, 4) and batch.speech_content_lengths.tolist() == [40, 40]
    replies = [stream.maker.examples[stream.maker.numbers.index(n)].turn.response for n in batch.example_id]
    assert batch.video_style[:, 0].tolist() == [len(text) + len("video_style") for text in replies]
    assert sum(each.weight.sum() for each in loader.make(config, "joint", "valid", Words(), None)) == 2

    damaged = sorted((tmp_path / "set" / "audio_v5_0").iterdir())[0]
    damaged.write_bytes(damaged.read_bytes() + b"\0\0")
    with pytest.raises(UserError, match="recording changed since"):
        loader.make(config, "coe", "train", Words(), None)


def test_cached_features_of_other_weights_are_not_found(tmp_path):
    config = config_for(small_tree(tmp_path / "set"))
    extraction.run_extractors(config, made(), show=False)
    with pytest.raises(UserError, match="cache is empty"):
        CachedFeatures(loader.cache_folder(config), {each.feature: each.fingerprint for each in made("other")})


def test_an_infinite_feature_is_an_unusable_clip(tmp_path):
    tree = Tree(small_tree(tmp_path / "set"))
    quarantine = Quarantine(1.0)
    extractor = extraction.PerClip("speech", "f", ("speaker",), lambda clip: np.array([np.inf]))
    examples = loader.load_examples(config_for(tree.root), "test", quarantine)[0]
    found = extraction.clips_of(examples, tree, ("speaker",))
    assert len(found) == 2
    extract(found, extractor, FeatureCache(tmp_path, "speech", "f"), ContentHashes(), quarantine)
    assert quarantine.counts == {"unusable for speech": 2}


def test_training_does_not_start_on_a_damaged_cache_and_extraction_mends_it(tmp_path, monkeypatch):
    config = config_for(small_tree(tmp_path / "set"))
    monkeypatch.setattr(
        loader,
        "fingerprints",
        lambda config, wanted: {each.feature: each.fingerprint for each in made() if each.feature in wanted},
    )
    extraction.run_extractors(config, made(), show=False)
    part = next(loader.cache_folder(config).glob("video-*/part-*.arrayrecord"))
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged.*--mode=extract again") as caught:
        loader.make(config, "coe", "train", Words(), None)
    assert "\n" not in str(caught.value)
    assert extraction.run_extractors(config, made(), show=False) == dict.fromkeys(SHAPES, 0) | {"video": 12}
    loader.make(config, "coe", "train", Words(), None)
