"""A table is read in both directions without loss, and whatever does not fit is named before anything is read."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from converters import interpreter, table
from converters.interpreter import ConversionError
from converters.table import Ignore, Row, Same, Table, chain, prefixed, transpose
from empatheia_jax.errors import UserError

RNG = np.random.default_rng(0)

TABLE = Table(
    [
        Row("embed.weight", "embed.table"),
        Row("layers.{i}.fc.weight", "layers.fc.kernel", transpose),
        Row("layers.{i}.qkv.weight", ("layers.q.kernel", "layers.k.kernel"), table.split((4, 2))),
        Row(("a.weight", "b.weight"), "ab.kernel", table.pack((2, 3))),
        Row("conv.{j}.weight", "conv.{j}.kernel", table.conv1d, aliases=("conv.{j}.parametrized",)),
        Same("head.weight", "embed.weight"),
        Ignore("*.position_ids", "a counting buffer"),
    ]
)


def checkpoint() -> dict[str, np.ndarray]:
    shapes = {"embed.weight": (7, 3), "a.weight": (2, 5), "b.weight": (3, 5)}
    for i in range(12):  # two digits: order must be by number
        shapes |= {f"layers.{i}.fc.weight": (4, 3), f"layers.{i}.qkv.weight": (6, 3)}
    for j in range(2):
        shapes[f"conv.{j}.weight"] = (4, 3, 5)
    return {key: RNG.standard_normal(shape).astype(np.float32) for key, shape in shapes.items()}


def model() -> dict[str, np.ndarray]:
    shapes = {
        "embed.table": (7, 3),
        "layers.fc.kernel": (12, 3, 4),
        "layers.q.kernel": (12, 4, 3),
        "layers.k.kernel": (12, 2, 3),
        "ab.kernel": (5, 5),
        "conv.0.kernel": (5, 3, 4),
        "conv.1.kernel": (5, 3, 4),
    }
    return {path: np.empty(shape, np.float32) for path, shape in shapes.items()}


def test_every_tensor_lands_where_its_row_says():
    source = checkpoint()
    flat = interpreter.load(source, TABLE, model())
    np.testing.assert_array_equal(flat["layers.fc.kernel"][11], source["layers.11.fc.weight"].T)
    np.testing.assert_array_equal(flat["layers.k.kernel"][3], source["layers.3.qkv.weight"][4:])
    np.testing.assert_array_equal(flat["ab.kernel"], np.concatenate([source["a.weight"], source["b.weight"]]))
    np.testing.assert_array_equal(flat["conv.1.kernel"], source["conv.1.weight"].transpose(2, 1, 0))


def test_in_and_out_again_is_bit_identical():
    source = checkpoint()
    back = dict(interpreter.export(interpreter.load(source, TABLE, model()), TABLE))
    assert set(back) == set(source)
    for key, value in source.items():
        assert back[key].tobytes() == value.tobytes() and back[key].shape == value.shape


def test_an_export_keeps_the_spelling_and_the_twins_of_a_key_list():
    source = checkpoint()
    for j in range(2):
        source[f"conv.{j}.parametrized"] = source.pop(f"conv.{j}.weight")
    source["head.weight"] = source["embed.weight"]
    flat = interpreter.load(source, TABLE, model())
    back = dict(interpreter.export(flat, TABLE, source.keys()))
    assert set(back) == set(source)
    assert set(interpreter.export_manifest(flat, TABLE, source.keys())) == set(source)


def refused(source: dict[str, np.ndarray], abstract: dict[str, np.ndarray] | None = None) -> str:
    with pytest.raises(ConversionError) as caught:
        interpreter.load(source, TABLE, abstract or model())
    return str(caught.value)


def test_all_problems_are_named_at_once_with_key_and_reason():
    source = checkpoint()
    del source["layers.3.fc.weight"]
    source["surprise.weight"] = np.zeros(3, np.float32)
    source["layers.12.fc.weight"] = source["layers.0.fc.weight"]
    source["embed.weight"] = source["embed.weight"].T
    message = refused(source)
    assert "missing: layers.3.fc.weight: expected (4, 3), for our layers.fc.kernel" in message
    assert "unexpected: surprise.weight: (3,); no row of the table knows it" in message
    assert "unexpected: layers.12.fc.weight: (4, 3); the model has no place for it" in message
    assert "misshapen: embed.weight: found (3, 7), expected (7, 3)" in message


def test_a_parameter_that_no_row_fills_is_refused():
    assert "unfilled: extra.kernel" in refused(checkpoint(), model() | {"extra.kernel": np.empty(2, np.float32)})


def test_two_rows_for_one_parameter_are_refused():
    doubled = Table([*TABLE.rows, Row("other.weight", "embed.table")])
    with pytest.raises(ConversionError, match="ambiguous: embed.table: filled by two rows"):
        interpreter.load(checkpoint() | {"other.weight": np.zeros((7, 3), np.float32)}, doubled, model())


def test_both_spellings_of_one_tensor_are_refused():
    source = checkpoint()
    source["conv.0.parametrized"] = source["conv.0.weight"]
    assert "unexpected: conv.0.parametrized" in refused(source)


def test_a_twin_that_differs_is_refused():
    source = checkpoint()
    source["head.weight"] = source["embed.weight"] + 1
    with pytest.raises(ConversionError, match="head.weight differs from embed.weight"):
        interpreter.load(source, TABLE, model())


def test_known_junk_is_ignored_and_reported():
    report = interpreter.check(
        {k: {"shape": v.shape} for k, v in checkpoint().items()} | {"x.position_ids": {"shape": (1, 4)}}, TABLE, model()
    )
    assert report.ok and report.ignored == {"x.position_ids": "a counting buffer"}


def test_nothing_is_read_when_something_does_not_fit():
    class Untouchable(interpreter.Source):
        def read(self, key):
            raise AssertionError("read")

    manifest = {k: {"shape": list(v.shape), "dtype": "float32"} for k, v in checkpoint().items()}
    del manifest["a.weight"]
    with pytest.raises(ConversionError, match="missing: a.weight"):
        interpreter.load(Untouchable("x", manifest), TABLE, model())


def test_layers_of_different_types_need_one_type():
    source = checkpoint()
    source["layers.2.fc.weight"] = source["layers.2.fc.weight"].astype(np.float16)
    with pytest.raises(ConversionError, match="give one dtype"):
        interpreter.load(source, TABLE, model())
    assert interpreter.load(source, TABLE, model(), np.float32)["layers.fc.kernel"].dtype == np.float32


def test_integers_keep_their_type():
    rows = Table([Row("steps", "steps")])
    flat = interpreter.load({"steps": np.array(3)}, rows, {"steps": np.empty((), np.int64)}, np.float32)
    assert flat["steps"].dtype == np.int64 and flat["steps"].shape == ()


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_])
def test_integers_are_no_weights(dtype):
    """A quantised checkpoint that lost its scales."""
    source = {key: (100 * value).astype(dtype) for key, value in checkpoint().items()}
    with pytest.raises(ConversionError, match=f"fc.weight: {np.dtype(dtype).name}"):
        interpreter.load(source, TABLE, model(), np.float32)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64, ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn])
@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_a_number_that_is_not_finite_is_refused(dtype, number):
    source = {key: value.astype(dtype) for key, value in checkpoint().items()}
    assert interpreter.load(source, TABLE, model()).keys() == model().keys()
    source["layers.1.fc.weight"].reshape(-1)[-1] = number
    with pytest.raises(UserError, match=r"layers\.1\.fc\.weight holds NaN or infinite numbers"):
        interpreter.load(source, TABLE, model())


@pytest.mark.parametrize(
    "found, wanted, number",
    [(np.float64, None, 1e300), (np.float32, "float16", 1e5), (ml_dtypes.bfloat16, "float16", -1e38)],
)
def test_a_number_that_the_weights_cannot_hold_is_refused(found, wanted, number):
    source = {key: value.astype(found) for key, value in checkpoint().items()}
    wanted = None if wanted is None else np.dtype(wanted)
    assert interpreter.load(source, TABLE, model(), wanted).keys() == model().keys()
    source["layers.1.fc.weight"].reshape(-1)[-1] = number
    with pytest.raises(UserError, match=r"layers\.1\.fc\.weight holds numbers beyond ±"):
        interpreter.load(source, TABLE, model(), wanted)


def test_prefixes_are_spellings():
    rows = Table(prefixed([Row("w.{i}", "w.{i}")], "model.", ""))
    abstract = {"w.0": np.empty(2)}
    for key in ("model.w.0", "w.0"):
        assert dict(interpreter.export(interpreter.load({key: np.ones(2)}, rows, abstract), rows, [key])).keys() == {
            key
        }


@pytest.mark.parametrize(
    "transform, source",
    [
        (table.conv2d, (4, 3, 5, 2)),
        (table.conv3d, (4, 3, 5, 2, 6)),
        (table.squeeze(1), (3, 1, 4)),
        (chain(transpose, table.reshape((5, 6), (5, 2, 3))), (6, 5)),
        (chain(table.split((4, 2)), transpose), (6, 3)),
    ],
    ids=str,
)
def test_a_transform_has_an_exact_inverse_and_tells_the_source_shape(transform, source):
    value = RNG.standard_normal(source)
    ours = transform.to_target([value])
    np.testing.assert_array_equal(transform.to_source(ours)[0], value)
    assert [tuple(s) for s in transform.source_shapes([v.shape for v in ours])] == [source]
