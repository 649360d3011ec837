"""What every statement rests on: evidence, findings, and how figures are written for people.

This is the lowest layer. A run (``run.py``) uses it; rules and reports (``model.py``) are above the run.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any


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


def everything(findings: Iterable[Finding]) -> list[Finding]:
    """The findings and, after each, the symptoms that are reported under it."""
    return [g for f in findings for g in (f, *everything(f.symptoms))]


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


def count(number: int, what: str) -> str:
    """``1 evaluation``, ``2 evaluations``."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def lower_first(text: str) -> str:
    """For use inside a sentence; names such as Q, TD and NaN keep their capital."""
    return text[:1].lower() + text[1:] if text.split(" ", 1)[0][1:].islower() else text


def shortened(tag: str, most: int = 60) -> str:
    """A tag of any length on one line: of a long one the beginning and the end."""
    return tag if len(tag) <= most else f"{tag[: most - 25]}...{tag[-22:]}"


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
