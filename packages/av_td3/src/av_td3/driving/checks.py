"""What an environment is asked for, checked before anything is started."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from pathlib import Path
from typing import Any, SupportsIndex, cast, get_args

from pydantic import ValidationError

from av_td3.config import Config, ConfigError, EnvConfig, Split, explain, load_config
from av_td3.driving.errors import UsageError

RENDER_MODES = ("rgb_array",)


def check_config(config: EnvConfig | None) -> EnvConfig:
    """The configuration, or the default one for None.

    It is validated again: ``model_copy`` may have put anything into it.

    Raises:
        TypeError: it is no EnvConfig.
        ConfigError: a value is out of its range.
    """
    if config is None:
        return EnvConfig()
    if isinstance(config, Config):
        raise TypeError("config must be an EnvConfig; this is a whole Config: pass its .env")
    if isinstance(config, Mapping):
        raise TypeError(
            "config must be an EnvConfig, not a dict: make one with av_td3.config.EnvConfig.model_validate"
        )
    if not isinstance(config, EnvConfig):
        raise TypeError(f"config must be an EnvConfig, not {type(config).__name__}")
    try:
        return EnvConfig.model_validate(config.model_dump(warnings=False))
    except ValidationError as error:
        raise ConfigError(explain(error, prefix="env.")) from None


def check_split(split: str) -> Split:
    """Raises ValueError unless it is one of the splits of the routes."""
    if split not in get_args(Split):
        raise ValueError(f"split {split!r} does not exist; there are: {', '.join(get_args(Split))}")
    return cast("Split", split)


def check_render_mode(render_mode: str | None) -> None:
    """Raises ValueError unless it is None or a supported mode."""
    if render_mode is not None and render_mode not in RENDER_MODES:
        raise ValueError(
            f"render_mode {render_mode!r} does not exist; there are: None, {', '.join(RENDER_MODES)}"
        )


def check_log_dir(log_dir: Path | str) -> Path:
    """The folder for logs, which is made where it is missing.  Raises ValueError when it cannot be made."""
    try:
        folder = Path(log_dir)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"log_dir: cannot make the folder {log_dir}: {error.strerror}") from None
    return folder


def check_options(
    options: Mapping[str, Any] | None, render_mode: str | None, routes: int | None
) -> tuple[int | None, bool]:
    """``(route, record)`` of ``reset(options=...)``; a None route is to be drawn.

    Args:
        routes: how many routes there are; None when that is not known yet.

    Raises:
        UsageError: (a ValueError) an unknown option, a route that does not exist, or a recording in
            an environment that renders nothing.
    """
    if options is not None and not isinstance(options, Mapping):
        raise UsageError(f"options must be a dict, not {type(options).__name__}")
    left = dict(options or {})
    route, record = left.pop("route", None), left.pop("record", render_mode is not None)
    if left:
        raise UsageError(f"unknown reset options {sorted(map(str, left))}; there are: route, record")
    if not isinstance(record, bool):
        raise UsageError(f"the reset option record is True or False, not {record!r}")
    if record and render_mode is None:
        raise UsageError('recording needs an environment made with render_mode="rgb_array"')
    if route is None:
        return None, record
    if isinstance(route, bool) or not isinstance(route, SupportsIndex):
        raise UsageError(f"the reset option route is the number of a route, not {route!r}")
    number = operator.index(route)
    if number < 0 or (routes is not None and number >= routes):
        last = "" if routes is None else f" .. {routes - 1}"
        raise UsageError(f"route {number} does not exist; the split's routes have the numbers 0{last}")
    return number, record


def environment_config(
    config: EnvConfig | None = None,
    *,
    preset: str | None = None,
    map: str | None = None,
    npc: int | None = None,
    address: str | None = None,
) -> EnvConfig:
    """The configuration that these arguments describe together.

    Args:
        config: to start from; the default configuration if neither it nor a preset is given.
        preset: name of a bundled configuration to start from instead.
        map, npc, address: values of ``simulator`` that replace those of the configuration.

    Raises:
        TypeError: config is no EnvConfig, or a preset is given as well.
        ConfigError: there is no such preset, or a value cannot be used.
    """
    if preset is not None:
        if config is not None:
            raise TypeError("give a config or a preset, not both")
        config = load_config(preset).env
    given = {"map": map, "npc": npc, "address": address}
    config = check_config(config)
    changes = {key: value for key, value in given.items() if value is not None}
    if not changes:
        return config
    return check_config(config.model_copy(update={"simulator": config.simulator.model_copy(update=changes)}))
