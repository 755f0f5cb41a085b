"""The watermark's weights, converted once from the installed package."""

from __future__ import annotations

import pytest

from converters import convert
from converters.registry import find_conversion
from empatheia_jax.provenance.watermark import Watermark


@pytest.fixture(scope="session")
def perth_file():
    """The released file of the installed package."""
    return find_conversion("perth").default_input()


@pytest.fixture(scope="session")
def watermark_folder(perth_file, tmp_path_factory):
    """A folder weights/perth."""
    folder = tmp_path_factory.mktemp("with") / "weights" / "perth"
    convert.to_weights(find_conversion("perth"), perth_file, folder)
    return folder


@pytest.fixture(scope="session")
def watermark(watermark_folder):
    return Watermark.load(watermark_folder)
