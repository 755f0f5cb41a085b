"""Pictures in and out: files to uint8 RGB arrays and back, resizing, and contact sheets."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageDraw, ImageFont, TiffImagePlugin, UnidentifiedImageError, WebPImagePlugin

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing, require_regular

MAX_PIXELS = 64_000_000
"""Most pixels of a picture that `read_image` returns: they take half a gigabyte meanwhile."""
MAX_SHRUNK = 2**28
"""Most pixels of a PNG that `read_image` decodes to make it smaller (16384 × 16384): Pillow keeps 4 bytes for each."""
MAX_SIDE = 65_535
"""Most pixels of a side, the limit of JPEG: a line of millions of pixels is no picture, and takes a minute."""
MAX_HELD = 3 * 2**28
"""Most bytes that a decoder may hold beside the pixels: what a progressive JPEG of 16384 × 16384 in the usual 4:2:0 takes."""
MAX_SCANS = 100
"""Most scans of a JPEG, each of which goes over the whole picture; programs write about ten."""
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")
"""By Pillow's names. Others are not read: for some of them Pillow starts programs."""
_PLUGINS = (TiffImagePlugin, WebPImagePlugin)  # Pillow loads these two only when they are imported
_EXPECTED = "a picture file (PNG or JPEG)"
_BAND = 256  # rows that are converted at once
_TURNED = (5, 6, 7, 8)  # Exif orientations that exchange height and width
# What Pillow raises on damaged files, beside its own errors.
_ODD_ERRORS = (
    struct.error, zlib.error, OverflowError, MemoryError, KeyError, IndexError, TypeError, AttributeError, ZeroDivisionError,
    RuntimeError, Image.DecompressionBombError,
)  # fmt: skip
_open_lock = threading.Lock()

Picture = UInt8[np.ndarray, "height width 3"]


def read_image(
    path: str | os.PathLike,
    *,
    background: tuple[int, int, int] = (255, 255, 255),
    max_pixels: int = MAX_PIXELS,
    shrink: bool = False,
) -> Picture:
    """A picture file (PNG, JPEG, WEBP, BMP, GIF, TIFF) as RGB, upright as its camera held it.

    Transparency is laid over `background`; grey, palette, 16-bit and CMYK pictures are converted. A JPEG of more than
    `max_pixels` is decoded at a half, a quarter or an eighth of its size, which its format makes cheap.

    Args:
        max_pixels: most pixels of the result; a larger picture is refused before it is decoded.
        shrink: make a larger PNG smaller instead, up to `MAX_SHRUNK` pixels: its pixels are averaged in squares. For whoever
            needs a small picture only; it takes up to 1.3 GB and some seconds.

    Raises:
        UserError: no such file, not a picture, a broken or truncated one, or one of more than `max_pixels` pixels.
    """
    path = Path(path)
    require_regular(path, _EXPECTED)
    try:
        _check_sums(path)
        with open(path, "rb") as file, _opened(file) as image:
            _require_decodable(path, image)
            if image.format in ("JPEG", "MPO"):  # MPO: a JPEG with a second picture, as some telephones write it
                quicker = next((n for n in (1, 2, 4, 8) if image.width * image.height <= max_pixels * n * n), 8)
                if quicker > 1:
                    image.draft(image.mode, (image.width // quicker, image.height // quicker))
            pixels, factor = image.width * image.height, 1
            if pixels > max_pixels:
                # Only a PNG is decoded row by row; for other formats Pillow's libraries hold the whole picture a second time.
                most = MAX_SHRUNK if shrink and image.format == "PNG" else max_pixels
                if pixels > most:
                    raise UserError(
                        f"{path} is {image.width} × {image.height} pixels; at most {most / 1e6:.0f} million are read; make it "
                        "smaller"
                    )
                factor = math.ceil(math.sqrt(pixels / max_pixels))
            if image.mode == "F" or (image.mode == "I" and image.format == "TIFF"):
                raise UserError(
                    f"{path} has pixels of 32 bits, of which nothing says how bright they are; save it with 8 or 16 bits"
                )
            image.load()
            return _upright(_to_rgb(image, background, factor), image.getexif().get(ExifTags.Base.Orientation, 1))
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, *_ODD_ERRORS) as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error) or type(error).__name__
        reason = " ".join(reason.split())[:200]
        raise UserError(f"{path} cannot be read as a picture ({reason}); expected a PNG or JPEG file") from None


def read_portrait(path: str | os.PathLike) -> Picture:
    """`read_image` of a photograph of which a small square is kept: a large PNG is made smaller, not refused."""
    return read_image(path, shrink=True)


def stored_size(path: str | os.PathLike) -> tuple[int, int]:
    """(height, width) of a picture file, upright, by its header alone: what is read of a large one is smaller.

    Raises `UserError` where it is not a picture.
    """
    require_regular(Path(path), _EXPECTED)
    try:
        with open(path, "rb") as file, _opened(file) as image:
            # Pillow gives the upright size of a TIFF from the start.
            turned = image.format != "TIFF" and image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED
            return (image.width, image.height) if turned else (image.height, image.width)
    except (OSError, SyntaxError, ValueError, EOFError, *_ODD_ERRORS):
        raise UserError(f"{path} cannot be read as a picture; expected a PNG or JPEG file") from None


def _opened(file: BinaryIO) -> Image.Image:
    with _open_lock:  # the limit is Pillow's and global; ours is checked before anything is decoded
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _require_decodable(path: Path, image: Image.Image) -> None:
    """Raises `UserError` where a decoder would hold or compute far more than the size of the picture says."""
    if max(image.size) > MAX_SIDE:
        raise UserError(
            f"{path} is {image.width} × {image.height} pixels; at most {MAX_SIDE} a side are read; cut it to a picture"
        )
    held, scans = 0, 1
    if image.format in ("JPEG", "MPO"):
        held, scans = _coefficients(path)
    elif image.format == "TIFF" and isinstance(image, TiffImagePlugin.TiffImageFile):
        wide, high = (image.tag_v2.get(tag, 0) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if wide * high > max(MAX_PIXELS, image.width * image.height):
            raise UserError(
                f"{path} is {image.width} × {image.height} pixels in tiles of {wide} × {high}; save it as a PNG or JPEG"
            )
    if held > MAX_HELD or scans > MAX_SCANS:
        why = f"{scans} scans" if scans > MAX_SCANS else f"several scans, of which a decoder holds {held / 1e9:.1f} GB"
        raise UserError(
            f"{path} is a JPEG of {image.width} × {image.height} pixels in {why}; save it as a baseline JPEG (not progressive), "
            "or smaller"
        )


def _coefficients(path: Path) -> tuple[int, int]:
    """What decoding a JPEG costs beside its pixels: (bytes of coefficients that are held until its last scan, scans).

    Only a JPEG of one scan is decoded row by row. Of others (all progressive ones) every coefficient is kept, at any scale.
    """
    with open(path, "rb") as file:
        file.seek(2)
        bytes_held, components, progressive = 0, 0, False
        while (found := file.read(1)) == b"\xff":
            while (marker := file.read(1)) == b"\xff":  # fill bytes
                pass
            if marker in (b"", b"\x01") or b"\xd0" <= marker <= b"\xd8":  # without a length
                continue
            (length,) = struct.unpack(">H", file.read(2))
            content = file.read(length - 2)
            if b"\xc0" <= marker <= b"\xcf" and marker not in (b"\xc4", b"\xc8", b"\xcc"):  # the frame
                progressive = marker in (b"\xc2", b"\xc6", b"\xca", b"\xce")
                height, width, components = struct.unpack(">xHHB", content[:6])
                factors = [(each >> 4, each & 15) for each in content[7 : 6 + 3 * components : 3]]
                most = max(across for across, _ in factors) * max(down for _, down in factors)
                bytes_held = 2 * height * width * sum(across * down for across, down in factors) // most
            elif marker == b"\xda":  # the first scan
                if not progressive and content[0] >= components:
                    return 0, 1
                scans, last = 1, b""
                while chunk := file.read(1 << 20):
                    scans += (last + chunk).count(b"\xff\xda")  # stuffed where it is no marker
                    last = chunk[-1:]
                return bytes_held, scans
        raise ValueError(f"a marker should follow, and there is {found!r}")


def _check_sums(path: Path) -> None:
    """Verifies the checksums of a PNG, which Pillow does not compare when it decodes. Raises as Pillow does."""
    with open(path, "rb") as file:
        if file.read(8) != b"\x89PNG\r\n\x1a\n":
            return
        file.seek(0)
        with _opened(file) as image:
            image.verify()


def _to_rgb(image: Image.Image, background: tuple[int, int, int], factor: int = 1) -> Picture:
    """RGB in bands of rows, so that the copies that the conversions make stay small; averages of `factor` × `factor` pixels."""
    height, width = (-(-side // factor) for side in (image.height, image.width))
    result = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND // factor)
    for top in range(0, height, step):
        bottom = min(top + step, height)
        band = image.crop((0, top * factor, image.width, min(bottom * factor, image.height)))
        band.info = image.info
        rgb = _band_to_rgb(band, background)
        result[top:bottom] = rgb if factor == 1 else np.asarray(Image.fromarray(rgb).reduce(factor))
    return result


def _upright(picture: Picture, orientation: int) -> Picture:
    """Turned and mirrored as an Exif orientation (1 to 8) says."""
    if orientation in _TURNED:
        picture = picture.transpose(1, 0, 2)
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    return np.ascontiguousarray(picture)


def _band_to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Picture:
    if image.mode in ("I;16", "I;16L", "I;16B", "I"):
        return np.repeat((np.asarray(image, np.int64) >> 8).clip(0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image.convert("RGBA")
        base = Image.new("RGBA", image.size, (*background, 255))
        image = Image.alpha_composite(base, image)
    return np.asarray(image.convert("RGB"))


def write_image(path: str | os.PathLike, picture: np.ndarray, *, quality: int = 92) -> None:
    """Writes uint8 grey (H, W), RGB (H, W, 3) or RGBA (H, W, 4) as the ending of `path` says; the file appears whole.

    JPEG has no transparency: RGBA is laid over white. Raises `UserError` for another shape, type or ending.
    """
    path = Path(path)
    picture = np.asarray(picture)
    if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] in (3, 4))):
        raise UserError(
            f"a picture of {picture.dtype} {picture.shape} cannot be written; expected uint8 (H, W), (H, W, 3 or 4)"
        )
    formats = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
    kind = formats.get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path} ends in {path.suffix!r}; expected one of {', '.join(formats)}")
    image = Image.fromarray(picture)
    if kind == "JPEG" and image.mode == "RGBA":
        image = Image.fromarray(_to_rgb(image, (255, 255, 255)))
    options = {"quality": quality} if kind != "PNG" else {"optimize": True}
    with replacing(path) as temporary:
        image.save(temporary, format=kind, **options)


def png_bytes(picture: np.ndarray) -> bytes:
    """The PNG file of a uint8 picture, in memory."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def resize(picture: UInt8[np.ndarray, "h w c"], height: int, width: int) -> UInt8[np.ndarray, "height width c"]:
    """Resizes a uint8 picture: bilinear with antialiasing when it shrinks (Pillow's filter), shape exactly as asked."""
    if height < 1 or width < 1:
        raise UserError(f"a picture cannot be resized to {height} × {width}; both sides must be at least 1")
    if picture.shape[:2] == (height, width):
        return picture
    return np.asarray(Image.fromarray(picture).resize((width, height), Image.Resampling.BILINEAR))


def contact_sheet(
    frames: Sequence[Sequence[np.ndarray | None]],
    *,
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    title: str = "",
    scale: int = 1,
    gap: int = 4,
    ink: tuple[int, int, int] = (40, 40, 48),
    paper: tuple[int, int, int] = (250, 250, 252),
) -> Picture:
    """A grid of pictures of one size with labels: rows of frames, `None` leaves a place empty.

    Args:
        frames: rows of uint8 (H, W, 3); rows may differ in length.
        row_labels: one per row, written at the left; column_labels: one per column, written above.
        scale: whole-number enlargement of every frame.
    """
    cells = [f for row in frames for f in row if f is not None]
    if not cells:
        raise UserError("a contact sheet needs at least one picture")
    height, width = cells[0].shape[:2]
    odd = next((f.shape for f in cells if f.shape[:2] != (height, width)), None)
    if odd is not None:
        raise UserError(f"a contact sheet's pictures must be of one size; found {odd[:2]} beside {(height, width)}")
    for labels, count, what in ((row_labels, len(frames), "row"), (column_labels, max(map(len, frames)), "column")):
        if labels and len(labels) != count:
            raise UserError(f"{len(labels)} {what} labels for {count} {what}s; one each is needed")
    font = ImageFont.load_default(size=14)
    heading = ImageFont.load_default(size=18)
    left = gap + (max(int(font.getlength(label)) for label in row_labels) + 10 if row_labels else 0)
    top = gap + (28 if title else 0) + (22 if column_labels else 0)
    tall, wide = height * scale, width * scale
    columns = max(map(len, frames))
    sheet = Image.new("RGB", (left + columns * (wide + gap), top + len(frames) * (tall + gap)), paper)
    pen = ImageDraw.Draw(sheet)
    if title:
        pen.text((gap + 2, gap + 2), title, ink, heading)
    for column, label in enumerate(column_labels):
        middle = left + column * (wide + gap) + wide / 2 - font.getlength(label) / 2
        pen.text((middle, top - 20), label, ink, font)
    for row, line in enumerate(frames):
        y = top + row * (tall + gap)
        if row_labels:
            pen.text((gap + 2, y + tall / 2 - 9), row_labels[row], ink, font)
        for column, frame in enumerate(line):
            if frame is not None:
                image = Image.fromarray(np.ascontiguousarray(frame))
                if scale != 1:
                    image = image.resize((wide, tall), Image.Resampling.NEAREST)
                sheet.paste(image, (left + column * (wide + gap), y))
    return np.asarray(sheet)
