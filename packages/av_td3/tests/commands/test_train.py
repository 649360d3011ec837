"""``av-td3 train``: what may change when the same command goes on with a run."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from av_td3.cli import app
from av_td3.commands import train
from av_td3.config import config_from_dict
from av_td3.errors import BAD_INPUT, UserError
from av_td3.training.run_directory import RunDirectory

TRAIN = {"envs": 2, "maps": ["town", "grid"]}


def config(**changes):
    return config_from_dict({"train": TRAIN | changes})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"envs": 3}, "train.envs is 2 there and 3 here"),
        ({"maps": ["town"]}, "train.maps is ['town', 'grid'] there and ['town'] here"),
        ({"maps": []}, "train.maps is ['town', 'grid'] there and [] here"),
        ({"learning_starts": 7}, "train.learning_starts is 1000 there and 7 here"),
    ],
)
def test_what_decides_the_episodes_stays(tmp_path, monkeypatch, changes, says):
    """The replay and the seeds of the episodes are of these environments on these maps."""
    monkeypatch.setattr(train, "_train", lambda *_, **__: pytest.fail("it goes on"))
    run = RunDirectory.create(tmp_path / "run", config(), {})
    with pytest.raises(UserError) as raised:
        train.start(config(**changes), "quick", run.path)
    assert says in str(raised.value) and raised.value.status == BAD_INPUT


@pytest.mark.parametrize("given", [[], ["--new-replay"]])
def test_a_new_replay_is_collected_where_it_is_asked_for(tmp_path, monkeypatch, given):
    asked = []
    monkeypatch.setattr(train, "_train", lambda *_, **more: asked.append(more) or 0)
    run = RunDirectory.create(tmp_path / "run", config_from_dict({}), {})
    assert CliRunner().invoke(app, ["train", "--resume", str(run.path), *given]).exit_code == 0
    assert asked == [{"resumed": True, "new_replay": bool(given)}]
