"""What a signal is: one quantity of a training run, with its name, its tag and its meaning."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, NamedTuple

Logged = Literal["mean", "last", "episode", "evaluation", "event"]
"""When av-td3 writes a value, always with the environment step as its x-axis.

``mean``: once per log interval, the mean over the interval.  ``last``: once per log interval, the value
at that moment.  ``episode``: when an episode ends.  ``evaluation``: when an evaluation ends.  ``event``:
when it happens.
"""


@dataclass(frozen=True)
class Alias:
    """A tag under which another system logs a signal.

    The same tag can mean different things in different systems: see :meth:`holds`.
    """

    tag: str
    note: str = ""
    """How the meaning differs from the signal's; reports repeat it."""
    on_policy: bool | None = None
    """True: only in runs of PPO, A2C and the like.  False: only in other runs.  None: in all."""
    not_in: tuple[str, ...] = ()
    """Systems in which the tag means something else."""
    only_in: tuple[str, ...] = ()
    """The only systems in which the tag means this; empty: all."""
    unsure: bool = False
    """The name alone does not say for certain that it is this signal."""

    def holds(self, system: str, on_policy: bool) -> bool:
        """Whether the tag means this signal in the logs of a system."""
        if system in self.not_in or (self.only_in and system not in self.only_in):
            return False
        return self.on_policy in (None, on_policy)


@dataclass(frozen=True, eq=False)
class Signal:
    """One quantity of a training run.

    A tag may hold one placeholder, as in ``train/termination_<cause>``; :meth:`of` fills it in.
    """

    name: str
    """The canonical name.  ``rundoctor --map "TAG=NAME"`` takes it."""
    tag: str
    """The TensorBoard tag that av-td3 writes; empty when only other systems log the signal."""
    meaning: str
    unit: str = ""
    """Empty: a number without a unit."""
    logged: Logged = "mean"
    healthy: str = ""
    """How it looks in a run that learns; empty: it describes, and has no good or bad."""
    aliases: tuple[Alias, ...] = ()
    """Tags of other systems, in order of preference."""
    also: tuple[str, ...] = ()
    """Further tags under which av-td3 writes the same figure, for tools that know those."""
    choices: tuple[str, ...] = ()
    """What the placeholder of the tag stands for; empty: anything."""

    def of(self, choice: str) -> str:
        """The tag with its placeholder filled in.

        Raises:
            KeyError: the placeholder does not stand for that.
        """
        if self.choices and choice not in self.choices:
            raise KeyError(f"{self.tag} has no {choice!r}, only {', '.join(self.choices)}")
        return _PLACEHOLDER.sub(choice, self.tag)

    def choice(self, tag: str) -> str | None:
        """What a tag has in place of the placeholder; None when it is not a tag of this signal."""
        found = self._pattern.fullmatch(tag) if _PLACEHOLDER.search(self.tag) else None
        return found.group(1) if found is not None else None

    @cached_property
    def _pattern(self) -> re.Pattern[str]:
        before, after = _PLACEHOLDER.split(self.tag)
        middle = "|".join(map(re.escape, self.choices)) or r"\w+"
        return re.compile(f"{re.escape(before)}({middle}){re.escape(after)}")

    @property
    def tags(self) -> tuple[str, ...]:
        """Every tag, av-td3's first, then those of other systems."""
        own = (self.tag,) if self.tag else ()
        return (*own, *self.also, *(a.tag for a in self.aliases))

    def matches(self, tag: str) -> bool:
        """Whether av-td3 writes this signal under ``tag``."""
        return tag in (self.tag, *self.also) if not self._has_choices else self.choice(tag) is not None

    @property
    def _has_choices(self) -> bool:
        return bool(_PLACEHOLDER.search(self.tag))


_PLACEHOLDER = re.compile(r"<\w+>")


class Moments(NamedTuple):
    """Mean and extremes of a quantity over a replay batch, and its standard deviation."""

    mean: Signal
    min: Signal
    max: Signal
    std: Signal


def aliases(*tags: str | Alias) -> tuple[Alias, ...]:
    """Aliases from plain tags."""
    return tuple(t if isinstance(t, Alias) else Alias(t) for t in tags)


def collect(values: Iterable[object]) -> list[Signal]:
    """All signals among the values of a module: alone, as moments, or in a dictionary."""
    found: list[Signal] = []
    for value in values:
        if isinstance(value, Signal):
            found.append(value)
        elif isinstance(value, Moments):
            found += value
        elif isinstance(value, dict):
            found += collect(value.values())
    return list(dict.fromkeys(found))
