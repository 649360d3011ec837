"""Other systems' tags, run directories of this project, and what stands beside the events."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rundoctor.aliases import guesses, resolve
from rundoctor.code import PACKAGES, code_state, in_tree
from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import INFO, WARNING
from rundoctor.signals import SIGNALS, algorithm_of, known_as, system_of, x_axis
from rundoctor.signals.systems import TELLTALES

from .synthetic import START, healthy, leak_without_probe, renamed, write_events, write_run


@pytest.mark.parametrize(
    ("system", "name"), [("sb3", "Stable-Baselines3"), ("cleanrl", "CleanRL"), ("torchrl", "TorchRL")]
)
def test_tags_of_other_systems_are_understood(tmp_path: Path, system: str, name: str) -> None:
    run = load([write_run(tmp_path, renamed(healthy(0), system))]).runs[0]
    assert run.system == name
    assert run.get("episode_return") is not None and run.get("critic_loss") is not None
    assert run.policy_q is not None
    if system != "sb3":
        assert run.get("q1_mean") is not None
    assert run.unmapped == []


@pytest.mark.parametrize("system", ["cleanrl", "torchrl"])
def test_a_leak_is_found_in_other_systems_logs(tmp_path: Path, system: str) -> None:
    made = healthy(0)
    leak_without_probe(made)
    report = diagnose(load([write_run(tmp_path, renamed(made, system))]).runs[0])
    assert report.findings[0].id == "state-gradient-leak"


def test_sb3_logs_cannot_show_a_leak_and_the_report_says_so(tmp_path: Path) -> None:
    made = healthy(0)
    report = diagnose(load([write_run(tmp_path, renamed(made, "sb3"))]).runs[0])
    assert "state-gradient-leak" in {m.id for m in report.missing}
    assert report.word == "NOTHING FOUND" and "could not be judged" in report.verdict.sentence


def test_an_own_run_that_was_stopped_before_its_first_update_is_known_as_such() -> None:
    assert system_of(["progress/speed_kmh", "agent/is_training", "system/steps_per_s"]) == "av-td3"


def test_smoothed_means_are_marked_as_such(tmp_path: Path) -> None:
    run = load([write_run(tmp_path, renamed(healthy(0), "sb3"))]).runs[0]
    s = run.get("episode_return")
    assert s is not None and "last 100 episodes" in run.note_of(s)
    assert run.episodes is None, "points of a mean are no episodes"


def test_hyper_parameters_in_cleanrls_text_summary(tmp_path: Path) -> None:
    made = renamed(healthy(0), "cleanrl")
    stated = {
        "gamma": 0.9,
        "tau": 0.005,
        "total_timesteps": 900_000,
        "learning_rate": 3e-4,
        "policy_frequency": 2,
    }
    table = "|param|value|\n|-|-|\n" + "\n".join(f"|{k}|{v}|" for k, v in stated.items())
    write_events(tmp_path / "events.out.tfevents.1.x", made.points, {"hyperparameters": table})
    report = diagnose(load([tmp_path]).runs[0])
    values = {r.name: (r.value, r.off) for r in report.references}
    assert values["gamma"] == (0.9, 2) and values["tau"] == (0.005, 0)
    assert values["actor_lr"] == (3e-4, 0) and values["policy_delay"] == (2, 0)
    assert {"hyperparameter-off-reference", "run-interrupted"} <= {f.id for f in report.findings}


def test_unknown_prefixes_are_recognised_by_the_last_part_but_evaluation_is_not_mixed_in() -> None:
    found, unmapped = resolve(
        ["agent0/losses/qf1_values", "eval/episodic_return", "my/strange_thing", "TRAIN/CRITIC_LOSS"]
    )
    assert found["q1_mean"][0].guessed
    assert found["eval_return"][0].tag == "eval/episodic_return" and "episode_return" not in found
    assert found["critic_loss"][0].tag == "TRAIN/CRITIC_LOSS"
    assert unmapped == ["my/strange_thing"]


@pytest.mark.parametrize("on_policy", [False, True])
@pytest.mark.parametrize("system", [*TELLTALES, "unknown"])
def test_no_tag_means_two_things_in_one_run(system: str, on_policy: bool) -> None:
    seen: dict[str, str] = {}
    for signal in SIGNALS:
        for alias in known_as(signal):
            if not alias.holds(system, on_policy):
                continue
            other = seen.setdefault(alias.tag, signal.name)
            assert other.rsplit("_", 1)[0] == signal.name.rsplit("_", 1)[0], (
                f"{alias.tag}: {other} and {signal.name}"
            )


# What each system logs: return of training and of evaluation, Q, loss of critic and actor; "": nothing.
NAMES = {
    "rlkit": (
        "exploration/Returns Mean",
        "evaluation/Returns Mean",
        "trainer/Q1 Predictions Mean",
        "trainer/QF1 Loss",
        "trainer/Policy Loss",
    ),
    "OpenAI baselines": (
        "rollout/return_history",
        "eval/return_history",
        "rollout/Q_mean",
        "train/loss_critic",
        "train/loss_actor",
    ),
    "RLlib": (
        "episode_reward_mean",
        "evaluation/episode_reward_mean",
        "info/learner/default_policy/learner_stats/mean_q",
        "info/learner/default_policy/learner_stats/critic_loss",
        "info/learner/default_policy/learner_stats/actor_loss",
    ),
    "Tianshou": (
        "train/returns_stat/mean",
        "test/returns_stat/mean",
        "",
        "update/critic1_loss",
        "update/actor_loss",
    ),
    "rl_games": ("rewards/step", "", "", "losses/critic1_loss", "losses/actor_loss"),
    "Spinning Up": ("AverageEpRet", "AverageTestEpRet", "AverageQ1Vals", "LossQ", "LossPi"),
    "ML-Agents": ("Environment/Cumulative Reward", "", "", "Losses/Q1 Loss", "Losses/Policy Loss"),
    "Coach": ("Training Reward", "Evaluation Reward", "Q/Mean", "Loss/Mean", ""),
    "DRL-robot-navigation": ("", "eval/avg_reward", "Av. Q", "loss", ""),
    "PEBBLE": (
        "train/true_episode_reward",
        "eval/true_episode_reward",
        "",
        "train_critic/loss",
        "train_actor/loss",
    ),
    "DRL-Pytorch": ("ep_r", "", "", "", ""),
    "Stable-Baselines3": (
        "rollout/ep_rew_mean",
        "eval/mean_reward",
        "",
        "train/critic_loss",
        "train/actor_loss",
    ),
}


@pytest.mark.parametrize("system", NAMES)
def test_names_of_other_systems(system: str) -> None:
    tags = [tag for tag in NAMES[system] if tag]
    found, unmapped = resolve(tags)
    assert system_of(tags) == system and unmapped == []
    for name, tag in zip(
        ("episode_return", "eval_return", "q1_mean", "critic_loss", "actor_loss"), NAMES[system], strict=True
    ):
        assert [m.tag for m in found.get(name, [])] == ([tag] if tag else []), name


@pytest.mark.parametrize(
    ("header", "name", "axis"),
    [
        (["Epoch", "exploration/num steps total", "time/epoch (s)"], "exploration/num steps total", "step"),
        (["total/epochs", "total/steps", "rollout/return"], "total/steps", "step"),
        (["training_iteration", "timesteps_total", "time_total_s"], "timesteps_total", "step"),
        (["Epoch", "AverageEpRet", "TotalEnvInteracts", "Time"], "TotalEnvInteracts", "step"),
        (["Episode #", "Total steps", "Training Iter"], "Total steps", "step"),
        (["episode", "frame", "step"], "step", "step"),
        (["time/iterations", "time/total_timesteps"], "time/total_timesteps", "step"),
        (["episode", "reward"], "episode", "episode"),
        (["epoch", "loss"], "epoch", "epoch"),
        (["Wall time", "Step", "Value"], "Step", "step"),
    ],
)
def test_the_column_that_counts_steps(header: list[str], name: str, axis: str) -> None:
    column = x_axis(header)
    assert column is not None and (header[column.index], column.axis) == (name, axis)


def test_the_number_of_a_row_is_no_step() -> None:
    assert x_axis(["reward", "loss"]) is None


@pytest.mark.parametrize(
    ("tags", "algorithm"),
    [
        (["train/approx_kl", "train/value_loss", "train/policy_gradient_loss"], "PPO"),
        (["train/value_loss", "train/policy_loss", "train/entropy_loss"], "A2C"),
        (["training/v_loss", "training/policy_loss", "training/total_loss"], "PPO"),
        (["Loss/value_loss", "Loss/policy_loss", "Loss/entropy_loss"], "PPO or A2C"),
        (["train/ent_coef", "train/actor_loss", "train/critic_loss"], "SAC"),
        (["trainer/Log Pis Mean", "trainer/QF1 Loss", "trainer/QF2 Loss", "trainer/Policy Loss"], "SAC"),
        (["losses/qf1_values", "losses/qf2_values", "losses/actor_loss"], "TD3"),
        (["train/actor_loss", "train/critic_loss"], "TD3 or DDPG"),
        (["losses/td_loss", "losses/q_values"], "DQN"),
    ],
)
def test_which_algorithm_the_tags_are_of(tags: list[str], algorithm: str) -> None:
    assert algorithm_of(tags) == algorithm


def test_a_loss_without_a_name_is_the_critics_unless_the_agent_has_none() -> None:
    assert "critic_loss" in resolve(["train/loss"])[0]
    found, _ = resolve(["train/loss", "train/approx_kl", "train/value_loss"])
    assert "critic_loss" not in found and found["total_loss"][0].tag == "train/loss"


def test_what_the_user_says_goes_before_what_the_names_say() -> None:
    found, unmapped = resolve(["train/q1_value", "my q"], {"my q": "q1_mean"})
    assert [m.tag for m in found["q1_mean"]] == ["my q", "train/q1_value"] and unmapped == []
    with pytest.raises(KeyError, match="q1_mean"):
        resolve(["my q"], {"my q": "q1_maen"})


def test_guesses_for_unknown_tags() -> None:
    assert "q1_mean" in guesses("net/q1_estimate")
    assert "episode_return" in guesses("stats/mean_episode_return_100")
    assert guesses("zzz") == []


def test_tags_of_no_system() -> None:
    assert system_of(["x"]) == "unknown" and algorithm_of(["x"]) == ""


def test_every_metric_of_the_list_is_known_or_used_by_prefix() -> None:
    listing = Path(__file__).resolve().parents[4] / "shared" / "spec" / "metrics.txt"
    if not listing.is_file():
        pytest.skip("the list is not here")
    _, unmapped = resolve(listing.read_text().split())
    assert all(t.startswith(("rewards/", "alerts/")) or t == "agent/is_training" for t in unmapped)


@pytest.mark.slow
def test_a_real_run_of_stable_baselines3(tmp_path: Path) -> None:
    pytest.importorskip("stable_baselines3")
    script = (
        "import sys, warnings\nwarnings.filterwarnings('ignore')\nimport torch\ntorch.set_num_threads(1)\n"
        "from stable_baselines3 import TD3\n"
        "model = TD3('MlpPolicy', 'Pendulum-v1', tensorboard_log=sys.argv[1], seed=0, learning_starts=100,\n"
        "            policy_kwargs=dict(net_arch=[16, 16]), device='cpu', batch_size=32)\n"
        "model.learn(800, log_interval=1)\n"
    )
    subprocess.run(
        [sys.executable, "-c", script, str(tmp_path)], check=True, timeout=120, capture_output=True
    )
    loaded = load([tmp_path])
    assert loaded.unreadable == [] and len(loaded.runs) == 1
    run = loaded.runs[0]
    assert run.system == "Stable-Baselines3" and run.last_step == 800
    report = diagnose(run)
    assert [f.id for f in report.findings if f.severity > INFO] == []
    assert {r.name: r.value for r in report.references}["actor_lr"] == 1e-3


# --- run directories ----------------------------------------------------------------------------------


def run_directory(folder: Path, seed: int = 12, **files: object) -> Path:
    made = healthy(seed)
    write_events(folder / "tb" / "events.out.tfevents.1700000000.host.1.0", made.points)
    (folder / "config.yaml").write_text(
        f"train:\n  steps: {made.steps}\nagent:\n  gamma: {made.gamma}\n  tau: 0.005\n  actor_clip_norm: "
        "1.0\n"
        "  critic_clip_norm: 10.0\n"
    )
    for name, content in files.items():
        path = folder / name.replace("_json", ".json")
        path.write_text(content if isinstance(content, str) else json.dumps(content))
    return folder


def test_a_run_directory_is_one_run_and_its_configuration_is_used(tmp_path: Path) -> None:
    run_directory(tmp_path / "run", status_json={"state": "finished"})
    loaded = load([tmp_path / "run"])
    assert len(loaded.runs) == 1
    run = loaded.runs[0]
    assert run.hyper("tau").value == 0.005 and run.status["state"] == "finished"
    report = diagnose(run)
    assert report.word == "HEALTHY" and report.severity == INFO
    assert "run-interrupted" in {r.id for r in report.ruled_out}


def test_a_folder_of_run_directories(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_directory(tmp_path / "sweep" / name)
    (tmp_path / "sweep" / ".hidden").mkdir()
    assert [r.name for r in load([tmp_path]).runs] == ["a", "b"]


@pytest.mark.parametrize("state", ["interrupted", "failed", "stopped"])
def test_status_says_how_a_run_ended(tmp_path: Path, state: str) -> None:
    run_directory(tmp_path, status_json={"state": state, "reason": "simulator gone"})
    f = next(f for f in diagnose(load([tmp_path]).runs[0]).findings if f.id == "run-interrupted")
    assert state in f.evidence[0].text and "simulator gone" in f.evidence[0].text


def test_a_run_that_says_it_is_running_and_was_last_seen_days_ago_is_not(tmp_path: Path) -> None:
    """kill -9 leaves no last word: only silence tells."""
    made = healthy(12)
    run_directory(tmp_path, status_json={"state": "running", "time": made.wall(made.steps)})
    run = load([tmp_path]).runs[0]
    f = next(f for f in diagnose(run).findings if f.id == "run-interrupted")
    assert f.severity == WARNING and "last written" in f.evidence[0].text
    run.status["time"] = time.time() - 60
    assert not any(f.id == "run-interrupted" for f in diagnose(run).findings)


def test_a_run_that_was_killed_a_minute_ago_is_not_still_going(tmp_path: Path) -> None:
    """Its process is looked for, so that nobody has to wait for half an hour of silence."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    status = {"state": "running", "time": time.time() - 60, "pid": gone.pid}
    run = load([run_directory(tmp_path, status_json=status)]).runs[0]
    report = diagnose(run)
    f = next(f for f in report.findings if f.id == "run-interrupted")
    assert f.severity == WARNING and f"process {gone.pid} is gone" in f.evidence[0].text
    assert next(c for c in report.checklist if c.name == "the run is complete").passed is False
    for other in ({"pid": os.getpid()}, {"host": "another-machine"}):
        run.status.update({"pid": gone.pid, **other})
        assert "run-interrupted" not in {f.id for f in diagnose(run).findings}


def test_a_run_that_was_stopped_before_its_first_update_is_av_td3s(tmp_path: Path) -> None:
    made = healthy(12)
    kept = ("train/episode", "progress/", "train/exploration")
    made.points = {t: p[:40] for t, p in made.points.items() if t.startswith(kept)}
    write_events(tmp_path / "tb" / "events.out.tfevents.1700000000.host.1.0", made.points)
    (tmp_path / "config.yaml").write_text(f"train:\n  steps: {made.steps}\n")
    (tmp_path / "status.json").write_text(json.dumps({"state": "interrupted"}))
    run = load([tmp_path]).runs[0]
    assert run.system == "av-td3"


def test_a_run_that_an_alert_stopped_is_not_said_to_have_crashed(tmp_path: Path) -> None:
    reason = "alert actor_saturated (critical): 97 % of the policy's actions are at their bound"
    run_directory(tmp_path, status_json={"state": "stopped", "reason": reason})
    f = next(f for f in diagnose(load([tmp_path]).runs[0]).findings if f.id == "run-interrupted")
    assert reason in f.evidence[0].text and "alert" in f.cause and "killed" not in f.cause
    assert f.severity == INFO


def test_a_status_that_outlives_the_rows_is_a_freeze(tmp_path: Path) -> None:
    made = healthy(12)
    run_directory(tmp_path, status_json={"state": "running", "time": made.wall(made.steps) + 7200})
    report = diagnose(load([tmp_path]).runs[0])
    assert report.findings[0].id == "run-frozen"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("config.yaml", "a: [1, 2"),
        ("config.yaml", "just text"),
        ("config.yaml", "!!python/object/apply:os.system ['true']"),
        ("status.json", "{"),
        ("provenance.json", "[1, 2]"),
        ("status.json", "{" * 100_000),
        ("incidents.jsonl", 'not json\n{"kind": "hang"}\n'),
        ("alerts.jsonl", "\x00\x01\n[]\n"),
    ],
)
def test_damaged_side_files_do_not_stop_the_diagnosis(tmp_path: Path, name: str, content: str) -> None:
    run_directory(tmp_path)
    (tmp_path / name).write_text(content)
    loaded = load([tmp_path])
    assert len(loaded.runs) == 1
    report = diagnose(loaded.runs[0])
    assert not [m for m in report.missing if "the rule failed" in m.reason]


def test_incidents_are_counted_by_kind(tmp_path: Path) -> None:
    run_directory(tmp_path)
    lines = [{"kind": "tick deadline", "step": 100}] * 3 + [{"kind": "worker died", "step": 200}]
    (tmp_path / "incidents.jsonl").write_text("\n".join(json.dumps(x) for x in lines))
    f = next(f for f in diagnose(load([tmp_path]).runs[0]).findings if f.id == "simulator-incidents")
    assert f.evidence[0].text == "3 tick deadline, 1 worker died"


def test_how_long_simulators_were_away_is_evidence(tmp_path: Path) -> None:
    made = healthy(12)
    rows = made.points["system/restarts"]
    made.points["system/restarts"] = [(step, wall, 2.0) for step, wall, _ in rows]
    made.points["system/downtime_s"] = [(step, wall, 12.4) for step, wall, _ in rows]
    write_events(tmp_path / "events.out.tfevents.1700000000.host.1.0", made.points)
    f = next(f for f in diagnose(load([tmp_path]).runs[0]).findings if f.id == "simulator-incidents")
    assert [e.text for e in f.evidence] == ["2 restarts", "simulators were away for 12 s"]


def test_a_tree_older_than_the_run_must_hold_the_code_that_ran(tmp_path: Path) -> None:
    for name in PACKAGES:
        folder = tmp_path / "packages" / name / "src" / name
        folder.mkdir(parents=True)
        (folder / "a.py").write_text("x = 1\n")
        os.utime(folder / "a.py", (START - 1e6, START - 1e6))
    right = code_state(in_tree(tmp_path)).sources
    run = run_directory(tmp_path / "run")

    def judged(code: str) -> tuple[set[str], dict[str, str]]:
        (run / "provenance.json").write_text(json.dumps({"code_sha256": code}))
        report = diagnose(load([run], tree=tmp_path).runs[0])
        return {f.id for f in report.findings}, {r.id: r.reason for r in report.ruled_out}

    assert judged(right)[1]["stale-build"] == "the tree holds the code that ran"
    assert "stale-build" in judged("0" * 64)[0]
    now = time.time()
    os.utime(folder / "a.py", (now, now))
    found, ruled_out = judged("0" * 64)
    assert "stale-build" not in found and "changed since" in ruled_out["stale-build"]


def test_an_image_of_another_commit_is_stale(tmp_path: Path) -> None:
    run = run_directory(tmp_path, provenance_json={"git": {"commit": "a" * 40}, "image_build": "b" * 40})
    f = next(f for f in diagnose(load([run]).runs[0]).findings if f.id == "stale-build")
    assert "built from commit bbbb" in f.evidence[0].text
    (run / "provenance.json").write_text(json.dumps({"git": {"commit": "a" * 40}, "image_build": "aaaaaaa"}))
    assert "stale-build" not in {f.id for f in diagnose(load([run]).runs[0]).findings}


def test_a_configuration_that_did_not_act_is_stale(tmp_path: Path) -> None:
    made = healthy(12)
    run = run_directory(tmp_path)
    (run / "config.yaml").write_text(f"agent:\n  gamma: {made.gamma - 0.05}\n")
    f = next(f for f in diagnose(load([run]).runs[0]).findings if f.id == "stale-build")
    assert "agent.gamma" in f.evidence[0].text


@pytest.mark.parametrize("name", ["a.py", "kernels.pyx", "presets/quick.yaml", "data/town.xodr"])
def test_every_file_that_decides_what_runs_is_hashed(tmp_path: Path, name: str) -> None:
    path = tmp_path / "av_td3" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("1")
    before = code_state(in_tree(tmp_path))
    path.write_text("2")
    assert code_state(in_tree(tmp_path)).sources != before.sources
    (tmp_path / "av_td3" / "kernels.so").write_bytes(b"1")
    built = code_state(in_tree(tmp_path))
    assert built.compiled and not before.compiled
