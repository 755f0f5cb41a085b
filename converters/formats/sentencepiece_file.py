"""Reads SentencePiece model files: `ModelProto` of google/sentencepiece's sentencepiece_model.proto."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from converters.formats.protobuf import bytes_of, fields, number_of
from empatheia_jax.errors import UserError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
"""`SentencePiece.Type`."""
UNIGRAM, BPE = 1, 2
"""`TrainerSpec.ModelType`."""


@dataclass(frozen=True)
class Pieces:
    """The fields of a model file that matter for its use."""

    pieces: tuple[tuple[str, float, int], ...]  # text, score, kind
    kind: int
    byte_fallback: bool
    charsmap: bytes
    dummy_prefix: bool
    squeeze: bool  # runs of blanks become one, those at the ends go

    @classmethod
    def read(cls, data: bytes, name: str) -> Pieces:
        """Raises UserError where `data` is no SentencePiece model, or one of a kind that is not implemented."""
        try:
            found: dict[int, list] = {}
            for number, value in fields(data):
                found.setdefault(number, []).append(value)
            pieces = tuple(_piece(each) for each in found.get(1, ()))
            trainer = dict(fields(found[2][0])) if 2 in found else {}
            rules = dict(fields(found[3][0])) if 3 in found else {}
        except (ValueError, IndexError, TypeError, struct.error) as error:
            raise UserError(f"{name} is no SentencePiece model: {error}") from error
        if not pieces:
            raise UserError(f"{name} is no SentencePiece model: it has no pieces")
        kind = trainer.get(3, UNIGRAM)
        if kind not in (UNIGRAM, BPE):
            raise UserError(f"{name} is a SentencePiece model of kind {kind}; implemented are unigram (1) and BPE (2)")
        if not rules.get(5, True):
            raise UserError(f"{name} does not escape blanks, which is not implemented")
        return cls(
            pieces,
            kind,
            bool(trainer.get(35, 0)),
            bytes(rules.get(2, b"")),
            bool(rules.get(3, 1)),
            bool(rules.get(4, 1)),
        )


def _piece(data: bytes) -> tuple[str, float, int]:
    found = dict(fields(data))
    score = struct.unpack("<f", bytes_of(found[2]))[0] if 2 in found else 0.0
    return bytes(found.get(1, b"")).decode(), score, number_of(found.get(3, NORMAL))
