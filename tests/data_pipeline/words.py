"""A tokenizer of words for the pipeline's tests: fast, picklable, without weights."""

from __future__ import annotations

import re
import zlib

from empatheia_jax.tokens import ADDED_TOKENS

_PATTERN = re.compile("|".join(map(re.escape, ADDED_TOKENS)) + r"|</response>|[^\s<\[]+|[<\[]")
VOCABULARY = 4000


class Words:
    """Each word is one token; ids are hashes, the added tokens follow the vocabulary."""

    frame = ((1,), ())

    def encode_parts(self, parts) -> list[int]:
        return [self.token_id(word) for word in _PATTERN.findall("".join(text for text, _ in parts))]

    def has(self, *tokens: str) -> bool:
        return False

    def writes_blanks(self, token: int) -> bool:
        return False

    def token_id(self, token: str) -> int:
        if token in ADDED_TOKENS:
            return VOCABULARY + ADDED_TOKENS.index(token)
        return 2 + zlib.crc32(token.encode()) % (VOCABULARY - 2)

    def chat(self, messages) -> str:
        return "\n".join(f"{message['role']}: {message['content']}" for message in messages)
