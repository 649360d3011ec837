"""What a diagnosis is made of: evidence, findings, rules and the report."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .run import Run


class Severity(IntEnum):
    """How bad a finding is; the exit status is the worst one's value."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    def __str__(self) -> str:
        return self.name.lower()

    def __format__(self, spec: str) -> str:
        return format(str(self), spec)  # what f"{severity}" gives differs between Pythons otherwise


INFO, WARNING, CRITICAL = Severity.INFO, Severity.WARNING, Severity.CRITICAL


@dataclass(frozen=True)
class Evidence:
    """One figure that supports a statement, and where it can be seen."""

    tag: str
    step: int | None
    value: float | None
    text: str

    def to_json(self) -> dict[str, Any]:
        value = self.value
        return {
            "tag": self.tag,
            "step": self.step,
            "value": value if value is not None and math.isfinite(value) else None,
            "text": self.text,
        }


@dataclass
class Finding:
    """A statement about the run that the evidence supports."""

    id: str
    severity: Severity
    title: str
    evidence: list[Evidence]
    cause: str
    fix: str
    confidence: float
    headline: str = ""
    """The finding in one sentence with its figures; made of title and evidence where empty."""
    onset: int | None = None
    """First step at which it shows; None when it holds throughout or cannot be dated."""
    plots: tuple[tuple[str, ...], ...] = ()
    """Groups of tags that show it, one plot each."""
    symptoms: list[Finding] = field(default_factory=list)
    """Findings that this one explains; reported here and nowhere else."""
    explains: tuple[str, ...] = ()
    """Ids that this very finding explains, besides those that its rule always does."""
    bounds: tuple[tuple[str, float], ...] = ()
    """Named horizontal lines for the plots: limits that the evidence refers to."""

    @property
    def sentence(self) -> str:
        text = self.headline or (f"{self.title}: {self.evidence[0].text}" if self.evidence else self.title)
        return text.rstrip(".") + "."

    def to_json(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "severity": str(self.severity),
            "title": self.title,
            "evidence": [e.to_json() for e in self.evidence],
            "cause": self.cause,
            "fix": self.fix,
            "confidence": round(self.confidence, 2),
            "onset": self.onset,
            "symptoms": [s.to_json() for s in self.symptoms],
        }


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

    ``needs`` are canonical names, all required, ``"a|b"`` meaning either.  A rule whose needs
    are not met is skipped and the missing tags are named.
    """

    id: str
    title: str
    statement: str
    """Why the evidence means what the rule says it means."""
    check: Callable[[Run], Outcome]
    needs: tuple[str, ...] = ()
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
class Check:
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
    checklist: list[Check]
    references: list[Reference]
    undecided: int = 0
    """How many of the questions that decide most could not be judged."""

    @property
    def word(self) -> str:
        """The verdict in a word; a run that hides what decides is not called healthy."""
        if self.severity == INFO and self.undecided:
            return "NOTHING FOUND"
        return ("HEALTHY", "WARNING", "CRITICAL")[self.severity]

    @property
    def severity(self) -> Severity:
        return max((f.severity for f in self.findings), default=INFO)

    def to_json(self) -> dict[str, Any]:
        return {
            "schema": 1,
            "run": self.run.to_json(),
            "verdict": self.verdict.to_json(),
            "findings": [f.to_json() for f in self.findings],
            "ruled_out": [r.to_json() for r in self.ruled_out],
            "missing": [m.to_json() for m in self.missing],
            "checklist": [c.to_json() for c in self.checklist],
            "references": [r.to_json() for r in self.references],
        }


def number(value: float | None) -> str:
    """A figure for people: 4 significant digits, thousands separated, exponents where long."""
    if value is None or math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    size = abs(value)
    if size == 0:
        return "0"
    if size >= 1e6 or size < 1e-3:
        mantissa, exponent = f"{value:.2e}".split("e")
        return f"{mantissa}e{int(exponent)}"
    if size >= 1000:
        return f"{value:,.0f}"
    text = f"{value:.3g}" if size >= 1 else f"{value:.2g}"
    return text if "e" not in text else f"{value:.0f}"


def lower_first(text: str) -> str:
    """For use inside a sentence; names such as Q and TD keep their capital."""
    return text if len(text) < 2 or not text[1].islower() else text[0].lower() + text[1:]


def first_sentence(text: str) -> str:
    """Up to the first full stop that ends a sentence."""
    at = 0
    while True:
        at = text.find(". ", at)
        if at < 0:
            return text
        if text[at + 2].isupper() and not text[:at].endswith(("e.g", "i.e", "vs")):
            return text[: at + 1]
        at += 2


def percent(share: float) -> str:
    """A share for people; what is not quite all or nothing does not read as it."""
    text = f"{share:.0%}"
    return f"{share:.1%}" if (text == "100%" and share < 1) or (text == "0%" and share > 0) else text


def times(ratio: float) -> str:
    """A factor for people."""
    if not math.isfinite(ratio):
        return "without bound"
    return f"{float(f'{ratio:.3g}'):,.0f} times" if 100 <= ratio < 1e6 else f"{number(ratio)} times"
