"""The secret that kept programs are signed with is this user's, and without one nothing is kept."""

from __future__ import annotations

import errno
import stat

import pytest

from empatheia_jax.runs import compilation
from empatheia_jax.weights import sums
from empatheia_jax.weights.sums import CACHE_VARIABLE


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_secret_is_made_once_and_for_this_user_alone(cache):
    secret = compilation._secret()
    assert secret is not None and len(secret) == 32 and compilation._secret() == secret
    assert stat.S_IMODE((cache / "secret").stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_written_or_a_cut_secret_gives_none(cache):
    cache.write_text("a file where a folder should be")
    assert compilation._secret() is None
    cache.unlink()
    cache.mkdir()
    (cache / "secret").write_bytes(b"short")
    assert compilation._secret() is None


def test_a_user_without_a_home_keeps_nothing(monkeypatch):
    for variable in (CACHE_VARIABLE, "XDG_CACHE_HOME", "HOME"):
        monkeypatch.delenv(variable, raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(sums.Path, "home", homeless)  # a number of a user that /etc/passwd does not hold
    assert compilation._secret() is None


def test_a_run_that_cannot_be_written_to_is_used_without_keeping_programs(tmp_path, monkeypatch):
    said = {}
    monkeypatch.setattr(compilation.jax.config, "update", said.__setitem__)
    monkeypatch.setattr(compilation.programs, "keep", lambda *_: pytest.fail("programs are to be written"))
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    run = tmp_path / "run"
    run.mkdir()
    (run / "compilation_cache").write_text("no folder can be made here")
    compilation.keep_programs(run)
    assert not said

    def full(**_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(compilation.tempfile, "TemporaryFile", full)
    (run / "compilation_cache").unlink()
    compilation.keep_programs(run)  # what is there is read, and nothing is written
    assert said["jax_persistent_cache_min_compile_time_secs"] > 1e6


def test_keeping_begins_only_with_a_secret(cache, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(compilation.programs, "keep", lambda *given: kept.append(given))
    monkeypatch.setattr(compilation.jax.config, "update", lambda *given: None)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation.keep_programs(tmp_path / "run")
    monkeypatch.setattr(compilation, "_secret", lambda: None)
    compilation.keep_programs(tmp_path / "run")
    assert kept == [(tmp_path / "run" / "compilation_cache" / "programs", (cache / "secret").read_bytes())]
