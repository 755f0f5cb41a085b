"""Extraction: only what the schedule needs, many clips at once, each feature by the files that it reads, on several hosts."""

from __future__ import annotations

import json
import multiprocessing
import os

import numpy as np
import pytest

from configs import debug
from data_pipeline import extract as extraction
from data_pipeline import loader
from data_pipeline.cache import ContentHashes, FeatureCache, clip_key
from data_pipeline.features import needed
from data_pipeline.fingerprints import fingerprints
from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax import assemble, tiny
from empatheia_jax.conversation import schema
from empatheia_jax.errors import UserError
from empatheia_jax.media.audio import read_audio
from empatheia_jax.media.video import read_frames
from empatheia_jax.settings import resolve
from tests.data_pipeline.trees import small_tree

ALL = ("speech", "video", "speech_content", "speech_style", "video_content", "video_style")


def config_for(path, **changes):
    config = debug.get_config()
    config.data.update({"path": str(path), "modalities": "speech,video", "quarantine_limit": 0.0})
    config.data.update({name: value for name, value in changes.items() if name in config.data})
    config.update({name: value for name, value in changes.items() if name not in config.data})
    return resolve(config)


READS = {
    "speech": ("audio",),
    "video": ("video",),
    "speech_content": ("text",),
    "speech_style": ("text", "profile"),
    "video_content": ("audio",),
    "video_style": ("motion",),
}


class Networks:
    """Stand-ins of the networks behind `empatheia_jax.assemble`, which add up what they are given."""

    class speaker:
        class voices:
            names = ("af_heart",)

        token_ids = staticmethod(lambda text: [ord(letter) for letter in text])
        content_frames = staticmethod(lambda ids, bert: np.float32([ids]))
        passages = staticmethod(lambda text: iter([Networks.passage]))
        voice_style = staticmethod(lambda voice, length: np.float32([length]))

    class passage:
        phonemes = "abc"

    class animator:
        contents = staticmethod(lambda waves: [wave[None, :4] for wave in waves])
        style_of = staticmethod(lambda track: track.sum(0))

    class towers:
        class hear:
            many = staticmethod(lambda waves: [wave[:6] for wave in waves])

        class see:
            many = staticmethod(lambda films: [film.mean((1, 2)) for film in films])

        read_speech = staticmethod(lambda path: read_audio(path, 16_000))
        read_video = staticmethod(lambda path: read_frames(path, count=2))


def toy_extractors(config, monkeypatch, wanted=ALL):
    """The extractors around stand-ins of the networks."""
    monkeypatch.setattr(extraction, "fingerprints", lambda config, wanted: {what: what * 9 for what in wanted})
    for name in ("towers", "speaker", "animator"):
        monkeypatch.setattr(assemble, name, lambda config, name=name: getattr(Networks, name))
    return extraction.extractors(config, wanted)


def with_motion(root):
    """Gives every utterance of a set face coefficients."""
    (root / "motion_v5_0").mkdir(exist_ok=True)
    for number, path in enumerate(sorted((root / "audio_v5_0").iterdir())):
        track = np.random.default_rng(number).standard_normal((6, 64)).astype(np.float32)
        np.save(root / "motion_v5_0" / f"{path.stem}.npy", track)
    return root


def test_only_what_the_schedule_needs_is_extracted(tmp_path):
    assert needed(config_for(tmp_path, schedule="coe")) == ("speech", "video")
    assert needed(config_for(tmp_path, schedule="coe", modalities="")) == ()
    assert needed(config_for(tmp_path, schedule="content", modalities="speech")) == (
        "speech",
        "speech_content",
        "video_content",
    )
    assert set(needed(config_for(tmp_path, schedule="coe,content,style,joint"))) == set(ALL)
    config = debug.get_config()
    config.data.update({"path": str(tmp_path)})
    config.schedule, config.objective.without = "coe,content,joint", "sac"
    assert "video_style" not in needed(resolve(config))


def test_each_feature_is_known_by_what_it_reads_and_nothing_else(tmp_path, monkeypatch):
    made = toy_extractors(config_for(small_tree(tmp_path / "set", 1)), monkeypatch)
    assert {each.feature: each.reads for each in made} == READS


def test_the_target_of_the_video_content_is_chosen_and_known_by_its_fingerprint(tmp_path, monkeypatch):
    root, made = small_tree(tmp_path / "set", 1), {}
    tree = Tree(root)
    clip = tree.clips(next(iter(schema.read(root / "train.json"))))[0]
    for target, shape in {"content": (3, 16), "speech": (2, 20)}.items():
        values = debug.get_config()
        values.data.path, values.bridge.video_target = str(root), target
        config = resolve(values)
        monkeypatch.setattr(extraction, "fingerprints", lambda config, wanted: dict.fromkeys(wanted, "tiny"))
        (extractor,) = extraction.extractors(config, ("video_content",))
        found = extractor([clip])[0]["video_content"]
        sizes = assemble.widths(config)
        assert found.shape[1:] == (sizes.video_window, sizes.video_content) == shape
        monkeypatch.undo()
        monkeypatch.setattr("empatheia_jax.weights.describe", lambda folder: {"sha256": "0" * 64})
        made[target] = fingerprints(config, ("video_content",))
        monkeypatch.undo()
    assert made["content"] != made["speech"]


def test_the_target_of_the_speech_content_is_chosen_and_known_by_its_fingerprint(tmp_path):
    root, made, widths = small_tree(tmp_path / "set", 1), {}, {}
    clip = Tree(root).clips(next(iter(schema.read(root / "train.json"))))[0]
    for target in ("text_encoder", "with_bert"):
        values = debug.get_config()
        values.data.path, values.bridge.speech_target = str(root), target
        config = resolve(values)
        (extractor,) = extraction.extractors(config, ("speech_content",))
        made[target] = extractor.fingerprint
        widths[target] = extractor([clip])[0]["speech_content"].shape[1]
        assert widths[target] == assemble.widths(config).speech_content
    assert widths["with_bert"] == 2 * widths["text_encoder"]
    assert made["text_encoder"] != made["with_bert"]


def test_motion_that_comes_later_costs_its_own_feature_alone(tmp_path, monkeypatch):
    root = small_tree(tmp_path / "set", 2)
    config = config_for(root, quarantine_limit=1.0)
    before = extraction.run_extractors(config, toy_extractors(config, monkeypatch), show=False)
    assert before["video_style"] == 0 and min(before[what] for what in ALL[:-1]) > 0
    after = extraction.run_extractors(config, toy_extractors(config, monkeypatch), show=False)
    assert after == dict.fromkeys(ALL, 0)
    with_motion(root)
    after = extraction.run_extractors(config, toy_extractors(config, monkeypatch), show=False)
    assert after == dict.fromkeys(ALL, 0) | {"video_style": before["speech_content"]}


def test_clips_computed_together_are_what_each_is_alone(tmp_path, monkeypatch):
    root = with_motion(small_tree(tmp_path / "set", 2))
    monkeypatch.setattr(extraction, "fingerprints", lambda config, wanted: dict.fromkeys(wanted, "tiny"))
    batched = ("speech", "video", "video_content")
    made = {each.feature: each for each in extraction.extractors(config_for(root), batched)}
    tree = Tree(root)
    clips = [clip for each in schema.read(root / "train.json") for clip in tree.clips(each)][:3]
    for what in batched:
        together = made[what](clips)
        for clip, found in zip(clips, together, strict=True):
            alone = made[what]([clip])[0][what]
            np.testing.assert_allclose(np.float32(found[what]), np.float32(alone), rtol=1e-3, atol=1e-4)
    towers = tiny.towers()
    np.testing.assert_allclose(made["video"](clips)[2]["video"], towers.video(clips[2].video), rtol=1e-5, atol=1e-5)


def test_one_bad_recording_of_each_kind_is_named_and_the_rest_goes_on(tmp_path, monkeypatch):
    root = with_motion(small_tree(tmp_path / "set", 4))
    config = config_for(root, quarantine_limit=0.5)
    tree, conversations = Tree(root), schema.read(root / "train.json")
    clips = [clip for each in conversations for clip in tree.clips(each) if clip.role == "speaker"]
    damage = (
        lambda path: path.mkdir(),
        lambda path: path.symlink_to("gone.wav"),
        lambda path: os.mkfifo(path),
        lambda path: path.write_bytes(b"noise"),
    )
    for clip, make in zip(clips, damage):
        clip.audio.unlink()
        make(clip.audio)
    added = extraction.run_extractors(config, toy_extractors(config, monkeypatch, ("speech", "video")), show=False)
    assert added["video"] - added["speech"] == len(damage)
    report = json.loads((loader.cache_folder(config) / "quarantine-extract-0.json").read_text())
    assert report["speech"]["bad"] == len(damage) and report["video"]["bad"] == 0
    assert {each["id"] for each in report["speech"]["entries"]} == {clip.id for clip in clips[: len(damage)]}


def test_the_limit_counts_for_each_feature_alone_and_the_others_go_on(tmp_path, monkeypatch):
    root = small_tree(tmp_path / "set", 2)
    config = config_for(root, quarantine_limit=0.3)
    with pytest.raises(UserError, match="^video_style: set aside") as caught:
        extraction.run_extractors(config, toy_extractors(config, monkeypatch, ALL[::-1]), show=False)
    assert "no face coefficients" in str(caught.value)
    added = extraction.run_extractors(config, toy_extractors(config, monkeypatch, ALL[:-1]), show=False)
    assert added == dict.fromkeys(ALL[:-1], 0)


def test_the_same_number_in_two_splits_is_two_clips(tmp_path, monkeypatch):
    root = small_tree(tmp_path / "set", 1)
    first, other = schema.read(root / "train.json")[0], schema.read(root / "valid.json")[0]
    renamed = json.loads((root / "valid.json").read_text())
    renamed[0]["conversation_id"] = first.conversation_id
    (root / "valid.json").write_text(json.dumps(renamed))
    config = config_for(root)
    added = extraction.run_extractors(config, toy_extractors(config, monkeypatch, ("speech_content",)), show=False)
    replies = {turn.response for each in (first, other, *schema.read(root / "test.json")) for turn in each.turns}
    assert added["speech_content"] == len(replies)


def _work(root, host, hosts):
    config = config_for(root)
    made = [
        extraction.PerClip(
            "speech", "m" * 64, ("speaker",), lambda clip: clip.samples()[:6] + host * 0, reads=("audio",)
        )
    ]
    extraction.run_extractors(config, made, host=host, hosts=hosts, show=False)


def test_two_processes_at_once_share_the_clips(tmp_path):
    root = small_tree(tmp_path / "set", 12)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_work, args=(root, host, 2)) for host in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(100)
        assert worker.exitcode == 0
    config = config_for(root)
    cache = FeatureCache(loader.cache_folder(config), "speech", "m" * 64)
    names = {path.name[:9] for path in cache.folder.glob("part-*")}
    assert names == {"part-h000", "part-h001"}
    tree, hashes = Tree(root), ContentHashes()
    for split in ("train", "valid", "test"):
        for example in loader.load_examples(config, split, Quarantine(0.0), replies=False)[0]:
            for clip in example.speaker_clips(tree):
                if clip.role == "speaker":
                    found = cache.read(clip_key(clip, "m" * 64, hashes, ("audio",)))["speech"]
                    np.testing.assert_array_equal(found, clip.samples()[:6])
