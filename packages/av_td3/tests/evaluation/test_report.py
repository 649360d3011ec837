"""Figures of an evaluation, their comparison and how they are shown."""

from __future__ import annotations

import dataclasses
import io
import json

import pytest
from rich.console import Console

from av_td3.evaluation import report
from av_td3.evaluation.baselines import ClassicalDriver, RandomPolicy, SmoothRandom, Stationary
from av_td3.evaluation.metrics import (
    METRICS,
    compare,
    driving_score,
    driving_score_2_1,
    infractions,
    scalars,
    summary,
    terminations,
)
from av_td3.evaluation.rollout import Evaluation, evaluate

from .fake_env import FakeDrivingEnv


@pytest.fixture(scope="module")
def results() -> dict[str, Evaluation]:
    env = FakeDrivingEnv()
    drivers = {
        "classical": ClassicalDriver(env.config),
        "smooth": SmoothRandom(),
        "random": RandomPolicy(),
        "stationary": Stationary(),
    }
    return {name: evaluate(env, driver, 8, 50, name=name) for name, driver in drivers.items()}


def test_every_metric_matches_its_formula(results):
    episodes = results["smooth"].episodes
    steps, km = sum(e.steps for e in episodes), sum(e.distance_km for e in episodes)
    score = sum(e.route_completion * (1 - e.off_road_steps / e.steps) for e in episodes) / 8
    assert 0.0 < sum(e.comfortable_share for e in episodes) < 8
    expected = {
        "route_completion": sum(e.route_completion for e in episodes) / 8,
        "success_rate": sum(e.success for e in episodes) / 8,
        "clean_success_rate": sum(e.success for e in episodes) / 8,
        "driving_score": score,
        "driving_score_2_1": score,  # the same where nothing is hit
        "vehicle_collisions_per_km": 0.0,
        "walker_collisions_per_km": 0.0,
        "static_collisions_per_km": 0.0,
        "red_lights_per_km": 0.0,
        "comfort_share": sum(e.comfortable_share * e.steps for e in episodes) / steps,
        "mean_reward": sum(e.episode_return for e in episodes) / 8,
        "collisions_per_km": sum(e.collisions for e in episodes) / km,
        "lane_invasions_per_km": sum(e.lane_invasions for e in episodes) / km,
        "off_road_share": sum(e.off_road_steps for e in episodes) / steps,
        "speed_kmh": km / (steps * 0.05 / 3600),
        "jerk": sum(e.mean_abs_jerk * e.steps for e in episodes) / steps,
        "lateral_deviation_m": sum(e.mean_abs_lateral_deviation_m * e.steps for e in episodes) / steps,
        "steer_change": sum(e.mean_abs_steer_change * e.steps for e in episodes) / steps,
        "min_ttc_s": 10.0,
        "low_ttc_share": 0.0,
        "episode_length": steps / 8,
        "distance_km": km / 8,
    }
    found = {name: interval.estimate for name, interval in summary(results["smooth"]).items()}
    assert found == pytest.approx(expected)
    assert set(found) == {m.name for m in METRICS}


def episode(results, **changes):
    return dataclasses.replace(results["classical"].episodes[0], **changes)


def test_the_driving_scores_are_those_of_the_leaderboard(results):
    """Half of the route, a pedestrian, two vehicles, a wall and a red light."""
    hits = {"collisions": 4, "walker_collisions": 1, "vehicle_collisions": 2, "red_lights_run": 1}
    bad = episode(results, route_completion=0.5, off_road_steps=0, success=True, **hits)
    assert infractions(bad) == {"walker": 1, "vehicle": 2, "static": 1, "red_light": 1}
    assert driving_score(bad) == pytest.approx(0.5 * 0.5 * 0.6**2 * 0.65 * 0.7)
    assert driving_score_2_1(bad) == pytest.approx(0.5 / (1 + 1.0 + 2 * 0.7 + 0.6 + 0.4))
    figures = summary(Evaluation("a", 0, (bad,)))
    assert figures["clean_success_rate"].estimate == 0.0 and figures["success_rate"].estimate == 1.0
    km = bad.distance_km
    assert figures["static_collisions_per_km"].estimate == pytest.approx(1 / km)
    assert figures["red_lights_per_km"].estimate == pytest.approx(1 / km)
    # A quarter of the drive off the road does not count as driven.
    off = episode(results, route_completion=1.0, steps=40, ticks=80, off_road_steps=20)
    assert driving_score(off) == driving_score_2_1(off) == 0.75
    assert summary(Evaluation("a", 0, (off,)))["off_road_share"].estimate == 0.25


def test_records_of_older_versions_can_be_read(results):
    tree = results["smooth"].to_dict()
    new = ("red_lights_run", "vehicle_collisions", "walker_collisions", "comfortable_share", "ticks")
    for e in tree["episodes"]:
        for key in new:
            del e[key]
    old = Evaluation.from_dict(json.loads(json.dumps(tree)))
    figures = summary(old)
    assert figures["comfort_share"].estimate is None
    assert figures["off_road_share"] == summary(results["smooth"])["off_road_share"]


def test_scalars_carry_the_recorded_names_and_are_finite(results):
    for evaluation in results.values():
        row = scalars(evaluation)
        assert {
            "eval/avg_collisions",
            "eval/avg_episode_length",
            "eval/avg_lane_invasions",
            "eval/mean_reward",
            "eval/success_rate",
            "eval/route_completion",
        } <= row.keys()
        json.dumps(row, allow_nan=False)
        assert row["eval/route_completion_low"] <= row["eval/route_completion"]
    assert "eval/collisions_per_km" not in scalars(results["stationary"])


def test_the_ceiling_is_clearly_better_than_random(results):
    comparison = compare(results)
    for other in ("smooth", "random", "stationary"):
        assert comparison.clearly_better(other)
    reverse = compare({"random": results["random"], "classical": results["classical"]})
    assert not reverse.clearly_better("classical")
    pair = comparison.pairs[0]
    assert (pair.first, pair.second, pair.routes) == ("classical", "smooth", 8)
    assert pair.metrics["route_completion"].wins == 8 and pair.disjoint["route_completion"]


def test_an_agent_is_not_clearly_better_than_itself(results):
    twice = compare({"a": results["smooth"], "b": results["smooth"]})
    assert not twice.clearly_better("b")
    assert twice.pairs[0].metrics["route_completion"].ties == 8


def test_pairs_are_of_the_routes_that_both_drove(results):
    shorter = dataclasses.replace(results["random"], episodes=results["random"].episodes[2:5])
    assert compare({"a": results["classical"], "b": shorter}).pairs[0].routes == 3
    other = evaluate(FakeDrivingEnv(), Stationary(), 2, 900)
    nothing = compare({"a": results["classical"], "b": other})
    assert nothing.pairs[0].routes == 0 and nothing.pairs[0].metrics == {}
    assert "no route in common" in report.verdicts(nothing)[0]


def shown(comparison) -> str:
    out = io.StringIO()
    report.show(comparison, Console(file=out, width=80))
    return out.getvalue()


@pytest.mark.parametrize(
    ("faults", "missing", "says"),
    [(1, 0, "failed once during"), (3, 2, "2 episodes are missing"), (3, 1, "1 episode is missing")],
)
def test_failures_are_told_in_whole_sentences(results, faults, missing, says):
    faulty = dataclasses.replace(
        results["smooth"], simulator_faults=faults, abandoned_seeds=tuple(range(missing))
    )
    assert says in report.verdicts(compare({"smooth": faulty}))[-1]
    assert not any("simulator" in line for line in report.verdicts(compare({"smooth": results["smooth"]})))


def test_the_table_fits_a_terminal(results):
    faulty = dataclasses.replace(results["smooth"], simulator_faults=2, abandoned_seeds=(55,))
    text = shown(compare({**results, "smooth": faulty}))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text  # nothing was cut
    for name in results:
        assert name in text
    words = " ".join(text.split())
    assert "smooth ended by: off_road 8" in words
    again = "during an episode, and the episode was driven again"
    assert (
        f"smooth: the simulator failed 2 times {again}; 1 episode is missing because every try failed."
        in words
    )


def test_wide_figures_still_fit(results):
    def worse(e, k):
        return dataclasses.replace(
            e,
            collisions=k % 4,
            lane_invasions=9 + k,
            episode_return=-900.0 - 61 * k,
            distance_km=0.02 + k / 1e3,
        )

    episodes = tuple(worse(e, k) for k, e in enumerate(results["smooth"].episodes))
    text = shown(compare({"a-long-agents-name": dataclasses.replace(results["smooth"], episodes=episodes)}))
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text and "-1114" in text


def test_one_agent_alone_is_shown(results):
    assert "classical" in shown(compare({"classical": results["classical"]}))
    with pytest.raises(ValueError, match="nothing to compare"):
        compare({})


def test_json_is_finite_and_whole(results, tmp_path):
    file = tmp_path / "final.json"
    report.write_json(file, compare(results), {"checkpoint": "step_1"})
    tree = json.loads(file.read_text(), parse_constant=pytest.fail)
    assert tree["schema"] == 1 and tree["checkpoint"] == "step_1"
    agent = tree["agents"]["stationary"]
    assert agent["summary"]["collisions_per_km"]["estimate"] is None
    assert len(agent["episodes"]) == 8
    assert Evaluation.from_dict(agent) == results["stationary"]
    assert tree["pairs"][0]["metrics"]["route_completion"]["significant"] is True
    assert list(tmp_path.iterdir()) == [file]


def test_markdown_has_a_row_for_each_agent(results):
    lines = report.markdown(compare(results)).strip().splitlines()
    assert len(lines) == 2 + 4
    assert len({line.count("|") for line in lines}) == 1
    assert lines[2].startswith("| classical | 100 [")


def test_terminations_are_counted(results):
    assert terminations(results["smooth"]) == {"off_road": 8}
