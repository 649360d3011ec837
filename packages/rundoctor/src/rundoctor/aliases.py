"""Finds the signal that a tag of any system stands for.

The names are in :mod:`rundoctor.signals`, one module a family.  A tag is looked up exactly, then without
regard to case and separators, then by its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import SequenceMatcher

from .signals import Alias, Signal, algorithm_of, known_as, lookup, normalised, signal_of, system_of
from .signals.systems import ON_POLICY
from .signals.table import SIGNALS

__all__ = ["Match", "guesses", "resolve", "system_of", "tags_for"]


@dataclass(frozen=True)
class Match:
    """A signal that was found under some tag."""

    name: str
    """Canonical name of the signal."""
    tag: str
    note: str = ""
    """How the tag's meaning differs from the signal's."""
    guessed: bool = False
    """The tag itself is not known: it was recognised by its end, or by a name with several meanings."""


# Ends of tags that say too little: "mean", "loss" and "reward" belong to many signals.
_VAGUE = {
    *("reward", "return", "returns", "score", "length", "episode", "step", "steps", "size", "iter", "frame"),
    *("mean", "min", "max", "std", "stdev", "value", "values", "loss", "actor", "critic", "critic1", "len"),
    *("q1", "q2", "q", "kl", "entropy", "alpha", "t", "speed", "velocity"),
}
_EVALUATION = re.compile(r"(^|[/_])(eval|evaluation|evaluator|test|validation|val)([/_]|$)")
_TARGET = re.compile(r"(^|/)target[^/]*/", re.I)
_IN_EVALUATION = {
    "episode_return": "eval_return",
    "episode_length": "eval_length",
    "success": "eval_success",
    "route_completion": "eval_route_completion",
    "collisions": "eval_collisions",
    "lane_invasions": "eval_lane_invasions",
}
"""Signal of training -> the same in evaluations, which the prefix of a tag tells apart."""


def _ends() -> dict[str, str]:
    """Normalised tags, and their last parts where these say enough -> name of the signal."""
    whole: dict[str, str] = {}
    last: dict[str, str] = {}
    for signal in SIGNALS:
        for alias in known_as(signal):
            if alias.unsure or alias.on_policy is not None or alias.only_in:
                continue
            name = normalised(alias.tag)
            whole.setdefault(name, signal.name)
            end = name.rsplit("/", 1)[-1]
            if end not in _VAGUE:
                last.setdefault(end, signal.name)
    return {**last, **{name: signal for name, signal in whole.items() if name not in _VAGUE}}


_ENDS = _ends()


def resolve(
    tags: Iterable[str], mapping: Mapping[str, str] | None = None
) -> tuple[dict[str, list[Match]], list[str]]:
    """Find the signals among the tags of one run.

    Args:
        tags: the tags, or the names of a table's columns.
        mapping: what the user says: tag -> canonical name.  It takes precedence.

    Returns:
        the matches of each canonical name, best first; the tags that are not recognised.

    Raises:
        KeyError: ``mapping`` names an unknown signal.
    """
    present = list(dict.fromkeys(tags))
    system, on_policy = system_of(present), algorithm_of(present) in ON_POLICY
    exact = set(present)
    loose: dict[str, str] = {}
    for tag in present:
        loose.setdefault(normalised(tag), tag)
    found: dict[str, list[Match]] = {}
    used: set[str] = set()
    for tag, name in (mapping or {}).items():
        if tag in exact:
            found.setdefault(lookup(name).name, []).append(Match(name, tag, "mapped by the user"))
            used.add(tag)
    stated = frozenset(used)
    for signal in SIGNALS:
        for alias in known_as(signal):
            if not alias.holds(system, on_policy) or (alias.unsure and signal.name in found):
                continue
            here = alias.tag if alias.tag in exact else loose.get(normalised(alias.tag))
            if here is None or here in stated:
                continue
            matches = found.setdefault(signal.name, [])
            if all(m.tag != here for m in matches):
                matches.append(Match(signal.name, here, alias.note, guessed=alias.unsure))
            used.add(here)
    for tag in present:
        if tag in used:
            continue
        own = signal_of(tag)
        if own is not None:  # a tag with a placeholder, such as train/termination_<cause>
            found.setdefault(own.name, []).append(Match(own.name, tag))
            used.add(tag)
            continue
        guess = _guess(tag)
        if guess is not None and (guess[0] not in found or _all_guessed(found[guess[0]])):
            name, why = guess
            found.setdefault(name, []).append(Match(name, tag, why, guessed=True))
            used.add(tag)
    return found, [t for t in present if t not in used]


def _all_guessed(matches: list[Match]) -> bool:
    return all(m.guessed for m in matches)


def _guess(tag: str) -> tuple[str, str] | None:
    """(name, reason) of the signal that the end of an unknown tag names."""
    name = normalised(tag)
    parts = name.split("/")
    for k in range(len(parts)):
        end = "/".join(parts[k:])
        signal = _ENDS.get(end)
        if signal is None:
            continue
        # What stands before the end may change its meaning: eval/, target_network/
        before = name[: len(name) - len(end)]
        if _TARGET.search(before):
            return None
        if _EVALUATION.search(before):
            signal = signal if signal.startswith("eval_") else _IN_EVALUATION.get(signal, "")
        elif signal.startswith("eval_") and not _EVALUATION.search(end):
            return None
        return (signal, f"recognised by its end {end!r}") if signal else None
    return None


def guesses(tag: str, most: int = 3) -> list[str]:
    """Canonical names of the signals that an unknown tag may be, likeliest first; there may be none."""
    words = _words(normalised(tag))
    scores: dict[str, float] = {}
    for signal in SIGNALS:
        best = 0.0
        for alias in (Alias(signal.name), *known_as(signal)):
            name = normalised(alias.tag)
            theirs = _words(name)
            common = len(words & theirs) / max(min(len(words), len(theirs)), 1)
            if common:
                alike = SequenceMatcher(None, normalised(tag), name).ratio()
                best = max(best, 0.5 * common + 0.5 * alike)
        scores[signal.name] = best
    ranked = sorted(scores, key=lambda n: -scores[n])[:most]
    return [name for name in ranked if scores[name] >= 0.45]


def _words(name: str) -> set[str]:
    return set(re.split(r"[/_]", name)) - _EMPTY_WORDS


_EMPTY_WORDS = {
    "",
    "train",
    "trainer",
    "training",
    "debug",
    "agent",
    "losses",
    "charts",
    "rollout",
    "mean",
    "info",
}


def tags_for(signal: Signal, system: str = "unknown") -> str:
    """The tag under which a system logs a signal, to say what is missing; av-td3's where it is unknown."""
    prefixes = _PREFIXES.get(system, ())
    tags = [a.tag for a in known_as(signal)] or [signal.tag]
    return next((t for t in tags if prefixes and t.startswith(prefixes)), tags[0] if tags else signal.name)


_PREFIXES = {
    "Stable-Baselines3": ("rollout/", "time/"),
    "CleanRL": ("charts/", "losses/"),
    "rlkit": ("trainer/", "exploration/", "evaluation/"),
}
