"""The benchmarks measure what they say: counts are checked by hand, and the table has its rows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from av_td3.agent.td3 import TD3, Batch
from av_td3.config import AgentConfig
from benchmarks import multiply_adds, update_speed


@pytest.mark.parametrize("b", [6, 32])
def test_multiply_adds_of_an_update_equal_those_counted_by_hand(b: int) -> None:
    """One hidden layer of 8, no encoder, 5 numbers in, 2 out, the actor every second time."""
    config = AgentConfig(encoder="none", hidden=(8,), critic_warmup=0, policy_delay=2)
    agent = TD3(config, (4, 36, 36), 5, 2)
    image, vector = torch.zeros(b, 4, 36, 36, dtype=torch.uint8), torch.randn(b, 5)
    flags = torch.zeros(b, dtype=torch.bool)
    batch = Batch(image, vector, torch.rand(b, 2), vector[:, 0], vector[:, 1], image, vector, flags)
    operations = multiply_adds.count(agent, batch)
    found = {"target": 0.0, "critic": 0.0, "actor": 0.0}
    for operation, calls in operations:
        found[operation.part] += operation.flop * calls / 2
    actor, critic = 5 * 8 + 8 * 2, 7 * 8 + 8 * 1
    assert found["target"] == b * (actor + 2 * critic)
    # Backward: the gradient of every weight, and of the hidden layer.
    assert found["critic"] == b * 2 * (critic + critic + 8 * 1)
    # Forward through both, backward through the critic to its action, and through the actor.
    through = 8 * 1 + 7 * 8
    assert found["actor"] == b * 0.5 * (actor + critic + through + actor + 8 * 2)
    assert agent.updates == 2 and "_bellman" not in vars(agent)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_table_of_updates_has_the_rows_that_readers_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "speed.json"
    words = ["--batch", "2", "--seconds", "0.1", "--rounds", "1", "--only", "quick", "--json", str(file)]
    monkeypatch.setattr("sys.argv", ["update_speed", *words])
    update_speed.main()
    rows = json.loads(file.read_text())["rows"]
    assert [row["name"] for row in rows] == ["Stable-Baselines3", "quick"]
    assert update_speed.NAMES[:3] == ("Stable-Baselines3", "same networks", "quick")
    first, quick = (row["updates_per_s"] for row in rows)
    assert first > 0 and rows[0]["ratio"] == 1.0
    assert rows[1]["ratio"] == pytest.approx(quick / first)
