"""Programs that a later process takes without tracing them again, and everything that must not be taken."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.experimental.compilation_cache import compilation_cache

from empatheia_jax import tiny
from empatheia_jax.core import slots
from empatheia_jax.nn import programs, sine
from empatheia_jax.nn.linear import Linear, head_product
from empatheia_jax.nn.programs import Program

SECRET = bytes(32)


@pytest.fixture
def folder(tmp_path):
    """Programs are kept there, and JAX keeps none."""
    own = jax.config.jax_compilation_cache_dir
    jax.config.update("jax_compilation_cache_dir", None)
    compilation_cache.reset_cache()
    programs.keep(tmp_path / "programs", SECRET)
    yield tmp_path / "programs"
    programs.keep(None)
    jax.config.update("jax_compilation_cache_dir", own)
    compilation_cache.reset_cache()


def kept(folder) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file()}


def taken(program: Program) -> Program:
    """The same of a process that begins, which cannot trace anything."""
    function, bound = program._of
    again = Program(function, *bound)
    again._jit = None
    return again


X = np.linspace(-3, 3, 8, dtype=np.float32).reshape(2, 4)


def test_a_process_that_begins_takes_the_program_as_it_is(folder):
    first = Program(sine.sin)
    expected = np.asarray(first(X))
    np.testing.assert_allclose(expected, np.sin(X), atol=1e-6)
    assert len(kept(folder)) == first.compilations == 1
    np.testing.assert_array_equal(taken(first)(X), expected)


def test_weights_stay_arguments_and_given_memory_is_taken(folder):
    model = tiny.llm()
    graph, state = nnx.split(model)
    state = jax.device_put(state, jax.devices()[0])
    rows = slots.SlotDecoder(
        nnx.merge(graph, state),
        None,
        slots.DecodingSettings(4),
        form=None,
        longest_prompt=32,
        forced=2,
        places=1,
        chunk=2,
    )
    said = []
    for again in (False, True):
        if again:  # the same decoder with fresh rows, and programs that cannot be traced
            rows.reset()
            rows._admit, chunk = taken(rows._admit), taken(rows._chunk)
            rows._chunk = chunk
        row = rows.admit(model.embed(jnp.zeros((1, 64), jnp.int32)), 5, seed=3)
        before = jax.tree.leaves(rows._single)[0]
        found = [rows.step(2)[0], rows.step(2)[0]]
        assert before.is_deleted() and found[-1].ended
        said.append(np.concatenate([each.hidden for each in found]))
        rows.drop(row)
    np.testing.assert_array_equal(*said)


def test_the_name_does_not_tell_equal_objects_from_the_same_one():
    name, copy = "a name", "".join(["a ", "name"])
    assert name is not copy
    assert programs._pickled((name, copy)) == programs._pickled((name, name))


@pytest.mark.parametrize("damage", [b"", b"no program", "half"])
def test_a_damaged_file_is_made_again(folder, damage):
    expected = Program(sine.sin)(X)
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if damage == "half" else damage)
    np.testing.assert_array_equal(Program(sine.sin)(X), expected)
    np.testing.assert_array_equal(taken(Program(sine.sin))(X), expected)


def test_a_file_that_somebody_else_wrote_is_never_loaded(folder, monkeypatch):
    expected = Program(sine.sin)(X)
    (path,) = (path for path in folder.rglob("*") if path.is_file())
    theirs = path.read_bytes()
    programs.keep(folder, bytes(31) + b"1")
    monkeypatch.setattr(programs.pickle, "loads", lambda content: pytest.fail("it was loaded"))
    np.testing.assert_array_equal(Program(sine.sin)(X), expected)
    assert path.read_bytes()[:32] != theirs[:32]  # it was made again
    with pytest.raises(ValueError, match="at least 16"):
        programs.keep(folder)


def test_what_jax_had_kept_runs_and_is_not_kept_again(folder, monkeypatch, tmp_path):
    """Written down a second time, such a program would not find its functions."""
    monkeypatch.setattr(programs, "_FOLDER", None)
    jax.config.update("jax_compilation_cache_dir", str(tmp_path / "jax"))
    compilation_cache.reset_cache()
    least = jax.config.jax_persistent_cache_min_compile_time_secs
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    try:
        expected = Program(sine.sin)(X)
        monkeypatch.undo()
        before = programs._SEEN.read
        np.testing.assert_array_equal(Program(sine.sin)(X), expected)
        assert programs._SEEN.read > before
    finally:
        jax.config.update("jax_persistent_cache_min_compile_time_secs", least)
    assert list((tmp_path / "jax").iterdir()) and not kept(folder)


def test_whatever_decides_what_is_computed_gives_another_program(folder, monkeypatch):
    def layer(axes):
        return nnx.graphdef(Linear(4, 4, axes=axes, rngs=nnx.Rngs(0)))

    def count(*arguments, function=sine.sin, bound=()):
        Program(function, *bound)(*arguments)
        return len(kept(folder))

    assert count(X) == 1
    assert count(X) == 1
    assert count(X[:1]) == 2
    assert count(X.astype(np.float16)) == 3
    assert count(jnp.asarray(X)) == 4
    assert count(jax.device_put(X, jax.devices()[0])) == 5
    assert count(X, function=sine.cos) == 6
    with jax.default_matmul_precision("highest"):
        assert count(X) == 7
    kernel = np.ones((4, 4), np.float32)
    assert count(X, kernel, function=head_product) == 8
    assert count(kernel, function=head_product, bound=(X,)) == 9
    assert count(kernel, function=head_product, bound=(2 * X,)) == 10


def test_another_source_gives_other_programs_and_the_old_ones_are_removed(folder, monkeypatch, tmp_path):
    Program(sine.sin)(X)
    (old,) = folder.iterdir()
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "sine.py").write_text("changed = True")
    monkeypatch.setattr(programs, "_PACKAGE", tmp_path / "package")
    programs._build.cache_clear()
    try:
        Program(sine.sin)(X)
    finally:
        programs._build.cache_clear()
    (new,) = folder.iterdir()
    assert new != old and len(kept(folder)) == 1


def of_another_package(x):
    return 2 * x


def test_what_may_change_unseen_is_compiled_and_not_kept(folder):
    factor = 2.0
    for function in (of_another_package, lambda x: factor * x, partial(of_another_package)):
        program = Program(function)
        np.testing.assert_array_equal(program(X), 2 * X)
        assert program.compilations == 1 and not kept(folder)
    assert Program(sine.sin)(2.0).shape == () and not kept(folder)  # a number of Python's, whose type is weak


def test_within_another_program_it_is_a_part_of_that(folder):
    whole = jax.jit(lambda x: 2 * Program(sine.sin)(x))
    np.testing.assert_allclose(whole(X), 2 * np.sin(X), atol=1e-5)
    assert not kept(folder)


def test_nothing_is_kept_unless_somebody_says_so(tmp_path):
    program = Program(sine.sin)
    np.testing.assert_allclose(program(X), np.sin(X), atol=1e-6)
    assert program.compilations == 1 and not list(tmp_path.iterdir())
