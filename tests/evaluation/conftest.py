"""What the tests of the evaluation share: a small set with speech and faces, and its recordings as a system."""

from __future__ import annotations

import jax
import pytest

from evaluation import ground_truth, questions, run, similarity
from evaluation.judges import Judges
from tests.conftest import ROOT
from tests.evaluation import sets


@pytest.fixture(scope="session", autouse=True)
def compiled_as_for_a_user():
    """SSIM of a film runs for long and is compiled once: here without the flags that make code quick to compile."""
    options = {"xla_backend_optimization_level": 2, "xla_llvm_disable_expensive_passes": False}
    with pytest.MonkeyPatch.context() as patch:
        scores = jax.jit(similarity._scores.__wrapped__, static_argnames="window", compiler_options=options)
        patch.setattr(similarity, "_scores", scores)
        yield


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


@pytest.fixture(scope="session")
def others(truth, tmp_path_factory):
    """Systems with known faults: row → folder (`sets.systems`)."""
    return sets.systems(truth, tmp_path_factory.mktemp("others"))


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """Where the tests keep what they measured."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def judges(data, cache):
    """The judge that is learned from recordings, without those of the extra."""
    return Judges(chosen=("lips",), recordings=data, cache=cache)


@pytest.fixture(scope="session")
def evaluation(data, truth, others, cache, judges):
    """All of them, evaluated."""
    pairs = [(None, truth), *((None, each) for each in others.values())]
    return run.evaluate(pairs, data / "test.json", cache, judges=judges, training=[data / "train.json"])


@pytest.fixture(scope="session")
def asked(data):
    """The questions of its test split, by id."""
    return questions.read(data / "test.json")
