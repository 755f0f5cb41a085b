"""For all tests of the server."""

from __future__ import annotations

import pytest

from empatheia_jax.media import transcription


@pytest.fixture(autouse=True)
def nobody_speaks(monkeypatch):
    """The recordings of these tests are tones and noise: no recogniser listens (`tests/dialogue/test_asking.py` tests it)."""
    monkeypatch.setattr(transcription, "words", lambda sound: "")
