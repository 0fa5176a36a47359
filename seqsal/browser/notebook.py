"""igv.js inside a notebook, without network: everything that it shows is embedded in the page.

The reference is a FASTA of the windows alone. igv.js reads a record named `chrom:start-end @len=SIZE` (from 1) as that
piece of a chromosome, so positions are those of the genome and letters appear where windows are. The track is embedded
as gzipped bedGraph, peaks and motif instances as features.
"""

from __future__ import annotations

import base64
import gzip
import re
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from seqsal.browser.labels import clean_label, clean_name
from seqsal.browser.tracks import NEGATIVE, POSITIVE, RGB
from seqsal.errors import UsageError
from seqsal.io.attributions import Attributions
from seqsal.io.tracks import write_bedgraph
from seqsal.plot.locus import pick_region, read_locus
from seqsal.plot.style import in_notebook
from seqsal.plot.tracks import MotifBoxes, name_motifs, negative_peaks
from seqsal.regions import Region, merge_regions
from seqsal.sequence.codes import N_CODE, decode

__all__ = ["igv_config", "show_browser"]

MAX_BP = 200_000  # of windows that are embedded: about 2 MB in the notebook
MARGIN_BP = 500  # of N around a stretch of windows, and within it, so that igv.js finds one piece for what it shows
_SIGNAL_HEIGHT, _FEATURE_HEIGHT = 120, 60  # pixels


def show_browser(
    attr: Attributions,
    region: str | int | Region | None = None,
    *,
    peaks: pd.DataFrame | None = None,
    motifs: MotifBoxes | None = None,
    max_bp: int = MAX_BP,
) -> Any:
    """Show attributions in igv.js beneath a notebook's cell, beginning at `region` (None: highest prediction).

    `region` is `chrom:start-end`, 0-based half-open, the name of one of the regions or its row; `motifs` a result of
    :func:`seqsal.discover_motifs` or a table of instances. Of the windows, `max_bp` bases are embedded: those at
    `region` first, then those with the highest predictions. Returns an `igv_notebook.Browser`, to go elsewhere with
    `search("chr1:100-200")`. Raises `UsageError` where this is no notebook or igv-notebook is not installed, and
    `RegionError` where no window covers the region.
    """
    config = igv_config(attr, region, peaks=peaks, motifs=motifs, max_bp=max_bp)
    try:
        import igv_notebook
    except ImportError as error:
        raise UsageError("browser: needs igv-notebook, which is not installed; pip install igv-notebook") from error
    if not in_notebook():
        raise UsageError(
            "browser: works only in a Jupyter notebook; write files for a genome browser with "
            "`seqsal export --format hub`"
        )
    _start()
    return igv_notebook.Browser(config)


@cache
def _start() -> None:
    """Send igv.js to the page, once."""
    import igv_notebook

    igv_notebook.init()


def igv_config(
    attr: Attributions,
    region: str | int | Region | None = None,
    *,
    peaks: pd.DataFrame | None = None,
    motifs: MotifBoxes | None = None,
    max_bp: int = MAX_BP,
) -> dict[str, Any]:
    """Return what igv.js is to show, for its `createBrowser`; parameters and errors are those of `show_browser`."""
    place = read_locus(attr, pick_region(attr, region))
    part = _windows(attr, Region(place.chrom, place.start, place.end), max_bp)
    # names that igv.js can tell from a position, and that are no markup
    names = {chrom: clean_name(chrom).replace(":", "_").replace(" ", "_") for chrom in part.chrom_sizes}
    tracks = [_signal(part, names)]
    if peaks is not None:
        tracks.append(_features("Peaks", peaks.assign(label=peaks.get("name", "")), names))
    if motifs is not None:
        tracks.append(_features("Motif instances", name_motifs(motifs), names))
    return {
        "reference": {"id": "windows", "name": "windows", "fastaURL": _fasta(part, names), "indexed": False},
        "locus": f"{names[place.chrom]}:{place.start + 1}-{place.end}",
        "tracks": tracks,
        "loadDefaultGenomes": False,  # it would fetch its list from igv.org
        "showChromosomeWidget": len(names) > 1,
    }


def _windows(attr: Attributions, place: Region, max_bp: int) -> Attributions:
    """Those of the windows that are embedded, in memory, with the sizes of their chromosomes."""
    table = attr.regions
    here = (table["chrom"] == place.chrom) & (table["start"] < place.end) & (table["end"] > place.start)
    order = np.lexsort((-np.asarray(attr.prediction, dtype=np.float64), ~here.to_numpy()))
    rows: NDArray[np.int64] = np.sort(order[: max(1, max_bp // attr.length)])
    regions = table.iloc[rows].reset_index(drop=True)
    ends = regions.groupby("chrom")["end"].max()
    sizes = {str(chrom): attr.chrom_sizes.get(str(chrom), int(end)) for chrom, end in ends.items()}
    codes, track, prediction = attr.codes[rows], attr.track[rows], attr.prediction[rows]
    return Attributions(regions, codes, track, prediction, chrom_sizes=sizes, attrs=attr.attrs)


def _fasta(attr: Attributions, names: dict[str, str]) -> str:
    """Stretches of windows as FASTA, in an address of its own."""
    text = []
    stretches = merge_regions(attr.regions, max_gap=2 * MARGIN_BP)
    for chrom, start, end in zip(stretches["chrom"], stretches["start"], stretches["end"], strict=True):
        size = attr.chrom_sizes[chrom]
        first, last = max(0, int(start) - MARGIN_BP), min(size, int(end) + MARGIN_BP)
        locus = read_locus(attr, Region(chrom, int(start), int(end)))
        codes = np.full(last - first, N_CODE, dtype=np.uint8)
        codes[locus.start - first : locus.end - first] = locus.codes
        text.append(f">{names[chrom]}:{first + 1}-{last} @len={size}\n{decode(codes)}\n")
    return _data_url("".join(text).encode())


def _signal(attr: Attributions, names: dict[str, str]) -> dict[str, Any]:
    renamed = replace(
        attr,
        regions=attr.regions.assign(chrom=attr.regions["chrom"].map(names)),
        chrom_sizes={names[chrom]: size for chrom, size in attr.chrom_sizes.items()},
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "track.bedgraph"
        write_bedgraph(renamed, renamed.chrom_sizes, path)
        url = _data_url(path.read_bytes())
    return {
        "type": "wig", "format": "bedgraph", "url": url, "indexed": False, "autoscale": True, "height": _SIGNAL_HEIGHT,
        "name": clean_label(f"{attr.name}, {attr.unit}", 100), "color": _rgb(POSITIVE), "altColor": _rgb(NEGATIVE),
    }  # fmt: skip


def _features(name: str, table: pd.DataFrame, names: dict[str, str]) -> dict[str, Any]:
    """Make a track of boxes in the colours of their signs, those on the chromosomes that are embedded."""
    columns: list[Any] = [table.get(key, []) for key in ("chrom", "start", "end", "label")]
    features = [
        {
            "chr": names[chrom], "start": int(start), "end": int(end),
            "name": re.sub(r"[<>\"'`]", "_", clean_name(label)),  # igv.js writes names into attributes as they are
            "color": _rgb(NEGATIVE if negative else POSITIVE),
        }
        for chrom, start, end, label, negative in zip(*columns, negative_peaks(table), strict=True)
        if chrom in names
    ]  # fmt: skip
    looks = {"displayMode": "EXPANDED", "height": _FEATURE_HEIGHT}
    return {"type": "annotation", "name": name, "features": features, **looks}


def _rgb(color: RGB) -> str:
    return f"rgb({','.join(map(str, color))})"


def _data_url(content: bytes) -> str:
    packed = base64.b64encode(gzip.compress(content, mtime=0)).decode()
    return f"data:application/gzip;base64,{packed}"
