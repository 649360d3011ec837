"""Errors that end a command with one line."""

from __future__ import annotations


class UserError(RuntimeError):
    """Something that one line explains; ``status`` is the exit status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status
