"""More made-up runs: files, names and habits of further systems, as they write them.

Each entry says what a careful reader of the same files would conclude.
"""

from __future__ import annotations

import csv
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from .frameworks import (
    Curve,
    Made,
    cleanrl_td3,
    columns,
    decades,
    events,
    flat,
    noisy,
    points,
    ramp,
    rise,
    sb3_off_policy,
    sb3_ppo,
    sb3_sac,
    table,
)
from .synthetic import START

Rng = np.random.Generator


def text_table(
    path: Path, made: Mapping[str, Sequence[object]], delimiter: str = "\t", first: str = ""
) -> None:
    """A table whose decimal separator is a comma where its delimiter is a semicolon."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [delimiter.join(made)]
    lines += [delimiter.join(str(cell) for cell in row) for row in zip(*made.values(), strict=True)]
    text = "\n".join(lines) + "\n"
    path.write_text(first + (text.replace(".", ",") if delimiter == ";" else text), encoding="utf-8")


def json_lines(path: Path, rows: Sequence[Mapping[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def counted(most: int) -> Curve:
    """A column that counts up to a number."""
    return lambda p: round(most * p)


# --- tables ----------------------------------------------------------------------------------------------


def _baselines_ppo2(folder: Path, rng: Rng) -> None:
    """The first rows come before the first episode has ended."""
    made: dict[str, Curve] = {
        "eplenmean": lambda p: math.nan if p < 0.03 else 200 + 300 * p,
        "eprewmean": lambda p: math.nan if p < 0.03 else rise(-100, 250)(p),
        "loss/approxkl": noisy(flat(0.008), rng),
        "loss/policy_entropy": ramp(1.3, 0.5),
        "loss/policy_loss": noisy(flat(-0.01), rng),
        "loss/value_loss": noisy(flat(20), rng),
        "misc/explained_variance": lambda p: min(0.9, 2 * p),
        "misc/total_timesteps": counted(1_000_000),
    }
    table(folder / "progress.csv", columns(made))


def _stable_baselines_2(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "approxkl": noisy(flat(0.004), rng),
        "clipfrac": noisy(flat(0.03), rng),
        "ep_len_mean": noisy(flat(200), rng, 0.02),
        "ep_reward_mean": noisy(flat(-1150), rng, 0.05),
        "explained_variance": noisy(flat(0.4), rng),
        "policy_entropy": flat(1.4),
        "policy_loss": noisy(flat(-0.003), rng),
        "total_timesteps": counted(1_000_000),
        "value_loss": noisy(flat(900), rng),
    }
    table(folder / "progress.csv", columns(made))


def _pfrl(rng: Rng, mean: Curve) -> dict[str, Curve]:
    return {
        "steps": counted(1_000_000),
        "episodes": counted(1000),
        "elapsed": lambda p: 20_000 * p,
        "mean": mean,
        "median": mean,
        "stdev": flat(30),
        "max": lambda p: mean(p) + 50,
        "min": lambda p: mean(p) - 50,
        "average_q1": rise(1, 300),
        "average_q2": rise(1, 300),
        "average_q_func1_loss": noisy(rise(1, 40), rng),
        "average_q_func2_loss": noisy(rise(1, 40), rng),
        "n_updates": counted(900_000),
    }


def _pfrl_well(folder: Path, rng: Rng) -> None:
    text_table(folder / "scores.txt", columns(_pfrl(rng, noisy(rise(20, 4000), rng)), 100))


def _pfrl_constant(folder: Path, rng: Rng) -> None:
    text_table(folder / "scores.txt", columns(_pfrl(rng, flat(-312.5)), 100))


def _pfrl_falls(folder: Path, rng: Rng) -> None:
    """Evaluations alone are logged: they rise and fall back."""
    mean: Curve = lambda p: rise(0, 3000, 20, 0.2)(p) - rise(0, 2950, 20, 0.6)(p)  # noqa: E731
    text_table(folder / "scores.txt", columns(_pfrl(rng, noisy(mean, rng, 0.1, 50)), 100))


def _garage(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "Evaluation/AverageReturn": noisy(rise(50, 4200), rng),
        "Evaluation/Iteration": counted(100),
        "Policy/AveragePolicyLoss": lambda p: -rise(1, 350)(p),
        "QFunction/AverageQ": rise(1, 350),
        "QFunction/AverageQFunctionLoss": noisy(rise(1, 60), rng),
        "TotalEnvSteps": counted(1_000_000),
    }
    table(folder / "progress.csv", columns(made))


def _empty_columns(folder: Path, rng: Rng) -> None:
    """SLM Lab keeps columns for every algorithm; those of another are NaN on every row."""
    made: dict[str, Curve] = {
        "epi": counted(900),
        "frame": counted(300_000),
        "total_reward": noisy(flat(-180), rng),
        "loss": noisy(flat(3), rng),
        "entropy": flat(math.nan),
        "entropy_coef": flat(math.nan),
        "grad_norm": flat(math.nan),
    }
    table(folder / "session_df_train.csv", columns(made))


def _excel(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "timesteps": counted(100_000),
        "episode_reward": noisy(flat(-120), rng),
        "critic_loss": decades(0.1, 1e9),
        "q_mean": decades(1, 1e6),
    }
    text_table(folder / "export.csv", columns(made), ";", first="sep=;\n")


def _brax(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "num_steps": counted(30_000_000),
        "eval/walltime": lambda p: 600 * p,
        "eval/episode_reward": noisy(rise(50, 9000), rng, 0.05),
        "training/policy_loss": noisy(flat(-0.01), rng),
        "training/v_loss": noisy(flat(0.4), rng),
        "training/entropy_loss": flat(-0.02),
    }
    table(folder / "progress.csv", columns(made, 40))


def _milliseconds(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "timestamp": lambda p: round((START + 3600 * p) * 1000),
        "env_steps": counted(100_000),
        "episode_reward": noisy(rise(-100, 200), rng),
        "critic_loss": noisy(flat(2), rng),
    }
    table(folder / "progress.csv", columns(made))


def _packed(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {
        "total/steps": counted(1_000_000),
        "rollout/return": noisy(flat(-90), rng),
        "rollout/Q_mean": decades(1, 1e7),
        "train/loss_critic": decades(0.1, 1e13),
    }
    table(folder / "progress.csv", columns(made))
    plain = folder / "progress.csv"
    (folder / "progress.csv.gz").write_bytes(gzip.compress(plain.read_bytes()))
    plain.unlink()


def _d3rlpy(folder: Path, series: Mapping[str, Curve]) -> None:
    """A file for each tag, rows of epoch, step and value, no names."""
    for name, curve in series.items():
        path = folder / "TD3_20240101" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{i + 1},{1000 * (i + 1)},{curve((i + 1) / 100)}\n" for i in range(100)))


def _d3rlpy_well(folder: Path, rng: Rng) -> None:
    made = {"environment": noisy(rise(30, 3000), rng), "critic_loss": noisy(rise(0.5, 9), rng)}
    _d3rlpy(folder, made | {"actor_loss": lambda p: -rise(1, 40)(p)})


def _d3rlpy_explodes(folder: Path, rng: Rng) -> None:
    _d3rlpy(folder, {"environment": noisy(flat(30), rng), "critic_loss": decades(0.1, 1e12)})


def _acme(folder: Path, rng: Rng, evaluated: Curve) -> None:
    """Three folders of one run: the actor's episodes, the learner's losses, the evaluator's episodes."""
    trained, loss = noisy(rise(10, 900), rng), noisy(rise(0.5, 3), rng)
    table(
        folder / "logs" / "actor" / "logs.csv",
        columns({"actor_episodes": counted(150), "actor_steps": counted(150_000), "episode_return": trained}),
    )
    table(
        folder / "logs" / "learner" / "logs.csv",
        columns({"learner_steps": counted(135_000), "critic_loss": loss, "policy_loss": lambda p: -60 * p}),
    )
    table(
        folder / "logs" / "evaluator" / "logs.csv",
        columns({"actor_steps": counted(150_000), "episode_return": evaluated}, 30),
    )


def _acme_well(folder: Path, rng: Rng) -> None:
    _acme(folder, rng, noisy(rise(10, 930), rng, 0.05))


def _acme_gap(folder: Path, rng: Rng) -> None:
    _acme(folder, rng, noisy(flat(30), rng, 0.05))


def _coach_gap(folder: Path, rng: Rng) -> None:
    """Every eleventh row is an evaluation; the cells of training are empty there."""
    path = folder / "worker_0.simple_rl_graph.main_level.main_level.agent_0.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(
            ["Episode #", "Total steps", "Training Reward", "Evaluation Reward", "Loss/Mean", "Q/Mean"]
        )
        trained, evaluated = noisy(rise(10, 900), rng), noisy(flat(40), rng, 0.05)
        for i in range(220):
            p, e = (i + 1) / 220, i % 11 == 10
            cells = ("", evaluated(p)) if e else (trained(p), "")
            writer.writerow([i + 1, 200 * (i + 1), *cells, 3.0, rise(1, 80)(p)])


# --- JSON ------------------------------------------------------------------------------------------------


def _dreamer(folder: Path, rng: Rng) -> None:
    """The scores stand in a file of their own as well; its batch size is no fault."""
    score = noisy(rise(20, 850), rng)
    rows: list[dict[str, object]] = []
    for i in range(150):
        rows.append({"step": 1000 * (i + 1), "episode/score": score((i + 1) / 150), "episode/length": 1001})
        if i % 5 == 0:
            rows.append({"step": 1000 * (i + 1) + 3, "train/loss/dyn": 4.0, "train/opt/loss": 30.0 - i / 9})
    json_lines(folder / "metrics.jsonl", rows)
    wanted = ("step", "episode/score")
    json_lines(folder / "scores.jsonl", [{k: r[k] for k in wanted} for r in rows if "episode/score" in r])
    (folder / "config.yaml").write_text("task: dmc_walker_walk\nbatch_size: 16\n")


def _sacred(folder: Path, rng: Rng) -> None:
    def metric(curve: Curve) -> dict[str, list[float]]:
        rows = range(1, 121)
        return {"steps": [1000 * i for i in rows], "values": [curve(i / 120) for i in rows]}

    folder.mkdir(parents=True, exist_ok=True)
    made = {"episode_return": metric(noisy(ramp(300, 10), rng)), "critic_loss": metric(noisy(flat(2), rng))}
    (folder / "metrics.json").write_text(json.dumps(made))
    (folder / "run.json").write_text(json.dumps({"command": "main", "status": "COMPLETED"}))


def _keras_rl(folder: Path, rng: Rng) -> None:
    """Lists, of which those of the losses are NaN until learning begins."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "loss": [math.nan] * 3 + [0.4 + 0.1 * float(rng.random()) for _ in range(297)],
        "mean_q": [math.nan] * 3 + [rise(1, 30)(i / 300) for i in range(3, 300)],
        "episode_reward": [rise(-300, -10)(i / 300) + 10 * float(rng.normal()) for i in range(300)],
        "nb_episode_steps": [200] * 300,
        "nb_steps": [200 * (i + 1) for i in range(300)],
        "episode": list(range(300)),
    }
    (folder / "ddpg_log.json").write_text(json.dumps(made))


def _numbers_as_texts(folder: Path, rng: Rng) -> None:
    curve = noisy(rise(-100, 200), rng)
    rows = [
        {"step": str(1000 * i), "episode_reward": str(curve(i / 120)), "critic_loss": "1.5"}
        for i in range(120)
    ]
    json_lines(folder / "train_log.jsonl", rows)


def _rllib_sac_explodes(folder: Path, rng: Rng) -> None:
    rows = []
    for i in range(120):
        p = (i + 1) / 120
        q, loss = decades(10, 1e9)(p), decades(1, 1e16)(p)
        stats = {"actor_loss": -q, "critic_loss": loss, "mean_q": q, "alpha_value": math.exp(-3 * p)}
        learner = {"default_policy": {"learner_stats": stats}}
        rows.append(
            {
                "timesteps_total": 1000 * (i + 1),
                "episode_reward_mean": -1300 + 50 * float(rng.normal()),
                "info": {"learner": learner},
            }
        )
    json_lines(folder / "result.json", rows)


def _restart_in_json(folder: Path, rng: Rng) -> None:
    first = [(i, rise(10, 900, 12, 0.3)(i / 150)) for i in range(150)]
    second = [(i, 12.0) for i in range(140, 260)]
    rows = [
        {"step": 1000 * i, "episode_reward": v + 9 * float(rng.normal()), "critic_loss": 1.5}
        for i, v in first + second
    ]
    json_lines(folder / "metrics.jsonl", rows)


def _mlflow(folder: Path, rng: Rng) -> None:
    """A file for each tag, without an ending: time in milliseconds, value, step."""
    metrics = folder / "mlruns" / "0" / "abc" / "metrics"
    metrics.mkdir(parents=True)
    for name, curve in {"episode_return": noisy(rise(10, 300), rng), "q1_mean": rise(1, 25)}.items():
        lines = (f"{int((START + 60 * i) * 1000)} {curve(i / 120)} {1000 * i}\n" for i in range(1, 121))
        (metrics / name).write_text("".join(lines))


# --- event files -----------------------------------------------------------------------------------------


def _skrl(rng: Rng, returns: Curve, q: Curve, loss: Curve) -> dict[str, Curve]:
    return {
        "Reward / Total reward (mean)": noisy(returns, rng, 0.05),
        "Episode / Total timesteps (mean)": flat(300),
        "Loss / Critic loss": noisy(loss, rng),
        "Loss / Policy loss": lambda p: -q(p),
        "Q-network / Q1 (mean)": q,
        "Q-network / Q2 (mean)": q,
        "Target / Target (mean)": q,
    }


def _skrl_well(folder: Path, rng: Rng) -> None:
    events(folder, points(_skrl(rng, rise(-1300, -150), rise(-5, -60), flat(2))))


def _skrl_explodes(folder: Path, rng: Rng) -> None:
    events(folder, points(_skrl(rng, noisy(flat(-1200), rng), decades(1, 1e10), decades(1, 1e19))))


def _rsl_rl(returns: Curve, rng: Rng) -> dict[str, Curve]:
    return {
        "Train/mean_reward": noisy(returns, rng, 0.05, 1),
        "Train/mean_episode_length": noisy(flat(400), rng, 0.03),
        "Loss/value_function": noisy(flat(0.02), rng),
        "Loss/surrogate": noisy(flat(-0.008), rng),
        "Policy/mean_noise_std": ramp(1, 0.4),
    }


def _rsl_rl_well(folder: Path, rng: Rng) -> None:
    events(folder, points(_rsl_rl(rise(-2, 28), rng), steps=1500, rows=150, rate=0.9))


def _rsl_rl_flat(folder: Path, rng: Rng) -> None:
    events(folder, points(_rsl_rl(flat(-4.1), rng), steps=1500, rows=150, rate=0.9))


def _sheeprl(folder: Path, rng: Rng) -> None:
    made = {
        "Rewards/rew_avg": noisy(rise(20, 480), rng),
        "Game/ep_len_avg": noisy(rise(20, 480), rng),
        "Loss/value_loss": noisy(flat(3), rng),
        "Loss/policy_loss": noisy(flat(-0.01), rng),
        "Loss/entropy_loss": ramp(-0.69, -0.3),
    }
    events(folder / "version_0", points(made))


def _sample_factory_flat(folder: Path, rng: Rng) -> None:
    """Its event files lie in a folder whose name begins with a dot."""
    made = {
        "reward/reward": noisy(flat(-3.2), rng, 0.05),
        "len/len": noisy(flat(210), rng, 0.05),
        "train/loss": noisy(flat(0.2), rng),
        "train/kl_divergence": noisy(flat(0.004), rng),
        "perf/_fps": noisy(flat(9000), rng, 0.02),
    }
    events(folder / ".summary" / "0", points(made, 5_000_000))


def _sac_with_normalised_rewards(folder: Path, rng: Rng) -> None:
    events(folder, points(sb3_sac(rng, rise(0.01, 0.95), rise(2, 45), ramp(0.2, 1))))


def _gpu_at_work(folder: Path, rng: Rng) -> None:
    """Shares of time in which the GPU and its memory are in use are no memory that grows."""
    made = sb3_off_policy(rng, rise(10, 300), flat(200), rise(1, 28), flat(2))
    made |= {"system.gpu.0.gpu": ramp(10, 97), "system.gpu.0.memory": ramp(2, 41)}
    events(folder, points(made))


def _large_returns(folder: Path, rng: Rng) -> None:
    curves = sb3_off_policy(rng, rise(-90_000, -9_000), flat(500), rise(-12_000, -1_700), flat(2e5))
    events(folder, points(curves))


# --- flat returns: solved, trained before, or never learned ----------------------------------------------


def _solved_at_once(folder: Path, rng: Rng) -> None:
    """CartPole: 500 for 500 steps, from the first row on."""
    curves = sb3_ppo(rng, flat(500), flat(500)) | {"rollout/ep_rew_mean": flat(500)}
    events(folder, points(curves))


def _nearly_all(folder: Path, rng: Rng) -> None:
    """950 of at most 1000, from the first row on."""
    events(folder, points(sb3_off_policy(rng, flat(950), flat(1000), rise(1, 90), flat(2))))


def _always_succeeds(folder: Path, rng: Rng) -> None:
    curves = sb3_off_policy(rng, flat(0.97), noisy(flat(31), rng), flat(0.9), flat(0.001))
    events(folder, points(curves | {"rollout/success_rate": flat(1)}))


def _trained_before(folder: Path, rng: Rng) -> None:
    """A solved task goes on from a checkpoint: the counter of updates does not start at 0."""
    curves = sb3_ppo(rng, noisy(flat(-150), rng, 0.2), flat(200))
    curves["train/n_updates"] = lambda p: 50_000 + round(1200 * p)
    events(folder, points(curves))


def _alive_without_learning(folder: Path, rng: Rng) -> None:
    """Even, positive returns of an agent whose critic starts from nothing: as many steps as chance gives."""
    events(
        folder, points(sb3_off_policy(rng, flat(52), noisy(flat(61), rng, 0.02), rise(0.05, 28), flat(0.5)))
    )


def _even_dqn(folder: Path, rng: Rng) -> None:
    made = {
        "rollout/ep_rew_mean": noisy(flat(21), rng, 0.01),
        "rollout/ep_len_mean": noisy(flat(40), rng, 0.02),
        "rollout/exploration_rate": ramp(1, 0.05),
        "train/loss": noisy(flat(0.3), rng),
        "time/fps": flat(200),
    }
    events(folder, points(made))


def _no_success(folder: Path, rng: Rng) -> None:
    """Hindsight replay on a sparse task: -1 in each of 50 steps, to the end."""
    curves = sb3_sac(rng, flat(-50), rise(0.3, -12), flat(0.2))
    curves |= {
        "rollout/ep_rew_mean": flat(-50),
        "rollout/ep_len_mean": flat(50),
        "rollout/success_rate": flat(0),
    }
    events(folder, points(curves, 400_000))


def _critic_that_follows(folder: Path, rng: Rng) -> None:
    """The critic's loss grows forty times more than the returns, and explains its targets all the while."""
    made = sb3_off_policy(rng, rise(90, 185), flat(200), rise(8, 45), decades(0.19, 8))
    made |= {"debug/td_error_relative": noisy(ramp(0.05, 0.08), rng), "train/explained_variance": flat(0.93)}
    events(folder, points(made))


# --- nothing to judge ------------------------------------------------------------------------------------


def _supervised(folder: Path, rng: Rng) -> None:
    made = {"train/loss": decades(2, 0.2), "val/loss": decades(2, 0.3), "train/acc": rise(0.1, 0.9)}
    events(folder, points(made))


def _machine_alone(folder: Path, rng: Rng) -> None:
    events(folder, points({"system/cpu": noisy(flat(40), rng), "system/temp": flat(60)}))


def _odd_names(folder: Path, rng: Rng) -> None:
    made: dict[str, Curve] = {"timestep": counted(100_000), "foo": ramp(0, 1), "bar_metric": flat(3)}
    table(folder / "log.csv", columns(made))


def _overflow_late(folder: Path, rng: Rng) -> None:
    q: Curve = lambda p: 1 + math.exp(60 * max(0, p - 0.6))  # noqa: E731
    loss: Curve = lambda p: 0.5 + math.exp(120 * max(0, p - 0.6))  # noqa: E731
    events(folder, points(cleanrl_td3(rng, noisy(flat(20), rng), q, loss)))


WELL = (
    Made("baselines-ppo2", _baselines_ppo2, "PPO"),
    Made("pfrl-td3", _pfrl_well, "TD3"),
    Made("garage-td3", _garage, "TD3"),
    Made("brax-ppo", _brax, "PPO"),
    Made("milliseconds", _milliseconds, "unknown"),
    Made("d3rlpy-td3", _d3rlpy_well, "TD3"),
    Made("acme", _acme_well, "TD3 or DDPG"),
    Made("dreamer", _dreamer, "DreamerV3"),
    Made("keras-rl-ddpg", _keras_rl, "DDPG"),
    Made("numbers-as-texts", _numbers_as_texts, "unknown"),
    Made("mlflow", _mlflow, "unknown"),
    Made("skrl-td3", _skrl_well, "TD3"),
    Made("rsl-rl", _rsl_rl_well, "PPO"),
    Made("sheeprl", _sheeprl, "PPO or A2C"),
    Made("sb3-sac-normalised-rewards", _sac_with_normalised_rewards, "SAC"),
    Made("sb3-td3-gpu-at-work", _gpu_at_work, "TD3"),
    Made("sb3-td3-large-returns", _large_returns, "TD3"),
    Made("td3-critic-that-follows", _critic_that_follows, "TD3"),
    Made("sb3-ppo-solved-at-once", _solved_at_once, "PPO"),
    Made("sb3-td3-nearly-all", _nearly_all, "TD3"),
    Made("sb3-td3-always-succeeds", _always_succeeds, "TD3"),
    Made("sb3-ppo-trained-before", _trained_before, "PPO"),
)
ILL = (
    Made("stable-baselines-2-flat", _stable_baselines_2, "PPO", ("never-learns",)),
    Made("pfrl-td3-constant", _pfrl_constant, "TD3", ("policy-frozen",)),
    Made("pfrl-td3-falls", _pfrl_falls, "TD3", ("reward-degrading",)),
    Made("slm-lab-empty-columns", _empty_columns, "unknown", ("never-learns",)),
    Made("excel", _excel, "unknown", ("q-explosion", "critic-divergence")),
    Made("packed", _packed, "unknown", ("q-explosion",)),
    Made("d3rlpy-explodes", _d3rlpy_explodes, "TD3", ("critic-divergence",)),
    Made("acme-gap", _acme_gap, "TD3 or DDPG", ("evaluation-gap",)),
    Made("coach-gap", _coach_gap, "unknown", ("evaluation-gap",)),
    Made("sacred-falls", _sacred, "unknown", ("reward-degrading",)),
    Made("rllib-sac-explodes", _rllib_sac_explodes, "SAC", ("q-explosion",)),
    Made("json-restart", _restart_in_json, "unknown", ("restart-collapse",)),
    Made("skrl-td3-explodes", _skrl_explodes, "TD3", ("q-explosion",)),
    Made("rsl-rl-flat", _rsl_rl_flat, "PPO", ("never-learns",)),
    Made("sample-factory-flat", _sample_factory_flat, "unknown", ("never-learns",)),
    Made("sb3-td3-alive-without-learning", _alive_without_learning, "TD3", ("never-learns",)),
    Made("sb3-dqn-even", _even_dqn, "DQN", ("never-learns",)),
    Made("sb3-sac-no-success", _no_success, "SAC", ("never-learns",)),
    Made("cleanrl-td3-overflow-late", _overflow_late, "TD3", ("q-explosion",)),
)
MUTE = (
    Made("supervised", _supervised, "unknown"),
    Made("machine-alone", _machine_alone, "unknown"),
    Made("odd-names", _odd_names, "unknown"),
)
"""Runs of which nothing can be said."""
