"""Files that a command is asked to write."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from av_td3.commands.common import one_line_errors
from av_td3.commands.outputs import check_output
from av_td3.errors import BAD_INPUT, UserError


def test_ordinary_files_may_be_written_and_replaced(tmp_path):
    (tmp_path / "ä b.json").write_text("{}")
    for file in (None, tmp_path / "ä b.json", tmp_path / "new.json", Path("beside")):
        check_output("--json", file)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/null", "/proc/self/fd/1", "folder", "pipe"])
def test_what_is_no_ordinary_file_is_never_replaced(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path("folder").mkdir()
    os.mkfifo("pipe")
    with pytest.raises(UserError, match=f"--json {name}: give the name of a file") as caught:
        check_output("--json", Path(name))
    assert caught.value.status == BAD_INPUT


def test_a_folder_that_is_not_there_or_cannot_be_written(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="there is no folder"):
        check_output("--json", tmp_path / "none" / "x.json")
    monkeypatch.setattr(os, "access", lambda place, mode: (place, mode) != (tmp_path, os.W_OK))
    with pytest.raises(UserError, match="cannot write into"):
        check_output("--json", tmp_path / "x.json")


@pytest.mark.parametrize(
    "number", [errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP]
)
def test_a_path_that_leads_nowhere_is_one_line(number):
    with pytest.raises(UserError, match=r"^there: ") as caught, one_line_errors():
        raise OSError(number, os.strerror(number), "there")
    assert caught.value.status == BAD_INPUT
    with pytest.raises(OSError, match="no path"), one_line_errors():
        raise OSError(number, "no path")
