"""``av-td3 compare``: who belongs together, what can be compared, what is printed and written."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from rich.console import Console

from av_td3.commands import compare
from av_td3.errors import UserError
from av_td3.evaluation.aggregate import interquartile_mean
from av_td3.evaluation.rollout import EpisodeRecord, Evaluation
from av_td3.training import shipped
from av_td3.training.run_directory import RunDirectory

from ..training.fake import small_config


def record(seed, completion, **changes):
    values = {
        "seed": seed,
        "route": f"{seed}->1",
        "route_length_m": 100.0,
        "route_completion": completion,
        "success": completion == 1.0,
        "episode_return": completion,
        "steps": 100,
        "distance_km": completion / 10,
        "collisions": int(completion < 0.5),
        "lane_invasions": 0,
        "off_road_steps": 0,
        "mean_speed_kmh": 30.0,
        "mean_abs_jerk": 5.0,
        "mean_abs_lateral_deviation_m": 0.2,
        "min_time_to_collision_s": None,
        "low_ttc_steps": 0,
        "mean_abs_steer_change": 0.0,
        "termination": "success",
    }
    return EpisodeRecord(**values | changes)


def write(file, completions, *, first=0, others=(), map_="town", npc=0, picture="camera", **changes):
    """The JSON file of an evaluation of a trained agent."""
    agents = {"trained": completions, **dict(others)}
    document = {
        "schema": 1,
        "agents": {
            name: Evaluation(
                name, first, tuple(record(first + k, c, **changes) for k, c in enumerate(values))
            ).to_dict()
            for name, values in agents.items()
        },
        "conditions": {"map": map_, "seed": first, "picture": picture, "traffic": {"wanted": npc}},
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))
    return str(file)


def run_of(path, completions, seed=0, **options):
    """A run directory with that final evaluation."""
    run = RunDirectory.create(path, small_config(seed=seed, **options), {})
    write(run.evaluations / "final.json", completions, others={"classical": [1.0] * len(completions)})
    return str(path)


GOOD, FAIR, POOR = ([1.0] * 12, [1.0] * 6 + [0.8, 0.6] * 3, [0.1, 0.2, 0.6] * 4)


@pytest.fixture
def console():
    return Console(width=80, record=True, force_terminal=False)


def test_runs_that_differ_in_their_seed_are_one_method(tmp_path, console):
    a = [run_of(tmp_path / f"a-s{k}", s, k) for k, s in enumerate((GOOD, FAIR, FAIR))]
    b = run_of(tmp_path / "b-s0-20260101-120000", POOR)
    result = compare.compare([*a, b], console=console)
    assert {label: len(same) for label, same in result.methods.items()} == {"a": 3, "b": 1}
    method = result.statistics.methods["a"]
    assert method.iqm.estimate == pytest.approx(interquartile_mean([GOOD, FAIR, FAIR]))
    assert method.spread == (pytest.approx(np.mean(FAIR)), 1.0)
    assert result.statistics.improvement["b"].estimate > 0.95
    text = console.export_text()
    assert "12 held-out routes" in text and "85..100" in text and "P(a is better than b" in text
    assert "One run of b:" in text
    assert max(map(len, text.splitlines())) <= 80 or "One run" in max(text.splitlines(), key=len)


def test_the_figures_of_several_runs_have_intervals_over_runs(tmp_path, console):
    """Three runs with a lane offset each: the interval is that of three values, not of 36 drives."""
    for seed, offset in enumerate((0.1, 0.2, 0.6)):
        write(tmp_path / f"a-s{seed}.json", FAIR, mean_abs_lateral_deviation_m=offset)
    files = [f"a={tmp_path}/a-s{seed}.json" for seed in range(3)]
    offset = compare.compare(files, console=console).figures("a")["lateral_deviation_m"]
    assert (offset.estimate, offset.low, offset.high) == pytest.approx((0.3, 0.1, 0.6))
    single = compare.compare(files[:1], console=console).figures("a")["success_rate"]
    assert single.method == "wilson"
    # No collision in any drive: no spread to resample, but an upper bound from the kilometres.
    collisions = compare.compare(files, console=console).figures("a")["collisions_per_km"]
    assert collisions.method == "poisson" and collisions.high > 0


def test_names_files_agents_and_baselines(tmp_path, console):
    run = run_of(tmp_path / "mine", FAIR)
    black = write(tmp_path / "black.json", POOR, picture="black", npc=5)
    inputs = [f"camera={run}", f"blind={black}", f"{run}:classical"]
    result = compare.compare(inputs, console=console, metric="driving_score")
    assert list(result.methods) == ["camera", "blind", "classical"]
    assert result.statistics.methods["classical"].mean.estimate == 1.0
    # One collision in each drive under a half of the route: 0.65 of the score (static).
    assert result.statistics.methods["blind"].mean.estimate == pytest.approx(
        np.mean([0.065, 0.13, 0.6]), abs=1e-9
    )
    text = console.export_text()
    assert "different picture: black; camera" in text
    assert "different traffic: 0 other vehicles; 5 other vehicles" in text
    # The classical driver of two runs drove the same: it is one run of one method.
    again = run_of(tmp_path / "more", POOR)
    both = compare.compare([run, again], baselines=True, console=console)
    assert {label: len(same) for label, same in both.methods.items()} == {
        "mine": 1,
        "classical": 1,
        "more": 1,
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"traffic": {"placement": "near"}}, "traffic: 5 other vehicles; 5 other vehicles near its start"),
        ({"traffic": {"speed": [0.4, 1.0]}}, "traffic: 5 other vehicles; 5 other vehicles at 40% to 100% of"),
        ({"traffic": {"there": [3, 5]}}, "traffic: 3 to 5 other vehicles (5 were asked for"),
        ({"traffic": {"driven_by": "traffic_manager"}}, "5 other vehicles, driven by the Traffic Manager"),
        (
            {"settings": ["env.weather=train", "env.termination.stuck_s=30", "env.action_repeat=2"]},
            "settings: env.action_repeat=2, env.termination.stuck_s=30; none",
        ),
        ({"simulator": "minicarla 0.1.0"}, "simulator: ?; minicarla 0.1.0"),
    ],
)
def test_every_difference_of_the_conditions_is_noted(tmp_path, console, changes, told):
    files = [write(tmp_path / f"{name}.json", FAIR, npc=5) for name in "ab"]
    document = json.loads((tmp_path / "b.json").read_text())
    conditions = document["conditions"]
    conditions |= {**changes, "traffic": conditions["traffic"] | changes.get("traffic", {})}
    (tmp_path / "b.json").write_text(json.dumps(document))
    notes = compare.notes(compare.compare(files, console=console))
    assert len(notes) == 1 and told in notes[0] and notes[0].startswith("note: different")
    assert not compare.notes(compare.compare([files[0], f"c={files[0]}"], console=console))


def test_what_is_written(tmp_path, console):
    a = run_of(tmp_path / "a", GOOD)
    b = write(tmp_path / "b.json", FAIR[:10])
    file, figure = tmp_path / "out.json", tmp_path / "out.png"
    compare.compare([a, b], json_file=file, figure=figure, resampling="stratified", console=console)
    document = json.loads(file.read_text())
    assert document["routes"] == 10 and document["statistics"]["resampling"] == "stratified"
    assert document["methods"]["b"]["summary"]["success_rate"]["estimate"] == 0.6
    assert len(document["statistics"]["methods"]["a"]["profile"]["share"]) == 101
    assert figure.read_bytes()[:4] == b"\x89PNG"
    assert "2 routes that not all have driven" in console.export_text()


def test_a_path_with_a_colon_or_an_equals_sign_is_a_path(tmp_path, console):
    odd = run_of(tmp_path / "a=b:c", GOOD)
    assert list(compare.compare([odd, f"n={odd}"], console=console).methods) == ["a=b:c", "n"]


def one_error(words, *inputs, **options):
    with pytest.raises(UserError, match=words) as raised:
        compare.compare(list(inputs), **options)
    assert raised.value.status == 2


def test_what_cannot_be_compared(tmp_path, monkeypatch):
    a = run_of(tmp_path / "a-s0", GOOD)
    one_error("no run directory and no file", str(tmp_path / "nobody"))
    one_error("--metric jerk", a, metric="jerk")
    one_error("--json: there is no folder", a, json_file=tmp_path / "no" / "x.json")
    one_error(r"\.png, \.svg or \.pdf", a, figure=tmp_path / "x.gif")
    one_error("has no agent 'sac'; it has trained, classical", f"{a}:sac")
    bad = tmp_path / "bad.json"
    for text in ("{", "[]", '{"agents": {"trained": {}}}'):
        bad.write_text(text)
        one_error("not the JSON file of an evaluation", str(bad))
    one_error("no route in common", a, write(tmp_path / "late.json", GOOD, first=1000))
    grid = write(tmp_path / "grid.json", GOOD, map_="grid", route_length_m=50.0)
    one_error(r"not made on the same routes \(maps: grid, town\)", a, grid)
    other = run_of(tmp_path / "a-s1", GOOD, 1, steps=99)
    one_error("the same name and other settings", a, other)
    compare.compare([f"a={a}", f"a={other}"])  # by name: its user knows
    # Every evaluation is called evaluation.json: by itself the name does not say whose it is.
    ours = write(tmp_path / "ours" / "evaluation.json", GOOD)
    theirs = write(tmp_path / "theirs" / "evaluation.json", POOR)
    one_error(r"ours/.* and .*theirs/.* have the same name: give each method a name", ours, theirs)
    assert len(compare.compare([f"ours={ours}", f"theirs={theirs}"]).methods) == 2
    one_error("have the same name", a, write(tmp_path / "a-s0.json", POOR))
    (tmp_path / "a-s1" / "config.yaml").write_text("[]")
    one_error(r"cannot read .*config.yaml", other)
    shutil.rmtree(tmp_path / "a-s0" / "evaluations")
    one_error("no final evaluation: make one with", a)
    monkeypatch.setattr(shipped, "names", lambda: ["base"])
    one_error("evaluate that agent first: av-td3 evaluate base", "base")


def test_every_route_that_not_all_have_driven_is_counted(tmp_path):
    first = write(tmp_path / "a.json", FAIR)  # routes 0 to 11
    second = write(tmp_path / "b.json", FAIR, first=5)  # routes 5 to 16
    entries = [*compare.read(f"a={first}"), *compare.read(f"b={second}")]
    compared = compare.aggregated(entries, "route_completion")
    assert "note: 10 routes that not all have driven are left out" in compare.notes(compared)


def test_one_run_does_not_count_as_two(tmp_path, console):
    run = run_of(tmp_path / "a-s0", FAIR)
    (tmp_path / "link").symlink_to(tmp_path / "a-s0")
    for again in (run, f"{run}/", f"{run}/evaluations/final.json", str(tmp_path / "link")):
        with pytest.raises(UserError, match="are one run: they would count as two of m"):
            compare.compare([f"m={run}", f"m={again}"], console=console)
    # Two evaluations of one agent are one run, too; two runs whose untrained agents are compared are not.
    files = []
    for name in ("one", "two"):
        file = tmp_path / f"{name}.json"
        write(file, FAIR, others={"untrained": POOR})
        document = json.loads(file.read_text())
        document["conditions"]["agent_sha256"] = "abc"
        file.write_text(json.dumps(document))
        files.append(file)
    with pytest.raises(UserError, match="are one run"):
        compare.compare([f"m={file}" for file in files], console=console)
    assert len(compare.compare([f"m={file}:untrained" for file in files], console=console).methods["m"]) == 2


@pytest.mark.parametrize("option", ["json_file", "figure"])
def test_files_that_cannot_be_written_are_refused_at_once(tmp_path, console, option):
    inputs = [write(tmp_path / "a.json", FAIR)]
    (tmp_path / "folder.png").mkdir()
    for file in (tmp_path / "folder.png", tmp_path / "none" / "x.png", tmp_path / "a.json" / "x.png"):
        with pytest.raises(UserError, match="folder"):
            compare.compare(inputs, console=console, **{option: file})
    assert console.export_text() == ""
