"""Runs in a zip or tar file, as people attach them to reports."""

from __future__ import annotations

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from .source import ReadError

_LARGEST = 4 << 30
"""Bytes that an archive may need unpacked."""
_MOST_FILES = 20_000
_ENDS = (".csv", ".tsv", ".txt", ".log", ".json", ".jsonl", ".yaml", ".yml", ".npz", ".npy", ".out", ".gz")
"""Files that are unpacked, beside event files; models and films are passed over."""
_TARS = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")


def is_archive(path: Path) -> bool:
    """Whether a file is named as a zip or tar file."""
    return path.name.lower().endswith((".zip", *_TARS))


def unpack(path: Path, to: Path) -> None:
    """Write those files of an archive that may belong to a run into an empty folder.

    Links and names that lead out of the folder are passed over.

    Raises:
        ReadError: it is no archive, or it is larger than any run.
        OSError: it cannot be read, or the folder cannot be written.
    """
    left = _LARGEST
    try:
        for count, (name, opened) in enumerate(_members(path)):
            if count >= _MOST_FILES:
                raise ReadError(f"holds more than {_MOST_FILES:,} files; unpack it and name the run's folder")
            parts = PurePosixPath(name.replace("\\", "/")).parts
            if not parts or ".." in parts or parts[0].startswith("/") or ":" in parts[0]:
                continue
            if "__MACOSX" in parts or not ("tfevents" in name or name.lower().endswith(_ENDS)):
                continue
            target = to.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            with opened() as source, target.open("wb") as file:
                while block := source.read(1 << 20):
                    left -= len(block)
                    if left < 0:
                        raise ReadError("is larger than any run; unpack it and name the run's folder")
                    file.write(block)
    except (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, RuntimeError, ValueError) as error:
        if isinstance(error, ReadError):
            raise
        raise ReadError(f"not an archive that can be unpacked: {error}") from None


def _members(path: Path) -> Iterator[tuple[str, Callable[[], IO[bytes]]]]:
    """Name of each file in an archive, and what opens it."""
    if path.name.lower().endswith(".zip"):
        with zipfile.ZipFile(path) as zipped:
            for item in zipped.infolist():
                if not item.is_dir():
                    yield item.filename, partial(zipped.open, item)
        return
    with tarfile.open(path) as archive:
        for member in archive:
            if member.isfile():
                yield member.name, partial(_opened, archive, member)


def _opened(archive: tarfile.TarFile, member: tarfile.TarInfo) -> IO[bytes]:
    file = archive.extractfile(member)
    if file is None:
        raise ReadError(f"{member.name} is not a file")
    return file
