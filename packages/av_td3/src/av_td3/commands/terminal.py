"""What every command prints lines with.  It loads no torch."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from rich.console import Console


def own_command() -> str:
    """How this program can be called from here: after ``make`` it is not on the PATH."""
    called = Path(sys.argv[0])
    if called.parts[-2:] == ("av_td3", "__main__.py"):
        return f"{sys.executable} -m av_td3"
    if called.name == "av-td3" and shutil.which("av-td3") is None:
        return str(called)
    return "av-td3"


def say(console: Console, text: str, style: str | None = None) -> None:
    """Print text unchanged: paths are not broken into lines, nothing in it is taken for markup."""
    console.print(text, style=style, highlight=False, soft_wrap=True, markup=False)
