"""Errors that end a command with one line, and the statuses with which commands end."""

from __future__ import annotations

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
"""Exit statuses of the commands."""


class UserError(RuntimeError):
    """Something that one line explains; ``status`` is the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
