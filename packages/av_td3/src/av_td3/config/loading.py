"""From a preset, a YAML file and ``section.key=value`` to a configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from av_td3.config.messages import ConfigError, explain, suggestion
from av_td3.config.section import merge
from av_td3.config.whole import Config


def preset_names() -> list[str]:
    """Names of the bundled presets."""
    folder = resources.files("av_td3") / "presets"
    return sorted(p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml"))


def preset_text(name: str) -> str:
    """The YAML text of a bundled preset.

    Raises:
        ConfigError: there is none of that name.
    """
    names = preset_names()
    if name not in names:
        raise ConfigError(f"unknown preset {name!r}{suggestion(name, names)}; there are: {', '.join(names)}")
    return (resources.files("av_td3") / "presets" / f"{name}.yaml").read_text()


def preset_summary(name: str) -> str:
    """What a bundled preset is for: the comment in its first line.

    Raises:
        ConfigError: there is none of that name.
    """
    return " ".join(preset_text(name).splitlines()[0].removeprefix("#").split())


def load_config(preset: str | None = None, file: Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Build a configuration: defaults, then a preset, then a YAML file, then ``key=value`` overrides.

    Raises:
        ConfigError: unknown preset, key or value, unreadable file.
    """
    tree: dict[str, Any] = {}
    if preset is not None:
        merge(tree, _parse_yaml(preset_text(preset), f"preset {preset}"))
    if file is not None:
        try:
            text = file.read_text()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the configuration {file}: {error}") from None
        merge(tree, _parse_yaml(text, str(file)))
    return overridden(tree, overrides)


def overridden(tree: dict[str, Any], overrides: Sequence[str]) -> Config:
    """The configuration of a tree of keys and values, with ``section.key=value`` put into it.

    Raises:
        ConfigError: there is no such key, or a value cannot be used.
    """
    for override in overrides:
        key, separator, value = override.partition("=")
        if not separator or not key:
            raise ConfigError(f"--set {override!r} is not of the form section.key=value")
        try:
            parsed = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {override!r}: the value is not valid YAML") from None
        if isinstance(parsed, str):
            parsed = _number(parsed)
        for part in reversed(key.split(".")):
            parsed = {part: parsed}
        merge(tree, parsed)
    return config_from_dict(tree)


def config_from_dict(tree: Mapping[str, Any]) -> Config:
    """Validate a nested mapping; ConfigError names every offending key."""
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(explain(error)) from None


def _parse_yaml(text: str, name: str) -> dict[str, Any]:
    try:
        tree = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{name} is not valid YAML: {' '.join(str(error).split())}") from None
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{name} must hold a mapping of sections, not {type(tree).__name__}")
    return {key: _numbers(value) for key, value in tree.items()}


def _numbers(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _numbers(v) for k, v in value.items()}
    return _number(value) if isinstance(value, str) else value


def _number(value: str) -> str | float:
    # YAML 1.1 reads 1e-4 as a string, though everybody who writes it means the number.
    try:
        return float(value)
    except ValueError:
        return value
