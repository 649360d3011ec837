"""Faults on purpose."""

from __future__ import annotations


class FaultError(ValueError):
    """A fault specification that cannot be read; the message says why."""


class Faults:
    """The faults that a server commits."""

    def __init__(self, spec: str = "") -> None:
        if spec:
            raise FaultError("not there yet")
