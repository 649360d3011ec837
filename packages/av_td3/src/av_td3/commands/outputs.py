"""Files that a command is asked to write: looked at before anything is driven or trained."""

from __future__ import annotations

import os
from pathlib import Path

from av_td3.errors import BAD_INPUT, UserError


def check_output(option: str, file: Path | None) -> None:
    """Files are replaced as a whole, so that readers see the old or the new one.

    A name of standard output would therefore become an ordinary file, and so would a device.

    Raises:
        UserError: it cannot be written, or is no ordinary file.
    """
    if file is None:
        return
    place = file.absolute().parent
    if not place.is_dir():
        raise UserError(f"{option}: there is no folder {file.parent}", BAD_INPUT)
    special = place.is_relative_to("/dev") or place.is_relative_to("/proc")
    if str(file) == "-" or special or (file.exists() and not file.is_file()):
        raise UserError(f"{option} {file}: give the name of a file", BAD_INPUT)
    if not os.access(place, os.W_OK):
        raise UserError(f"{option}: cannot write into {place}", BAD_INPUT)
