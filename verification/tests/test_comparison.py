"""The comparison: what is left to do, how each agent is trained, and what is compared."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from av_td3.config import load_config
from benchmarks import comparison, sb3_baseline

from .test_run_table import episodes, run_at


def test_the_plain_agents_have_nothing_that_td3_has_not() -> None:
    """Every setting of the agent that is no default of its authors' code is switched off."""
    settings = [f"{key}={'null' if value is None else value}" for key, value in comparison.PLAIN.items()]
    agent = load_config("quick", None, settings).agent
    assert (agent.pre_tanh_penalty, agent.action_change_penalty, agent.imitation, agent.state_loss) == (
        0,
    ) * 4
    assert agent.actor_clip_norm is agent.critic_clip_norm is agent.actor_q_clamp is None
    assert (agent.critic_warmup, agent.random_shift) == (0, 0)
    assert not agent.critic_layer_norm and not agent.critic_batch_norm and agent.feature_norm == "none"
    assert (agent.policy_delay, agent.policy_noise, agent.noise_clip, agent.tau) == (2, 0.2, 0.5, 0.005)
    assert (agent.target_q, agent.twin_min_weight, agent.actor_q) == ("min", 1.0, "q1")
    assert agent.actor_lr == agent.critic_lr == agent.actor_encoder_lr == agent.critic_encoder_lr == 3e-4


def test_what_is_left_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "sb3-td3-s1.json").write_text("{}")
    comparison.main(["--into", str(tmp_path), "--seeds", "0", "1", "--list"])
    out = capsys.readouterr().out
    assert "10 runs below" in out and "new   td3-plain-s1" in out
    assert "new   sb3-td3-s0" in out and "done  sb3-td3-s1" in out


def test_stable_baselines_gets_the_same_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its command line is one that the program takes."""
    asked: list[list[str]] = []

    def sweep(*_: object, **__: object) -> int:
        (tmp_path / "logs").mkdir(exist_ok=True)
        return 0

    monkeypatch.setattr("av_td3.commands.sweep.sweep", sweep)
    monkeypatch.setattr("subprocess.run", lambda command, **_: asked.append(command[3:]))
    monkeypatch.setattr(comparison, "show", lambda options: None)
    comparison.main(["--into", str(tmp_path), "--seeds", "4", "--steps", "77", "--minutes", "3"])
    assert [words[words.index("--networks") + 1] for words in asked] == ["default", "preset"]
    wanted = {"--steps": "77", "--minutes": "3.0", "--seed": "4", "--final-episodes": "50", "--only": "sb3"}
    for words in asked:
        assert wanted.items() <= dict(zip(words[::2], words[1::2], strict=True)).items()
    # argparse ends with status 2 at an option that it does not know; a preset that there is not comes later.
    monkeypatch.setattr(sb3_baseline, "load_config", lambda *_: pytest.exit)
    with pytest.raises((AttributeError, SystemExit)) as ended:
        sb3_baseline.main(asked[0])
    assert ended.type is AttributeError


def test_the_table_takes_what_there_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_at(tmp_path / "recipe-s0", 1.0, others={"untrained": 0.1, "random": 0.2})
    run_at(tmp_path / "recipe-ddpg-s0", 0.5)
    agent = episodes(0.3).to_dict()
    conditions = {"map": "town", "trained": {"SB3 TD3": {"steps": 1234, "minutes": 12.0}}}
    document = {"agents": {"SB3 TD3": agent}, "conditions": conditions}
    (tmp_path / "sb3-td3-s0.json").write_text(json.dumps(document))
    comparison.main(["--into", str(tmp_path), "--table"])
    out = capsys.readouterr().out
    rows = {line.split(" | ")[0].strip("| "): line for line in out.splitlines() if line.startswith("| ")}
    assert list(rows)[2:] == ["recipe", "recipe, DDPG", "SB3 TD3", "untrained", "random", "classical"]
    assert "| 1,234 | 12.0 | 30 [" in rows["SB3 TD3"] and "| 2,000 | 1.5 | 100" in rows["recipe"]
    assert (tmp_path / "table.md").read_text() in out and (tmp_path / "profiles.png").exists()
