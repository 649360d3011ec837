"""Columns whose name may mean several things: what they hold decides."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rundoctor.engine import diagnose
from rundoctor.load import load

from .own_tables import EPISODES, LOSS, RNG, STEPS, N, curve, judged, serious, write
from .synthetic import START, write_events

LENGTHS = (100 + np.arange(N) + RNG.normal(0, 10, N)).astype(int)
DURATIONS = (3 + np.abs(RNG.normal(0, 2, N)) + np.arange(N) / 50).round(3)


# --- times ----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["csv", "json"])
def test_how_long_each_episode_took_is_no_clock(tmp_path: Path, kind: str) -> None:
    columns = {"total_steps": np.cumsum(LENGTHS), "reward": curve(-300, 200), "time": DURATIONS}
    if kind == "csv":
        report = judged(tmp_path / "log.csv", columns)
    else:
        rows = ({k: float(v[i]) for k, v in columns.items()} for i in range(N))
        (tmp_path / "log.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = diagnose(load([tmp_path / "log.json"]).runs[0])
    assert np.isnan(report.run.seconds)
    assert any("'time' falls again and again" in note for note in report.run.notes)
    assert not any("jumps back" in note for note in report.run.notes)


def test_lengths_of_episodes_in_json_are_no_running_count(tmp_path: Path) -> None:
    rows = ({"episode": k, "steps": int(RNG.integers(20, 90)), "reward": float(k)} for k in range(N))
    (tmp_path / "log.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (run,) = load([tmp_path / "log.json"]).runs
    assert run.axis == "episode" and run.series["steps"].count == N


def test_json_out_of_order_is_sorted(tmp_path: Path) -> None:
    rows = ({"step": 100 * int(k), "episode_reward": float(k)} for k in RNG.permutation(N))
    (tmp_path / "log.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    returns = load([tmp_path / "log.json"]).runs[0].get("episode_return")
    assert returns is not None and returns.value.tolist() == list(range(N))


def test_a_clock_that_begins_anew_where_the_run_was_resumed_stays_one(tmp_path: Path) -> None:
    columns = {"step": STEPS, "episode_reward": curve(-300, 200), "time": [5.0 * (k % 100) for k in range(N)]}
    report = judged(tmp_path / "log.csv", columns)
    assert report.run.seconds > 1000


@pytest.mark.parametrize(("a_step", "rounded"), [(0.011, False), (0.1, True)])
def test_t_in_seconds_is_no_count_of_steps(tmp_path: Path, a_step: float, rounded: bool) -> None:
    seconds = np.cumsum(LENGTHS) * a_step
    columns = {
        "episode": EPISODES,
        "episode_reward": curve(-300, 200),
        "episode_length": LENGTHS,
        "t": seconds.round() if rounded else seconds,
    }
    run = judged(tmp_path / "log.csv", columns).run
    assert run.axis == "episode" and run.seconds == pytest.approx(seconds[-1] - seconds[0], abs=1)


def test_t_in_whole_numbers_is_a_count_of_steps(tmp_path: Path) -> None:
    columns = {"episode_reward": curve(-300, 200), "episode_length": LENGTHS, "t": np.cumsum(LENGTHS)}
    assert judged(tmp_path / "log.csv", columns).run.last_step == LENGTHS.sum()


# --- the end of a run -----------------------------------------------------------------------


def at_the_last_step(tag: str, values: list[float]) -> dict[str, list[tuple[int, float, float]]]:
    """A run, and what is written every 20 s at its last step."""
    points = {
        "rollout/ep_rew_mean": [(s, START + 0.005 * s, v) for s, v in zip(STEPS, curve(0, 850), strict=True)],
        "train/critic_loss": [(s, START + 0.005 * s, v) for s, v in zip(STEPS, LOSS, strict=True)],
    }
    end = START + 0.005 * STEPS[-1]
    points[tag] = [*points.get(tag, []), *((STEPS[-1], end + 20 * (k + 1), v) for k, v in enumerate(values))]
    return points


@pytest.mark.parametrize(
    ("tag", "values", "frozen"),
    [
        ("eval/mean_reward", curve(900, 900, rows=30), False),
        ("eval/episodes", [float(k) for k in range(30)], False),
        ("train/critic_loss", curve(1, 1, 0.1, 30), False),
        ("rollout/ep_rew_mean", [900.0] * 30, False),
        ("system/rss_mb", curve(900, 900, 1, 30), True),
        ("watchdog/seconds_alive", [20.0 * k for k in range(30)], True),
        ("custom/state", [3.0] * 30, True),
    ],
)
def test_what_is_written_at_the_last_step_shows_a_freeze_or_not(
    tmp_path: Path, tag: str, values: list[float], frozen: bool
) -> None:
    write_events(tmp_path / f"events.out.tfevents.{int(START)}.box", at_the_last_step(tag, values))
    report = diagnose(load([tmp_path]).runs[0])
    assert ("run-frozen" in serious(report)) is frozen


# --- several runs, or one -------------------------------------------------------------------


def test_environments_side_by_side_are_one_run(tmp_path: Path) -> None:
    columns = {"step": STEPS, "env": [k % 8 for k in range(N)], "episode_return": curve(0, 850)}
    assert judged(tmp_path / "log.csv", columns).run.episodes == N


@pytest.mark.parametrize(
    "columns",
    [
        {"step": STEPS, "env": [k // 150 for k in range(N)]},  # one after the other
        {"step": [1000 * (k // 3) for k in range(N)], "env": [f"Hopper-v{k % 3}" for k in range(N)]},
        {"step": [1000 * (k // 3) for k in range(N)], "seed": [k % 3 for k in range(N)]},
        {"step": [1000 * (k % 150) for k in range(N)], "env": [k // 150 for k in range(N)]},
    ],
)
def test_names_seeds_and_counts_of_their_own_are_several_runs(tmp_path: Path, columns) -> None:
    path = tmp_path / "log.csv"
    rows = zip(*columns.values(), curve(0, 850), strict=True)
    path.write_text(
        "\n".join([",".join((*columns, "episode_return")), *(",".join(map(str, r)) for r in rows)])
    )
    assert len(load([path]).runs) > 1


# --- speeds and actions ---------------------------------------------------------------------

STANDS = (14 * np.exp(-25 * np.linspace(0, 1, N)) + 0.02).round(4)


@pytest.mark.parametrize(
    ("beside", "folder", "judges"),
    [
        ({}, "walker", False),
        ({}, "carla-ppo", True),
        ({"throttle": curve(0.5, 0.5, 0.1)}, "mine", True),
        ({"collisions": [0] * N}, "mine", True),
        ({"joint_torque": curve(0.5, 0.5, 0.1)}, "mine", False),
    ],
)
def test_only_vehicles_are_said_to_stand_still(tmp_path: Path, beside, folder: str, judges: bool) -> None:
    columns = {"step": STEPS, "episode_return": curve(-60, -8, 1), "avg_speed": STANDS, **beside}
    report = judged(tmp_path / folder / "log.csv", columns)
    assert ("agent-standstill" in serious(report)) is judges


@pytest.mark.parametrize(
    "name",
    ["Episode/rew_dof_vel", "pole_vel", "joint_vel", "lin_vel_x", "ang_vel", "cost/speed", "theta_vel"],
)
def test_rewards_and_joints_have_no_speed_of_a_vehicle(tmp_path: Path, name: str) -> None:
    columns = {"step": STEPS, "episode_return": curve(-60, -8, 1), name: STANDS, "steer": curve(0, 0, 0.1)}
    assert "agent-standstill" not in serious(judged(tmp_path / "log.csv", columns))


@pytest.mark.parametrize("dqn", [False, True])
def test_shares_of_actions_are_no_saturation(tmp_path: Path, dqn: bool) -> None:
    columns = {
        "step": STEPS,
        "episode_return": curve(20, 20, 2),
        "action_0": [0.5 if k < 150 else 0 for k in range(N)],
        "action_1": [0.5 if k < 150 else 1 for k in range(N)],
    }
    if dqn:
        columns |= {"epsilon": np.linspace(1, 0.05, N), "action_0": [0] * N}  # one share is not logged
    assert "actor-saturated" not in serious(judged(tmp_path / "log.csv", columns))


def test_actions_at_their_limits_are_saturation(tmp_path: Path) -> None:
    columns = {"step": STEPS, "episode_return": curve(20, 20, 2), "action_0": [-1] * N, "action_1": [1] * N}
    assert "actor-saturated" in serious(judged(tmp_path / "log.csv", columns))


# --- units ----------------------------------------------------------------------------------

SELDOM = (RNG.random(N) < 0.6).astype(int)


@pytest.mark.parametrize(
    ("name", "cells"),
    [
        *((f"success{unit}", SELDOM) for unit in ("_rate (%)", "_pct", "_percentage", " %", "_rate_percent")),
        ("success_rate", [f"{k}%" for k in SELDOM]),
        ("success_rate (%)", [f"{k} %" for k in SELDOM]),
    ],
)
@pytest.mark.parametrize("stated", [False, True])
def test_successes_in_per_cent_are_read_as_shares(tmp_path: Path, name: str, cells, stated: bool) -> None:
    columns = {"step": STEPS, "episode_return": curve(-50, -50, 0.2), name: cells, "critic_loss": LOSS}
    path = write(tmp_path / "log.csv", columns)
    (run,) = load([path], names={name: "success"} if stated else {}).runs
    success = run.get("success")
    assert success is not None and success.highest is not None
    assert success.highest.value == pytest.approx(0.01) and success.value.max() == pytest.approx(0.01)
    report = diagnose(run)
    assert "never-learns" in serious(report) and "100%" not in report.verdict.sentence


def test_other_quantities_in_per_cent_stay_what_they_are(tmp_path: Path) -> None:
    columns = {
        "step": STEPS,
        "episode_return": curve(0, 850),
        "cpu_percent": [40] * N,
        "ram_pct": ["55%"] * N,
    }
    run = judged(tmp_path / "log.csv", columns).run
    assert set(run.series["cpu_percent"].value) == {40} and set(run.series["ram_pct"].value) == {55}


def test_not_every_episode_succeeds_where_most_do(tmp_path: Path) -> None:
    columns = {"step": STEPS, "eval_return": [-12.34] * N, "eval_success": SELDOM}
    assert "policy-frozen" in serious(judged(tmp_path / "log.csv", columns))


@pytest.mark.parametrize(
    ("name", "values", "severity"),
    [
        ("memory", np.asarray(STEPS), 0),  # a replay
        ("memory", np.asarray(STEPS) * 8 + 64, 0),  # that of eight environments
        ("memory", np.minimum(STEPS, 50_000), 0),
        ("memory", np.linspace(2000, 70_000, N) + 0.5, 1),  # MiB, as far as one can guess
        ("memory_mb", np.linspace(2000, 70_000, N), 2),
    ],
)
def test_memory_without_a_unit(tmp_path: Path, name: str, values, severity: int) -> None:
    report = judged(tmp_path / "log.csv", {"step": STEPS, "episode_return": curve(-300, 200), name: values})
    assert report.severity == severity
