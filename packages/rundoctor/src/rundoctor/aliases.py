"""Finds the signal that a tag of any system stands for.

The names are in :mod:`rundoctor.signals`, one module a family.  A tag is looked up exactly, then without
regard to case and separators, then by its words (:mod:`rundoctor.signals.words`), then by its end.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from .signals import Alias, Signal, algorithm_of, known_as, lookup, normalised, signal_of, system_of
from .signals.algorithms import ON_POLICY
from .signals.table import SIGNALS
from .signals.words import names_an_episode, reading, without_evaluation

__all__ = ["MOST_GUESSED", "Match", "guesses", "resolve", "system_of", "tags_for"]


@dataclass(frozen=True)
class Match:
    """A signal that was found under some tag."""

    name: str
    """Canonical name of the signal."""
    tag: str
    note: str = ""
    """How the tag's meaning differs from the signal's."""
    guessed: bool = False
    """The tag itself is not known: recognised by its words or its end, or by a name with several meanings."""


# Ends of tags that say too little: "mean", "loss" and "reward" belong to many signals.
_VAGUE = {
    *("reward", "return", "returns", "score", "length", "episode", "step", "steps", "size", "iter", "frame"),
    *("mean", "min", "max", "std", "stdev", "value", "values", "loss", "actor", "critic", "critic1", "len"),
    *("q1", "q2", "q", "kl", "entropy", "alpha", "t", "speed", "velocity"),
    *(
        "mean_reward",
        "reward_mean",
        "rewards_mean",
        "avg_reward",
        "average_reward",
    ),  # of steps, or of episodes
}
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
_ON_POLICY_NAMES = {"actor_loss": "surrogate_loss", "critic_loss": "value_loss"}
"""What an on-policy agent means by the losses of its actor and critic, of which the names say no more."""


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
    tags: Iterable[str], mapping: Mapping[str, str] | None = None, on_policy: bool | None = None
) -> tuple[dict[str, list[Match]], list[str]]:
    """Find the signals among the tags of one run.

    Args:
        tags: the tags, or the names of a table's columns.
        mapping: what the user says: tag -> canonical name.  It takes precedence.
        on_policy: whether they are those of an on-policy agent; None: as far as the tags say.

    Returns:
        the matches of each canonical name, best first; the tags that are not recognised.

    Raises:
        KeyError: ``mapping`` names an unknown signal.
    """
    present = list(dict.fromkeys(tags))
    system = system_of(present)
    if on_policy is None:
        on_policy = algorithm_of(present) in ON_POLICY
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
    guessed: list[tuple[float, Match]] = []
    for tag in present:
        if tag in used:
            continue
        own = signal_of(tag)
        if own is not None:  # a tag with a placeholder, such as train/termination_<cause>
            found.setdefault(own.name, []).append(Match(own.name, tag))
            used.add(tag)
            continue
        guess = _guess(tag, system)
        if guess is not None:
            guessed.append(guess)
    for _, match in sorted(guessed, key=lambda g: g[0]):  # the surest first
        if match.name not in found or _all_guessed(found[match.name]):
            found.setdefault(match.name, []).append(match)
            used.add(match.tag)
    for old, new in _ON_POLICY_NAMES.items() if on_policy else ():
        meant = [replace(m, name=new) for m in found.pop(old, []) if m.tag not in stated]
        if meant:
            found[new] = [*found.get(new, []), *meant]
    return found, [t for t in present if t not in used]


def _all_guessed(matches: list[Match]) -> bool:
    return all(m.guessed for m in matches)


def _guess(tag: str, system: str) -> tuple[float, Match] | None:
    """The signal that the words or the end of an unknown tag name, and how unsure that is."""
    name = normalised(tag)
    rest = without_evaluation(name)
    evaluated = rest != name
    parts = rest.split("/")
    for k in range(len(parts)):
        end, before = "/".join(parts[k:]), "/".join(parts[:k]) + "/"
        # What stands before the end may change its meaning, unless the end says enough by itself.  Where
        # DreamerV3 says return or reward, it means that of imagined steps.
        clear = (k == 0 and system != "DreamerV3") or names_an_episode(end)
        read = reading(end) if clear else None
        signal = read.name if read is not None else _ENDS.get(end, "")
        if not signal:
            continue
        if _TARGET.search(before):
            return None
        if evaluated:
            signal = signal if signal.startswith("eval_") else _IN_EVALUATION.get(signal, "")
        elif signal.startswith("eval_"):
            return None
        if not signal:
            return None
        if read is None:
            return 0.0, Match(signal, tag, f"recognised by its end {end!r}", guessed=True)
        note = read.note if not evaluated else ""  # evaluations are means, and of episodes
        return read.rank, Match(signal, tag, note, guessed=True)
    return None


MOST_GUESSED = 300
"""Unknown tags for which a guess is looked for: more are not read, and each takes most of a millisecond."""


def guesses(tag: str, most: int = 3) -> list[str]:
    """Canonical names of the signals that an unknown tag may be, likeliest first; there may be none."""
    name = normalised(tag)
    words, pairs = _words(name), _pairs(name)
    scores: dict[str, float] = {}
    for signal, their_words, their_pairs in _known_names():
        common = len(words & their_words) / max(min(len(words), len(their_words)), 1)
        if common:
            alike = 2 * len(pairs & their_pairs) / max(len(pairs) + len(their_pairs), 1)
            scores[signal] = max(scores.get(signal, 0.0), 0.5 * common + 0.5 * alike)
    ranked = sorted(scores, key=lambda n: -scores[n])[:most]
    return [name for name in ranked if scores[name] >= 0.45]


@cache
def _known_names() -> list[tuple[str, set[str], set[str]]]:
    """Signal, words and pairs of letters of every name of every signal."""
    return [
        (signal.name, _words(name), _pairs(name))
        for signal in SIGNALS
        for name in dict.fromkeys(normalised(a.tag) for a in (Alias(signal.name), *known_as(signal)))
    ]


def _pairs(name: str) -> set[str]:
    """Neighbouring letters, by which names are compared (Dice's coefficient)."""
    return {a + b for a, b in itertools.pairwise(name)}


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
