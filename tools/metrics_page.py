"""Rewrite the tables of docs/metrics.md and docs/other-systems.md: python -m tools.metrics_page

The tables are made from ``rundoctor.signals`` and ``gates.yaml``; the text around them is written by hand.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from av_td3.training.gates import Criterion, load_gates
from rundoctor.signals import FAMILIES, Signal
from rundoctor.signals.conditions import CONDITIONS, Condition, Unit
from rundoctor.signals.model import collect
from rundoctor.signals.settings import SETTINGS
from rundoctor.signals.systems import TELLTALES

PAGES = tuple(Path(__file__).parents[1] / "docs" / name for name in ("metrics.md", "other-systems.md"))
WHEN = {
    "mean": "mean of the log interval",
    "last": "at the row",
    "episode": "when an episode ends",
    "evaluation": "when an evaluation ends",
    "event": "when it happens",
}
UNITS: dict[Unit, str] = {
    "": "",
    "q_bound": " x `debug/q_bound`",
    "reward_bound": " x the largest reward",
    "clip": " x the clip's limit",
}


def signals() -> str:
    """One table for each family of signals that av-td3 logs."""
    parts = []
    for title, module in FAMILIES.items():
        own = [s for s in collect(vars(module).values()) if s.tag]
        if own:
            rows = [_signal(s) for s in own]
            parts.append(f"### {title}\n\n" + _table(("tag", "meaning", "unit", "written", "healthy"), rows))
    return "\n".join(parts)


def _signal(signal: Signal) -> tuple[str, ...]:
    tags = ", ".join(f"`{tag}`" for tag in (signal.tag, *signal.also))
    meaning = signal.meaning
    if signal.choices and not signal.tag.startswith("alerts/"):
        meaning += f" ({', '.join(signal.choices)})"
    return tags, meaning, signal.unit, WHEN[signal.logged], signal.healthy


def others() -> str:
    """The names of the signals and how other systems log them."""
    rows = []
    for module in FAMILIES.values():
        for signal in collect(vars(module).values()):
            tags = ", ".join(f"`{a.tag}`" for a in signal.aliases)
            if tags:
                rows.append((f"`{signal.name}`", signal.meaning, tags))
    known = ", ".join(name for name in TELLTALES if "av-td3" not in name)
    return f"Systems that are recognised by their names: {known}.\n\n" + _table(
        ("name", "meaning", "tags"), rows
    )


def conditions() -> str:
    """The conditions, with their thresholds and the reason for them."""
    rows = [_condition(c) for c in CONDITIONS]
    return _table(("condition", "what is compared", "warning", "critical", "why"), rows)


def _condition(condition: Condition) -> tuple[str, ...]:
    name = f"`{condition.id}`" + (" (alert)" if condition.raised else "")
    if condition.finding:
        name += f", reported as `{condition.finding}`"
    word = "at most" if condition.below else "from"

    def threshold(value: float | None) -> str:
        if value is None:
            return "-"
        if value == 0 and not condition.below:
            return "anything but 0"
        return f"{word} {value:g}{UNITS[condition.unit]}"

    why = condition.reason
    for name_of, other in condition.more.items():
        why += f". *{name_of[0].upper()}{name_of[1:]}*, {other.value:g}: {other.reason}"
    return name, condition.figure, threshold(condition.warning), threshold(condition.critical), why


def settings() -> str:
    """The reference values of TD3's settings, and how far from them is too far."""
    rows = [(f"`{s.name}`", s.meaning, s.paper, s.sb3, _range(s.usual), _range(s.known)) for s in SETTINGS]
    return _table(("setting", "meaning", "paper", "SB3", "usual", "known to work"), rows)


def _range(ends: tuple[float, float]) -> str:
    low, high = (f"{end:.3g}" for end in ends)
    return f"above {low}" if high == "inf" else f"{low} to {high}"


def gates() -> str:
    """The criteria of the bundled gates."""
    rows = [_gate(c) for c in load_gates().criteria]
    return _table(("criterion", "tag", "figure", "limit", "stages"), rows)


def _gate(c: Criterion) -> tuple[str, ...]:
    limit = f"at most {_number(c.most)}" if c.most is not None else f"at least {_number(c.least)}"
    stages = f"from {c.since:,} steps" if c.since else "all"
    if c.until is not None:
        stages += f" to {c.until:,}"
    but = f", except {', '.join(c.except_)}" if c.except_ else ""
    return c.name, f"`{c.tag}`{but}", c.figure.replace("_", " "), limit, stages


def _number(limit: str | float | None) -> str:
    return f"{limit:g}" if isinstance(limit, float) else str(limit).replace("bound", "x `debug/q_bound`")


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [head, ["---"] * len(tuple(head)), *rows]
    return "".join("| " + " | ".join(_cell(c) for c in line) + " |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;") if "`" not in text else text.replace("|", "\\|")


TABLES: dict[str, Callable[[], str]] = {
    "signals": signals,
    "conditions": conditions,
    "settings": settings,
    "gates": gates,
    "others": others,
}


def updated(page: str) -> str:
    """A page with today's tables between their marks."""
    for name, table in TABLES.items():
        begin, end = f"<!-- {name}: made by tools/metrics_page.py -->\n", f"<!-- /{name} -->\n"
        if begin not in page:
            continue
        before, rest = page.split(begin)
        page = before + begin + "\n" + table() + "\n" + end + rest.split(end)[1]
    return page


if __name__ == "__main__":
    for file in PAGES:
        file.write_text(updated(file.read_text()))
