"""Rewrite the tables of docs/configuration.md: python -m tools.config_page

The tables are made from the classes of ``av_td3.config`` and the bundled presets; the text around them is
written by hand.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

import annotated_types
import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from av_td3.config import Config, load_config, preset_names, preset_summary, preset_text

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"


def settings() -> str:
    """One table for each section of the configuration."""
    return "\n".join(_section(name, kind) for name, kind in _sections(Config))


def presets() -> str:
    """Every key that a preset changes, and its values."""
    trees = {name: dict(_leaves(yaml.safe_load(preset_text(name)) or {})) for name in preset_names()}
    defaults = dict(_leaves(Config().model_dump(mode="json")))
    # What a mapping such as evaluation.env holds has no default of its own: it comes last.
    keys = dict.fromkeys([*defaults, *(key for tree in trees.values() for key in tree)])
    changed = [key for key in keys if any(key in tree for tree in trees.values())]
    rows = [
        (
            f"`{key}`",
            _value(defaults[key]) if key in defaults else "",
            *(_value(tree[key]) if key in tree else "" for tree in trees.values()),
        )
        for key in changed
    ]
    return _table(("key", "default", *(f"`{name}`" for name in trees)), rows)


def purposes() -> str:
    """What each preset is for, and what its agent knows."""
    knows = {
        "route": "where lane and route lie; the picture",
        "sight": "the picture, and the next turn",
        "state": "all that the simulator knows",
    }
    rows = []
    for name in preset_names():
        config = load_config(name)
        npc, known = config.env.simulator.npc, knows[config.env.observation.vector]
        if config.env.observation.traffic_light:
            known += "; the next traffic light"
        met = f"{npc}, which it must see" if npc else "none: it does not know them"
        rows.append((f"`{name}`", preset_summary(name), f"{config.train.steps:,}", known, met))
    return _table(("preset", "what for", "steps", "its agent is told", "other vehicles in training"), rows)


def _sections(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section that has keys of its own, depth first, with its path."""
    if any(_subsection(field) is None for field in model.model_fields.values()):
        yield prefix.removesuffix("."), model
    for name, field in model.model_fields.items():
        inner = _subsection(field)
        if inner is not None:
            yield from _sections(inner, f"{prefix}{name}.")


def _subsection(field: FieldInfo) -> type[BaseModel] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def _section(path: str, model: type[BaseModel]) -> str:
    rows = [
        (f"`{path}.{name}`", _kind(field), _value(_plain(field.default)), field.description or "")
        for name, field in model.model_fields.items()
        if _subsection(field) is None
    ]
    about = " ".join((model.__doc__ or "").split())
    return f"### {path}\n\n{about}\n\n" + _table(("key", "type", "default", "meaning"), rows)


def _kind(field: FieldInfo) -> str:
    """The values that a key takes: a type with its range, or its choices."""
    return _type(field.annotation) + _range(field)


def _type(annotation: Any) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(f"`{choice}`" for choice in get_args(annotation))
    if get_origin(annotation) is tuple:
        return f"list of {_type(get_args(annotation)[0])}"
    arguments = [a for a in get_args(annotation) if a is not Ellipsis]
    if get_origin(annotation) in (Union, UnionType):
        return " or ".join("null" if a is type(None) else _type(a) for a in arguments)
    if get_origin(annotation) is dict:
        return "mapping"
    if arguments and isinstance(arguments[0], type):  # Annotated
        return _type(arguments[0])
    return {bool: "true or false", int: "whole number", float: "number", str: "text"}[annotation]


def _range(field: FieldInfo) -> str:
    words = {
        annotated_types.Ge: ("from", "ge"),
        annotated_types.Gt: ("above", "gt"),
        annotated_types.Le: ("to", "le"),
        annotated_types.Lt: ("below", "lt"),
    }
    parts = []
    for limit in field.metadata:
        if type(limit) in words:
            word, attribute = words[type(limit)]
            parts.append(f"{word} {getattr(limit, attribute):g}")
    return ", " + " ".join(parts) if parts else ""


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _value(value: Any) -> str:
    return f"`{value}`" if isinstance(value, str) else f"`{json.dumps(value)}`"


def _leaves(tree: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, ("---",) * len(head), *rows]
    return "".join("| " + " | ".join(_cell(cell) for cell in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


TABLES = {"settings": settings, "purposes": purposes, "presets": presets}


def updated(page: str) -> str:
    """The page with today's tables between their marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/config_page.py -->\n", f"<!-- /{name} -->\n"
        before, rest = page.split(begin)
        page = before + begin + "\n" + table() + "\n" + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    PAGE.write_text(updated(PAGE.read_text()))
