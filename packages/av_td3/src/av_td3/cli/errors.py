"""How errors and warnings of a command are shown: one line each."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NoReturn, TextIO

import typer
from rich.console import Console
from rich.markup import escape

from av_td3.config import ConfigError
from av_td3.errors import BAD_INPUT, UserError


def show_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """One line instead of a place in the code that means nothing to a user."""
    if issubclass(category, UserWarning):
        Console(stderr=True).print(
            f"[yellow]warning:[/yellow] {escape(str(message))}", soft_wrap=True, highlight=False
        )


def fail(message: str, status: int = BAD_INPUT) -> NoReturn:
    """Print the error and end the command with this exit status."""
    Console(stderr=True).print(
        f"[bold red]error:[/bold red] {escape(message)}", soft_wrap=True, highlight=False
    )
    raise typer.Exit(status)


@contextlib.contextmanager
def user_errors() -> Iterator[None]:
    """What a user can do something about becomes one line and an exit status."""
    try:
        yield
    except ConfigError as error:
        fail(str(error))
    except UserError as error:
        fail(str(error), error.status)
