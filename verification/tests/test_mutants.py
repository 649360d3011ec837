"""The faults that `make mutants` puts into the code still fit the code."""

from __future__ import annotations

import pytest

from verification.mutants import MUTANTS, ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: m[1].replace(" ", "-"))
def test_what_a_mutant_replaces_is_in_the_code(mutant: tuple[str, str, str, str]) -> None:
    file, _, text, fault = mutant
    source = (ROOT / "packages" / "av_td3" / "src" / "av_td3" / "agent" / f"{file}.py").read_text()
    assert text in source and text != fault
