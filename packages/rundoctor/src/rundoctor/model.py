"""What rules and reports are made of.

The names of ``evidence.py`` are offered here too, so that a rule imports everything from one place.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .evidence import (
    CRITICAL,
    INFO,
    WARNING,
    Evidence,
    Finding,
    Severity,
    count,
    first_sentence,
    lower_first,
    number,
    percent,
    shortened,
    times,
)
from .run import CORE, Need, Run

__all__ = [
    "CANNOT_JUDGE",
    "CRITICAL",
    "INFO",
    "WARNING",
    "ChecklistItem",
    "Clear",
    "Evidence",
    "Finding",
    "Missing",
    "Outcome",
    "Reference",
    "Report",
    "Rule",
    "RuledOut",
    "Severity",
    "Skipped",
    "Verdict",
    "count",
    "first_sentence",
    "lower_first",
    "number",
    "percent",
    "shortened",
    "times",
    "without_return",
]


CANNOT_JUDGE = 4
"""Exit status of a run that was read and of which nothing can be judged, or not whether it learns."""


def without_return(run: Run) -> bool:
    """Whether no return is recognised: what else is sound does not show that the agent learns."""
    return not run.has(CORE["the return"])


@dataclass(frozen=True)
class Clear:
    """The rule could judge and found nothing; the reason holds the figures that say so."""

    reason: str


@dataclass(frozen=True)
class Skipped:
    """The rule could not judge."""

    reason: str
    tags: tuple[str, ...] = ()
    """Tags that would have been needed."""
    how: str = ""
    """How to get them."""


Outcome = Finding | Clear | Skipped


@dataclass(frozen=True)
class Rule:
    """One thing that can be wrong, how it shows, and what it brings about.

    ``needs`` are signals (:mod:`rundoctor.signals`), all required; a tuple of signals means any one of
    them.  A rule whose needs are not met is skipped and the missing tags are named.
    """

    id: str
    title: str
    statement: str
    """Why the evidence means what the rule says it means."""
    check: Callable[[Run], Outcome]
    needs: tuple[Need, ...] = ()
    how: str = ""
    """How to get what is missing."""
    explains: tuple[str, ...] = ()
    """Ids of the findings that are this one's consequences."""
    order: int = 50
    """Rank among findings of the same severity; causes before what they lead to."""
    consequence: bool = False
    """Whether any other warning explains this one."""
    decisive: bool = False
    """Whether not being able to judge this deserves to be said before others."""
    requires: tuple[str, ...] = ()
    """What the algorithm must have (see ``algorithm``); for any other the rule is ruled out."""


@dataclass(frozen=True)
class RuledOut:
    id: str
    title: str
    reason: str

    def to_json(self) -> dict[str, Any]:
        return {"id": self.id, "title": self.title, "reason": self.reason}


@dataclass(frozen=True)
class Missing:
    id: str
    title: str
    reason: str
    tags: tuple[str, ...]
    how: str

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "title": self.title,
            "reason": self.reason,
            "tags": list(self.tags),
            "how": self.how,
        }


@dataclass(frozen=True)
class ChecklistItem:
    """A line of the check-list."""

    name: str
    passed: bool | None
    """None: could not be judged."""
    figures: str

    def to_json(self) -> dict[str, Any]:
        return {"name": self.name, "passed": self.passed, "figures": self.figures}


@dataclass(frozen=True)
class Verdict:
    """The answer in two sentences."""

    severity: Severity
    sentence: str
    action: str

    def to_json(self) -> dict[str, Any]:
        return {"severity": str(self.severity), "sentence": self.sentence, "action": self.action}


@dataclass(frozen=True)
class Reference:
    """A hyper-parameter beside the published ones."""

    name: str
    value: float | None
    source: str
    paper: str
    sb3: str
    note: str
    off: int = 0
    """0: as in the references, 1: otherwise, 2: far from them."""

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value,
            "source": self.source,
            "paper": self.paper,
            "sb3": self.sb3,
            "note": self.note,
            "off": ("no", "somewhat", "far")[self.off],
        }


@dataclass
class Report:
    """The diagnosis of one run."""

    run: Run
    verdict: Verdict
    findings: list[Finding]
    ruled_out: list[RuledOut]
    missing: list[Missing]
    checklist: list[ChecklistItem]
    references: list[Reference]
    undecided: int = 0
    """How many of the questions that decide most could not be judged."""

    @property
    def word(self) -> str:
        """The verdict in a word; a run whose logs hide what decides is not called healthy."""
        if self.cannot_judge:
            return "CANNOT JUDGE"
        if self.severity == INFO and self.undecided:
            return "NOTHING FOUND"
        return ("HEALTHY", "WARNING", "CRITICAL")[self.severity]

    @property
    def severity(self) -> Severity:
        return max((f.severity for f in self.findings), default=INFO)

    @property
    def cannot_judge(self) -> bool:
        """Whether nothing was found, and what decides could not have been: no return is recognised."""
        return self.severity == INFO and (self.run.blind or without_return(self.run))

    @property
    def exit_status(self) -> int:
        """0 nothing above info, 1 warnings, 2 critical, 4 nothing could be judged."""
        return CANNOT_JUDGE if self.cannot_judge else int(self.severity)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "run": self.run.to_json(),
            "verdict": {"word": self.word, **self.verdict.to_json()},
            "findings": [f.to_json() for f in self.findings],
            "ruled_out": [r.to_json() for r in self.ruled_out],
            "missing": [m.to_json() for m in self.missing],
            "checklist": [c.to_json() for c in self.checklist],
            "references": [r.to_json() for r in self.references],
        }
