"""The genome browser in a notebook: what is embedded in the page."""

from __future__ import annotations

import base64
import builtins
import gzip
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from track_toys import make_attr, slow_track

from seqsal.browser.notebook import igv_config
from seqsal.errors import RegionError, UsageError
from seqsal.io.attributions import Attributions
from seqsal.sequence.codes import decode, reverse_complement

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PEAKS = pd.DataFrame(
    {"chrom": ["chr1", "chr1", "chr3"], "start": [1005, 5002, 1], "end": [1015, 5009, 5],
     "name": ["<b>pos_1</b>", "neg_1", "pos_2"], "sign": ["pos", "neg", "pos"]}
)  # fmt: skip


@pytest.fixture
def attr(rng: np.random.Generator) -> Attributions:
    """Three windows of 40 bp, two of them overlapping, on a chromosome and one with an odd name."""
    made = make_attr(
        rng.normal(size=(4, 40)),
        start=[1000, 1020, 5000, 10],
        chrom=["chr1", "chr1", "chr1", "HLA-A*01:01"],
        strand=["+", "-", "+", "-"],
        codes=rng.integers(0, 4, (4, 40)),
    )
    made.codes[1] = reverse_complement(np.concatenate([made.codes[0, 20:], rng.integers(0, 4, 20, dtype=np.uint8)]))
    prediction = np.array([1, 2, 3, 4], dtype=np.float32)
    return replace(made, prediction=prediction, chrom_sizes={"chr1": 9_000, "HLA-A*01:01": 60}, attrs={"method": "ism"})


def unpack(url: str) -> str:
    head, _, body = url.partition(",")
    assert head == "data:application/gzip;base64"
    return gzip.decompress(base64.b64decode(body)).decode()


def records(config: dict[str, Any]) -> dict[str, str]:
    text = unpack(config["reference"]["fastaURL"]).splitlines()
    return dict(zip(text[::2], text[1::2], strict=True))


def test_the_reference_is_the_windows_in_their_places(attr: Attributions) -> None:
    fasta = records(igv_config(attr, 0))
    assert list(fasta) == [">HLA-A*01_01:1-60 @len=60", ">chr1:501-1560 @len=9000", ">chr1:4501-5540 @len=9000"]
    assert fasta[">chr1:501-1560 @len=9000"][500:540] == decode(attr.codes[0])
    assert fasta[">chr1:501-1560 @len=9000"][520:560] == decode(reverse_complement(attr.codes[1]))
    assert fasta[">HLA-A*01_01:1-60 @len=60"] == "N" * 10 + decode(reverse_complement(attr.codes[3])) + "N" * 10
    assert set(fasta[">chr1:4501-5540 @len=9000"][:500]) == {"N"}


def test_names_end_no_attribute(attr: Attributions) -> None:
    peaks = PEAKS.assign(name=["\" onerror='alert(1)'", "`<b>`", "plain 3'"])
    features = igv_config(attr, peaks=peaks)["tracks"][1]["features"]
    names = [feature["name"] for feature in features]
    assert names and not any(mark in name for name in names for mark in "\"'<>`")


def test_the_track_has_every_value(attr: Attributions) -> None:
    signal = igv_config(attr)["tracks"][0]
    found: dict[tuple[str, int], float] = {}
    for line in unpack(signal["url"]).splitlines():
        chrom, start, end, value = line.split("\t")
        found.update({(chrom, position): float(value) for position in range(int(start), int(end))})
    expected = {(chrom.replace(":", "_"), at): value for (chrom, at), value in slow_track(attr).items()}
    assert found.keys() == expected.keys()
    np.testing.assert_allclose([found[key] for key in expected], list(expected.values()), rtol=1e-6)


def test_boxes_have_signs_and_safe_names(attr: Attributions) -> None:
    _, peaks, motifs = igv_config(attr, peaks=PEAKS, motifs=PEAKS.assign(motif="REB1"))["tracks"]
    assert [feature["name"] for feature in peaks["features"]] == ["_b_pos_1_/b_", "neg_1"]
    assert [feature["color"] for feature in peaks["features"]] == ["rgb(0,114,178)", "rgb(213,94,0)"]
    assert [(feature["start"], feature["end"]) for feature in motifs["features"]] == [(1005, 1015), (5002, 5009)]
    empty = igv_config(attr, peaks=PEAKS[:0])["tracks"][1]
    assert empty["features"] == []


def test_it_begins_at_the_region(attr: Attributions) -> None:
    assert igv_config(attr)["locus"] == "HLA-A*01_01:11-50"
    assert igv_config(attr, "chr1:5010-5020")["locus"] == "chr1:5011-5020"
    with pytest.raises(RegionError, match="the nearest window is chr1:1000-1040"):
        igv_config(attr, "chr1:100-200")


def test_windows_of_the_region_come_first(attr: Attributions) -> None:
    assert list(records(igv_config(attr, "chr1:1000-1010", max_bp=80))) == [
        ">HLA-A*01_01:1-60 @len=60",
        ">chr1:501-1540 @len=9000",
    ]


def test_it_takes_a_notebook(attr: Attributions, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="browser: works only in a Jupyter notebook"):
        attr.browser()
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "igv_notebook":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UsageError, match="needs igv-notebook, which is not installed; pip install igv-notebook"):
        attr.browser()


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium to open the page with")
def test_igv_draws_it_without_network(attr: Attributions, tmp_path: Path) -> None:
    import igv_notebook

    config = {**igv_config(attr, "chr1:1000-1060", peaks=PEAKS, motifs=PEAKS.assign(motif="REB1")), "id": "b"}
    message = json.dumps({"id": "b", "command": "createBrowser", "data": config})
    folder = Path(igv_notebook.__file__).parent / "js"
    scripts = [(folder / name).read_text() for name in ("igv.iife.js", "messageHandler.js", "localNotebookFile.js")]
    watch = """
      const seen = [];
      window.addEventListener('error', (e) => seen.push(e.message));
      const log = console.error; console.error = (...a) => { seen.push(a.join(' ')); log(...a); };
      const asked = [];
      const open = XMLHttpRequest.prototype.open;
      XMLHttpRequest.prototype.open = function (m, url) { asked.push(url); return open.apply(this, arguments); };
      const fetched = window.fetch; window.fetch = (u, ...r) => { asked.push(String(u)); return fetched(u, ...r); };
    """
    look = """
      setTimeout(async () => {
        const result = {};
        try {
          const browser = igv.MessageHandler.browserCache.get('b');
          result.sequence = await browser.genome.getSequence('chr1', 1000, 1040);
          result.tracks = browser.trackViews.map((view) => view.track.name);
          const [signal] = browser.findTracks((track) => track.type === 'wig');
          result.n = (await signal.getFeatures('chr1', 1000, 1060, 1)).length;
        } catch (error) { seen.push(String(error)); }
        document.body.dataset.result = JSON.stringify({...result, seen, asked});
      }, 2500);
    """
    parts = [watch, *scripts, f"window.igv.MessageHandler.on({message})", look]
    page = '<meta charset="utf-8"><body><div id="b_buttons"></div><div id="b_igvcontainer"></div>'
    path = tmp_path / "page.html"
    path.write_text(page + "".join(f"<script>{part}</script>" for part in parts), encoding="utf-8")
    quiet = "--headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking --dump-dom".split()
    command = [
        str(CHROMIUM),
        *quiet,
        "--virtual-time-budget=9000",
        f"--user-data-dir={tmp_path / 'p'}",
        f"file://{path}",
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    text = done.stdout.partition('data-result="')[2].partition('"')[0].replace("&quot;", '"')
    found = json.loads(text)
    assert found["seen"] == []
    assert [url for url in found["asked"] if not url.startswith("data:")] == []
    assert found["sequence"] == decode(attr.codes[0])
    assert found["n"] >= 60
    assert found["tracks"][-3:] == ["ism, contribution to the output", "Peaks", "Motif instances"]
