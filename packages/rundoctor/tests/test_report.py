"""What is written down: Markdown, HTML (in a real browser), PNG, CSV that can be read again."""

from __future__ import annotations

import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib import image

from rundoctor.compare import compare
from rundoctor.engine import diagnose
from rundoctor.load import load
from rundoctor.model import CRITICAL, Finding, Report, first_sentence, lower_first, number, percent, times
from rundoctor.report.export import safe_name, write_csv
from rundoctor.report.figures import write_figures
from rundoctor.report.html import html
from rundoctor.report.markdown import markdown
from rundoctor.report.plots import curve, plots_of, wants_log

from .synthetic import diverge, healthy, leak, poison, write_run


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> list[Report]:
    folder = tmp_path_factory.mktemp("runs")
    out = []
    for name, sickness in (("sound", None), ("leaking", leak)):
        made = healthy(12)
        if sickness:
            sickness(made)
        out.append(diagnose(load([write_run(folder / name, made)]).runs[0]))
    return out


@pytest.mark.slow
def test_markdown_holds_every_finding_check_and_figure(reports: list[Report], tmp_path: Path) -> None:
    figures = write_figures(reports, tmp_path / "png")
    text = markdown(reports, compare(reports), figures, tmp_path)
    for report in reports:
        for f in report.findings:
            assert f"`{f.id}`" in text
        for c in report.checklist:
            assert c.name in text
    for path in re.findall(r"!\[[^]]*\]\(([^)]+)\)", text):
        assert (tmp_path / path).is_file()
    assert text.count("](png/") >= 3
    assert "| state-gradient-leak | - | critical |" in text


@pytest.mark.slow
def test_png_files_show_something(reports: list[Report], tmp_path: Path) -> None:
    figures = write_figures(reports, tmp_path)
    assert [p.name for p in figures["leaking"]][:2] == [
        "leaking-overview.png",
        "leaking-state-gradient-leak.png",
    ]
    for path in figures["leaking"]:
        pixels = image.imread(path)
        assert pixels.shape[0] > 300 and pixels.shape[1] > 500
        assert (pixels[..., :3].min(axis=-1) < 0.9).mean() > 0.01, "an empty picture"


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.external: list[str] = []
        self.plots = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and value and not value.startswith(("#", "data:")):
                self.external.append(value)
            if name == "class" and value and value.split()[0] == "plot":
                self.plots += 1


def test_html_is_one_file_that_needs_no_network(reports: list[Report]) -> None:
    page = html(reports, compare(reports))
    links = _Links()
    links.feed(page.split("<script", 1)[0])
    assert links.external == []
    assert links.plots >= 8
    data = json.loads(page.split('id="data">', 1)[1].split("</script>", 1)[0])
    assert len(data["plots"]) >= 6 and len(data["series"]) == 2
    assert "@" not in [k for k in ("@TITLE@", "@BODY@", "@DATA@", "@PLOTLY@") if k in page]


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_html_renders_in_a_browser_without_a_network(reports: list[Report], tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(html(reports[1:], None), encoding="utf-8")
    picture = tmp_path / "report.png"
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--virtual-time-budget=6000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1200,1600"),
    ]
    shot = subprocess.run(
        [*command, f"--screenshot={picture}", page.as_uri()],
        capture_output=True,
        timeout=60,
        text=True,
        check=False,
    )
    assert picture.is_file(), shot.stderr[-500:]
    pixels = image.imread(picture)[..., :3]
    red, blue = np.array([192, 57, 43]) / 255, np.array([36, 113, 163]) / 255  # the first two curves' colours
    for color in (red, blue):
        assert (np.abs(pixels - color).max(axis=-1) < 0.02).sum() > 150, "a curve is not drawn"
    dom = subprocess.run(
        [*command, "--dump-dom", page.as_uri()], capture_output=True, timeout=60, text=True, check=False
    ).stdout
    rendered = re.search(r'data-rendered="(\d+)"', dom)
    containers = len(
        re.findall(r'<div class="plot[ "]', page.read_text(encoding="utf-8").split("<script")[0])
    )
    # each plot has two layers of SVG
    assert rendered is not None and int(rendered.group(1)) >= 2 * containers > 8


_MEASURE = """<script>
const box = e => e.getBoundingClientRect(), all = s => [...document.querySelectorAll(s)];
const over = all(".plot").filter(p => {
  const legend = p.querySelector(".legend"), title = p.querySelector(".xtitle");
  return legend && title && box(legend).top < box(title).bottom - 1;
});
document.body.dataset.page = document.documentElement.scrollWidth - window.innerWidth;
const widths = all(".evidence td:first-child").map(e => box(e).width);
document.body.dataset.evidence = Math.min(...widths) / innerWidth;
document.body.dataset.legends = all(".plot .legend").length;
document.body.dataset.covered = over.length;
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")
def test_a_narrow_page_has_no_squeezed_evidence_and_no_covered_axis_title(
    reports: list[Report], tmp_path: Path
) -> None:
    page = tmp_path / "report.html"
    text = html(reports, compare(reports)).replace("sound", "a_very_long_name_of_a_run_" * 4)
    page.write_text(text.replace("</body>", _MEASURE), encoding="utf-8")
    command = [
        *(str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"),
        *("--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--virtual-time-budget=6000"),
        *(f"--user-data-dir={tmp_path / 'profile'}", "--window-size=390,1600", "--dump-dom", page.as_uri()),
    ]
    dom = subprocess.run(command, capture_output=True, timeout=60, text=True, check=False).stdout
    found = dict(re.findall(r'data-(page|evidence|legends|covered)="([-.\d]+)"', dom))
    assert float(found["page"]) <= 0, "the page is wider than the window"
    assert float(found["evidence"]) > 0.6, "the evidence is squeezed into a narrow column"
    assert int(found["legends"]) >= 3 and int(found["covered"]) == 0


def test_csv_can_be_read_again(reports: list[Report], tmp_path: Path) -> None:
    run = reports[1].run
    write_csv([run], tmp_path)
    again = load([tmp_path]).runs[0]
    assert set(again.series) == set(run.series)
    for tag, s in run.series.items():
        assert again.series[tag].step.tolist() == s.step.tolist()
        assert np.allclose(again.series[tag].value, s.value, rtol=1e-12, equal_nan=True)
        assert np.allclose(again.series[tag].wall, s.wall, equal_nan=True)
    assert [f.id for f in diagnose(again).findings if f.severity] == [
        f.id for f in reports[1].findings if f.severity
    ]
    with (tmp_path / "index.csv").open() as file:
        assert {row["tag"] for row in csv.DictReader(file)} == set(run.series)


def test_not_a_number_survives_every_format(tmp_path: Path) -> None:
    made = healthy(12)
    poison(made)
    report = diagnose(load([write_run(tmp_path / "run", made)]).runs[0])
    json.dumps(report.to_json(), allow_nan=False)
    assert "NaN" in markdown([report], None, {}, tmp_path)
    html([report], None)
    write_figures([report], tmp_path / "png")


def test_comparison_says_what_changed(tmp_path: Path) -> None:
    made = {"a": healthy(12), "b": healthy(12)}
    leak(made["a"])
    for name, m in made.items():
        write_run(tmp_path / name, m)
        (tmp_path / name / "config.yaml").write_text(f"agent:\n  tau: {0.001 if name == 'a' else 0.005}\n")
    reports = [diagnose(load([tmp_path / n]).runs[0]) for n in "ab"]
    result = compare(reports)
    text = " ".join(result.sentences)
    assert "Only in a: policy gradient through the critic's state input" in text
    assert "tau 0.001 -> 0.005" in text
    rows = {r.name: r.cells for r in result.rows}
    assert rows["verdict"] == ("critical", "healthy")
    assert rows["tau"] == (0.001, 0.005)


def test_thinning_for_a_plot_keeps_extremes(tmp_path: Path) -> None:
    n = 50_000
    values = np.zeros(n)
    values[33_333] = 9.0
    path = tmp_path / "x.csv"
    path.write_text("step,loss\n" + "\n".join(f"{i},{v}" for i, v in enumerate(values)))
    drawn = curve(load([path]).runs[0].series["loss"])
    assert len(drawn.x) <= 1500 and drawn.high is not None and drawn.high.max() == 9.0
    assert not wants_log([drawn])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1796760.12, "1.80e6"),
        (23.2408, "23.2"),
        (5000, "5,000"),
        (-0.00002, "-2.00e-5"),
        (float("nan"), "NaN"),
    ],
)
def test_numbers_for_people(value: float, text: str) -> None:
    assert number(value) == text


def test_words_for_people() -> None:
    assert times(116868.3) == "117,000 times" and times(3.5) == "3.5 times"
    assert percent(0.998) == "99.8%" and percent(1.0) == "100%"
    assert lower_first("The car") == "the car" and lower_first("Q explodes") == "Q explodes"
    assert first_sentence("Do this, e.g. That. Then more.") == "Do this, e.g. That."
    assert safe_name("train/critic loss") == "train__critic_loss" and safe_name("../x") == "__x"


def test_one_figure_under_two_tags_is_drawn_once(tmp_path: Path) -> None:
    made = healthy(3)
    diverge(made)
    made.points["losses/critic"] = list(made.points["train/critic_loss"])
    run = load([write_run(tmp_path, made)]).runs[0]
    finding = Finding(
        *("critic-divergence", CRITICAL, "t", [], "c", "f", 1.0),
        plots=(("train/critic_loss",), ("losses/critic",), ("train/critic_loss", "losses/critic")),
    )
    (plot,) = plots_of(finding, run)
    assert [c.name for c in plot.curves] == ["train/critic_loss"]


def test_a_finding_that_fails_two_lines_of_the_check_list_is_told_once(tmp_path: Path) -> None:
    made = healthy(3)
    diverge(made)
    report = diagnose(load([write_run(tmp_path, made)]).runs[0])
    failed = [c.figures for c in report.checklist if c.passed is False]
    assert len(failed) > 1 and len(set(failed)) == len(failed)
