"""C2PA: a signed statement inside a finished file that a model generated it, and which one.

A change of the file is found. The statement does not survive a new encoding, which drops it; the watermark is for that.

C2PA's own hash leaves out the first box of an mp4 (`ftyp`) and the space that a signature reserves. We look at both.
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
            {"label": FACTS, "data": {**(facts or {}), _HEAD: _head(path.read_bytes(), kind)}},
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
    active = value.get("manifests", {}).get(value.get("active_manifest"))
    if active is None:
        return Statement("changed", problems=("the statement does not hold together",))
    results = value.get("validation_results", {}).get("activeManifest", {})
    failures = tuple(each["code"] for each in results.get("failure", ()))
    others = tuple(code for code in failures if code != UNTRUSTED)
    assertions = {each["label"]: each["data"] for each in active.get("assertions", ())}
    found = (data["actions"] for label, data in assertions.items() if label.startswith("c2pa.actions"))
    actions: list[dict[str, Any]] = next(found, [])
    facts = assertions.get(FACTS, {})
    if facts.get(_HEAD) != _head(content, kind):
        others = (*others, "head.changed")
    if not _padding_untouched(content):
        others = (*others, "padding.changed")
    state: Literal["intact", "changed"] = (
        "changed" if others or value.get("validation_state") == "Invalid" and UNTRUSTED not in failures else "intact"
    )
    return Statement(
        state,
        trusted=UNTRUSTED not in failures and state == "intact",
        generated=any(each.get("digitalSourceType") == GENERATED for each in actions),
        signer=(active.get("signature_info") or {}).get("common_name"),
        facts={key: told for key, told in facts.items() if key != _HEAD},
        problems=others,
    )


_HEAD = "head_sha256"


def _head(content: bytes, kind: str) -> str:
    """SHA-256 of the first box of an mp4, which says its size itself, or of a wav's first 12 bytes without its length."""
    size = int.from_bytes(content[:4], "big") if kind == "video/mp4" else 0
    return hashlib.sha256(content[:size] if size else content[:4] + content[8:12]).hexdigest()


_PADDING = re.compile(rb"\x63pad(?:\x59(?P<short>..)|\x58(?P<byte>.)|\x5a(?P<long>....))", re.DOTALL)


def _padding_untouched(content: bytes) -> bool:
    """Whether the space that a signature reserves is still zeros: no signature covers it, so C2PA does not look at it."""
    for match in _PADDING.finditer(content):
        size = int.from_bytes(next(group for group in match.groups() if group is not None), "big")
        if any(content[match.end() : match.end() + size]):
            return False
    return True


def _remains(content: bytes) -> bool:
    """Whether something of a manifest is in a file whose reader finds none: a changed length or name hides it."""
    return any(mark in content for mark in (b"jumb", b"jumd", b"c2pa.assertions", b"c2pa.signature", b"urn:c2pa:"))
