"""The table: every signal by its name, and which signal a tag is."""

from __future__ import annotations

from . import actor, alerts, critic, episodes, evaluation, gradients, machine, networks, others, replay
from .model import Alias, Signal, collect

FAMILIES = {
    "Episodes of training": episodes,
    "Evaluations": evaluation,
    "Critics": critic,
    "Actor": actor,
    "Gradients": gradients,
    "Networks": networks,
    "Replay and reward": replay,
    "Machine": machine,
    "Alerts": alerts,
    "Other algorithms": others,
}
"""Title -> the module that holds the signals of a family."""

SIGNALS: tuple[Signal, ...] = tuple(s for module in FAMILIES.values() for s in collect(vars(module).values()))
"""Every signal, once."""

BY_NAME: dict[str, Signal] = {s.name: s for s in SIGNALS}
OWN: tuple[Signal, ...] = tuple(s for s in SIGNALS if s.tag)
"""The signals that av-td3 logs."""


def _own_tags() -> dict[str, Signal]:
    return {tag: s for s in OWN for tag in (s.tag, *s.also)}


_BY_TAG = _own_tags()
_PATTERNED = tuple(s for s in OWN if "<" in s.tag)


def signal_of(tag: str) -> Signal | None:
    """The signal that av-td3 logs under ``tag``; None when it logs no such tag."""
    found = _BY_TAG.get(tag)
    if found is not None and "<" not in tag:
        return found
    return next((s for s in _PATTERNED if s.choice(tag) is not None), None)


def lookup(name: str) -> Signal:
    """The signal of a canonical name.

    Raises:
        KeyError: there is none; the message names similar ones.
    """
    try:
        return BY_NAME[name]
    except KeyError:
        from difflib import get_close_matches

        near = get_close_matches(name, BY_NAME, 3)
        hint = f"; similar: {', '.join(near)}" if near else ""
        raise KeyError(f"no signal is named {name!r}{hint}") from None


def known_as(signal: Signal) -> tuple[Alias, ...]:
    """All tags of a signal, av-td3's own first, in order of preference."""
    own = (signal.tag, *signal.also) if signal.tag and "<" not in signal.tag else ()
    return (*(Alias(t) for t in own), *signal.aliases)
