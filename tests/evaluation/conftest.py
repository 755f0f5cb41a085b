"""What the tests of the evaluation share: a small set with speech and faces, and its recordings as a system."""

from __future__ import annotations

import pytest

from evaluation import ground_truth
from tests.conftest import ROOT
from tests.evaluation import sets


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A data set of six dialogues with recordings."""
    return sets.build(tmp_path_factory.mktemp("few") / "data")


@pytest.fixture(scope="session")
def truth(data, tmp_path_factory):
    """Its test split as a folder of replies."""
    folder = tmp_path_factory.mktemp("systems") / "truth"
    ground_truth.write(data, "test", folder)
    return folder


@pytest.fixture(scope="session")
def vectors():
    """Small numeric vectors that ship with the tests."""
    return ROOT / "tests" / "data"
