"""Runs the rules, puts causes before symptoms, and says what it means."""

from __future__ import annotations

from collections.abc import Sequence

from .checklist import checklist
from .model import (
    CRITICAL,
    INFO,
    WARNING,
    Finding,
    Missing,
    Report,
    Rule,
    RuledOut,
    Severity,
    Skipped,
    Verdict,
    lower_first,
    without_return,
)
from .reference import references
from .rules import all_rules
from .run import CORE, LEAST_POINTS, Need, Run
from .signals import episodes, evaluation


def diagnose(run: Run, rules: Sequence[Rule] | None = None) -> Report:
    """Judge a run by every rule.

    A rule that fails itself is reported as not judged; it never takes the diagnosis down.
    """
    rules = all_rules() if rules is None else rules
    findings: list[Finding] = []
    ruled_out: list[RuledOut] = []
    missing: list[Missing] = []
    for rule in rules:
        lacking = run.algorithm.lacks(rule.requires)
        if lacking:
            reason = f"{run.algorithm.name} does not have {lacking} (known by {run.algorithm.reason})"
            if not run.algorithm.reason:
                reason = f"nothing says that the algorithm has {lacking}"
            ruled_out.append(RuledOut(rule.id, rule.title, reason))
            continue
        absent = [need for need in rule.needs if not run.has(need)]
        if absent:
            tags = tuple(t for need in absent for t in run.tags_of(need))
            missing.append(
                Missing(rule.id, rule.title, f"not logged: {_choices(run, absent)}", tags, rule.how)
            )
            continue
        try:
            outcome = rule.check(run)
        except Exception as error:
            missing.append(
                Missing(rule.id, rule.title, f"the rule failed: {type(error).__name__}: {error}", (), "")
            )
            continue
        if isinstance(outcome, Finding):
            findings.append(outcome)
        elif isinstance(outcome, Skipped):
            missing.append(
                Missing(rule.id, rule.title, outcome.reason, outcome.tags, outcome.how or rule.how)
            )
        else:
            ruled_out.append(RuledOut(rule.id, rule.title, outcome.reason))
    rank = {r.id: r.order for r in rules}
    findings = _order(_attach(findings, rules), rank)
    decisive = {r.id for r in rules if r.decisive}
    missing.sort(key=lambda m: (m.id not in decisive, rank.get(m.id, 99)))
    table = references(run)
    unknown = [
        r.name for r in table if r.value is None and r.name in ("gamma", "tau", "actor_lr", "critic_lr")
    ]
    if unknown and not any(m.id == "hyperparameter-off-reference" for m in missing):
        missing.append(
            Missing(
                "hyperparameter-off-reference",
                "Hyper-parameters off the references",
                f"not in the files: {', '.join(unknown)}",
                ("config.yaml",),
                "Keep the configuration beside the events, or state them: "
                + " ".join(f"--assume {n}=..." for n in unknown),
            )
        )
    return Report(
        run,
        _verdict(run, findings, missing, decisive),
        findings,
        sorted(ruled_out, key=lambda r: rank.get(r.id, 99)),
        missing,
        checklist(run, findings),
        table,
        undecided=sum(m.id in decisive for m in missing),
    )


def _choices(run: Run, absent: Sequence[Need]) -> str:
    return ", ".join(" or ".join(run.tags_of(need)) for need in absent)


def _attach(findings: list[Finding], rules: Sequence[Rule]) -> list[Finding]:
    """Put every symptom under the first cause that explains it and did not come after it."""
    by_id = {f.id: f for f in findings}
    rule_of = {r.id: r for r in rules}
    causes = sorted(
        (f for f in findings if f.severity >= WARNING and (rule_of[f.id].explains or f.explains)),
        key=lambda f: rule_of[f.id].order,
    )
    parent: dict[str, Finding] = {}
    for cause in causes:
        for symptom_id in (*rule_of[cause.id].explains, *cause.explains):
            symptom = by_id.get(symptom_id)
            if symptom is None or symptom_id in parent or symptom is cause:
                continue
            if parent.get(cause.id) is symptom or not _before(cause, symptom):
                continue
            parent[symptom_id] = cause
    for f in findings:
        if rule_of.get(f.id) is not None and rule_of[f.id].consequence and f.id not in parent:
            other = next(
                (c for c in findings if c.severity >= WARNING and not rule_of[c.id].consequence), None
            )
            if other is not None:
                parent[f.id] = min(
                    (c for c in findings if c.severity >= WARNING and c is not f),
                    key=lambda c: (-c.severity, rule_of[c.id].order),
                )
    for symptom_id, cause in parent.items():
        root = cause
        while root.id in parent:
            root = parent[root.id]
        root.symptoms.append(by_id[symptom_id])
    for f in findings:
        f.symptoms.sort(key=lambda s: (-s.severity, s.onset if s.onset is not None else 1 << 62))
    return [f for f in findings if f.id not in parent]


def _before(cause: Finding, symptom: Finding) -> bool:
    if cause.onset is None or symptom.onset is None:
        return True
    # An error is the square of what it stems from and crosses its own threshold earlier.  Rows are some way
    # apart, and trends are dated by their middle.
    return cause.onset <= symptom.onset * 2 + 1000 or symptom.onset <= 0


def _order(findings: list[Finding], rank: dict[str, int]) -> list[Finding]:
    return sorted(
        findings, key=lambda f: (-f.severity, f.confidence < 0.7 and f.severity == INFO, rank.get(f.id, 99))
    )


def _verdict(run: Run, findings: list[Finding], missing: list[Missing], decisive: set[str]) -> Verdict:
    serious = [f for f in findings if f.severity >= WARNING]
    blind = [m for m in missing if m.id in decisive]
    if not serious and (run.blind or without_return(run)):
        return _blind_verdict(run)
    if not serious:
        sentence, action = f"Nothing wrong was found in {run.extent}.", "Go on."
        if blind:
            what = _join([lower_first(m.title) for m in blind])
            sentence = f"{sentence[:-1]}, but the logs cannot show everything: {what} could not be judged."
            action = blind[0].how or "Log what is listed under 'could not be judged'."
        if "the return" in run.unseen:
            sentence = (
                f"Fewer than {LEAST_POINTS} returns are logged, so whether the agent learns cannot be said "
                f"yet. {sentence}"
            )
        return Verdict(INFO, sentence, action)
    lead = serious[0]
    sentence = lead.sentence
    explained = [lower_first(f.title) for f in lead.symptoms if f.severity > INFO]
    if explained:
        sentence += f" This explains the rest: {_join(explained)}."
    beside = [lower_first(f.title) for f in serious[1:] if f.severity == CRITICAL]
    if beside:
        sentence += f" Beside it: {_join(beside)}."
    return Verdict(Severity(lead.severity), sentence, lead.fix)


def _blind_verdict(run: Run) -> Verdict:
    """What to say where no signal that says how the learning goes is recognised."""
    if run.too_short:
        return Verdict(
            INFO,
            f"The run holds fewer than {LEAST_POINTS} points of the return, the critic's loss and Q: too "
            "few to judge.",
            "Let it run longer, or name the file that holds the rest of the run.",
        )
    returns = [m.tag for s in CORE["the return"] for m in run.matches.get(s.name, []) if m.tag in run.series]
    if returns and run.get(*CORE["the return"]) is None:
        return Verdict(
            INFO,
            f"{returns[0]} holds no number, only NaN: no episode has ended, or none was counted, so nothing "
            "can be said about the learning.",
            "Check that episodes end (a time limit, terminal states), and that the wrapper that counts "
            "returns (RecordEpisodeStatistics, Monitor) is around the environment.",
        )
    if len(run.unseen) < len(run.core):
        if run.blind:
            why = f"and the losses of {run.algorithm.name} say nothing about the policy"
        else:
            why = (
                "so whether the agent learns cannot be said. Beside that, nothing wrong was found in "
                f"{run.extent}"
            )
        return Verdict(
            INFO,
            f"No return is recognised, {why}.",
            "Log the mean return of the finished episodes, or say which tag it is: " + _as_return(run),
        )
    tags = f"the {len(run.series)} tags" if len(run.series) > 1 else "tags"
    sentence = (
        f"None of {tags} is recognised as the return, the critic's loss or Q, so nothing can be said about "
        "the learning."
    )
    guessed = {names[0]: tag for tag, names in reversed(run.guesses.items())}  # the first tag of each name
    some = list(guessed.items())[::-1][:4] or [("NAME", tag) for tag in sorted(run.unmapped, key=len)[:1]]
    options = " ".join(f'--map "{tag}={name}"' for name, tag in some)
    how = "Say what the tags are" + (" (these are guesses)" if run.guesses else "")
    return Verdict(INFO, sentence, f"{how}: {options}. --names lists the names.")


def _as_return(run: Run) -> str:
    """``--map`` for the unknown tags that may hold the return, else for any tag."""
    likely = {
        tag: next((n for n in names if n in _RETURNS), "")
        for tag, names in run.guesses.items()
        if _RETURNS & set(names)
    }
    some = list(likely.items())[:2]
    if not some:
        return '--map "TAG=episode_return".'
    return (
        " ".join(f'--map "{tag}={name}"' for tag, name in some)
        + f" ({'a guess' if len(some) == 1 else 'guesses'})."
    )


_RETURNS = {episodes.RETURN.name, evaluation.RETURN.name}


def _join(parts: Sequence[str]) -> str:
    if len(parts) < 2:
        return "".join(parts)
    return ", ".join(parts[:-1]) + " and " + parts[-1]
