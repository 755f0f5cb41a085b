"""Claims about reading, writing and arranging pictures."""

import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image, ImageOps

from empatheia_jax.errors import UserError
from empatheia_jax.media.image import contact_sheet, read_image, read_portrait, resize, stored_size, write_image


def gradient(height=40, width=60):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 4, y * 6, 255 - x * 4], -1).astype(np.uint8)


def test_png_is_exact_and_jpeg_close(tmp_path):
    picture = gradient()
    write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    write_image(tmp_path / "a.jpg", picture)
    assert np.abs(read_image(tmp_path / "a.jpg").astype(int) - picture).mean() < 4


def test_transparency_is_laid_over_the_background(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2] = (255, 0, 0, 255)
    rgba[2:] = (0, 255, 0, 0)
    write_image(tmp_path / "a.png", rgba)
    read = read_image(tmp_path / "a.png", background=(10, 20, 30))
    assert read.shape == (4, 4, 3)
    assert tuple(read[0, 0]) == (255, 0, 0) and tuple(read[3, 3]) == (10, 20, 30)


@pytest.mark.parametrize("mode", ["L", "P", "CMYK", "LA", "1", "I;16"])
def test_other_kinds_of_pictures_become_rgb(tmp_path, mode):
    image = Image.fromarray(gradient())
    if mode == "I;16":
        image = Image.fromarray(gradient()[..., 0].astype(np.uint16) * 257)
    else:
        image = image.convert("L").convert(mode) if mode in ("LA", "1") else image.convert(mode)
    path = tmp_path / ("a.jpg" if mode == "CMYK" else "a.png")
    image.save(path)
    read = read_image(path)
    assert read.shape == (40, 60, 3) and read.dtype == np.uint8 and read.std() > 20


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_pixels_of_which_nothing_says_how_bright_they_are_are_refused(tmp_path, dtype):
    Image.fromarray(np.ones((8, 8), dtype)).save(tmp_path / "a.tif")
    with pytest.raises(UserError, match="32 bits"):
        read_image(tmp_path / "a.tif")


def test_a_turned_photo_is_read_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was held sideways
    Image.fromarray(gradient()).save(tmp_path / "a.jpg", exif=exif)
    assert read_image(tmp_path / "a.jpg").shape == (60, 40, 3)


def test_bad_files_are_refused_in_one_line(tmp_path):
    (tmp_path / "text.png").write_text("not a picture")
    whole = tmp_path / "whole.png"
    write_image(whole, np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:2000])
    for name, words in (("text.png", "not a picture"), ("cut.png", "cannot be read"), ("none.png", "does not exist")):
        with pytest.raises(UserError, match=words) as error:
            read_image(tmp_path / name)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="64 × 64"):
        read_image(whole, max_pixels=1000)


def test_bad_pictures_are_not_written(tmp_path):
    with pytest.raises(UserError, match="float64"):
        write_image(tmp_path / "a.png", np.zeros((4, 4, 3)))
    with pytest.raises(UserError, match=".gif"):
        write_image(tmp_path / "a.gif", gradient())
    assert not list(tmp_path.iterdir())


def test_sizes():
    assert resize(gradient(), 20, 30).shape == (20, 30, 3)
    flat = np.full((9, 7, 3), 77, np.uint8)
    assert (resize(flat, 31, 5) == 77).all()
    with pytest.raises(UserError, match="0 × 5"):
        resize(flat, 0, 5)


def test_a_contact_sheet_holds_every_frame_where_it_belongs():
    frames = [[np.full((16, 16, 3), 10 * (3 * r + c), np.uint8) for c in range(3)] for r in range(2)]
    frames[1][1] = None
    sheet = contact_sheet(frames, row_labels=["one", "two"], column_labels=["a", "b", "c"], title="T", scale=2)
    for row in range(2):
        for column in range(3):
            value = 10 * (3 * row + column)
            found = (sheet == value).all(-1).sum()
            assert found >= 32 * 32 if frames[row][column] is not None else found < 32 * 32
    with pytest.raises(UserError, match="one size"):
        contact_sheet([[np.zeros((4, 4, 3), np.uint8), np.zeros((5, 4, 3), np.uint8)]])
    with pytest.raises(UserError, match="1 row labels for 2 rows"):
        contact_sheet(frames, row_labels=["one"])


def refused(path, **options) -> str:
    with pytest.raises(UserError) as error:
        read_image(path, **options)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_small_file_of_a_huge_picture_is_refused_before_it_is_decoded(tmp_path):
    Image.new("1", (16_384, 16_384)).save(tmp_path / "bomb.png")
    tracemalloc.start()
    assert "16384 × 16384" in refused(tmp_path / "bomb.png")
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_a_huge_photograph_is_decoded_smaller(tmp_path):
    Image.new("RGB", (4096, 2048), (200, 10, 30)).save(tmp_path / "photo.jpg")
    picture = read_image(tmp_path / "photo.jpg", max_pixels=1_000_000)
    assert picture.shape == (512, 1024, 3) and np.abs(picture[5, 5] - [200.0, 10, 30]).max() < 4


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_portrait_that_is_a_huge_png_is_averaged(tmp_path, mode):
    values = np.random.default_rng(0).integers(0, 256, (1000, 777)).astype(np.uint16 if mode == "I;16" else np.uint8)
    (Image.fromarray(values) if mode == "I;16" else Image.fromarray(values).convert(mode)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png", max_pixels=200_000, shrink=True)
    expected = Image.fromarray(read_image(tmp_path / "a.png")).reduce(2)
    np.testing.assert_array_equal(found, np.asarray(expected))
    assert "777 × 1000" in refused(tmp_path / "a.png", max_pixels=200_000)


def jpeg(path, **options):
    rng = np.random.default_rng(3)
    Image.fromarray(rng.integers(0, 255, (48, 32, 3), np.uint8)).save(path, "JPEG", **options)
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("kind", ["progressive", "one component a scan"])
def test_a_jpeg_whose_decoder_would_hold_gigabytes_is_refused(tmp_path, kind):
    path = tmp_path / "x.jpg"
    data = jpeg(path, progressive=kind == "progressive")
    assert read_image(path).shape == (48, 32, 3)
    frame = data.find(b"\xff\xc2" if kind == "progressive" else b"\xff\xc0")
    if kind != "progressive":
        data[data.find(b"\xff\xda") + 4] = 1
    data[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"60000 × 60000 .* holds 10\.8 GB; save it as a baseline JPEG"):
        read_portrait(path)


def test_a_jpeg_of_hundreds_of_scans_is_refused(tmp_path):
    path = tmp_path / "x.jpg"
    data = jpeg(path, progressive=True)
    last = data.rfind(b"\xff\xda")
    path.write_bytes(data[:-2] + 200 * data[last:-2] + data[-2:])
    with pytest.raises(UserError, match=r"in 2\d\d scans; save it as a baseline JPEG"):
        read_portrait(path)


def test_a_line_of_millions_of_pixels_is_refused(tmp_path):
    path = tmp_path / "x.png"
    Image.new("1", (100_000, 1)).save(path)
    with pytest.raises(UserError, match="100000 × 1 pixels; at most 65535 a side"):
        read_portrait(path)


def tiled_tiff(width: int, height: int, side: int) -> bytes:
    """A grey TIFF in one tile of zeros, compressed."""
    data = zlib.compress(bytes(side * side))
    entries = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 134, 325: len(data)}
    fields = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + fields + bytes(4) + data


def test_a_tiff_whose_tiles_are_far_larger_than_the_picture_is_refused(tmp_path):
    path = tmp_path / "x.tiff"
    path.write_bytes(tiled_tiff(80, 64, 80))
    assert read_image(path).shape == (64, 80, 3)
    path.write_bytes(tiled_tiff(80, 64, 8016))
    with pytest.raises(UserError, match="80 × 64 pixels in tiles of 8016 × 8016; save it as a PNG or JPEG"):
        read_image(path)


def test_a_portrait_has_a_limit_too(tmp_path):
    Image.new("1", (16_385, 16_385)).save(tmp_path / "bomb.png")
    with pytest.raises(UserError, match="16385 × 16385 pixels; at most 268 million"):
        read_portrait(tmp_path / "bomb.png")


@pytest.mark.parametrize("ending", ["png", "tiff", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_upright_however_the_camera_was_held(tmp_path, orientation, ending):
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8))
    exif = picture.getexif()
    exif[ExifTags.Base.Orientation] = orientation
    picture.save(tmp_path / f"a.{ending}", exif=exif)
    with Image.open(tmp_path / f"a.{ending}") as file:
        expected = np.asarray(ImageOps.exif_transpose(file))
    np.testing.assert_array_equal(read_image(tmp_path / f"a.{ending}"), expected)
    assert stored_size(tmp_path / f"a.{ending}") == expected.shape[:2]


def test_bands_of_a_picture_with_transparency_fit_together(tmp_path):
    rng = np.random.default_rng(0)
    rgba = rng.integers(0, 256, (700, 20, 4), np.uint8)
    write_image(tmp_path / "a.png", rgba)
    base = Image.new("RGBA", (20, 700), (255, 255, 255, 255))
    expected = np.asarray(Image.alpha_composite(base, Image.fromarray(rgba)).convert("RGB"))
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), expected)


def test_a_flipped_bit_of_a_png_is_noticed(tmp_path):
    write_image(tmp_path / "a.png", gradient())
    blob = (tmp_path / "a.png").read_bytes()
    start = blob.index(b"IDAT") + 4
    for place in range(start, len(blob) - 12, 7):
        (tmp_path / "b.png").write_bytes(blob[:place] + bytes([blob[place] ^ 16]) + blob[place + 1 :])
        refused(tmp_path / "b.png")


def test_kinds_that_start_other_programs_are_not_pictures(tmp_path):
    (tmp_path / "a.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n")
    assert "not a picture" in refused(tmp_path / "a.png")
    os.mkfifo(tmp_path / "b.png")
    assert "FIFO" in refused(tmp_path / "b.png")
