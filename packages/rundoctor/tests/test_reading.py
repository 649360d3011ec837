"""Reading: everything that is sound in a file is read, what is not is said, nothing raises."""

from __future__ import annotations

import math
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util import tensor_util

from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.readers import events
from rundoctor.readers.events import read_event_file
from rundoctor.readers.tfrecord import masked_crcs
from rundoctor.store import Store

from .synthetic import START, healthy, write_events, write_run


def read(path: Path, budget: int = 4_000_000) -> tuple[Store, object]:
    store = Store(budget)
    return store, read_event_file(path, store)


def ramp(
    count: int, tag: str = "train/critic_loss", start: int = 1
) -> dict[str, list[tuple[int, float, float]]]:
    return {tag: [(s, START + s, float(s)) for s in range(start, start + count)]}


@given(st.lists(st.binary(min_size=0, max_size=80), min_size=1, max_size=30))
@settings(max_examples=40, deadline=None)
def test_checksums_agree_with_tensorboard(messages: list[bytes]) -> None:
    block = b"".join(messages)
    lengths = np.array([len(m) for m in messages])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    mine = masked_crcs(np.frombuffer(block, np.uint8), starts, lengths)
    assert [int(c) for c in mine] == [masked_crc32c(m) for m in messages]


def test_every_point_is_read_in_order(tmp_path: Path) -> None:
    made = healthy(3)
    path = write_events(tmp_path / "events.out.tfevents.1700000000.host.1.0", made.points, own=True)
    assert path.read_bytes() == write_events(tmp_path / "quick", made.points).read_bytes()
    store, result = read(path)
    assert set(store.series) == set(made.points)
    for tag, points in made.points.items():
        rows = store.series[tag].rows()
        assert rows[:, 0].tolist() == [s for s, _, _ in points]
        assert np.allclose(rows[:, 2], [v for _, _, v in points], rtol=1e-6)
        assert np.allclose(rows[:, 1], [w for _, w, _ in points])
    assert result.damage.bad_payloads == 0


def test_unusual_encodings_are_read_too(tmp_path: Path) -> None:
    path = tmp_path / "events.out.tfevents.1700000000.host.1.0"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        event = Event(wall_time=START, step=7)  # TensorFlow 2: a scalar as a tensor, two values in one record
        value = event.summary.value.add(tag="loss")
        value.tensor.CopyFrom(tensor_util.make_tensor_proto(2.5, dtype=np.float32))
        value.metadata.plugin_data.plugin_name = "scalars"
        event.summary.value.add(tag="other", simple_value=4.0)
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 1, step=-3)  # a negative step and a long tag
        event.summary.value.add(tag="a/" + "x" * 300, simple_value=1.0)
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 2, step=2**40)
        event.summary.value.add(tag="far", simple_value=-1.0)
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 3, step=0)  # step 0 is not written out by protobuf
        event.summary.value.add(tag="far", simple_value=0.0)
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 4, session_log=SessionLog(status=SessionLog.START))
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 5, step=8)
        event.summary.value.add(tag="picture").image.encoded_image_string = b"x" * 100_000
        writer.write(event.SerializeToString())
        event = Event(wall_time=START + 6, step=9)
        event.summary.value.add(tag="loss", simple_value=3.5)
        writer.write(event.SerializeToString())
        writer.flush()
    store, result = read(path)
    assert store.series["loss"].rows()[:, 2].tolist() == [2.5, 3.5]
    assert store.series["loss"].rows()[:, 0].tolist() == [7, 9]
    assert store.series["other"].last.value == 4.0
    assert store.series["a/" + "x" * 300].last.step == -3
    assert store.series["far"].rows()[:, 0].tolist() == [2**40, 0]
    assert result.restarts == 1
    assert result.other == {"image": 1}


@pytest.mark.parametrize("cut", [1, 5, 11, 13, 30, 54])
def test_a_cut_file_keeps_all_whole_records(tmp_path: Path, cut: int) -> None:
    path = write_events(tmp_path / "x.tfevents.1", ramp(100))
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    store, result = read(path)
    assert store.series["train/critic_loss"].count == 99
    assert result.damage.cut_tail > 0


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_damage_anywhere_loses_little_and_never_raises(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damage")
    path = write_events(folder / "x.tfevents.1", ramp(60))
    blob = bytearray(path.read_bytes())
    boundaries = {0}
    while max(boundaries) < len(blob):
        boundaries.add(max(boundaries) + 16 + struct.unpack_from("<Q", blob, max(boundaries))[0])
    at = data.draw(st.integers(0, len(blob) - 1))
    whole = False  # records taken out as a whole leave a sound file
    kind = data.draw(st.sampled_from(["flip", "garbage", "hole", "zeros"]))
    if kind == "flip":
        blob[at] ^= 1 << data.draw(st.integers(0, 7))
    elif kind == "garbage":
        blob[at : at + 20] = data.draw(st.binary(min_size=20, max_size=20))
    elif kind == "hole":
        end = min(at + data.draw(st.integers(1, 100)), len(blob))
        before = bytes(blob)
        del blob[at:end]
        # neighbouring records may begin with the same bytes, so the hole need not begin at a boundary
        whole = any(
            blob == before[:b] + before[b + end - at :] for b in boundaries if b + end - at in boundaries
        )
    else:
        blob[at : at + 200] = bytes(min(200, len(blob) - at))
    path.write_bytes(bytes(blob))
    store, result = read(path)
    series = store.series.get("train/critic_loss")
    count = series.count if series is not None else 0
    assert count >= 60 - 8
    if series is not None:
        rows = series.rows()
        assert (rows[:, 0] == rows[:, 2]).all(), "a damaged record was taken for sound"
    total = result.damage
    assert count >= 60 or total.bad_payloads or total.gaps or total.cut_tail or kind == "garbage" or whole


def test_trailing_zeros_of_a_lost_machine_are_named(tmp_path: Path) -> None:
    path = write_events(tmp_path / "x.tfevents.1", ramp(50))
    path.write_bytes(path.read_bytes() + bytes(4096))
    loaded = load([path])
    assert loaded.runs[0].series["train/critic_loss"].count == 50
    assert any("damaged" in n or "zeros" in n for n in loaded.runs[0].notes)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("events.out.tfevents.1700000000.x", b""),
        ("events.out.tfevents.1700000000.x", b"hello, this is no event file at all" * 50),
        ("events.out.tfevents.1700000000.x", bytes(10_000)),
        ("table.csv", b""),
        ("table.csv", b"\xff\xfe\x00\x01" * 100),
        ("table.csv", b"just text\nmore text\n"),
        ("picture.png", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4),
        ("events.out.tfevents.1700000000.x", struct.pack("<Q", 2**62) + b"1234" + bytes(50)),
    ],
)
def test_foreign_files_are_refused_in_words(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    loaded = load([tmp_path / name])
    assert loaded.runs == []
    assert len(loaded.unreadable) == 1
    assert name in loaded.unreadable[0]


@pytest.mark.parametrize("content", [b"# Notes\n\nSome words.\n", b"# only\n\n# comments\n"])
def test_a_text_that_is_no_table_is_not_called_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "notes.txt").write_bytes(content)
    (problem,) = load([tmp_path / "notes.txt"]).unreadable
    assert "the file is empty" not in problem


def test_a_bad_file_beside_a_good_one_is_only_noted(tmp_path: Path) -> None:
    write_run(tmp_path, healthy(1))
    (tmp_path / "events.out.tfevents.1800000000.x").write_bytes(b"")
    loaded = load([tmp_path])
    assert len(loaded.runs) == 1 and loaded.unreadable == []
    assert any("empty" in n for n in loaded.runs[0].notes)


def test_a_resumed_run_overrides_what_it_logged_again(tmp_path: Path) -> None:
    first = {"train/critic_loss": [(s, START + s, 1.0) for s in range(0, 1001, 10)]}
    second = {"train/critic_loss": [(s, START + 5000 + s, 2.0) for s in range(600, 2001, 10)]}
    write_events(tmp_path / "events.out.tfevents.1700000000.h.1.0", first)
    write_events(tmp_path / "events.out.tfevents.1700005600.h.1.0", second)
    run = load([tmp_path]).runs[0]
    s = run.series["train/critic_loss"]
    assert s.step.tolist() == list(range(0, 2001, 10))
    assert (s.value[s.step < 600] == 1.0).all() and (s.value[s.step >= 600] == 2.0).all()
    assert run.resumed_at == [(1000, 600)]
    assert s.overridden == 41 and any("1,000 to 600" in n for n in run.notes)
    report = diagnose(run)
    assert "run-resumed" in [f.id for f in report.findings]


def test_several_values_of_one_step_all_stay(tmp_path: Path) -> None:
    points = {"charts/episodic_return": [(s, START + s, float(k)) for s in range(100) for k in range(4)]}
    run = load([write_events(tmp_path / "x.tfevents.1", points)]).runs[0]
    assert run.series["charts/episodic_return"].count == 400
    assert run.resumed_at == []


def test_steps_within_an_episode_are_no_continuation(tmp_path: Path) -> None:
    points = {
        "train/critic_loss": [(s, START + s, 1.0) for s in range(2000)],
        "episode/steer": [(s % 20, START + s, 0.1) for s in range(2000)],
    }
    run = load([write_events(tmp_path / "x.tfevents.1", points)]).runs[0]
    assert run.resumed_at == []
    assert run.series["episode/steer"].count == 2000
    assert run.series["episode/steer"].axis == "unknown"
    assert any(f.id == "axis-mixed" for f in diagnose(run).findings)


def test_a_clock_that_jumps_back_does_not_spoil_the_speed(tmp_path: Path) -> None:
    points = {"train/critic_loss": [(s, START + s / 10 - (3600 if s > 500 else 0), 1.0) for s in range(1000)]}
    run = load([write_events(tmp_path / "x.tfevents.1", {})]).runs
    assert run == []
    # in the file's order, not sorted by time
    path = tmp_path / "y.tfevents.1"
    with path.open("wb") as file:
        writer = RecordWriter(file)
        for s, w, v in points["train/critic_loss"]:
            event = Event(wall_time=w, step=s)
            event.summary.value.add(tag="train/critic_loss", simple_value=v)
            writer.write(event.SerializeToString())
        writer.flush()
    r = load([path]).runs[0]
    assert r.steps_per_second == pytest.approx(10, rel=0.02)
    assert any("clock jumps back by 3,600 s" in n for n in r.notes)
    assert diagnose(r).to_json()["run"]["steps_per_second"] == pytest.approx(10, rel=0.02)


def test_one_point_per_series_is_reported_not_raised(tmp_path: Path) -> None:
    made = healthy(2)
    made.points = {tag: points[:1] for tag, points in made.points.items()}
    report = diagnose(load([write_run(tmp_path, made)]).runs[0])
    assert not [m for m in report.missing if "the rule failed" in m.reason]
    assert report.severity == 0


def test_folding_keeps_what_matters_exact(tmp_path: Path) -> None:
    n = 30_000
    rng = np.random.default_rng(0)
    values = rng.normal(size=n)
    values[12_345], values[20_001], values[25_000] = 1e6, -1e6, math.nan
    store = Store(budget=2_000)
    for k in range(0, n, 500):
        at = np.arange(k, k + 500)
        store.append("x", at, START + at, values[k : k + 500])
    b = store.series["x"]
    assert store.held <= 2_000 + 500
    assert (b.count, b.first.step, b.last.step) == (n, 0, n - 1)
    assert (b.highest.step, b.highest.value) == (12_345, 1e6)
    assert (b.lowest.step, b.lowest.value) == (20_001, -1e6)
    assert (b.nonfinite, b.first_nonfinite.step) == (1, 25_000)
    rows = b.rows()
    assert rows[:, 5].sum() == n and np.nanmin(rows[:, 3]) == -1e6 and np.nanmax(rows[:, 4]) == 1e6
    weight = rows[:, 5]
    assert np.nansum(rows[:, 2] * weight) / n == pytest.approx(np.nanmean(values), abs=0.02)


def big_file(path: Path, megabytes: float) -> int:
    """A large event file of ten tags, put together a column at a time; the number of points."""
    tags = [f"debug/series_{i}" for i in range(10)]
    per = 20_000
    total, step, points = 0.0, 20_000, 0
    rng = np.random.default_rng(1)
    with path.open("wb") as file:
        while total < megabytes * 1e6:
            steps = np.arange(step, step + per)
            step += per
            columns = []
            for tag in tags:
                name = tag.encode()
                value = b"\x0a" + bytes([len(name)]) + name + b"\x15"
                head = b"\x2a" + bytes([len(value) + 6]) + b"\x0a" + bytes([len(value) + 4]) + value
                size = 9 + 4 + len(head) + 4
                m = np.zeros((per, size + 16), np.uint8)
                m[:, :8] = np.frombuffer(struct.pack("<Q", size), np.uint8)
                m[:, 12] = 9
                m[:, 13:21] = (START + steps * 0.1).astype("<f8").view(np.uint8).reshape(per, 8)
                m[:, 21] = 0x10
                for k in range(3):  # a varint of three bytes
                    m[:, 22 + k] = ((steps >> (7 * k)) & 0x7F) | (0x80 if k < 2 else 0)
                m[:, 25 : 25 + len(head)] = np.frombuffer(head, np.uint8)
                m[:, 8 + size : 12 + size] = rng.normal(size=per).astype("<f4").view(np.uint8).reshape(per, 4)
                flat = m.reshape(-1)
                at = np.arange(per) * (size + 16)
                for start, length, to in ((0, 8, 8), (12, size, 12 + size)):
                    crc = masked_crcs(flat, at + start, np.full(per, length))
                    m[:, to : to + 4] = crc.astype("<u4").view(np.uint8).reshape(per, 4)
                columns.append(m)
                points += per
            block = np.concatenate(columns, axis=1).tobytes()
            file.write(block)
            total += len(block)
    return points


def test_scalars_are_decoded_in_batches_and_not_one_by_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.tfevents.1"
    points = big_file(path, 30)
    batches = []
    monkeypatch.setattr(events, "_slow_scalars", lambda payload, result: pytest.fail("one by one"))
    decode = events._decode
    monkeypatch.setattr(
        events, "_decode", lambda batch, *rest: (batches.append(len(batch.starts)), decode(batch, *rest))
    )
    run = load([path]).runs[0]
    assert sum(s.count for s in run.series.values()) == sum(batches) == points
    assert len(batches) < points / 10_000


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "x.tfevents.1"
    big_file(path, 60)
    script = (
        "import resource, sys\nfrom pathlib import Path\nfrom rundoctor.load import load\n"
        "import rundoctor.engine\nbefore = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "run = load([Path(sys.argv[1])], budget=100_000).runs[0]\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before, sum(s.count for s in "
        "run.series.values()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True
    )
    grown, points = (int(x) for x in done.stdout.split())
    assert points > 900_000
    assert grown < 120_000, f"{grown} kB for a budget of 100,000 points"


# --- tables ---------------------------------------------------------------------------------------


def test_wide_table(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    path.write_text(
        "time/total_timesteps,rollout/ep_rew_mean,train/critic_loss\n100,-5.0,\n200,-4.0,0.5\n300,nan,0.4\n"
    )
    run = load([path]).runs[0]
    assert run.series["train/critic_loss"].step.tolist() == [200, 300]
    assert run.series["rollout/ep_rew_mean"].nonfinite == 1
    assert run.system == "Stable-Baselines3"


def test_long_table_and_tensorboard_download(tmp_path: Path) -> None:
    (tmp_path / "long.csv").write_text("tag,step,value\na/b,1,2.0\na/b,2,3.0\nc,1,9\n")
    run = load([tmp_path / "long.csv"]).runs[0]
    assert run.series["a/b"].value.tolist() == [2.0, 3.0] and run.series["c"].value.tolist() == [9.0]
    (tmp_path / "train__critic_loss.csv").write_text(
        "Wall time,Step,Value\n1700000000.5,10,1.5\n1700000001.5,20,1.25\n"
    )
    run = load([tmp_path / "train__critic_loss.csv"]).runs[0]
    assert run.series["train/critic_loss"].wall.tolist() == [1700000000.5, 1700000001.5]


def test_monitor_file(tmp_path: Path) -> None:
    path = tmp_path / "monitor.csv"
    path.write_text('#{"t_start": 1.0, "env_id": "Pendulum-v1"}\nr,l,t\n-900.5,200,1.5\n-800.0,200,3.0\n')
    run = load([path]).runs[0]
    assert run.get("episode_return").value.tolist() == [-900.5, -800.0]
    assert run.get("episode_return").step.tolist() == [200, 400]


# --- folders ----------------------------------------------------------------------------------------


def test_links_that_lead_back_are_not_followed(tmp_path: Path) -> None:
    write_run(tmp_path / "a" / "run", healthy(1))
    (tmp_path / "a" / "loop").symlink_to(tmp_path)
    assert [r.name for r in load([tmp_path]).runs] == ["run"]


def test_the_folder_of_add_hparams_is_no_run(tmp_path: Path) -> None:
    write_run(tmp_path / "run", healthy(1))
    write_events(tmp_path / "run" / "1700000000.123" / "events.out.tfevents.1.x", ramp(1, "hparam/metric"))
    assert [r.name for r in load([tmp_path]).runs] == ["run"]


def test_runs_of_the_same_name_are_told_apart(tmp_path: Path) -> None:
    for seed in ("s0", "s1"):
        write_run(tmp_path / seed / "TD3_1", healthy(1))
    assert [r.name for r in load([tmp_path]).runs] == ["s0/TD3_1", "s1/TD3_1"]
