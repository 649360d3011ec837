"""PPO changes its policy in one update by more than its data supports."""

from __future__ import annotations

from ..algorithm import ON_POLICY
from ..measures import late
from ..model import INFO, WARNING, Clear, Evidence, Finding, Outcome, Rule, Skipped, number
from ..run import Run
from ..signals import episodes, others
from ..signals.conditions import POLICY_STEP_TOO_LARGE
from .never_learns import learned

LEAST = 10


def check(run: Run) -> Outcome:
    shown: list[tuple[str, int, float, bool]] = []
    for signal, limit in (
        (others.APPROX_KL, POLICY_STEP_TOO_LARGE.threshold("warning")),
        (others.CLIP_FRACTION, POLICY_STEP_TOO_LARGE.threshold("clip fraction")),
    ):
        s = run.get(signal)
        if s is not None and len(s) >= LEAST:
            shown.append((s.tag, s.last.step, late(s), late(s) >= limit))
    if not shown:
        return Skipped(
            f"fewer than {LEAST} values of the KL divergence or the clip fraction are logged",
            run.tags_of(others.APPROX_KL),
            "Log the approximate KL divergence of each update.",
        )
    texts = [f"{tag}: median {number(value)} over the second half" for tag, _, value, _ in shown]
    if not any(beyond for *_, beyond in shown):
        return Clear("; ".join(texts))
    evidence = [
        Evidence(tag, step, value, text)
        for (tag, step, value, beyond), text in zip(shown, texts, strict=True)
        if beyond
    ]
    returns = run.get(episodes.RETURN)
    rises = learned(returns) if returns is not None and len(returns) >= LEAST else ""
    return Finding(
        "policy-step-too-large",
        INFO if rises or returns is None else WARNING,
        "The policy changes too much in one update",
        evidence,
        "PPO may go on using a batch only while the policy is close to the one that collected it. A KL "
        "divergence of 0.01 to 0.05 is usual; far beyond it the clip removes most of the gradient and the "
        "rest pulls the policy away from its data.",
        "Lower the learning rate, or use fewer epochs for each batch; stop the epochs at a target "
        "KL divergence (target_kl=0.03), and normalise observations and advantages.",
        0.8,
        plots=tuple((tag,) for tag, *_ in shown),
    )


RULE = Rule(
    id="policy-step-too-large",
    title="Policy steps that are too large",
    statement=(
        "PPO's objective holds near the policy that collected the data. A median KL divergence above 0.2, or "
        "a clip fraction above 0.6, while the return does not rise, is a step that is too large (Schulman "
        "et al. 2017; Spinning Up stops its epochs at 0.015)."
    ),
    check=check,
    requires=(ON_POLICY,),
    explains=(
        "never-learns",
        "reward-degrading",
        "episode-collapse",
        "entropy-collapse",
        "value-unexplained",
    ),
    how="Log the approximate KL divergence and the clip fraction.",
    order=15,
)
