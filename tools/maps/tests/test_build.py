"""The maps in the package are the ones that the script writes."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from minicarla import maps
from tools.maps import build
from tools.maps.network import Network, Node, Street, fillet


@pytest.mark.parametrize("name", build.MAPS)
def test_the_bundled_files_are_what_the_script_makes(name: str) -> None:
    path = Path(maps.__file__).parent / "data" / f"{name}.xodr"
    assert path.read_text() == build.text(name), "run: python -m tools.maps.build"


def test_a_map_does_not_depend_on_what_was_made_before() -> None:
    assert build.text("grid") == build.text("grid")


def test_a_street_that_comes_back_to_its_junction_is_refused() -> None:
    street = Street(0, 0, via=((100, 0), (100, 100)))
    with pytest.raises(ValueError, match="street 0 begins and ends at junction 0"):
        Network("knot").build([Node((0.0, 0.0))], [street])


def test_every_bundled_map_has_its_source() -> None:
    assert sorted(build.MAPS) == maps.available()


def test_the_command_writes_every_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "packages/minicarla/src/minicarla/maps/data"
    folder.mkdir(parents=True)
    monkeypatch.setattr(build, "ROOT", tmp_path)
    monkeypatch.setattr(build, "MAPS", {name: build.MAPS[name] for name in ("loop", "grid")})
    build.main()
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        "loop.xodr": build.text("loop"),
        "grid.xodr": build.text("grid"),
    }


def test_rounded_corners_follow_each_other_without_a_gap_or_a_kink() -> None:
    pieces = fillet([(0.0, 0.0), (100.0, 0.0), (100.0, 80.0), (30.0, 80.0)], 20.0)
    assert [round(1 / p.curvature) if p.curvature else 0 for p in pieces] == [0, 20, 0, 20, 0]
    for before, after in pairwise(pieces):
        assert before.end() == pytest.approx((after.x, after.y, after.heading))
    assert pieces[-1].end()[:2] == pytest.approx((30.0, 80.0))


@pytest.mark.parametrize(
    "points",
    [
        pytest.param([(0.0, 0.0), (15.0, 0.0), (15.0, 100.0)], id="longer than the line before it"),
        pytest.param([(0.0, 0.0), (100.0, 0.0), (100.0, 15.0)], id="ends beyond the last point"),
        pytest.param([(0.0, 0.0), (100.0, 0.0), (100.0, 30.0), (200.0, 30.0)], id="two need 40 m of 30"),
        # The first arc ends beyond the second corner: from there the second would be reached backwards.
        pytest.param(
            [(0.0, 0.0), (100.0, 0.0), (100.0, 5.0), (150.0, 30.0)], id="ends beyond the next corner"
        ),
    ],
)
def test_a_corner_that_needs_more_than_there_is_is_refused(points: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match="does not leave room for radius 20"):
        fillet(points, 20.0)
