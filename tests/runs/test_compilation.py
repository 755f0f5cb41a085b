"""The secret that kept programs are signed with is this user's, and without one nothing is kept."""

from __future__ import annotations

import stat

import pytest

from empatheia_jax.runs import compilation
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


def test_keeping_begins_only_with_a_secret(cache, tmp_path, monkeypatch):
    kept = []
    monkeypatch.setattr(compilation.programs, "keep", lambda *given: kept.append(given))
    monkeypatch.setattr(compilation.jax.config, "update", lambda *given: None)
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    compilation.keep_programs(tmp_path / "run")
    monkeypatch.setattr(compilation, "_secret", lambda: None)
    compilation.keep_programs(tmp_path / "run")
    assert kept == [(tmp_path / "run" / "compilation_cache" / "programs", (cache / "secret").read_bytes())]
