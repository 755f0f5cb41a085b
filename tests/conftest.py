"""Fixtures shared by all tests."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of reference vectors and real media beside the checkout; tests that need it skip where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the reference vectors and media in ../shared, which are not part of the repository")
    return SHARED


@pytest.fixture(scope="session")
def data() -> Path:
    """Small numeric vectors that ship with the tests."""
    return ROOT / "tests" / "data"
