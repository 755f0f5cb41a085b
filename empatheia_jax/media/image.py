"""Pictures in and out: files to uint8 RGB arrays and back, resizing, and contact sheets."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont, ImageOps, UnidentifiedImageError

from empatheia_jax.errors import UserError
from empatheia_jax.files import replacing

MAX_SIDE = 16_384
"""Longest side, in pixels, of a picture that `read_image` accepts unless told otherwise."""

Picture = UInt8[np.ndarray, "height width 3"]


def read_image(
    path: str | os.PathLike, *, background: tuple[int, int, int] = (255, 255, 255), max_side: int = MAX_SIDE
) -> Picture:
    """A picture file (PNG, JPEG, WebP …) as RGB, upright as its camera held it.

    Transparency is laid over `background`; grey, palette, 16-bit and CMYK pictures are converted.

    Raises:
        UserError: no such file, not a picture, a broken or truncated one, or a side longer than `max_side`.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise UserError(f"{path} {what}; expected a picture file (PNG or JPEG)")
    limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None  # sizes are checked below, before decoding
    try:
        with Image.open(path) as image:
            if max(image.size) > max_side:
                raise UserError(f"{path} is {image.width} × {image.height} pixels; at most {max_side} a side are read")
            return _to_rgb(ImageOps.exif_transpose(image), background)
    except UserError:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        reason = "not a picture" if isinstance(error, UnidentifiedImageError) else str(error)
        raise UserError(f"{path} cannot be read as a picture ({reason}); expected a PNG or JPEG file") from None
    finally:
        Image.MAX_IMAGE_PIXELS = limit


def _to_rgb(image: Image.Image, background: tuple[int, int, int]) -> Picture:
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
