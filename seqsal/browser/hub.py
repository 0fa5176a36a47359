"""The files of a UCSC track hub (Raney et al. 2014, doi:10.1093/bioinformatics/btt637).

A setting is a line of a name and a value, and a stanza ends at an empty line
(genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html). `logo on` is the dynseq view (Nair et al. 2022,
doi:10.1038/s41588-022-01194-w): letters as high as the signal where bases are wide enough, bars elsewhere. An assembly
that UCSC does not have comes along as 2bit, with `organism` and `defaultPos`, which UCSC requires.
"""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from seqsal.browser.content import Content, Track
from seqsal.browser.text import clean_label, slug
from seqsal.browser.tracks import NEGATIVE, POSITIVE, FeatureTrack, SignalTrack

__all__ = ["hub_files"]

SHORT, LONG = 17, 76  # characters that UCSC shows of a label
_DESCRIPTION = "seqsal_tracks.html"


def hub_files(content: Content) -> dict[str, str]:
    """Return the text of each file of the hub, by its path in the bundle; none where no hub can be about the genome."""
    reference = content.reference
    if not reference.in_hub:
        return {}
    return {
        "hub.txt": _stanza(_hub(content)),
        "genomes.txt": _stanza(_genome(content)),
        f"{reference.name}/trackDb.txt": "\n".join(_stanza(track) for track in _tracks(content)),
        _DESCRIPTION: _description(content),
    }


def _stanza(settings: Mapping[str, object]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _hub(content: Content) -> dict[str, object]:
    return {
        "hub": f"seqsal_{slug(content.title)}",
        "shortLabel": "seqsal",
        "longLabel": clean_label(content.title, LONG),
        "genomesFile": content.links.to("genomes.txt"),
        "email": content.email,
        "descriptionUrl": content.links.to(_DESCRIPTION),
    }


def _genome(content: Content) -> dict[str, object]:
    reference = content.reference
    settings: dict[str, object] = {
        "genome": reference.name,
        "trackDb": content.links.to(f"{reference.name}/trackDb.txt"),
    }
    if reference.twobit is None:
        return settings
    return settings | {
        "twoBitPath": content.links.to(reference.twobit),
        "organism": reference.name,
        "scientificName": reference.name,
        "description": reference.name,
        "defaultPos": clean_label(content.locus, 300),
        "orderKey": 1,
    }


def _tracks(content: Content) -> list[dict[str, object]]:
    folder = content.reference.name
    stanzas = [_signal(content.signal), *(_features(track) for track in content.features)]
    for priority, (stanza, track) in enumerate(zip(stanzas, content.tracks, strict=True), start=1):
        stanza["bigDataUrl"] = content.links.to(track.file, source=folder)
        stanza["html"] = content.links.to(_DESCRIPTION, source=folder)
        stanza["priority"] = priority
    return stanzas


def _labels(track: Track) -> dict[str, object]:
    return {"shortLabel": clean_label(track.name, SHORT), "longLabel": clean_label(track.label, LONG)}


def _signal(track: SignalTrack) -> dict[str, object]:
    return {
        "track": f"seqsal_{track.key}",
        "type": f"bigWig {track.low:.6g} {track.high:.6g}",
        **_labels(track),
        "visibility": "full",
        "color": _rgb(POSITIVE),
        "altColor": _rgb(NEGATIVE),
        "autoScale": "on",
        "alwaysZero": "on",
        "gridDefault": "on",
        "maxHeightPixels": "200:100:16",
        "logo": "on",
    }


def _features(track: FeatureTrack) -> dict[str, object]:
    settings: dict[str, object] = {
        "track": f"seqsal_{track.key}",
        "type": track.schema.trackdb_type,
        **_labels(track),
        "visibility": "pack",
        "color": _rgb(track.color),
    }
    if track.schema.n_bed >= 9:
        settings["itemRgb"] = "on"
    if track.schema.extra and track.schema.n_bed >= 9:
        settings["mouseOver"] = "$name ($pattern), contribution $contribution"
    return settings


def _rgb(color: tuple[int, int, int]) -> str:
    return ",".join(map(str, color))


def _description(content: Content) -> str:
    items = "".join(f"<li><b>{escape(track.name)}</b>: {escape(track.label)}</li>\n" for track in content.tracks)
    signs = "Blue raises the prediction, orange lowers it; the" if content.signed else "The"
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>seqsal</title></head><body>\n'
        f"<h2>{escape(clean_label(content.title, 500))}</h2>\n"
        f"<p>Which bases drove the predictions of a sequence model. {signs} height of a letter is what that base "
        "contributes.</p>\n"
        f"<ul>\n{items}</ul>\n</body></html>\n"
    )
