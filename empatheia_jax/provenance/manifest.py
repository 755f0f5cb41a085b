"""C2PA: a signed statement inside a finished file that a model generated it, and which one.

A change of the file is found. The statement does not survive a new encoding, which drops it; the watermark is for that.

C2PA's own hash leaves out the first box of an mp4 (`ftyp`), and no signature can cover what it stands in: names and lengths of
the boxes of the statement, the space that the signature reserves. So there is a *seal* beside the signature, in its unprotected
header: the SHA-256 of every other byte of the file. The signature is against those who mean to deceive, the seal is for the rest.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing, require_regular
from empatheia_jax.provenance import certificate

TYPES = {".mp4": "video/mp4", ".wav": "audio/wav"}
GENERATED = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's word for media that a trained model made."""
OURS = b"org.empatheia."
FACTS = "org.empatheia.generation"
"""Label of our own assertion: which run, which settings."""


def available() -> bool:
    """Whether what signs is installed (the extra `marks`)."""
    return all(importlib.util.find_spec(name) is not None for name in ("c2pa", "cryptography"))


def _type(path: Path) -> str:
    kind = TYPES.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} is no {' or '.join(TYPES)}; only these carry a manifest here")
    return kind


def sign(path: str | Path, facts: Mapping[str, Any] | None = None) -> None:
    """Puts a signed manifest into a file, in its place; on an error the file stays as it was.

    Args:
        path: an mp4 or a wav.
        facts: what is said of its making beside "generated": run, model … (plain JSON).
    """
    import c2pa

    path = Path(path)
    kind = _type(path)
    require_regular(path, "a film or a sound to sign")
    agent = {"name": "empatheia-jax", "version": importlib.metadata.version("empatheia-jax")}
    action = {"action": "c2pa.created", "digitalSourceType": GENERATED, "softwareAgent": agent}
    manifest = {
        "claim_generator_info": [agent],
        "title": path.name,
        "format": kind,
        "assertions": [
            {"label": "c2pa.actions.v2", "data": {"actions": [action]}},
            {"label": FACTS, "data": dict(facts or {})},
        ],
    }
    chain, key = certificate.chain_and_key()
    info = c2pa.C2paSignerInfo(c2pa.C2paSigningAlg.ES256, chain, key, None)
    with (
        replacing(path) as temporary,
        c2pa.Signer.from_info(info) as signer,
        c2pa.Builder(manifest) as builder,
        open(path, "rb") as source,
        open(temporary, "w+b") as target,
    ):
        builder.sign(signer, kind, source, target)
        target.seek(0)
        content = _sealed(target.read())
        target.seek(0)
        target.write(content)


@dataclasses.dataclass(frozen=True)
class Statement:
    """What a file says of itself.

    state: "absent" (no manifest), "intact" (as it was signed) or "changed". trusted: whether the certificate leads to an
    authority that C2PA knows; one made on this machine does not. generated: it says that a trained model made it. signer: name
    in the certificate. facts: our own. problems: codes of C2PA.
    """

    state: Literal["absent", "intact", "changed"]
    trusted: bool = False
    generated: bool = False
    signer: str | None = None
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    problems: tuple[str, ...] = ()


UNTRUSTED = "signingCredential.untrusted"


def read(path: str | Path) -> Statement:
    """Reads and checks the manifest of an mp4 or a wav. Raises `UserError` for what is no such file."""
    import c2pa

    path = Path(path)
    require_regular(path, "a film or a sound")
    kind = _type(path)
    content = path.read_bytes()
    try:
        with open(path, "rb") as file, c2pa.Reader(kind, file) as reader:
            value = json.loads(reader.json())
    except (c2pa.C2paError, ValueError) as error:
        text = str(error)
        if "ManifestNotFound" in type(error).__name__ + text and not _remains(content):
            return Statement("absent")
        return Statement("changed", problems=(text[:120],))
    try:
        active = value["manifests"][value["active_manifest"]]
        failures = tuple(each["code"] for each in value["validation_results"]["activeManifest"].get("failure", ()))
        assertions = {each["label"]: dict(each["data"]) for each in active.get("assertions", ())}
        actions = [
            each
            for label, data in assertions.items()
            if label.startswith("c2pa.actions")
            for each in map(dict, data["actions"])
        ]
        signer = (active.get("signature_info") or {}).get("common_name")
    except (AttributeError, KeyError, TypeError, ValueError):
        return Statement("changed", problems=("the statement does not hold together",))
    others = tuple(code for code in failures if code != UNTRUSTED)
    if OURS in content and not _seal_holds(content):  # what others signed has no seal
        others = (*others, "seal.broken")
    state: Literal["intact", "changed"] = (
        "changed" if others or value.get("validation_state") == "Invalid" and UNTRUSTED not in failures else "intact"
    )
    return Statement(
        state,
        trusted=UNTRUSTED not in failures and state == "intact",
        generated=any(each.get("digitalSourceType") == GENERATED for each in actions),
        signer=signer,
        facts=assertions.get(FACTS, {}),
        problems=others,
    )


_SEAL = b"\x74" + OURS + b"sha256\x58\x20"
"""A name of 20 letters and the beginning of 32 bytes, in CBOR."""
_BARE = re.compile(rb"\xa1\x63pad\x59(?P<size>..)(?P<space>\0+)(?=\xf6\x58\x40.{64})", re.DOTALL)
"""What `c2pa` leaves unprotected beside a signature (COSE, RFC 9052): reserved space. No content and 64 bytes follow."""


def _sealed(content: bytes) -> bytes:
    """A signed file with the seal in a part of the space that the signature reserves. Raises RuntimeError where there is none."""
    taken = len(_SEAL) + 32
    for found in _BARE.finditer(content):
        if int.from_bytes(found["size"], "big") == len(found["space"]) >= 256 + taken:
            left = len(found["space"]) - taken
            header = b"\xa2\x63pad\x59" + left.to_bytes(2, "big") + bytes(left) + _SEAL
            before, after = content[: found.start()] + header, content[found.end() :]
            return before + hashlib.sha256(before + after).digest() + after
    raise RuntimeError("c2pa wrote a signature of another form than is known; the file stays unsigned")


def _seal_holds(content: bytes) -> bool:
    """Whether every byte is as it was when the file was sealed."""
    place = content.rfind(_SEAL) + len(_SEAL)
    before, seal, after = content[:place], content[place : place + 32], content[place + 32 :]
    return place >= len(_SEAL) and hashlib.sha256(before + after).digest() == seal


def _remains(content: bytes) -> bool:
    """Whether something of a manifest is in a file whose reader finds none: a changed length or name hides it."""
    return any(mark in content for mark in (b"jumb", b"jumd", b"c2pa.assertions", b"c2pa.signature", b"urn:c2pa:"))
