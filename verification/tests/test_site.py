"""The documentation's site builds without a warning, loads nothing from elsewhere, and names what exists."""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import typer.main

import minicarla.cli
import rundoctor.cli
from av_td3.cli import app
from av_td3.config import Config, load_config
from rundoctor.rules import all_rules
from tools import config_page, site_hooks

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
GUIDES = [
    ROOT / "docs" / f"{name}.md"
    for name in ("tutorial", "carla-server", "docker", "sick-run", "extending", "faq", "comparison")
]
SOURCES = "\n".join(
    re.sub(r'"\s*\n\s*f?"', "", file.read_text("utf-8"))  # a message that is broken into two strings is one
    for package in ("minicarla", "rundoctor", "av_td3")
    for file in (ROOT / "packages" / package / "src").rglob("*.py")
)


@pytest.mark.slow
def test_the_site_builds_without_a_warning_and_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", str(tmp_path)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1", "AV_TD3_REPOSITORY_URL": ""}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stderr.strip()) == (0, "")
    pages = list(tmp_path.glob("*.html"))
    assert {page.stem for page in pages} >= {page.stem for page in DOCS}
    loaded = re.compile(
        r"<(?:script|img|iframe|source)\b[^>]*\bsrc=\"?(?:https?:)?//[^>]*>"
        r"|<link\b[^>]*rel=\"?(?:stylesheet|preload|preconnect)\"?[^>]*(?:https?:)//[^>]*>"
        r"|url\(['\"]?https?://[^)]*\)|@import[^;]*//"
    )
    foreign = {
        (file.name, found[0])
        for file in [*pages, *tmp_path.rglob("*.css")]
        for found in loaded.finditer(file.read_text("utf-8"))
    }
    assert foreign == set()
    api = (tmp_path / "api.html").read_text("utf-8")
    assert ":func:" not in api and 'id="av_td3.train"' in api and 'id="minicarla.CarlaServer"' in api


def test_links_that_leave_the_docs_lead_to_a_page_of_the_site_or_into_the_repository() -> None:
    page = (
        "[a](../CONTRIBUTING.md#a-rule) [b](../README.md) `[c](../x.md)` [`d`](reward.md#scale) [e](#f) <i>"
    )
    source = PurePosixPath("docs/metrics.md")
    assert site_hooks.rewrite(page, source) == (
        "[a](contributing.md#a-rule) b (`README.md`) `[c](../x.md)` [`d`](reward.md#scale) [e](#f) <i>"
    )
    assert "[b](https://x.org/r/blob/main/README.md)" in site_hooks.rewrite(page, source, "https://x.org/r/")
    brought = site_hooks.rewrite("[r](docs/reward.md) ![](docs/a.png)", PurePosixPath("CONTRIBUTING.md"))
    assert brought == "[r](reward.md) ![](a.png)"
    fenced = "```\n[x](../y.md)\n```\n"
    assert site_hooks.rewrite(fenced, source) == fenced


def test_the_page_of_the_configuration_is_up_to_date() -> None:
    page = config_page.PAGE.read_text()
    assert config_page.updated(page) == page, "run: python -m tools.config_page"
    keys = {key for key, _ in leaves(Config().model_dump())}
    assert keys == set(re.findall(r"^\| `([\w.]+)` \|", page.split("## Every key")[1], re.MULTILINE))


def leaves(tree: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict) and value:  # an empty one is the default of a mapping, evaluation.env
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


@pytest.mark.parametrize("message", re.findall(r"^### `(.+)`$", GUIDES[5].read_text("utf-8"), re.MULTILINE))
def test_every_message_that_the_page_of_errors_explains_exists(message: str) -> None:
    assert message in SOURCES


def test_every_finding_and_setting_that_the_guides_name_exists() -> None:
    rules = {rule.id for rule in all_rules()}
    sick = (ROOT / "docs" / "sick-run.md").read_text("utf-8")
    rows = [line.split("|")[2] for line in sick.splitlines() if line.startswith("| ") and "`" in line]
    named = {name for row in rows for name in re.findall(r"`([a-z-]+)`", row)}
    assert named and named - rules == set()
    keys = {key for key, _ in leaves(Config().model_dump())}
    sections = ("env", "agent", "exploration", "replay", "train", "evaluation")
    for page in GUIDES:
        text = page.read_text("utf-8")
        found = set(re.findall(rf"`((?:{'|'.join(sections)})\.[\w.]+)(?:=[^`]*)?`", text))
        assert found - keys - {"evaluation.md"} == set(), page.name


def commands() -> Iterator[tuple[str, str]]:
    """Every line of the pages that calls one of the project's commands, with the page's name."""
    pages = [*DOCS, ROOT / "README.md", *ROOT.glob("packages/*/README.md")]
    for page in pages:
        text = page.read_text("utf-8").replace("\\\n", " ")
        for line in re.findall(r"^ {4}(?:\$ )?((?:av-td3|minicarla|rundoctor) .*)$", text, re.MULTILINE):
            if " ready on " not in line:  # what minicarla prints
                yield page.name, line


PROGRAMS = {"av-td3": app, "minicarla": minicarla.cli.app, "rundoctor": rundoctor.cli.app}


@pytest.mark.slow
def test_every_command_line_in_the_documentation_has_options_that_exist() -> None:
    wrong, seen = [], 0
    for page, line in commands():
        words = shlex.split(line, comments=True)
        command: Any = typer.main.get_command(PROGRAMS[words[0]])  # click's, which typer brings along
        rest = words[1:]
        while rest and rest[0] in getattr(command, "commands", {}):
            command, rest = command.commands[rest[0]], rest[1:]
        options = {name for p in command.params for name in (*p.opts, *p.secondary_opts)} | {"-h", "--help"}
        unknown = [w for w in rest if re.match(r"--?[a-z]", w) and w.split("=")[0] not in options]
        if hasattr(command, "commands") and not unknown and rest and not rest[0].startswith("-"):
            unknown = rest[:1]  # no command of that name
        wrong += [(page, line, word) for word in unknown]
        for word, value in itertools.pairwise(rest):
            if word == "--set" and not re.search(r"[A-Z]{3}|\.\.\.", value) and "[" not in value:
                load_config("quick", overrides=[value])
        seen += 1
    assert wrong == [] and seen > 50


@pytest.mark.slow
def test_the_wrapper_that_the_guide_shows_works() -> None:
    page = (ROOT / "docs" / "extending.md").read_text("utf-8")
    shown = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert shown is not None
    scope: dict[str, object] = {}
    exec(compile(shown[1], "extending.md", "exec"), scope)
    assert isinstance(scope["reward"], float) and -0.3 < scope["reward"] <= 1.0
