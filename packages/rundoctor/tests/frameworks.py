"""Made-up runs with the tags and habits of other frameworks, healthy and sick.

Every function writes one run of 100 to 150 rows into a folder.  The curves have the shapes of public
runs: returns that rise, jump or stay flat; critic losses that grow with the returns; Q that settles.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .synthetic import START, Points, write_events

Curve = Callable[[float], float]
"""A value as a function of the progress of the run, 0 .. 1."""
Build = Callable[[Path, np.random.Generator], None]


def rise(low: float, high: float, speed: float = 8.0, middle: float = 0.4) -> Curve:
    """A learning curve from low to high."""
    return lambda p: low + (high - low) / (1 + math.exp(-speed * (p - middle)))


def flat(level: float) -> Curve:
    return lambda p: level


def ramp(low: float, high: float) -> Curve:
    return lambda p: low + (high - low) * p


def decades(low: float, high: float) -> Curve:
    """Exponential growth (or decay) from low to high."""
    return lambda p: low * (high / low) ** p


def noisy(curve: Curve, rng: np.random.Generator, share: float = 0.1, least: float = 0.0) -> Curve:
    """With scatter, as a share of the value or of ``least``."""
    return lambda p: curve(p) + float(rng.normal()) * share * max(abs(curve(p)), least)


def points(
    curves: Mapping[str, Curve],
    steps: int = 200_000,
    rows: int = 120,
    rate: float = 100.0,
    begin: int = 0,
    clock: float = START,
) -> Points:
    """Each curve on rows that are evenly apart."""
    at = [begin + round((steps - begin) * (i + 1) / rows) for i in range(rows)]
    return {tag: [(s, clock + (s - begin) / rate, f(s / steps)) for s in at] for tag, f in curves.items()}


def events(folder: Path, made: Points, second: int = int(START), number: int = 0) -> None:
    write_events(folder / f"events.out.tfevents.{second}.box.{number}.0", made)


def table(path: Path, columns: Mapping[str, Sequence[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))


def columns(curves: Mapping[str, Curve], rows: int = 120) -> dict[str, list[float]]:
    return {name: [f((i + 1) / rows) for i in range(rows)] for name, f in curves.items()}


# --- tags of each framework -----------------------------------------------------------------------------


def sb3_off_policy(
    rng: np.random.Generator, returns: Curve, length: Curve, q: Curve, loss: Curve
) -> dict[str, Curve]:
    """Stable-Baselines3's TD3 and DDPG: smoothed returns, minus Q as the actor's loss."""
    return {
        "rollout/ep_rew_mean": noisy(returns, rng, 0.01),
        "rollout/ep_len_mean": length,
        "time/fps": noisy(flat(95), rng, 0.02),
        "train/actor_loss": lambda p: -noisy(q, rng, 0.03)(p),
        "train/critic_loss": noisy(loss, rng, 0.15),
        "train/learning_rate": flat(1e-3),
        "train/n_updates": ramp(0, 200_000),
    }


def sb3_sac(rng: np.random.Generator, returns: Curve, q: Curve, loss: Curve) -> dict[str, Curve]:
    return sb3_off_policy(rng, returns, flat(200), q, loss) | {
        "train/ent_coef": decades(1.0, 0.03),
        "train/ent_coef_loss": noisy(ramp(-20, 1), rng),
    }


def sb3_ppo(rng: np.random.Generator, returns: Curve, length: Curve) -> dict[str, Curve]:
    return {
        "rollout/ep_rew_mean": noisy(returns, rng, 0.02),
        "rollout/ep_len_mean": length,
        "time/fps": noisy(flat(1500), rng, 0.02),
        "train/approx_kl": noisy(flat(0.01), rng, 0.3),
        "train/clip_fraction": noisy(flat(0.12), rng, 0.2),
        "train/entropy_loss": noisy(ramp(-1.4, -0.4), rng, 0.03),
        "train/explained_variance": lambda p: math.nan if p < 0.02 else min(0.95, 2 * p),
        "train/loss": noisy(flat(8), rng, 0.5),
        "train/policy_gradient_loss": noisy(flat(-0.006), rng, 0.4),
        "train/value_loss": noisy(lambda p: 4 + 40 * p, rng, 0.3),
    }


def cleanrl_td3(rng: np.random.Generator, returns: Curve, q: Curve, loss: Curve) -> dict[str, Curve]:
    return {
        "charts/episodic_return": noisy(returns, rng, 0.15, 1.0),
        "charts/episodic_length": noisy(flat(400), rng, 0.2),
        "charts/SPS": noisy(flat(120), rng, 0.02),
        "losses/qf1_values": noisy(q, rng, 0.03),
        "losses/qf2_values": noisy(q, rng, 0.03),
        "losses/qf1_loss": noisy(loss, rng, 0.2),
        "losses/qf2_loss": noisy(loss, rng, 0.2),
        "losses/qf_loss": noisy(loss, rng, 0.2),
        "losses/actor_loss": lambda p: -1.03 * noisy(q, rng, 0.03)(p),
    }


def cleanrl_sac(rng: np.random.Generator, returns: Curve, q: Curve, loss: Curve) -> dict[str, Curve]:
    return cleanrl_td3(rng, returns, q, loss) | {
        "losses/alpha": flat(0.2),
        "losses/alpha_loss": noisy(flat(-0.1), rng, 0.5),
    }


def cleanrl_ppo(rng: np.random.Generator, returns: Curve) -> dict[str, Curve]:
    return {
        "charts/episodic_return": noisy(returns, rng, 0.2, 1.0),
        "charts/episodic_length": noisy(flat(900), rng, 0.2),
        "charts/SPS": noisy(flat(900), rng, 0.02),
        "charts/learning_rate": ramp(2.5e-4, 1e-6),
        "losses/value_loss": noisy(flat(0.05), rng, 0.3),
        "losses/policy_loss": noisy(flat(-0.01), rng, 0.5),
        "losses/entropy": ramp(1.3, 0.5),
        "losses/approx_kl": noisy(flat(0.006), rng, 0.3),
        "losses/clipfrac": noisy(flat(0.1), rng, 0.3),
        "losses/explained_variance": ramp(0.1, 0.8),
    }


def rlkit_sac(rng: np.random.Generator, returns: Curve, q: Curve, loss: Curve) -> dict[str, Curve]:
    return {
        "Epoch": lambda p: round(120 * p) - 1,
        "exploration/num steps total": lambda p: round(120_000 * p),
        "replay_buffer/size": lambda p: round(120_000 * p),
        "trainer/QF1 Loss": noisy(loss, rng, 0.2),
        "trainer/QF2 Loss": noisy(loss, rng, 0.2),
        "trainer/Policy Loss": lambda p: -noisy(q, rng, 0.03)(p),
        "trainer/Q1 Predictions Mean": noisy(q, rng, 0.03),
        "trainer/Q2 Predictions Mean": noisy(q, rng, 0.03),
        "trainer/Q Targets Mean": noisy(q, rng, 0.03),
        "trainer/Log Pis Mean": noisy(flat(1.0), rng, 0.4),
        "trainer/Alpha": decades(1.0, 0.1),
        "exploration/Returns Mean": noisy(returns, rng, 0.15),
        "exploration/path length Mean": flat(1000),
        "evaluation/Returns Mean": noisy(returns, rng, 0.1),
        "evaluation/path length Mean": flat(1000),
        "time/total (s)": lambda p: 6000 * p,
    }


def rllib_ppo(rng: np.random.Generator, returns: Curve) -> dict[str, Curve]:
    head = "info/learner/default_policy/learner_stats"
    return {
        "training_iteration": lambda p: round(120 * p),
        "timesteps_total": lambda p: round(480_000 * p),
        "time_total_s": lambda p: 3000 * p,
        "episode_reward_mean": noisy(returns, rng, 0.05),
        "episode_reward_max": lambda p: returns(p) + 40,
        "episode_reward_min": lambda p: returns(p) - 40,
        "episode_len_mean": noisy(flat(300), rng, 0.05),
        f"{head}/total_loss": noisy(flat(6), rng, 0.2),
        f"{head}/policy_loss": noisy(flat(-0.02), rng, 0.3),
        f"{head}/vf_loss": noisy(flat(6), rng, 0.2),
        f"{head}/kl": noisy(flat(0.012), rng, 0.2),
        f"{head}/cur_kl_coeff": flat(0.3),
        f"{head}/entropy": ramp(1.3, 0.4),
        "perf/cpu_util_percent": noisy(flat(60), rng, 0.1),
        "perf/ram_util_percent": noisy(flat(41), rng, 0.01),
    }


def drqv2(rng: np.random.Generator, returns: Curve, evaluation: Curve, q: Curve) -> dict[str, Curve]:
    return {
        "train/episode_reward": noisy(returns, rng, 0.1, 3.0),
        "train/episode_length": flat(250),
        "train/fps": noisy(flat(60), rng, 0.02),
        "train/buffer_size": ramp(0, 100_000),
        "train/critic_loss": noisy(ramp(0.05, 0.4), rng, 0.2),
        "train/critic_q1": noisy(q, rng, 0.02),
        "train/critic_q2": noisy(q, rng, 0.02),
        "train/critic_target_q": noisy(q, rng, 0.02),
        "train/batch_reward": lambda p: returns(p) / 250,
        "train/actor_loss": lambda p: -noisy(q, rng, 0.02)(p),
        "train/actor_logprob": noisy(flat(1.2), rng),
        "train/actor_ent": flat(0.4),
        "eval/episode_reward": noisy(evaluation, rng, 0.05, 3.0),
        "eval/episode_length": flat(250),
    }


def tianshou_td3(rng: np.random.Generator, returns: Curve, loss: Curve) -> dict[str, Curve]:
    return {
        "train/returns_stat/mean": noisy(returns, rng, 0.1, 5.0),
        "train/lens_stat/mean": flat(500),
        "test/returns_stat/mean": noisy(returns, rng, 0.05, 5.0),
        "test/lens_stat/mean": flat(500),
        "update/loss/actor": lambda p: -returns(p) / 8,
        "update/loss/critic1": noisy(loss, rng, 0.2),
        "update/loss/critic2": noisy(loss, rng, 0.2),
    }


def tianshou_ppo(rng: np.random.Generator, returns: Curve) -> dict[str, Curve]:
    return {
        "train/returns_stat/mean": noisy(returns, rng, 0.1, 5.0),
        "train/lens_stat/mean": flat(500),
        "test/returns_stat/mean": noisy(returns, rng, 0.05, 5.0),
        "update/loss": noisy(flat(3), rng, 0.3),
        "update/loss/clip": noisy(flat(-0.01), rng, 0.3),
        "update/loss/vf": noisy(flat(6), rng, 0.3),
        "update/loss/ent": ramp(1.4, 0.6),
    }


# --- healthy ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Made:
    """A run, how to write it, and what a reader of its logs should conclude."""

    name: str
    build: Build
    algorithm: str
    wanted: tuple[str, ...] = ()
    """Any of these must be reported first; empty: nothing above info."""


def _dense(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_off_policy(rng, rise(20, 3200), ramp(300, 1000), rise(2, 290), decades(1, 700))
    curves["eval/mean_reward"] = noisy(rise(30, 3500), rng, 0.05)
    curves["eval/mean_ep_length"] = ramp(300, 1000)
    events(folder, points(curves, 1_000_000))


def _normalised_rewards(folder: Path, rng: np.random.Generator) -> None:
    """VecNormalize: the monitor logs raw returns below 1, the critic sees normalised rewards."""
    events(folder, points(sb3_off_policy(rng, rise(0.05, 0.93), flat(300), rise(1.5, 33), ramp(0.2, 0.9))))


def _mountain_car(folder: Path, rng: np.random.Generator) -> None:
    """Reaches the goal for the first time after a third of the run."""
    returns: Curve = lambda p: -18.0 if p < 0.3 else rise(-18, 94, 20, 0.4)(p)  # noqa: E731
    length: Curve = lambda p: 999.0 if p < 0.3 else rise(999, 95, 20, 0.4)(p)  # noqa: E731
    events(folder, points(sb3_off_policy(rng, returns, length, rise(0.2, 61), ramp(0.4, 1.9)), 54_150))


def _pendulum_sac(folder: Path, rng: np.random.Generator) -> None:
    """Learned within the first tenth of the run and flat afterwards; Q falls far below zero first."""
    q: Curve = lambda p: -130 * math.exp(-5 * p) - 25  # noqa: E731
    events(folder, points(sb3_sac(rng, rise(-1250, -150, 80, 0.06), q, decades(8, 0.4)), 100_000))


def _goal_sac(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_sac(rng, rise(-50, -11), rise(-1, -14), decades(0.3, 0.08))
    curves["rollout/success_rate"] = rise(0, 0.97)
    curves["rollout/ep_len_mean"] = flat(50)
    events(folder, points(curves))


def _cartpole_ppo(folder: Path, rng: np.random.Generator) -> None:
    """Reaches the highest possible return; the evaluations repeat it from then on."""
    curves = sb3_ppo(rng, rise(21, 495, 12, 0.25), rise(21, 495, 12, 0.25))
    curves["eval/mean_reward"] = lambda p: min(500.0, 40 + 2000 * p)
    curves["eval/mean_ep_length"] = curves["eval/mean_reward"]
    events(folder, points(curves, 100_000))


def _lander_a2c(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_ppo(rng, rise(-220, 190), rise(90, 420))
    for tag in ("train/approx_kl", "train/clip_fraction", "train/loss", "train/policy_gradient_loss"):
        del curves[tag]
    curves["train/policy_loss"] = noisy(flat(-0.3), rng, 0.5)
    events(folder, points(curves))


def _late_dqn(folder: Path, rng: np.random.Generator) -> None:
    """-200 until the goal is met by chance, then better."""
    returns: Curve = lambda p: -200.0 if p < 0.45 else rise(-200, -118, 20, 0.6)(p)  # noqa: E731
    curves: dict[str, Curve] = {
        "rollout/ep_rew_mean": returns,
        "rollout/ep_len_mean": lambda p: -returns(p),
        "rollout/exploration_rate": lambda p: max(0.05, 1 - 3 * p),
        "time/fps": flat(800),
        "train/loss": noisy(ramp(0.002, 0.4), rng, 0.4),
        "train/learning_rate": flat(1e-3),
        "train/n_updates": ramp(0, 50_000),
    }
    events(folder, points(curves))


def _hopper(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(cleanrl_td3(rng, rise(15, 2800), rise(1, 260), decades(0.5, 60)), 1_000_000))


def _entropy_bonus(folder: Path, rng: np.random.Generator) -> None:
    """Returns are 0 or 1; Q holds the entropy bonus and is fifty times as large."""
    returns: Curve = lambda p: float(rng.random() < rise(0.02, 0.98)(p))  # noqa: E731
    q: Curve = lambda p: 1.5 + 48 * math.exp(-((p - 0.4) ** 2) / 0.05)  # noqa: E731
    curves = cleanrl_sac(rng, returns, q, flat(0.2))
    curves["charts/episodic_return"] = returns
    events(folder, points(curves, 300_000))


def _atari_ppo(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(cleanrl_ppo(rng, rise(2, 390)), 10_000_000, rate=900))


def _quick_ddpg(folder: Path, rng: np.random.Generator) -> None:
    """One critic; learned at once, then flat with scatter."""
    returns: Curve = lambda p: -1400.0 if p < 0.05 else -160.0  # noqa: E731
    curves = cleanrl_td3(rng, returns, lambda p: -100 * p - 5, decades(5, 0.8))
    for tag in ("losses/qf2_values", "losses/qf2_loss"):
        del curves[tag]
    events(folder, points(curves, 80_000))


def _rllib(folder: Path, rng: np.random.Generator) -> None:
    table(folder / "progress.csv", columns(rllib_ppo(rng, rise(-180, 240))))


def _rlkit(folder: Path, rng: np.random.Generator) -> None:
    made = rlkit_sac(rng, rise(-50, 6200), rise(0.5, 480), decades(0.1, 60))
    table(folder / "progress.csv", columns(made))


def _drqv2(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(drqv2(rng, rise(12, 880), rise(15, 900), rise(0.1, 80))))


def _tianshou_td3(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(tianshou_td3(rng, rise(-100, 2500), decades(2, 90))))


def _tianshou_ppo(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(tianshou_ppo(rng, rise(-100, 2500))))


def _learning_starts(folder: Path, rng: np.random.Generator) -> None:
    """Twenty times faster until the updates begin, at 60 % of the rows."""
    curves = sb3_off_policy(rng, rise(-900, -150), flat(200), rise(1, 40), decades(9, 1))
    made = points(curves, 60_000, rate=100)
    start = 36_000
    for tag in [t for t in made if t.startswith("train/")]:
        made[tag] = [x for x in made[tag] if x[0] > start]
    events(
        folder,
        {
            t: [(s, START + min(s, start) / 1500 + max(0, s - start) / 70, v) for s, _, v in rows]
            for t, rows in made.items()
        },
    )


def _resumed(folder: Path, rng: np.random.Generator) -> None:
    """Stopped and resumed 25 minutes later from a complete checkpoint, without an overlap."""
    curves = sb3_off_policy(rng, rise(100, 400), flat(200), ramp(0.1, 30), flat(2))
    made = points(curves, 300_000, rate=100)
    pause = 1500.0
    half = 150_000
    events(folder, {t: [x for x in p if x[0] <= half] for t, p in made.items()})
    second = int(START + half / 100 + pause)
    events(
        folder,
        {t: [(s, w + pause, v) for s, w, v in p if s > half] for t, p in made.items()},
        second=second,
        number=1,
    )


def _odd_diagnostic(folder: Path, rng: np.random.Generator) -> None:
    """A figure that can never be computed, beside a run that learns."""
    curves = cleanrl_td3(rng, rise(15, 2800), rise(1, 260), decades(0.5, 60))
    curves["diagnostics/advantage_skew"] = flat(math.nan)
    events(folder, points(curves))


def _filling_replay(folder: Path, rng: np.random.Generator) -> None:
    """Memory grows until the replay buffer is full, then stays."""
    curves = cleanrl_td3(rng, rise(15, 2800), rise(1, 260), decades(0.5, 60))
    curves["system/rss_mb"] = lambda p: 2_000 + 18_000 * min(1.0, 1.7 * p)
    events(folder, points(curves))


def _large_rewards(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(cleanrl_td3(rng, rise(3e4, 9e6), rise(1e3, 8e5), decades(1e6, 5e9))))


def _carla(folder: Path, rng: np.random.Generator) -> None:
    """A driving agent at full throttle on a straight road: pedals at their limits, the wheel free."""
    curves = sb3_ppo(rng, rise(-40, 310), ramp(90, 600))
    curves["custom/avg_speed"] = noisy(rise(4, 27), rng, 0.1)
    curves["custom/steer"] = noisy(flat(0.02), rng, 3)
    curves["custom/throttle"] = lambda p: min(1.0, 0.4 + 3 * p)
    curves["custom/brake"] = flat(0.0)
    events(folder, points(curves))


HEALTHY = (
    Made("sb3-td3-dense", _dense, "TD3"),
    Made("sb3-td3-normalised-rewards", _normalised_rewards, "TD3"),
    Made("sb3-td3-mountain-car", _mountain_car, "TD3"),
    Made("sb3-sac-pendulum", _pendulum_sac, "SAC"),
    Made("sb3-sac-goal", _goal_sac, "SAC"),
    Made("sb3-ppo-cartpole", _cartpole_ppo, "PPO"),
    Made("sb3-a2c-lander", _lander_a2c, "A2C"),
    Made("sb3-dqn-mountain-car", _late_dqn, "DQN"),
    Made("cleanrl-td3-hopper", _hopper, "TD3"),
    Made("cleanrl-sac-entropy-bonus", _entropy_bonus, "SAC"),
    Made("cleanrl-ppo-atari", _atari_ppo, "PPO"),
    Made("cleanrl-ddpg-quick", _quick_ddpg, "DDPG"),
    Made("rllib-ppo", _rllib, "PPO"),
    Made("rlkit-sac", _rlkit, "SAC"),
    Made("drqv2", _drqv2, "DrQ-v2"),
    Made("tianshou-td3", _tianshou_td3, "TD3"),
    Made("tianshou-ppo", _tianshou_ppo, "PPO"),
    Made("sb3-td3-learning-starts", _learning_starts, "TD3"),
    Made("sb3-td3-resumed", _resumed, "TD3"),
    Made("cleanrl-td3-odd-diagnostic", _odd_diagnostic, "TD3"),
    Made("cleanrl-td3-filling-replay", _filling_replay, "TD3"),
    Made("cleanrl-td3-large-rewards", _large_rewards, "TD3"),
    Made("carla-ppo-full-throttle", _carla, "PPO"),
)


# --- sick ------------------------------------------------------------------------------------------------


def _constant_return(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_sac(rng, flat(-8.16), ramp(-0.5, -8), decades(0.4, 0.1))
    curves["rollout/ep_rew_mean"] = flat(-8.16)
    events(folder, points(curves, 290_000))


def _constant_evaluation(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_off_policy(rng, flat(-123.4), flat(200), ramp(-8, -12), flat(0.45))
    curves |= {"eval/mean_reward": flat(-123.4218), "eval/mean_ep_length": flat(200)}
    events(folder, points(curves))


def _frozen_halfway(folder: Path, rng: np.random.Generator) -> None:
    """The evaluations improve, fall, and then repeat one value."""
    curves = sb3_off_policy(
        rng, lambda p: 300.0 if 0.2 < p < 0.5 else -50.0, flat(200), ramp(1, 20), flat(0.5)
    )
    curves["eval/mean_reward"] = lambda p: 900 * p if p < 0.45 else -61.25
    events(folder, points(curves))


def _stale_evaluation(folder: Path, rng: np.random.Generator) -> None:
    """Training improves; the evaluation runs a copy from before training."""
    curves = cleanrl_td3(rng, rise(15, 2800), rise(1, 260), decades(0.5, 60))
    curves["eval/episodic_return"] = flat(17.33)
    events(folder, points(curves))


def _zero_returns(folder: Path, rng: np.random.Generator) -> None:
    curves = cleanrl_td3(rng, flat(0), decades(0.01, 0.02), decades(1e-4, 1e-5))
    curves["charts/episodic_return"] = flat(0.0)
    events(folder, points(curves, 1_000_000))


def _flat_ppo(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(sb3_ppo(rng, noisy(flat(-190), rng, 0.08), noisy(flat(90), rng, 0.1)), 500_000))


def _flat_dqn(folder: Path, rng: np.random.Generator) -> None:
    curves: dict[str, Curve] = {
        "charts/episodic_return": noisy(flat(9.4), rng, 0.08),
        "charts/episodic_length": noisy(flat(9.4), rng, 0.08),
        "losses/td_loss": noisy(flat(0.3), rng, 0.3),
        "losses/q_values": noisy(ramp(0.1, 9), rng, 0.05),
        "charts/SPS": flat(900),
    }
    events(folder, points(curves, 500_000))


def _gap_sb3(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_off_policy(rng, rise(120, 4200), flat(900), rise(5, 370), ramp(34, 75))
    curves |= {"eval/mean_reward": noisy(rise(80, 480), rng, 0.05), "eval/mean_ep_length": flat(900)}
    events(folder, points(curves, 600_000))


def _gap_drqv2(folder: Path, rng: np.random.Generator) -> None:
    events(folder, points(drqv2(rng, rise(12, 900), flat(30), rise(0.1, 40))))


def _exploding_rlkit(folder: Path, rng: np.random.Generator) -> None:
    made = rlkit_sac(rng, noisy(flat(-175), rng, 0.05), decades(0.5, 2e10), decades(5e-3, 1e19))
    table(folder / "progress.csv", columns(made))


def _exploding_cleanrl(folder: Path, rng: np.random.Generator) -> None:
    made = cleanrl_sac(rng, noisy(flat(20), rng, 0.2), decades(1, 1e7), decades(0.1, 1e12))
    events(folder, points(made))


def _exploding_loss(folder: Path, rng: np.random.Generator) -> None:
    """No returns in the file: Q grows without end and its error with it."""
    made = cleanrl_td3(rng, flat(0), decades(1, 1e5), decades(0.1, 1e9))
    del made["charts/episodic_return"], made["charts/episodic_length"]
    events(folder, points(made))


def _leaking_memory(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_off_policy(rng, rise(50, 300), flat(300), ramp(0.1, 12), decades(4, 3))
    curves["system/rss_mb"] = noisy(ramp(2_000, 62_000), rng, 0.002)
    events(folder, points(curves, 100_000))


def _leaking_machine(folder: Path, rng: np.random.Generator) -> None:
    made = rllib_ppo(rng, rise(-180, 240))
    made["perf/ram_util_percent"] = noisy(ramp(24, 97), rng, 0.005)
    table(folder / "progress.csv", columns(made))


def _restart(folder: Path, rng: np.random.Generator) -> None:
    """Resumed from a checkpoint without its replay buffer: back at the level of random actions."""
    half = 150_000
    before = points(sb3_off_policy(rng, rise(100, 900, 8, 0.2), flat(200), rise(1, 80), flat(3)), 300_000)
    after = points(sb3_off_policy(rng, flat(110), flat(200), flat(70), flat(9)), 300_000)
    events(folder, {t: [x for x in p if x[0] <= half] for t, p in before.items()})
    events(
        folder,
        {t: [(s, w + 900, v) for s, w, v in p if s > half] for t, p in after.items()},
        second=int(START + half / 100 + 900),
        number=1,
    )


def _steering_at_its_limit(folder: Path, rng: np.random.Generator) -> None:
    made = columns(
        {
            "Step": lambda p: round(20_000 * p),
            "Steer": lambda p: -1.0 if p > 0.2 else float(rng.uniform(-0.5, 0.5)),
            "Accel": lambda p: 3e-19 if p > 0.2 else float(rng.uniform(0.3, 0.8)),
            "Brake": lambda p: 1.0 if p > 0.2 else float(rng.uniform(0, 0.1)),
            "Reward": lambda p: 0.4 if p > 0.2 else float(rng.uniform(30, 80)),
            "Loss": noisy(flat(0.5), rng, 0.3),
        }
    )
    table(folder / "log.csv", made)


def _standing_car(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_ppo(rng, rise(-60, -8), ramp(90, 600))
    curves["custom/avg_speed"] = lambda p: 14 * math.exp(-25 * p) + 0.02
    events(folder, points(curves))


def _nan_loss(folder: Path, rng: np.random.Generator) -> None:
    curves = sb3_ppo(rng, flat(-50), flat(90))
    for tag in ("train/policy_gradient_loss", "train/value_loss", "train/loss"):
        curves[tag] = lambda p: math.nan if p > 0.6 else -0.01
    events(folder, points(curves))


def _falling_tianshou(folder: Path, rng: np.random.Generator) -> None:
    returns: Curve = lambda p: rise(0, 1200, 20, 0.2)(p) - rise(0, 1150, 20, 0.6)(p)  # noqa: E731
    events(folder, points(tianshou_td3(rng, returns, decades(2, 6))))


def _falling_rllib(folder: Path, rng: np.random.Generator) -> None:
    table(folder / "progress.csv", columns(rllib_ppo(rng, ramp(240, 20))))


def _leak_in_cleanrl(folder: Path, rng: np.random.Generator) -> None:
    """Minus the actor's loss leaves Q of the data behind."""
    made = cleanrl_td3(rng, flat(40), noisy(flat(9), rng, 0.05), flat(0.4))
    made["losses/actor_loss"] = lambda p: -decades(8, 4e4)(p)
    events(folder, points(made))


SICK_RUNS = (
    Made("sb3-sac-constant-return", _constant_return, "SAC", ("policy-frozen", "never-learns")),
    Made("sb3-td3-constant-evaluation", _constant_evaluation, "TD3", ("policy-frozen",)),
    Made("sb3-td3-frozen-halfway", _frozen_halfway, "TD3", ("policy-frozen",)),
    Made("cleanrl-td3-stale-evaluation", _stale_evaluation, "TD3", ("policy-frozen",)),
    Made("cleanrl-td3-zero-returns", _zero_returns, "TD3", ("never-learns",)),
    Made("sb3-ppo-flat", _flat_ppo, "PPO", ("never-learns",)),
    Made("cleanrl-dqn-flat", _flat_dqn, "DQN", ("never-learns",)),
    Made("sb3-td3-evaluation-gap", _gap_sb3, "TD3", ("evaluation-gap",)),
    Made("drqv2-evaluation-gap", _gap_drqv2, "DrQ-v2", ("evaluation-gap",)),
    Made("rlkit-sac-exploding", _exploding_rlkit, "SAC", ("q-explosion",)),
    Made("cleanrl-sac-exploding", _exploding_cleanrl, "SAC", ("q-explosion",)),
    Made(
        "cleanrl-td3-exploding-without-returns", _exploding_loss, "TD3", ("q-explosion", "critic-divergence")
    ),
    Made("sb3-td3-leaking-memory", _leaking_memory, "TD3", ("memory-growth",)),
    Made("rllib-ppo-leaking-machine", _leaking_machine, "PPO", ("memory-growth",)),
    Made("sb3-td3-restart", _restart, "TD3", ("restart-collapse",)),
    Made("torcs-steering-at-its-limit", _steering_at_its_limit, "unknown", ("actor-saturated",)),
    Made("carla-ppo-standing-car", _standing_car, "PPO", ("agent-standstill",)),
    Made("sb3-ppo-nan", _nan_loss, "PPO", ("nan-or-inf",)),
    Made("tianshou-td3-falling", _falling_tianshou, "TD3", ("reward-degrading",)),
    Made("rllib-ppo-falling", _falling_rllib, "PPO", ("reward-degrading",)),
    Made("cleanrl-td3-leak", _leak_in_cleanrl, "TD3", ("state-gradient-leak",)),
)
