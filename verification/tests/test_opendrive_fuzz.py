"""That ``python -m verification.opendrive_fuzz`` runs, and tells a fault from a map that is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from packages.minicarla.tests.damaged_maps import Laboratory
from verification import opendrive_fuzz


@pytest.mark.slow
def test_it_counts_and_keeps_what_goes_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert opendrive_fuzz.main(["--seconds", "0.2", "--keep", str(tmp_path)]) == 0
    assert "0 fault" in capsys.readouterr().out and not list(tmp_path.iterdir())

    def fail(self: Laboratory, text: str) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr(Laboratory, "try_text", fail)
    assert opendrive_fuzz.main(["--seconds", "0.01", "--seed", "7", "--keep", str(tmp_path)]) == 1
    assert "seed 7" in capsys.readouterr().out
    assert any(path.name.endswith("-7.xodr") for path in tmp_path.iterdir())
