"""The page in a real browser, where one is installed; `SEQSAL_SCREENSHOTS` names a folder that keeps its pictures."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from chromium import CHROMIUM, PATIENCE, Tab, open_chromium
from pages import EVIL

from seqsal.io.attributions import Attributions
from seqsal.plot.style import POSITIVE
from seqsal.report import ReportInputs, write_report
from seqsal.sequence.codes import decode

Make = Callable[..., ReportInputs]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")]
BLUE, ORANGE, GUANINE = (0, 114, 178), (213, 94, 0), (240, 163, 10)
BROWSER = "document.getElementById('igv-box').browser"
SHOWN = "document.getElementById('igv-box').dataset.shown"


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with open_chromium(tmp_path_factory.mktemp("profile")) as tab:
        yield tab


@pytest.fixture
def shots(tmp_path: Path) -> Path:
    folder = Path(os.environ.get("SEQSAL_SCREENSHOTS", tmp_path))
    folder.mkdir(exist_ok=True)
    return folder


def start_browser(tab: Tab) -> None:
    tab.run("document.getElementById('genome').scrollIntoView({behavior: 'instant'})")
    tab.wait_for(f"{BROWSER} !== undefined")


def wait_for_color(tab: Tab, color: tuple[int, ...]) -> None:
    end = time.monotonic() + PATIENCE
    while color not in tab.colors("#igv-box"):
        assert time.monotonic() < end, f"{color} is not drawn"


def check_clean(tab: Tab, page: Path) -> None:
    assert tab.errors == []
    outside = [url for url in tab.requests if not url.startswith(("data:", "blob:"))]
    assert {url.partition("#")[0] for url in outside} == {page.as_uri()}


def test_a_peak_leads_to_its_letters(make_inputs: Make, tab: Tab, tmp_path: Path, shots: Path) -> None:
    page = write_report(tmp_path / "page.html", make_inputs(30))
    tab.open(page)
    tab.screenshot(shots / "top.png")
    start_browser(tab)
    wait_for_color(tab, ORANGE)  # neg_1, in the region of the highest prediction
    tab.screenshot(shots / "browser.png")
    tab.click("#peaks-table tbody tr:nth-child(2) td.number")
    tab.wait_for(f"{SHOWN} === 'chr1:2913-2980'")  # as far as the last window goes
    wait_for_color(tab, GUANINE)
    tab.wait_for("Math.abs(document.getElementById('genome').getBoundingClientRect().top) < 120")
    tab.screenshot(shots / "letters.png")
    tab.run("document.querySelector('#peaks-table a.go').focus()")
    tab.press("Enter", 13)
    tab.wait_for(f"{SHOWN} === 'chr1:1-90'")
    wait_for_color(tab, BLUE)
    check_clean(tab, page)


def test_igv_waits_until_it_comes_near(make_inputs: Make, tab: Tab, tmp_path: Path) -> None:
    tab.open(write_report(tmp_path / "page.html", make_inputs(30)), height=300)
    assert tab.run("typeof window.igv") == "undefined"
    start_browser(tab)


def test_the_browser_holds_the_values_and_bases(make_inputs: Make, tab: Tab, tmp_path: Path) -> None:
    inputs = make_inputs(12)
    page = write_report(tmp_path / "page.html", inputs)
    tab.open(page)
    start_browser(tab)
    attr: Attributions = inputs.attr
    for row in (0, 5, 11):
        start = int(attr.regions["start"][row])
        assert tab.run(f"{BROWSER}.genome.getSequence('chr1', {start}, {start + 80})") == decode(attr.codes[row])
        values = tab.run(
            f"{BROWSER}.findTracks((track) => track.type === 'wig')[0].getFeatures('chr1', {start}, {start + 80}, 1)"
            f".then((all) => all.filter((bar) => bar.start >= {start} && bar.end <= {start + 80}))"
            ".then((all) => all.map((bar) => bar.value))"
        )
        np.testing.assert_allclose(values, attr.track[row], atol=float(np.abs(attr.track).max()) / 32767)
    check_clean(tab, page)


def test_names_do_no_harm_in_the_browser(make_inputs: Make, tab: Tab, tmp_path: Path, shots: Path) -> None:
    names = [EVIL, "../../etc/passwd", "a \"b\" 'c' / \\", "名前", "x" * 10_000]
    inputs = make_inputs(5, names=names, title=EVIL)
    chrom = [f"{name[:50]}:1-2" for name in names]
    attr = replace(inputs.attr, regions=inputs.attr.regions.assign(chrom=chrom), attrs={"output_space": EVIL})
    peaks = inputs.peaks.assign(
        chrom=chrom, sign="pos", name=[f"pos_{name}" for name in names], start=lambda table: table["end"] - 9
    )
    scores = inputs.scores.assign(chrom=chrom)
    page = write_report(tmp_path / "page.html", replace(inputs, attr=attr, peaks=peaks, scores=scores))
    tab.open(page)
    start_browser(tab)
    links = tab.run("Array.from(document.querySelectorAll('#peaks-table a.go'), (link) => link.dataset.locus)")
    assert len(set(links)) == 5
    for i, locus in reversed(list(enumerate(links))):
        tab.run(f"document.querySelectorAll('#peaks-table a.go')[{i}].click()")
        tab.wait_for(f"{SHOWN} === '{locus}'")
        wait_for_color(tab, BLUE)
    x, y = tab.run(
        f"(() => {{ const view = {BROWSER}.trackViews.find((one) => one.track.name === 'Peaks'); "
        "const one = view.viewports[0].$viewport.get(0); one.scrollIntoView({block: 'center', behavior: 'instant'}); "
        "const b = one.getBoundingClientRect(); "
        "return [b.left + b.width * 40.5 / 90, b.top + 17]; })()"  # the peak at 36-45 of 1-90
    )
    for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
        tab.send("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    tab.screenshot(shots / "popover.png")
    tab.wait_for("document.getElementById('igv-box').shadowRoot.textContent.includes('pos_')")
    found = "document.getElementById('igv-box').shadowRoot.querySelectorAll('img, script, [onerror]')"
    assert tab.run(f"Array.from({found}, (one) => one.outerHTML.slice(0, 80))") == []
    assert tab.run("document.querySelectorAll('img').length") == 0
    check_clean(tab, page)


@pytest.mark.parametrize(("width", "dark"), [(390, False), (1100, True)])
def test_it_fits_a_phone_and_the_dark(
    make_inputs: Make, tab: Tab, tmp_path: Path, shots: Path, width: int, dark: bool
) -> None:
    page = write_report(tmp_path / "page.html", make_inputs(30))
    tab.open(page, width=width, height=844, dark=dark)
    start_browser(tab)
    wait_for_color(tab, ORANGE)
    tab.screenshot(shots / f"width-{width}{'-dark' * dark}.png", whole=True)
    assert tab.run("document.documentElement.scrollWidth") <= width
    light = tab.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).every((x) => Number(x) > 127)")
    assert light is not dark
    check_clean(tab, page)


def test_it_prints_without_what_only_a_screen_can_do(make_inputs: Make, tab: Tab, tmp_path: Path, shots: Path) -> None:
    page = write_report(tmp_path / "page.html", make_inputs(30))
    tab.open(page)
    tab.send("Emulation.setEmulatedMedia", media="print")
    hidden = (
        "['#genome', 'nav', '.tools', '.pager button'].map((s) => getComputedStyle(document.querySelector(s)).display)"
    )
    assert tab.run(hidden) == ["none"] * 4
    tab.send("Emulation.setEmulatedMedia", media="")
    tab.pdf(shots / "print.pdf")
    assert (shots / "print.pdf").read_bytes().startswith(b"%PDF")
    assert tab.run("document.querySelectorAll('details[open]').length") == 0  # opened for the print alone


def test_a_picture_is_saved_alone(make_inputs: Make, tab: Tab, tmp_path: Path, shots: Path) -> None:
    """As SVG with colours of its own, and as a PDF of the picture's size, printed by the browser."""
    page = write_report(tmp_path / "page.html", make_inputs(30))
    tab.open(page, dark=True)
    tab.run("URL.createObjectURL = (blob) => { window.kept = blob; return 'blob:'; }; window.print = () => {}")
    tab.run("HTMLAnchorElement.prototype.click = function () { window.keptName = this.download; }")
    button = "#region-1 .figure .save"
    tab.run(f"document.querySelector('{button}').click()")
    saved = tab.run("window.kept.text()")
    assert saved.startswith("<svg") and POSITIVE in saved and not re.search("var\\(|currentColor", saved)
    assert tab.run("window.keptName").endswith(".svg")
    size = tab.run(f"(() => {{ const s = document.querySelector('{button}').closest('.figure').querySelector('svg')"
                   ".viewBox.baseVal; return [s.width, s.height]; })()")  # fmt: skip
    tab.run(f"document.querySelectorAll('{button}')[1].click()")
    tab.wait_for("document.querySelector('img.alone') !== null")
    tab.pdf(shots / "alone.pdf")
    sheets = re.findall(rb"/MediaBox \[0 0 ([\d.]+) ([\d.]+)\]", (shots / "alone.pdf").read_bytes())
    np.testing.assert_allclose(np.array(sheets, dtype=float), [size], atol=1)
    assert tab.run("document.querySelector('img.alone')") is None
    check_clean(tab, page)


def test_tables_sort_find_and_page(make_inputs: Make, tab: Tab, tmp_path: Path) -> None:
    names = [f"site {i}" for i in range(29)] + ["<b>odd</b>"]
    tab.open(write_report(tmp_path / "page.html", make_inputs(30, names=names)))
    seen = tab.run("""(() => {
      const box = document.getElementById('regions-table');
      const cells = (n) => Array.from(box.querySelectorAll('tbody tr'), (row) => row.children[n].textContent);
      const goes = () => Array.from(box.querySelectorAll('tbody tr a'), (link) => link.dataset.locus);
      const buttons = box.querySelectorAll('th button');
      const out = {start: cells(0), goes: goes()};
      box.querySelector('.next').click(); out.second = cells(0);
      buttons[2].click(); out.down = cells(2); out.sorted = buttons[2].parentElement.getAttribute('aria-sort');
      buttons[2].click(); out.up = cells(2); out.upGoes = goes();
      buttons[0].click(); out.natural = cells(0);
      const find = box.querySelector('input');
      find.value = 'site 1'; find.dispatchEvent(new Event('input')); out.found = cells(0);
      out.count = box.querySelector('.count').textContent;
      find.value = 'nothing'; find.dispatchEvent(new Event('input')); out.none = cells(0);
      find.value = '<b>'; find.dispatchEvent(new Event('input')); out.odd = cells(0);
      out.bold = box.querySelectorAll('tbody b').length;
      return out;
    })()""")
    assert seen["start"] == [names[i] for i in range(29, 17, -1)]  # predictions rise with the row
    assert seen["second"] == [names[i] for i in range(17, 5, -1)]
    assert seen["sorted"] == "descending"
    assert [float(x) for x in seen["down"]] == list(range(14, 2, -1))
    assert [float(x) for x in seen["up"]] == list(range(-15, -3))
    assert seen["goes"][1] == "chr1:2791-2890"  # 100 bp around row 28, which is of 80
    assert seen["upGoes"][1:] == [f"chr1:{i * 100 - 9}-{i * 100 + 90}" for i in range(1, 12)]
    assert seen["natural"] == ["<b>odd</b>", *names[:11]]
    assert seen["found"] == ["site 1", *(f"site {i}" for i in range(10, 20))]
    assert seen["count"] == "11 of 30 rows"
    assert seen["none"] == []
    assert (seen["odd"], seen["bold"]) == (["<b>odd</b>"], 0)


def test_the_script_writes_cells_as_the_server_does(make_inputs: Make, tab: Tab, tmp_path: Path) -> None:
    page = write_report(tmp_path / "page.html", make_inputs(30))
    tab.open(page)
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page.read_text(encoding="utf-8"))
    assert any('<a class="go"' in cell for cell in cells)
    shown = tab.run("Array.from(document.querySelectorAll('td'), (cell) => cell.innerHTML)")
    assert shown == cells
