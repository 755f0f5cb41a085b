"""Downloads released checkpoints: one pinned revision each, every file checked, resumable.

    python -m converters.fetch --list
    python -m converters.fetch NAME [--output=FOLDER] [--from=FOLDER] [--convert]

`--from` takes the files from a folder that an earlier fetch made (on a machine with a network) instead of the hub.
A fetch writes `fetched.json`, with the SHA-256 of every file, last: a folder that has it is complete. Run the command
again after an interruption: whole files are kept, and a partial one is continued.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from converters.convert import to_weights
from converters.huggingface import network_errors
from converters.registry import find_conversion
from empatheia_jax import weights
from empatheia_jax.errors import UserError, first_line, main_guard
from empatheia_jax.files import read_json_object, write_json

RECORD = "fetched.json"
_TEXT = ("*.json", "*.model", "*.jinja", "merges.txt", "vocab.txt")


@dataclasses.dataclass(frozen=True)
class Release:
    """One released checkpoint.

    Attributes:
      name: what we call it; also the name of its weights folder.
      repository, revision: on the Hugging Face hub; the revision is a full commit.
      source: how `converters.convert` reads it.
      patterns: files that are needed.
      licence: what the release says.
    """

    name: str
    repository: str
    revision: str
    source: str
    patterns: tuple[str, ...]
    licence: str


def _release(name: str, repository: str, revision: str, source: str, licence: str, *tensors: str) -> Release:
    return Release(name, repository, revision, source, (*tensors, *_TEXT), licence)


_SHARDS = ("pytorch_model*.bin",)
# The commits were compared on 2026-11-24 with the snapshots of these repositories that public projects name in their code
# and logs; the hub itself was out of reach. A commit that is not there, or lacks a file, ends a fetch with its name.
RELEASES = {
    release.name: release
    for release in (
        _release(
            "vicuna-7b-v1.5",
            "lmsys/vicuna-7b-v1.5",
            "3321f76e3f527bd14065daf69dad9344000a201d",
            "llama",
            "Llama 2 Community License",
            *_SHARDS,
        ),
        _release(
            "chatglm3-6b",
            "THUDM/chatglm3-6b",
            "103caa40027ebfd8450289ca2f278eac4ff26405",
            "chatglm",
            "ChatGLM3-6B License",
            "model*.safetensors",
        ),
        _release(
            "flan-t5-xxl",
            "google/flan-t5-xxl",
            "ae7c9136adc7555eeccc78cdd960dfd60fb346ce",
            "t5",
            "Apache-2.0",
            *_SHARDS,
        ),
        _release(
            "hubert-base-ls960",
            "facebook/hubert-base-ls960",
            "dba3bb02fda4248b6e082697eee756de8fe8aa8a",
            "hubert",
            "Apache-2.0",
            *_SHARDS,
        ),
        _release(
            "hubert-large-ls960-ft",
            "facebook/hubert-large-ls960-ft",
            "ece5fabbf034c1073acae96d5401b25be96709d8",
            "hubert",
            "Apache-2.0",
            *_SHARDS,
        ),
        _release(
            "clip-vit-large-patch14-336",
            "openai/clip-vit-large-patch14-336",
            "ce19dc912ca5cd21c8a653c79e251e808ccabcd1",
            "clip-vision",
            "MIT",
            *_SHARDS,
        ),
        _release(
            "wav2vec2-large-xlsr-53-english",
            "jonatasgrosman/wav2vec2-large-xlsr-53-english",
            "569a6236e92bd5f7652a0420bfe9bb94c5664080",
            "wav2vec2",
            "Apache-2.0",
            *_SHARDS,
        ),
    )
}


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file at the origin. `sha256` or `git_sha1` (of the git blob) is known, as the origin has it."""

    name: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


@runtime_checkable
class Origin(Protocol):
    """Where files come from."""

    def files(self, release: Release) -> list[RemoteFile]:
        """All files of the pinned revision."""

    def download(self, release: Release, name: str, folder: Path) -> None:
        """Brings one file below `folder`, continuing where an earlier attempt stopped."""


class Hub:
    """The Hugging Face hub, through its own client."""

    def files(self, release: Release) -> list[RemoteFile]:
        from huggingface_hub import HfApi

        try:
            info = HfApi().model_info(release.repository, revision=release.revision, files_metadata=True)
        except network_errors() as error:
            raise UserError(
                f"{release.repository} at {release.revision} cannot be listed: {first_line(error)}; without a network take "
                "the files from a folder with --from=FOLDER"
            ) from error
        return [
            RemoteFile(f.rfilename, f.size or 0, f.lfs.sha256 if f.lfs else None, None if f.lfs else f.blob_id)
            for f in info.siblings or ()
        ]

    def download(self, release: Release, name: str, folder: Path) -> None:
        from huggingface_hub import hf_hub_download

        try:
            hf_hub_download(release.repository, name, revision=release.revision, local_dir=folder)
        except network_errors() as error:
            raise UserError(
                f"{name} of {release.repository}: the download stopped: {first_line(error)}; run it again"
            ) from error


class FetchedFolder:
    """A folder that an earlier fetch made, on this machine or on a disk brought from another one."""

    CHUNK = 1 << 20

    def __init__(self, folder: Path):
        self.folder = folder

    def files(self, release: Release) -> list[RemoteFile]:
        record = read_record(self.folder)
        if record["repository"] != release.repository or record["revision"] != release.revision:
            raise UserError(
                f"{self.folder} holds {record['repository']} at {record['revision']}, expected {release.repository} at "
                f"{release.revision}"
            )
        return [RemoteFile(name, entry["size"], entry["sha256"]) for name, entry in record["files"].items()]

    def download(self, release: Release, name: str, folder: Path) -> None:
        target, partial = folder / name, folder / f"{name}.partial"
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(self.folder / name, "rb") as source, open(partial, "ab") as sink:
                source.seek(sink.tell())
                while chunk := source.read(self.CHUNK):
                    sink.write(chunk)
        except OSError as error:
            raise UserError(f"{self.folder / name} cannot be copied: {error}; run it again") from error
        partial.replace(target)


def read_record(folder: Path) -> dict:
    """What an earlier fetch noted; raises UserError where the folder was not fetched, or not to its end."""
    record = read_json_object(folder / RECORD, f"the {RECORD} that ends a complete fetch")
    files = record.get("files")
    texts = all(isinstance(record.get(key), str) for key in ("repository", "revision"))
    if not texts or not isinstance(files, dict) or not all(map(_is_file_entry, files.values())):
        raise UserError(f"{folder / RECORD} does not say what was fetched, from where; fetch it again")
    return record


def _is_file_entry(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("size"), int) and isinstance(entry.get("sha256"), str)


def _is_whole(path: Path, file: RemoteFile) -> bool:
    if not path.is_file() or path.stat().st_size != file.size:
        return False
    if file.sha256 is not None:
        return weights.file_hash(path) == file.sha256
    if file.git_sha1 is None:
        return False
    digest = hashlib.sha1(f"blob {file.size}\0".encode(), usedforsecurity=False)
    digest.update(path.read_bytes())
    return digest.hexdigest() == file.git_sha1


def fetch(release: Release, folder: Path, origin: Origin) -> Path:
    """Brings a release into `folder` and checks every file; returns the folder.

    Raises: UserError where the origin lacks a file, or one arrives damaged (it is removed then).
    """
    wanted = [f for f in origin.files(release) if any(Path(f.name).match(p) for p in release.patterns)]
    if not any(Path(f.name).match(release.patterns[0]) for f in wanted):
        raise UserError(f"{release.repository} at {release.revision} has no {release.patterns[0]}")
    folder.mkdir(parents=True, exist_ok=True)
    record: dict = {"repository": release.repository, "revision": release.revision, "licence": release.licence}
    record["files"] = {}
    for file in wanted:
        path = folder / file.name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise UserError(f"the origin names a file outside the folder: {file.name!r}")
        if not _is_whole(path, file):
            path.unlink(missing_ok=True)
            print(f"{file.name}: {file.size / 1e6:,.1f} MB", flush=True)
            origin.download(release, file.name, folder)
            if not _is_whole(path, file):
                path.unlink(missing_ok=True)
                raise UserError(f"{file.name} of {release.repository} arrived damaged and was removed; run it again")
        record["files"][file.name] = {"size": file.size, "sha256": file.sha256 or weights.file_hash(path)}
    write_json(folder / RECORD, record)
    return folder


@main_guard
def main(arguments: Sequence[str] | None = None) -> int:
    """Does what the command line asks for; returns the exit status."""
    parser = argparse.ArgumentParser("converters.fetch", description="Download a released checkpoint.")
    parser.add_argument("name", nargs="?", help="name of the release, see --list")
    parser.add_argument("--list", action="store_true", help="list the releases")
    parser.add_argument("--output", type=Path, help="folder for the files (default: downloads/NAME)")
    parser.add_argument("--from", dest="origin", type=Path, help="take the files from an earlier fetch's folder")
    parser.add_argument("--convert", action="store_true", help="then make the weights folder of the same name")
    options = parser.parse_args(arguments)
    if options.list:
        for release in RELEASES.values():
            print(f"{release.name:32} {release.repository}@{release.revision[:12]}  {release.licence}")
        return 0
    if options.name not in RELEASES:
        raise UserError(f"unknown release {options.name!r}; known are {', '.join(RELEASES)}")
    release = RELEASES[options.name]
    origin = FetchedFolder(options.origin) if options.origin else Hub()
    folder = fetch(release, options.output or Path("downloads") / release.name, origin)
    print(f"{folder} is complete: {release.repository} at {release.revision}, {release.licence}")
    if options.convert:
        made = to_weights(find_conversion(release.source), folder, weights.root() / release.name)
        print(f"wrote {made}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
