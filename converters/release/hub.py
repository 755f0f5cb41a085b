"""Uploads a release to the Hugging Face hub; an upload that was interrupted goes on where it stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id

from converters.huggingface import network_errors
from converters.release import layout
from empatheia_jax import weights
from empatheia_jax.errors import UserError
from empatheia_jax.weights import sums


def files(folder: Path) -> dict[str, int]:
    """{path below the release: bytes} of what is uploaded: everything that has a checksum, and the checksums.

    Raises: UserError where the folder is no complete release, or a file differs from its checksum.
    """
    layout.require_complete(folder)
    layout.read_config(folder)
    layout.require_file(folder, weights.SUMS_FILE)
    sums.check(folder)
    names = [*sums.read_sums(folder), weights.SUMS_FILE]
    return {name: (folder / name).stat().st_size for name in names}


def push(
    folder: Path, repository: str, *, private: bool = True, dry_run: bool = False, api: Any = None
) -> dict[str, int]:
    """Uploads a release; returns its files and their sizes.

    Args:
      folder: the release.
      repository: "owner/name" on the hub; it is made if it is not there.
      private: whether it is made private.
      dry_run: check everything and say what would be uploaded; nothing is sent.
      api: of huggingface_hub; by default with the token that `hf auth login` stored.

    Raises: UserError where the release is not complete, the name is none, or the hub refuses.
    """
    try:
        validate_repo_id(repository)
    except HFValidationError as error:
        raise UserError(f"--repository={repository}: {' '.join(str(error).split())[:200]}") from None
    if "/" not in repository:
        raise UserError(f"--repository={repository}; expected owner/name")
    found = files(folder)
    if dry_run:
        return found
    api = HfApi() if api is None else api
    try:
        api.create_repo(repository, repo_type="model", private=private, exist_ok=True)
        # Until huggingface_hub 1 the resumable upload was a function of its own.
        upload = getattr(api, "upload_large_folder", None) or api.upload_folder
        upload(repo_id=repository, folder_path=folder, repo_type="model", allow_patterns=list(found))
    except ValueError as error:  # of the hub's check of the card's metadata, before anything is sent
        raise UserError(f"{repository}: {' '.join(str(error).split())[:300]}") from None
    except network_errors() as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{repository}: {reason}; run the same command again, which goes on where it stopped") from None
    return found
