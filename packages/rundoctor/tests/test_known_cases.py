"""Small files in the shape of public reports, each with the reading that is right for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from rundoctor.engine import diagnose
from rundoctor.evidence import everything
from rundoctor.load import load
from rundoctor.model import CRITICAL, Report

CASES = Path(__file__).parent / "cases"


def judged(name: str) -> Report:
    return diagnose(load([CASES / name]).runs[0])


@pytest.mark.parametrize(
    ("name", "wanted", "explained"),
    [
        ("S01_rlkit_sac_qexplode", "q-explosion", "critic-divergence"),
        ("S03_finrl_td3_same_reward", "policy-frozen", "never-learns"),
        ("S11_torcs_saturated.csv", "actor-saturated", "reward-degrading"),
        ("X1_two_rows_head_zero_encoder_one", "state-gradient-leak", "head-starved"),
    ],
)
def test_the_cause_comes_first_and_what_it_explains_below_it(name: str, wanted: str, explained: str) -> None:
    report = judged(name)
    assert report.findings[0].id == wanted and report.severity == CRITICAL
    assert explained in {f.id for f in everything(report.findings[0].symptoms)}


def test_two_rows_prove_a_leak_where_nothing_passes_the_head() -> None:
    """The head's gradient is 0 and its encoder's is 1: the encoder's came another way."""
    leak = judged("X1_two_rows_head_zero_encoder_one").findings[0]
    assert leak.evidence[0].tag == "gradients/actor_mlp_norm" and leak.evidence[0].value == 0
    assert "did not come through the action" in leak.evidence[0].text
    assert any(e.tag == "debug/actor_q_mean" and "252" in e.text for e in leak.evidence)
    assert leak.confidence >= 0.9
