"""Write a bundle: one folder that genome browsers open as it is.

::

    attributions.bw                              what each base contributes, with its sign
    peaks_positive.bb  peaks_negative.bb         called elements (bigNarrowPeak)
    motifs.bb  artifacts.bb                      instances of motifs, occurrences of artifacts that the model uses
    variants.bb                                  variants, coloured by what they do to the prediction
    hub.txt  genomes.txt  NAME/trackDb.txt       UCSC track hub, with NAME/NAME.2bit for a genome that UCSC lacks
    igv_session.xml  igv_session.json            IGV on the desktop, IGV-Web
    washu.json                                   WashU Epigenome Browser data hub
    seqsal_tracks.html  BROWSERS.txt             what the tracks are, how to open them

All files are made in a temporary folder next to their destinations and then moved, `hub.txt` and `BROWSERS.txt` last:
what was there before stays whole if anything fails, and a folder without the last is unfinished. Tracks of an earlier
bundle that are no longer there are removed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd

from seqsal.browser.assembly import SIZES_FILE, Reference, choose_reference, write_reference
from seqsal.browser.labels import Links, check_email, check_url_base, clean_label
from seqsal.browser.sessions import Content, hub_files, igv_json, igv_xml, washu_json
from seqsal.browser.tracks import SignalTrack, feature_tracks
from seqsal.errors import OutputError
from seqsal.io.atomic import atomic_path, locked, make_folder, output_error
from seqsal.io.attributions import Attributions
from seqsal.io.bigwig import summarize_bigwig
from seqsal.io.tracks import write_bigwig

__all__ = ["Bundle", "check_bundle_settings", "write_bundle"]

NOBODY = "nobody@example.org"  # UCSC wants an address in every hub
SIGNAL_FILE = "attributions.bw"
_DATA = (SIGNAL_FILE, "peaks_positive.bb", "peaks_negative.bb", "motifs.bb", "artifacts.bb", "variants.bb", SIZES_FILE)
_HUB = ("genomes.txt", "seqsal_tracks.html", "hub.txt")
_HOW_TO = "BROWSERS.txt"
VIEW_BP = 120  # wide enough to see an element and its surroundings, narrow enough for letters


@dataclass(frozen=True)
class Bundle:
    """What was written.

    Attributes
    ----------
    folder
        Where.
    files
        Relative to it.
    reference
        The genome that the tracks lie on.
    links
        Addresses that open it, by browser, where its own address is known.

    Examples
    --------
    >>> from pathlib import Path
    >>> from seqsal.browser.assembly import Reference
    >>> print(Bundle(Path("browser"), ("attributions.bw", "hub.txt"), Reference("hg38", known=True)).summary())
    browser: browser bundle of 1 track
    genome   hg38, an assembly that browsers have
    """

    folder: Path
    files: tuple[str, ...]
    reference: Reference
    links: dict[str, str] = field(default_factory=dict)

    def summary(self) -> str:
        """Say what there is and how to open it."""
        kind = "an assembly that browsers have" if self.reference.known else "its sequence is included as 2bit"
        if not self.reference.in_hub:
            kind = "not recognised and without its FASTA, so without UCSC hub and letters; use --genome-name"
        tracks = [file for file in self.files if file.endswith((".bw", ".bb"))]
        lines = [
            f"{self.folder}: browser bundle of {len(tracks)} {'track' if len(tracks) == 1 else 'tracks'}",
            f"genome   {self.reference.name}, {kind}",
        ]
        return "\n".join(lines + [f"{name:<9}{link}" for name, link in self.links.items()])


def write_bundle(
    folder: str | os.PathLike[str],
    attr: Attributions,
    *,
    peaks: pd.DataFrame | None = None,
    motifs: pd.DataFrame | None = None,
    artifacts: pd.DataFrame | None = None,
    variants: pd.DataFrame | None = None,
    genome_name: str | None = None,
    genome: str | os.PathLike[str] | None = None,
    url_base: str | None = None,
    email: str = NOBODY,
    bigwig: str | os.PathLike[str] | None = None,
    progress: bool = False,
) -> Bundle:
    """Write everything that genome browsers need to show attributions.

    Parameters
    ----------
    folder
        Made if it is not there; of one that is, only files of a bundle are replaced.
    attr
        Attributions with the sizes of their chromosomes.
    peaks, motifs, artifacts, variants
        Tables as `seqsal.browser.tracks.feature_tracks` takes them; without rows they make no track.
    genome_name
        Name of the assembly at UCSC, such as hg38; None recognises some by their sizes.
    genome
        FASTA of a genome that UCSC does not have, to be included as 2bit; None is the one that was attributed, if it is
        still there and not large.
    url_base
        Address at which the folder will be; None makes references relative.
    email
        Whom the hub names for questions.
    bigwig
        Of the same attributions, which the folder gets as a hard link, or as a copy where the file system has none,
        instead of writing it again. So the folder is complete by itself: moved or shared, it holds all that it shows.
    progress
        Show a progress bar.

    Raises
    ------
    OutputError
        No sizes of chromosomes; the folder cannot be written.
    UsageError
        An address, name or path that cannot be used.
    RegionError
        An item of a table lies outside the chromosomes.
    FastaError
        `genome` cannot be read or has other chromosomes.

    Examples
    --------
    >>> import numpy as np, seqsal
    >>> from seqsal.regions import make_regions
    >>> codes, track = np.uint8([[0, 1, 2, 3] * 2]), np.float32([[0, 0.1, 0.9, 0.8, 0.7, 0, -0.3, 0]])
    >>> attr = seqsal.Attributions(make_regions(["chr1"], [100], [108]), codes, track, np.float32([1.5]))
    >>> attr.chrom_sizes["chr1"] = 500
    >>> bundle = write_bundle("browser", attr)
    >>> bundle.files
    ('BROWSERS.txt', 'attributions.bw', 'genome.chrom.sizes', 'igv_session.json', 'igv_session.xml', 'washu.json')
    """
    folder = Path(folder)
    if not attr.chrom_sizes:
        raise OutputError("attributions: hold no chromosome sizes, which tracks need; make them again")
    links, email = Links(None if url_base is None else check_url_base(url_base)), check_email(email)
    provenance = attr.attrs.get("genome")
    provenance, fasta = provenance if isinstance(provenance, dict) else {}, None if genome is None else Path(genome)
    reference = choose_reference(attr.chrom_sizes, provenance, name=genome_name, fasta=fasta)
    features = feature_tracks(attr.chrom_sizes, peaks=peaks, motifs=motifs, artifacts=artifacts, variants=variants)
    with _staged(folder) as staging:
        signal_file = staging / SIGNAL_FILE
        if bigwig is None:
            write_bigwig(attr, attr.chrom_sizes, signal_file, progress=progress)
        else:
            try:
                os.link(Path(bigwig).resolve(), signal_file)
            except OSError:  # another device, or a file system without hard links
                shutil.copyfile(bigwig, signal_file)
        for track in features:
            track.write(staging, attr.chrom_sizes)
        write_reference(staging, reference, attr.chrom_sizes)
        summary = summarize_bigwig(signal_file)
        label, model = f"{attr.method}, {attr.unit}", attr.attrs.get("model")
        signal = SignalTrack(SIGNAL_FILE, summary.least, summary.largest or float(not summary.n_bases), label)
        name = Path(str(model.get("file", ""))).stem if isinstance(model, dict) else ""
        title = f"Attributions of {name}: {label}" if name else f"Attributions: {label}"
        signed = bool(attr.attrs.get("signed", True))
        content = Content(title, signed, reference, signal, features, _choose_locus(attr, peaks), links, email)
        addresses = _addresses(content)
        _write_texts(staging, content, addresses)
        files = [path.relative_to(staging).as_posix() for path in staging.rglob("*") if path.is_file()]
    return Bundle(folder, tuple(sorted(files)), reference, addresses)


def check_bundle_settings(
    chrom_sizes: Mapping[str, int],
    provenance: Mapping[str, Any],
    *,
    genome_name: str | None = None,
    url_base: str | None = None,
) -> None:
    """Check before hours of work what `write_bundle` would refuse after them (`UsageError`); arguments are as there.

    Examples
    --------
    >>> check_bundle_settings({"chr1": 248_956_422}, {}, genome_name="hg38", url_base="https://example.org/tracks")
    >>> check_bundle_settings({}, {}, url_base="tracks")
    Traceback (most recent call last):
    seqsal.errors.UsageError: --url-base: got 'tracks', expected the http, https or ftp address of the folder, ...
    """
    if url_base is not None:
        check_url_base(url_base)
    if genome_name is not None:
        choose_reference(chrom_sizes, provenance, name=genome_name)


@contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yield a folder to write to, whose files replace those of `folder` when all are there."""
    with make_folder(folder), locked(folder) as is_mine:
        for leftover in folder.glob(".bundle.*.partial") if is_mine else ():
            shutil.rmtree(leftover, ignore_errors=True)
        staging = folder / f".bundle.{os.getpid()}.partial"
        try:
            staging.mkdir()
            yield staging
            _move(staging, folder)
        except OSError as error:
            raise output_error(folder, error) from error
        except OutputError as error:
            raise OutputError(str(error).replace(str(staging), str(folder))) from error
        finally:
            shutil.rmtree(staging, ignore_errors=True)


def _move(staging: Path, folder: Path) -> None:
    paths = sorted(path.relative_to(staging) for path in staging.rglob("*") if path.is_file())
    if any((folder / name).exists() for name in (_HOW_TO, "igv_session.json")):  # a bundle was here
        for name in (_HOW_TO, *_DATA, *_HUB):  # the first, which comes last, says that all are there
            if name == _HOW_TO or Path(name) not in paths:
                (folder / name).unlink(missing_ok=True)
    order = {"hub.txt": 2, _HOW_TO: 3}
    for path in sorted(paths, key=lambda path: order.get(path.name, path.suffix not in (".bw", ".bb", ".2bit"))):
        (folder / path).parent.mkdir(exist_ok=True)
        os.replace(staging / path, folder / path)


def _write_texts(folder: Path, content: Content, addresses: dict[str, str]) -> None:
    texts = {
        **hub_files(content),
        "igv_session.xml": igv_xml(content),
        "igv_session.json": igv_json(content),
        "washu.json": washu_json(content),
        _HOW_TO: _how_to(content, addresses),
    }
    for name, text in texts.items():
        (folder / name).parent.mkdir(exist_ok=True)
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8", newline="\n")


def _choose_locus(attr: Attributions, peaks: pd.DataFrame | None) -> str:
    """Choose what a browser opens at: around the best peak, else the middle of the first region."""
    if peaks is not None and len(peaks):
        order = np.lexsort((-peaks["signal"].abs().to_numpy(), peaks["q_value"].fillna(1.0).to_numpy()))
        best = peaks.iloc[int(order[0])]
        offset = best["summit"] if best["summit"] >= 0 else (best["end"] - best["start"]) // 2
        chrom, centre = str(best["chrom"]), int(best["start"] + offset)
    else:
        first = attr.regions.iloc[0]
        chrom, centre = str(first["chrom"]), int(first["start"] + first["end"]) // 2
    size = attr.chrom_sizes[chrom]
    start = min(max(centre - VIEW_BP // 2, 0), max(size - VIEW_BP, 0))
    return f"{chrom}:{start + 1}-{min(start + VIEW_BP, size)}"


def _addresses(content: Content) -> dict[str, str]:
    """Addresses that open the bundle, where its own is known."""
    if content.links.base is None:
        return {}
    name, locus = content.reference.name, content.locus
    ucsc = {"db" if content.reference.known else "genome": name, "hubUrl": content.links.to("hub.txt")}
    washu = {"genome": name, "hub": content.links.to("washu.json")}
    found = {"IGV-Web": f"https://igv.org/app/?{urlencode({'sessionURL': content.links.to('igv_session.json')})}"}
    if content.reference.in_hub:
        found["UCSC"] = f"https://genome.ucsc.edu/cgi-bin/hgTracks?{urlencode({**ucsc, 'position': locus})}"
    if content.reference.known:
        found["WashU"] = f"https://epigenomegateway.wustl.edu/browser/?{urlencode(washu)}"
    return found


def _how_to(content: Content, addresses: dict[str, str]) -> str:
    """Text for whoever finds the folder."""
    reference = content.reference
    hub = content.links.to("hub.txt") if content.links.base else "the address of hub.txt"
    ucsc = "no hub, since the genome was not recognised; export again with --genome-name or --genome."
    if reference.in_hub:
        ucsc = f"put the folder on a web server, then, under My Data and Track Hubs, connect to {hub}."
    lines = [
        content.title,
        "",
        "IGV on the desktop: Open Session in the menu File, igv_session.xml.",
        f"UCSC: {ucsc}",
        "IGV-Web: Session, then URL, and the address of igv_session.json; it needs --url-base, not relative paths.",
        f"WashU: genome {reference.name}, then Tracks, Remote Tracks, and as data hub the address of washu.json.",
        "A web server must answer requests for parts of files, and allow other sites (CORS) for IGV-Web and WashU.",
        *(f"{name}: {address}" for name, address in addresses.items()),
    ]
    return "\n".join(clean_label(line, 2000) for line in lines) + "\n"
