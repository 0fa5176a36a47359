"""The page's script in a real browser, where one is installed."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from seqsal.report import ReportInputs
from seqsal.report.html import render_report

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --virtual-time-budget=5000 --dump-dom"
).split()

pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")]


def run_in_page(page: str, driver: str, tmp_path: Path) -> Any:
    """Let `driver`, JavaScript that returns a value, run after the page's own script; return that value."""
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1]
    watched = (
        "const errors = []; window.addEventListener('error', (e) => errors.push(e.message));"
        f"{script}; document.body.dataset.result = JSON.stringify((function () {{ {driver} }})());"
        "document.body.dataset.errors = JSON.stringify(errors);"
    )
    digest = base64.b64encode(hashlib.sha256(watched.encode()).digest()).decode()
    page = re.sub(r"sha256-[^']+", lambda _: f"sha256-{digest}", page, count=1).replace(script, watched)
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = {key: re.search(rf'data-{key}="([^"]*)"', done.stdout) for key in ("result", "errors")}
    assert found["errors"] is not None, done.stdout[:2000]
    assert found["errors"][1] == "[]"
    assert found["result"] is not None
    return json.loads(found["result"][1].replace("&quot;", '"').replace("&lt;", "<").replace("&gt;", ">"))


def test_tables_sort_find_and_page(make_inputs: Callable[..., ReportInputs], tmp_path: Path) -> None:
    names = [f"site {i}" for i in range(29)] + ["<b>odd</b>"]
    driver = """
      const box = document.getElementById('regions-table');
      const cells = (n) => Array.from(box.querySelectorAll('tbody tr'), (row) => row.children[n].textContent);
      const buttons = box.querySelectorAll('th button');
      const out = {start: cells(0)};
      box.querySelector('.next').click(); out.second = cells(0);
      buttons[2].click(); out.down = cells(2); out.sorted = buttons[2].parentElement.getAttribute('aria-sort');
      buttons[2].click(); out.up = cells(2);
      buttons[0].click(); out.natural = cells(0);
      const find = box.querySelector('input');
      find.value = 'site 1'; find.dispatchEvent(new Event('input')); out.found = cells(0);
      out.count = box.querySelector('.count').textContent;
      find.value = 'nothing'; find.dispatchEvent(new Event('input')); out.none = cells(0);
      find.value = '<b>'; find.dispatchEvent(new Event('input')); out.odd = cells(0);
      out.bold = box.querySelectorAll('tbody b').length;
      return out;
    """
    seen = run_in_page(render_report(make_inputs(30, names=names)), driver, tmp_path)
    assert seen["start"] == [names[i] for i in range(29, 17, -1)]  # predictions rise with the row
    assert seen["second"] == [names[i] for i in range(17, 5, -1)]
    assert seen["sorted"] == "descending"
    assert [float(x) for x in seen["down"]] == list(range(14, 2, -1))
    assert [float(x) for x in seen["up"]] == list(range(-15, -3))
    assert seen["natural"] == ["<b>odd</b>", *names[:11]]
    assert seen["found"] == ["site 1", *(f"site {i}" for i in range(10, 20))]
    assert seen["count"] == "11 of 30 rows"
    assert seen["none"] == []
    assert (seen["odd"], seen["bold"]) == (["<b>odd</b>"], 0)


def test_the_script_writes_cells_as_the_server_does(make_inputs: Callable[..., ReportInputs], tmp_path: Path) -> None:
    page = render_report(make_inputs(30))
    read = "return Array.from(document.querySelectorAll('td'), (cell) => cell.textContent);"
    cells = re.findall(r"<td[^>]*>(.*?)</td>", page)
    assert run_in_page(page, read, tmp_path) == cells
