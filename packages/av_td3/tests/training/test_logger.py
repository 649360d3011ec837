"""Event files while a disk is full, and after it."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from tensorboard.summary.writer import event_file_writer
from tensorboard.summary.writer.record_writer import RecordWriter

from av_td3.training.gates import read_series
from av_td3.training.logger import _EventFiles
from av_td3.training.run_directory import RunDirectory

from .fake import scalars


class Disk:
    """One that is full at times: nothing can be written then, not even a file's first bytes."""

    full = False


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    made, write = Disk(), RecordWriter.write

    def writing(writer: RecordWriter, data: bytes) -> None:
        if made.full:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", writing)
    monkeypatch.setattr(_EventFiles, "RETRY_S", 0.0)
    # Files of one second are read in the order of the texts of these numbers: "10" would come before "9".
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(100))
    return made


@pytest.mark.parametrize("began_at", [0, 15])
def test_a_full_disk_costs_what_came_while_it_was_full_and_nothing_before(
    tmp_path: Path, disk: Disk, began_at: int
) -> None:
    run, told = RunDirectory(tmp_path), list[str]()

    def process(step: int) -> _EventFiles:
        return _EventFiles(run.tensorboard, step, [], told.append)

    def log(step: int) -> None:
        files.write(lambda writer: writer.add_scalar("alerts/x_critical", float(step == 20), step))
        files.flush()

    if began_at:
        files = process(0)
        for step in (10, 20, 90):  # a process that was killed: the next one goes on at 15
            log(step)
        files.close()
    files = process(began_at)
    for step in (20, 30):
        log(step)
    for time in (1, 2):
        disk.full = True
        for step in (40, 50, 60):
            log(step * time)
        assert len(told) == 2 * time - 1 and "lost until there is room" in told[-1], "told once each time"
        disk.full = False
        for step in (70, 80):
            log(step * time)
        assert len(told) == 2 * time and "written again" in told[-1]
    files.close()
    left = [10] * bool(began_at) + [20, 30, 70, 80, 140, 160]
    assert [step for step, _ in scalars(run.path)["alerts/x_critical"]] == left
    steps, values = read_series(run)["alerts/x_critical"]
    assert steps.tolist() == left and values.max() == 1.0, "an alert before the gap fails a gate"
