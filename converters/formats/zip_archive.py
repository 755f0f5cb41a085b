"""Members of a zip archive, read only where the archive is what it says.

Every member's name, place, size and checksum are compared with the file before anything is allocated, and the checksum
with the data before anything is handed out.
"""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from pathlib import Path

from empatheia_jax.errors import UserError

_METHODS = {zipfile.ZIP_DEFLATED: "deflate", zipfile.ZIP_BZIP2: "bzip2", zipfile.ZIP_LZMA: "lzma"}

_LOCAL_HEADER = struct.Struct("<4s5H3I2H")
_UTF_8 = 1 << 11  # the flag of a name that is not in the old code page
_MEMBER, _DESCRIPTOR = b"PK\x03\x04", 24  # what a member begins with; most bytes of the note that may follow its data
_CHUNK = 1 << 22
LARGEST_RATIO, ALWAYS_ALLOWED = (
    200,
    1 << 26,
)  # of a compressed member: bytes per stored byte, and bytes that may pass anyway


class ZipArchive:
    """A zip archive whose members are plain (or, where `compressed` allows it, deflated) and lie apart from each other.

    Raises: UserError where the file is damaged, cut short, encrypted, compressed in another way, or names a member
      twice; or where a member would become far larger than any honest archive's.
    """

    def __init__(self, path: str | os.PathLike, compressed: bool = False):
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                entries, end = archive.infolist(), archive.start_dir
            self._places = {e.filename: self._place(e, compressed) for e in entries}
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error, OverflowError) as error:
            raise UserError(f"{path} is damaged or cut short: {error}") from error
        if len(self._places) != len(entries):
            raise UserError(f"{path} is damaged: it names a member twice")
        spans = sorted((e.header_offset, begin + e.compress_size) for begin, e in self._places.values())
        following = [*(begin for begin, _ in spans), end]
        if following[0] < 0 or any(end > begin for (_, end), begin in zip(spans, following[1:])):
            raise UserError(f"{path} is damaged: two of its members share bytes, or one ends after the file")
        with open(self.path, "rb") as file:
            for last, begin in zip([0, *(end for _, end in spans)], following):
                file.seek(last)
                gap = begin - last
                if gap > _DESCRIPTOR or _MEMBER in file.read(gap):
                    raise UserError(
                        f"{path} is damaged: it has {gap} bytes at byte {last} that its list does not name; get it again"
                    )
        self._verified: set[str] = set()

    def _place(self, entry: zipfile.ZipInfo, compressed: bool) -> tuple[int, zipfile.ZipInfo]:
        """(first byte of the member's data, its entry)."""
        if entry.flag_bits & 1:
            raise UserError(f"{self.path} is encrypted ({entry.filename!r}); decrypt it first")
        allowed = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) if compressed else (zipfile.ZIP_STORED,)
        if entry.compress_type not in allowed:
            how = _METHODS.get(entry.compress_type, entry.compress_type)
            raise UserError(f"{self.path}: {entry.filename!r} is compressed ({how}), which is not read; store it plain")
        if entry.compress_type == zipfile.ZIP_STORED and entry.file_size != entry.compress_size:
            raise UserError(f"{self.path} is damaged: {entry.filename!r} has two sizes")
        if entry.file_size > max(ALWAYS_ALLOWED, LARGEST_RATIO * entry.compress_size):
            raise UserError(
                f"{self.path} is refused: {entry.filename!r} would become {entry.file_size:,} bytes out of "
                f"{entry.compress_size:,}"
            )
        with open(self.path, "rb") as file:
            file.seek(entry.header_offset)
            head = file.read(_LOCAL_HEADER.size)
            magic, _, flags, *_, name_length, extra_length = _LOCAL_HEADER.unpack(head)
            name = file.read(name_length)
            if magic != _MEMBER:
                raise UserError(f"{self.path} is damaged: {entry.filename!r} is not where it should be")
            if (flags ^ entry.flag_bits) & _UTF_8 or name != entry.orig_filename.encode(
                "utf-8" if entry.flag_bits & _UTF_8 else "cp437"
            ):
                raise UserError(
                    f"{self.path} is damaged: its list names {entry.filename!r}, and the member itself {name!r}"
                )
        return entry.header_offset + _LOCAL_HEADER.size + name_length + extra_length, entry

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def names(self) -> list[str]:
        """All members."""
        return list(self._places)

    def size(self, name: str) -> int:
        """Bytes of a member once unpacked."""
        return self._places[name][1].file_size

    def read(self, name: str) -> bytes:
        """A member, checked against its checksum."""
        begin, entry = self._places[name]
        with open(self.path, "rb") as file:
            file.seek(begin)
            data = file.read(entry.compress_size)
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
            try:
                data = unpacker.decompress(data, entry.file_size + 1)
            except zlib.error as error:
                raise UserError(f"{self.path} is damaged inside {name}: {error}") from error
        if len(data) != entry.file_size:
            raise UserError(f"{self.path} is cut short inside {name}")
        self._compare(name, zlib.crc32(data))
        return data

    def read_range(self, name: str, first: int, count: int) -> bytes:
        """Bytes of a plain member; the member's checksum is compared when it is first read."""
        if count == self.size(name):
            return self.read(name)
        begin, entry = self._places[name]
        with open(self.path, "rb") as file:
            if name not in self._verified:
                file.seek(begin)
                left, checksum = entry.file_size, 0
                while left and (chunk := file.read(min(left, _CHUNK))):
                    left -= len(chunk)
                    checksum = zlib.crc32(chunk, checksum)
                self._compare(name, checksum)
            file.seek(begin + first)
            data = file.read(count)
        if len(data) != count or first + count > entry.file_size:
            raise UserError(f"{self.path} is cut short inside {name}")
        return data

    def _compare(self, name: str, checksum: int) -> None:
        if checksum != self._places[name][1].CRC:
            raise UserError(f"{self.path} is damaged: the checksum of {name} is wrong; download it again")
        self._verified.add(name)
