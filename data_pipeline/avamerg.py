"""AvaMERG as a TFDS data set: ArrayRecord files, read without TensorFlow.

    python -m data_pipeline.avamerg --source=ROOT --data_dir=FOLDER [--beam] [--export=FOLDER]

One record is one conversation: its released JSON, word for word, its recordings, byte for byte, and labels beside them for
filtering. `export` writes the released layout back; nothing is lost on the way there and back.
With `--beam` the work is spread by TFDS's own Beam support (`pip install '.[beam]'`); without a runner of your own it is
the local one.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from data_pipeline.layout import Tree
from data_pipeline.quarantine import Quarantine
from empatheia_jax.conversation import labels, schema
from empatheia_jax.conversation.recordings import SUFFIXES, media_name, parse_name
from empatheia_jax.conversation.schema import Conversation
from empatheia_jax.errors import UserError, main_guard
from empatheia_jax.files import require_regular, write_bytes, write_json

DESCRIPTION = """
AvaMERG (Zhang et al., WWW 2025): avatar-based multimodal empathetic dialogues. Every utterance has text, speech and a
video of a talking face; every reply of the listener has a Chain of Empathy. The data are not part of this package: ask
their authors (https://AvaMERG.github.io), or make a toy set with `python -m data_pipeline.toy`.
"""
CITATION = """
@inproceedings{zhang2025empatheia,
  title={Towards Multimodal Empathetic Response Generation: A Rich Text-Speech-Vision Avatar-based Benchmark},
  author={Zhang, Han and Meng, Zixiang and Luo, Meng and Han, Hong and Liao, Lizi and Cambria, Erik and Fei, Hao},
  booktitle={Proceedings of the ACM on Web Conference 2025}, year={2025}, doi={10.1145/3696410.3714739}}
"""


class Avamerg(tfds.core.GeneratorBasedBuilder):
    """Builder of the data set `avamerg`.

    Args:
        source: root of a set in the released layout.
        beam: spread the work through Beam.
        limit: tolerated fraction of malformed conversations.
    """

    name = "avamerg"
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "Conversations with their released JSON, recordings and labels."}

    def __init__(self, *, source: str | Path | None = None, beam: bool = False, limit: float = 0.01, **options: Any):
        self.source, self.beam = source, beam
        self.quarantine = Quarantine(limit)
        super().__init__(file_format="array_record", **options)

    def _info(self) -> tfds.core.DatasetInfo:
        text = tfds.features.Text
        clip = {
            "index": np.int32,
            "listener": np.bool_,
            "text": text(),
            **{f"{kind}_name": text() for kind in SUFFIXES},
            **{kind: tfds.features.Tensor(shape=(), dtype=np.object_) for kind in SUFFIXES},
        }
        return tfds.core.DatasetInfo(
            builder=self,
            description=DESCRIPTION,
            citation=CITATION,
            homepage="https://AvaMERG.github.io",
            features=tfds.features.FeaturesDict(
                {
                    "conversation_id": text(),
                    "position": np.int64,
                    "topic": text(),
                    "speaker_profile": np.int32,
                    "listener_profile": np.int32,
                    "turns": np.int32,
                    "json": text(),
                    "clips": tfds.features.Sequence(clip),
                }
            ),
        )

    def _tree(self) -> Tree:
        if self.source is None:
            raise UserError("no source was given; expected the root of a set in the released layout")
        return Tree(self.source)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        return {split: self._generate_examples(split) for split in _splits(self._tree())}

    def _entries(self, split: str) -> list[tuple[int, str]]:
        """(position, released JSON) of each well-formed conversation whose recordings are files."""
        tree = self._tree()
        path = tree.split_file(split)
        raw, entries = schema.load_json(path), []
        for position, found in schema.iterate(path):
            self.quarantine.saw()
            if isinstance(found, UserError):
                self.quarantine.add(f"{path.name}[{position}]", "malformed", found)
                continue
            try:
                for clip in tree.clips(found):
                    for recording in (clip.audio, clip.video, clip.motion):
                        if recording is not None:
                            require_regular(recording, "a recording", may_be_empty=True)
            except UserError as error:
                self.quarantine.add(found.conversation_id, "unreadable", error)
                continue
            entries.append((position, json.dumps(raw[position], ensure_ascii=False)))
        self.quarantine.enforce()
        return entries

    def _generate_examples(self, split: str) -> Any:
        entries = self._entries(split)
        if not self.beam:
            tree = self._tree()
            return (_example(tree, *entry) for entry in entries)
        import apache_beam

        # The media index is made once per worker, not once per conversation.
        return apache_beam.Create(entries) | apache_beam.ParDo(_Examples(str(self.source)))


def _beam_function() -> type:
    try:
        from apache_beam import DoFn
    except ImportError:
        return object
    return DoFn


_DoFn: Any = _beam_function()


class _Examples(_DoFn):
    """Beam: entries → records."""

    def __init__(self, source: str):
        self.source = source

    def setup(self) -> None:
        self.tree = Tree(self.source)

    def process(self, entry: tuple[int, str]) -> Iterator[tuple[int, dict[str, Any]]]:
        yield _example(self.tree, *entry)


def _example(tree: Tree, position: int, text: str) -> tuple[int, dict[str, Any]]:
    conversation = schema.conversation_from_json(json.loads(text))
    profiles = {
        f"{role}_profile": labels.UNKNOWN if profile is None else profile.profile_id
        for role, profile in ((role, conversation.profile(role)) for role in schema.ROLES)
    }
    record = {
        "conversation_id": conversation.conversation_id,
        "position": position,
        "topic": conversation.topic or "",
        **profiles,
        "turns": len(conversation.turns),
        "json": text,
        "clips": [_clip(tree, conversation, said) for said in conversation.utterances()],
    }
    return position, record


def _clip(tree: Tree, conversation: Conversation, said: schema.Utterance) -> dict[str, Any]:
    clip = tree.clip(conversation, said.index, said.role, said.text)
    record: dict[str, Any] = {"index": said.index, "listener": said.role == "listener", "text": said.text}
    for kind in SUFFIXES:
        path = getattr(clip, kind)
        record[f"{kind}_name"] = "" if path is None else path.relative_to(tree.root).as_posix()
        record[kind] = b"" if path is None else path.read_bytes()
    return record


def _splits(tree: Tree) -> list[str]:
    names = tree.splits()
    if not names:
        raise UserError(f"{tree.root} has no train.json, valid.json or test.json; expected the released layout")
    return names


def build(source: str | Path, data_dir: str | Path, *, beam: bool = False, limit: float = 0.01) -> Avamerg:
    """Prepares the data set below `data_dir`. Raises `UserError` as `Avamerg`, or where Beam is not installed."""
    if beam and _beam_function() is object:
        raise UserError("apache-beam is not installed; install it with `pip install 'empatheia-jax[beam]'`")
    _splits(Tree(source))  # before folders are made
    builder = Avamerg(source=source, beam=beam, limit=limit, data_dir=str(data_dir))
    options = {}
    if beam:
        import apache_beam

        options["beam_options"] = apache_beam.options.pipeline_options.PipelineOptions()
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(**options))
    return builder


def open_data(data_dir: str | Path) -> dict[str, Any]:
    """Split → random-access source of a prepared data set. Raises `UserError` where there is none."""
    folder = Path(data_dir) / "avamerg" / str(Avamerg.VERSION)
    if not (folder / "dataset_info.json").is_file():
        raise UserError(f"{data_dir} holds no avamerg {Avamerg.VERSION}; prepare it with --source=ROOT first")
    builder = tfds.builder_from_directory(str(folder))
    return builder.as_data_source()


def export(data_dir: str | Path, output: str | Path) -> dict[str, int]:
    """Writes a prepared data set back as a released tree; returns the conversations per split.

    Raises:
        UserError: `output` is not empty, or a stored name leads out of it.
    """
    output = Path(output)
    if output.exists() and any(output.iterdir()):
        raise UserError(f"{output} is not empty; choose another folder")
    counts = {}
    for split, source in open_data(data_dir).items():
        values = []
        for record in source:
            values.append((int(record["position"]), json.loads(_text(record["json"]))))
            for clip in _each_clip(record["clips"]):
                for kind in SUFFIXES:
                    if name := _text(clip[f"{kind}_name"]):
                        _write(output, name, bytes(clip[kind]))
        values = [value for _, value in sorted(values, key=lambda pair: pair[0])]
        write_json(output / f"{split}.json", values)
        counts[split] = len(values)
    return counts


def _each_clip(clips: Any) -> Iterator[Mapping[str, Any]]:
    if isinstance(clips, Mapping):  # TFDS turns a sequence of records into a record of sequences
        count = len(next(iter(clips.values())))
        return ({name: values[n] for name, values in clips.items()} for n in range(count))
    return iter(clips)


def _write(output: Path, name: str, content: bytes) -> None:
    path = output / name
    if not path.resolve().is_relative_to(output.resolve()) or parse_name(path.name) is None:
        raise UserError(
            f"the data set holds a recording named {name!r}; expected a name like audio/{media_name('1', 0, 0, 'audio')}"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, content)


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


@main_guard
def main(argv: list[str]) -> int:
    """See the module."""
    options = argparse.ArgumentParser(prog="python -m data_pipeline.avamerg", description=__doc__.splitlines()[0])
    options.add_argument("--source", type=Path, help="a set in the released layout, to prepare")
    options.add_argument("--data_dir", type=Path, required=True, help="where prepared data sets are")
    options.add_argument("--beam", action="store_true", help="spread the work through Beam")
    options.add_argument("--limit", type=float, default=0.01, help="tolerated fraction of malformed conversations")
    options.add_argument("--export", type=Path, help="write the prepared set back in the released layout")
    given = options.parse_args(argv)
    if given.source is None and given.export is None:
        raise UserError("nothing to do; expected --source=ROOT to prepare a set, or --export=FOLDER to write one back")
    if given.source is not None:
        builder = build(given.source, given.data_dir, beam=given.beam, limit=given.limit)
        if builder.quarantine.entries:
            print(builder.quarantine.summary())
    for split, source in open_data(given.data_dir).items():
        print(f"{split}: {len(source)} conversations")
    if given.export is not None:
        print(f"{given.export}: {export(given.data_dir, given.export)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
