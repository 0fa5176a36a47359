"""A reader of browser bundles that believes nothing: every reference, coordinate, value and base is checked."""

from __future__ import annotations

import json
import posixpath
import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import py2bit
import pyBigWig
from track_toys import slow_track

from seqsal.io.attributions import Attributions
from seqsal.sequence.codes import decode, reverse_complement

Stanza = dict[str, str]
Item = tuple[str, int, int, str]
RGB = re.compile(r"\d{1,3},\d{1,3},\d{1,3}")
TYPES = re.compile(r"bigNarrowPeak|bigBed 9 [+.]|bigWig -?[\d.e+-]+ -?[\d.e+-]+")
MORE = {"motifs": 2, "variants": 1}  # columns of our own
FIELDS = {"bigNarrowPeak": (10, 6), "bigBed 9 +": (9, 9), "bigBed 9 .": (9, 9)}


def read_ra(path: Path) -> list[Stanza]:
    """Stanzas of settings as UCSC reads them."""
    stanzas: list[Stanza] = []
    for block in path.read_text(encoding="utf-8").strip("\n").split("\n\n"):
        stanza: Stanza = {}
        for line in block.split("\n"):
            name, _, value = line.partition(" ")
            assert name and value.strip() and not line.endswith("\\") and name not in stanza, line
            stanza[name] = value
        stanzas.append(stanza)
    return stanzas


def resolve(reference: str, source: Path, folder: Path, base: str | None) -> Path:
    """The file that a reference in `source` leads to; it has to be there."""
    if base is None:
        assert "://" not in reference and not reference.startswith("/"), reference
        path = source.parent / reference
    else:
        assert "://" in reference, reference
        relative = posixpath.relpath(reference.split("://")[1], base.rstrip("/").split("://")[1])
        path = folder / relative
    assert path.is_file(), f"{source}: {reference} leads nowhere"
    return path


def check_hub(folder: Path, base: str | None) -> dict[str, tuple[Path, Stanza]]:
    """Check the files of a track hub; return data file and settings of each track."""
    (hub,) = read_ra(folder / "hub.txt")
    assert {"hub", "shortLabel", "longLabel", "genomesFile", "email"} <= set(hub)
    assert re.fullmatch(r"\w+", hub["hub"]) and len(hub["shortLabel"]) <= 17
    genomes = resolve(hub["genomesFile"], folder / "hub.txt", folder, base)
    resolve(hub["descriptionUrl"], folder / "hub.txt", folder, base)
    (genome,) = read_ra(genomes)
    if "twoBitPath" in genome:
        assert {"organism", "defaultPos", "scientificName", "description", "orderKey"} <= set(genome)
        resolve(genome["twoBitPath"], genomes, folder, base)
    track_db = resolve(genome["trackDb"], genomes, folder, base)
    tracks = {}
    for stanza in read_ra(track_db):
        assert {"track", "type", "shortLabel", "longLabel", "bigDataUrl"} <= set(stanza)
        assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", stanza["track"]) and stanza["track"] not in tracks
        assert len(stanza["shortLabel"]) <= 17 and len(stanza["longLabel"]) <= 76
        assert TYPES.fullmatch(stanza["type"]), stanza["type"]
        assert all(RGB.fullmatch(stanza[key]) for key in ("color", "altColor") if key in stanza)
        resolve(stanza["html"], track_db, folder, base)
        tracks[stanza["track"]] = (resolve(stanza["bigDataUrl"], track_db, folder, base), stanza)
    return tracks


def check_sessions(folder: Path, base: str | None) -> set[Path]:
    """Check the IGV and WashU files, which have to show the same data files; return those."""
    source = folder / "igv_session.xml"
    session = ElementTree.parse(source).getroot()
    assert session.tag == "Session" and session.get("version") == "8"
    resources = [element.attrib["path"] for element in session.iter("Resource")]
    assert [element.attrib["id"] for element in session.iter("Track")] == resources
    igv = json.loads((folder / "igv_session.json").read_text())
    assert igv["locus"] == session.get("locus")
    assert ("genome" in igv) != ("reference" in igv)
    assert [track["url"] for track in igv["tracks"] if "url" in track] == resources
    washu = json.loads((folder / "washu.json").read_text())
    assert [track["url"] for track in washu] == resources
    assert {track["type"] for track in washu} <= {"dynseq", "bigbed"}
    for key in ("fastaURL", "twoBitURL"):
        if key in igv.get("reference", {}):
            resolve(igv["reference"][key], source, folder, base)
    return {resolve(path, source, folder, base).resolve() for path in resources}


def check_bigwig(path: Path, attr: Attributions) -> tuple[float, float]:
    """Every value against the mean over windows; return the least and the largest."""
    expected = slow_track(attr, attr.chrom_sizes)
    found = {}
    with pyBigWig.open(str(path)) as bigwig:
        assert bigwig.chroms().items() <= attr.chrom_sizes.items()  # those without a value are left out
        for chrom, size in bigwig.chroms().items():
            for start, end, value in bigwig.intervals(chrom) or ():
                assert 0 <= start < end <= size
                found |= {(chrom, position): value for position in range(start, end)}
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert np.float32(found[key]) == np.float32(value)
    return min(found.values()), max(found.values())


def read_bigbed(path: Path, chrom_sizes: dict[str, int], kind: str) -> list[Item]:
    """Items of a bigBed, in its order, with the header's numbers of columns checked."""
    n_fields, n_of_bed = FIELDS[kind]
    n_fields += MORE[path.stem] if kind.endswith("+") else 0
    assert struct.unpack_from("<HH", path.read_bytes(), 32) == (n_fields, n_of_bed)
    items: list[Item] = []
    with pyBigWig.open(str(path)) as bigbed:
        assert bigbed.isBigBed() and bigbed.SQL().decode().count(";") == n_fields
        for chrom in bigbed.chroms():
            for start, end, rest in bigbed.entries(chrom, 0, chrom_sizes[chrom]) or ():
                assert 0 <= start < end <= chrom_sizes[chrom]
                assert rest.count("\t") == n_fields - 4, rest
                items.append((chrom, start, end, rest))
    assert items
    return items


def check_twobit(path: Path, sequences: dict[str, str]) -> None:
    """Every base against the text of the FASTA, and lower case against the masked blocks."""
    with py2bit.open(str(path), True) as twobit:
        assert twobit.chroms() == {name: len(text) for name, text in sequences.items()}
        for name, text in sequences.items():
            assert twobit.sequence(name) == re.sub(r"[^ACGTacgt]", "N", text)
            assert twobit.softMaskedBlocks(name) == [run.span() for run in re.finditer("[a-z]+", text)]


def check_bases(attr: Attributions, sequences: dict[str, str]) -> None:
    """Every base that the model saw against the FASTA."""
    for codes, row in zip(attr.codes, attr.regions.itertuples(), strict=True):
        seen = decode(reverse_complement(codes) if row.strand == "-" else codes)
        text = sequences[row.chrom].upper()
        inside = range(max(row.start, 0), min(row.end, len(text)))
        assert all(seen[i - row.start] == (text[i] if text[i] in "ACGT" else "N") for i in inside)


def check_bundle(
    folder: Path, attr: Attributions, *, base: str | None = None, sequences: dict[str, str] | None = None
) -> dict[str, list[Item]]:
    """Check a whole bundle; return the items of each bigBed by the name of its track."""
    tracks = check_hub(folder, base)
    assert check_sessions(folder, base) == {path.resolve() for path, _ in tracks.values()}
    items = {}
    for name, (path, stanza) in tracks.items():
        if stanza["type"].startswith("bigWig"):
            low, high = check_bigwig(path, attr)
            assert stanza["logo"] == "on"
            np.testing.assert_allclose([float(part) for part in stanza["type"].split()[1:]], [low, high], rtol=1e-5)
        else:
            items[name.removeprefix("seqsal_")] = read_bigbed(path, attr.chrom_sizes, stanza["type"])
    if sequences is not None:
        check_bases(attr, sequences)
        for path in folder.glob("*/*.2bit"):
            check_twobit(path, sequences)
    assert not list(folder.rglob(".*"))
    return items
