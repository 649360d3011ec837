"""What is wrong with a configuration, in one line that names the key."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Sequence

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from av_td3.config.whole import Config


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says which key and what to do."""


def explain(error: ValidationError, prefix: str = "") -> str:
    """Every offending key with its value and what is wrong with it, in one line.

    Args:
        prefix: path of the validated section, such as ``env.``; empty for a whole :class:`Config`.
    """
    return "; ".join(_explain_one(details, prefix) for details in error.errors())


def _explain_one(details: ErrorDetails, prefix: str) -> str:
    path = prefix + ".".join(str(part) for part in details["loc"])
    if details["type"] == "extra_forbidden":
        return f"unknown key {path!r}{suggestion(path, list(_all_keys(Config)))}"
    if details["type"] == "value_error":  # a message of our own
        return f"{path or 'configuration'}: {details['msg'].removeprefix('Value error, ')}"
    return f"{path or 'configuration'} = {details['input']!r}: {details['msg'].lower()}"


def _all_keys(section: type[BaseModel], prefix: str = "") -> Iterator[str]:
    for name, field in section.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _all_keys(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def suggestion(name: str, known: Sequence[str]) -> str:
    """`` (did you mean 'x'?)`` when one of the known names is close; else nothing."""
    close = difflib.get_close_matches(name, known, n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
