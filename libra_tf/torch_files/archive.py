"""Records of a zip archive in place, with nothing taken on trust."""

from __future__ import annotations

import itertools
import mmap
import re
import struct
import zipfile
import zlib
from collections.abc import Iterable

# Weights hardly compress, zeros of an optimizer do: an archive that says it grows more
# than this is a bomb.
MAX_GROWTH = 20
# Each storage is unpacked when its weight is read; a file may ask for one again.
_TIMES_UNPACKED = 4
# A state_dict's pickle has a hundred bytes for each tensor; histories add megabytes.
# Unless compressed it is shorter than the file.
_FREE_BYTES = 16 * 2**20
# One for each storage and a few more; a large detector has two thousand.
MAX_RECORDS = 200_000
_DIRECTORY_ENTRY = b"PK\1\2"
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 1
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PICKLE = "data.pkl"
# What a damaged directory makes `zipfile` raise.
_DAMAGE = (
    zipfile.BadZipFile,
    ArithmeticError,
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    ValueError,
    struct.error,
)


class ArchiveError(ValueError):
    """An archive that is damaged or made to harm."""


class Archive:
    """The records below the one folder that `torch.save` writes.

    Args:
        path: of the file.
        data: its bytes.

    Raises:
        ArchiveError: it is no such archive.
    """

    def __init__(self, path: str, data: mmap.mmap):
        self._data = data
        self._whole: set[str] = set()  # records whose checksums were right
        self._left = _TIMES_UNPACKED * MAX_GROWTH * len(data)  # bytes to unpack
        _check_count(data)
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
        except _DAMAGE as error:
            raise ArchiveError(f"the zip archive is damaged ({error})") from error
        _check_names(entries)
        grown = sum(entry.file_size for entry in entries)
        if grown > MAX_GROWTH * len(data):
            raise ArchiveError(
                f"it says that its {len(data)} bytes unpack to {grown}, which no "
                "weights do"
            )
        self._records = _below_one_folder(entries)

    def read(
        self, name: str, *, size: int | None = None, default: bytes | None = None
    ) -> memoryview | bytes:
        """Returns a record's bytes, without a copy unless it is compressed.

        Args:
            name: below the folder.
            size: that it must have.
            default: for a record that is not there.

        Raises:
            ArchiveError: it is missing, damaged or of another size.
        """
        if name not in self._records and default is not None:
            return default
        self.check(name, size)
        return self._content(name, self._records[name])

    def check(self, name: str, size: int | None) -> None:
        """Raises `ArchiveError` unless there is a record of this size."""
        if name not in self._records:
            raise ArchiveError(f"there is no record {name}")
        found = self._records[name].file_size
        if size is None and found > len(self._data) + _FREE_BYTES:
            raise ArchiveError(
                f"record {name} has {found} bytes, the file {len(self._data)}"
            )
        if size not in (None, found):
            raise ArchiveError(
                f"record {name} has {found} bytes, its description {size}"
            )

    def _content(self, name: str, entry: zipfile.ZipInfo) -> memoryview | bytes:
        if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _METHODS:
            raise ArchiveError(f"record {name} is encrypted or compressed oddly")
        start = self._start(name, entry)
        stored = memoryview(self._data)[start : start + entry.compress_size]
        if len(stored) < entry.compress_size:
            raise ArchiveError(f"record {name} is cut short")
        content: memoryview | bytes = stored
        if entry.compress_type == zipfile.ZIP_DEFLATED:
            self._left -= entry.file_size
            if self._left < 0:
                raise ArchiveError(f"record {name} is unpacked again and again")
            content = _inflate(name, stored, entry.file_size)
        if len(content) != entry.file_size:
            raise ArchiveError(f"record {name} does not have the size that it tells")
        # PyTorch can be told to write no checksums; they are 0 then.
        if entry.CRC and name not in self._whole and zlib.crc32(content) != entry.CRC:
            raise ArchiveError(f"record {name} is damaged: its checksum is wrong")
        self._whole.add(name)
        return content

    def _start(self, name: str, entry: zipfile.ZipInfo) -> int:
        """Position of a record's bytes, behind the header that is there as well."""
        place = entry.header_offset
        if not 0 <= place <= len(self._data) - _LOCAL.size:
            raise ArchiveError(f"record {name} lies outside of the file")
        signature, *_, name_size, extra_size = _LOCAL.unpack_from(self._data, place)
        begin = place + _LOCAL.size
        local = self._data[begin : begin + name_size]
        text = local.decode("utf-8" if entry.flag_bits & 0x800 else "cp437", "replace")
        if signature != b"PK\3\4" or text != entry.orig_filename:
            raise ArchiveError(f"record {name} is not where the archive says")
        return begin + name_size + extra_size


def _inflate(name: str, content: memoryview, size: int) -> bytes:
    unpack = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        # One byte more than it tells shows that it has more.
        return unpack.decompress(content, size + 1)
    except zlib.error as error:
        raise ArchiveError(f"record {name} is damaged ({error})") from error


def _check_count(data: mmap.mmap) -> None:
    """Refuses a directory that would take more memory than the file, unread."""
    entries = re.finditer(_DIRECTORY_ENTRY, data)
    if sum(1 for _ in itertools.islice(entries, MAX_RECORDS + 1)) > MAX_RECORDS:
        raise ArchiveError(f"it has more than {MAX_RECORDS} records")


def _check_names(entries: Iterable[zipfile.ZipInfo]) -> None:
    seen = set()
    for entry in entries:
        name = entry.orig_filename
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or "\0" in name:
            raise ArchiveError(f"it has a record with the name {name[:60]!r}")
        if name in seen:
            raise ArchiveError(f"it has two records with the name {name[:60]!r}")
        seen.add(name)


def _below_one_folder(entries: list[zipfile.ZipInfo]) -> dict[str, zipfile.ZipInfo]:
    """The records by their name below the folder of the one data.pkl."""
    names = [entry.orig_filename for entry in entries]
    folders = [n.removesuffix(_PICKLE) for n in names if n.split("/")[-1] == _PICKLE]
    if len(folders) != 1:
        raise ArchiveError(f"it has {len(folders)} records data.pkl, not one")
    (folder,) = folders
    return {
        name.removeprefix(folder): entry
        for name, entry in zip(names, entries, strict=True)
        if name.startswith(folder)
    }
