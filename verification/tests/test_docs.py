"""Links of the documentation lead somewhere; the public names of the packages exist and import fast."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rundoctor import diagnose, load_runs

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    page.relative_to(ROOT)
    for pattern in ("*.md", "docs/*.md", "examples/*.md", "packages/*/*.md")
    for page in ROOT.glob(pattern)
)
LINK = re.compile(r"\]\(([^)\s]+)\)")
PACKAGES = ("minicarla", "rundoctor", "av_td3")


def prose(page: Path) -> str:
    """A page without its blocks of code."""
    return re.sub(r"^( *)```.*?^\1```", "", (ROOT / page).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ +(.*?) *$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_relative_link_leads_somewhere(page: Path) -> None:
    dead = []
    for link in LINK.findall(prose(page)):
        if re.match(r"[a-z]+:", link):
            continue  # an address on the network
        file, _, anchor = link.partition("#")
        target = (ROOT / page.parent / file).resolve() if file else ROOT / page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    assert dead == []


def test_the_readme_leads_to_every_page() -> None:
    linked = set(LINK.findall(prose(Path("README.md"))))
    assert {str(page) for page in PAGES if page.parent.name == "docs"} - linked == set()


def test_every_file_that_a_page_names_exists() -> None:
    code = r"`((?:[\w.]+/)+\w+\.(?:py|pyx|yaml|html))`"
    files = [f"/{file.relative_to(ROOT)}" for file in ROOT.rglob("*.*") if ".venv" not in file.parts]
    named = {
        (str(page), name) for page in PAGES for name in re.findall(code, (ROOT / page).read_text("utf-8"))
    }
    assert {
        (page, name) for page, name in named if not any(file.endswith(f"/{name}") for file in files)
    } == set()


def test_the_rule_that_the_documentation_shows_works(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "diagnosis.md").read_text("utf-8")
    shown = re.search(r"```python\n(# packages/rundoctor/src/rundoctor/rules/.*?)```", page, re.DOTALL)
    assert shown is not None
    scope: dict[str, Any] = {"__name__": "rundoctor.rules.shown", "__package__": "rundoctor.rules"}
    exec(compile(shown[1], "diagnosis.md", "exec"), scope)
    verdicts = []
    for held in (100, 5_000):
        table = tmp_path / f"{held}.csv"
        table.write_text("step,buffer_size\n" + "".join(f"{step},{held}\n" for step in range(0, 5_000, 100)))
        report = diagnose(load_runs([table]).runs[0], [scope["RULE"]])
        verdicts.append([finding.id for finding in report.findings])
        assert [m.id for m in report.missing if m.id == "replay-too-small"] == []
    assert verdicts == [["replay-too-small"], []]


@pytest.mark.parametrize("name", PACKAGES)
def test_public_names_exist(name: str) -> None:
    package = importlib.import_module(name)
    assert package.__doc__ and sorted(package.__all__) == sorted(set(package.__all__))
    assert all(getattr(package, public) is not None for public in package.__all__)
    with pytest.raises(AttributeError, match="nonsense"):
        _ = package.nonsense


@pytest.mark.parametrize("name", ["minicarla", "rundoctor"])
def test_importing_a_package_imports_nothing_heavy(name: str) -> None:
    code = f"import sys, {name}; print(*sorted(m.split('.')[0] for m in sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert set(loaded.split()) & {"numpy", "cv2", "scipy", "matplotlib", "plotly", "torch", "typer"} == set()
