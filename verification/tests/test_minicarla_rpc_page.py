"""``docs/minicarla-rpc.md`` is generated from the table of remote procedures."""

from __future__ import annotations

from pathlib import Path

from minicarla.world.calls import document


def test_the_page_of_remote_procedures_is_up_to_date() -> None:
    page = Path(__file__).parents[2] / "docs" / "minicarla-rpc.md"
    assert page.read_text() == document.markdown(), "run: minicarla rpcs --markdown > docs/minicarla-rpc.md"
