"""``av-td3 doctor``: each judgement from figures that were put in, and the whole once for real."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from av_td3.commands import doctor
from av_td3.errors import UserError

GIB = doctor.GIB


def test_threads_are_held_against_the_cores_and_the_load_that_is_there() -> None:
    assert doctor.judge_threads(2, 2.0, 0.3).level == "ok"
    crowded = doctor.judge_threads(8, 2.0, 0.3)
    assert crowded.level == "warning" and "train.threads=2" in crowded.do
    assert "train.threads=1" in doctor.judge_threads(2, 2.0, 5.0).do
    assert doctor.judge_threads(1, 2.0, 5.0).level == "ok"
    assert 0 < doctor.usable_cores() <= 4096


def test_memory_and_disk_are_held_against_what_the_presets_write() -> None:
    levels = [doctor.judge_memory(int(free * GIB)).level for free in (1, 4, 64)]
    assert levels == ["fail", "warning", "ok"]
    assert "preset paper needs 8." in doctor.judge_memory(64 * GIB).text  # a million steps of 7.3 kB
    disk = [doctor.judge_disk(int(free * GIB), Path("x")).level for free in (0.5, 5, 60)]
    assert disk == ["fail", "warning", "ok"]


def test_a_gpu_that_torch_does_not_see_has_its_reason() -> None:
    assert doctor.judge_gpu(["H100"], "12.8", "570.1").level == "ok"
    assert doctor.judge_gpu([], None, None).level == "ok"
    assert "without CUDA" in doctor.judge_gpu([], None, "570.1").text
    assert "driver" in doctor.judge_gpu([], "12.8", "470.1").do


def test_a_processor_without_avx2_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "cpuinfo"
    file.write_text("model name\t: Old\nflags\t\t: fpu sse2\n")
    assert doctor.cpu_flags(file) == {"fpu", "sse2"}
    assert doctor.cpu_flags(tmp_path / "none") == set()
    monkeypatch.setattr(doctor, "cpu_flags", lambda: {"fpu", "sse2"})
    assert next(doctor.check_processor()).level == "warning"


def test_what_a_server_says_of_itself_is_judged() -> None:
    facts = {
        "client": "0.9.16",
        "server": "0.9.16",
        "map": "Town01",
        "synchronous": False,
        "vehicles": 3,
    }
    sound = doctor.judge_server("h:2000", facts)
    assert sound.level == "ok" and "Town01, 3 vehicles" in sound.text
    assert doctor.judge_server("h:2000", facts | {"synchronous": True}).level == "warning"
    other = doctor.judge_server("h:2000", {"client": "0.9.16", "server": "0.9.15"})
    assert other.level == "fail" and "0.9.15" in other.text and "same version" in other.do


def test_a_package_that_is_missing_fails_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(doctor.MODULES, "no_such_module", "no-such-package")
    [finding] = doctor.check_packages()
    assert finding.level == "fail" and "pip install no-such-package" in finding.do


def test_a_simulator_that_does_not_start_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object) -> None:
        raise doctor.LaunchError("minicarla did not start (exit status 1): No module named 'minicarla'")

    monkeypatch.setattr(doctor, "MinicarlaProcess", refuse)
    [finding] = doctor.check_minicarla()
    assert finding.level == "fail" and "pip install" in finding.do


def test_the_status_says_whether_something_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = doctor.InstallationCheck("disk", "fail", "no space", "free some")
    for finding, status in ((bad, 1), (doctor.InstallationCheck("disk", "ok", "space"), 0)):
        monkeypatch.setattr(doctor, "findings", lambda address, finding=finding: iter([finding]))
        console = Console(file=io.StringIO(), width=80)
        assert doctor.doctor(None, console) == status
    with pytest.raises(UserError, match="is not an address"):
        doctor.doctor("nowhere:x")


@pytest.mark.slow
def test_it_finds_this_installation_sound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    found = {finding.name: finding for finding in doctor.findings()}
    assert {"Python", "packages", "memory", "GPU", "CARLA client", "minicarla"} <= found.keys()
    assert {name for name, finding in found.items() if finding.level == "fail"} == set()
    assert found["CARLA client"].text == "0.9.16" and "tick 20 times" in found["minicarla"].text
    monkeypatch.setattr(doctor, "PROBE_S", 0.01)
    assert doctor.check_server("127.0.0.1:1").text.endswith("no answer within 0.01 s")
