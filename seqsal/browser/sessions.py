"""The files by which browsers open a bundle: a UCSC track hub, IGV sessions, a WashU data hub.

*UCSC* (Raney et al. 2014, doi:10.1093/bioinformatics/btt637): a setting is a line of a name and a value, and a stanza
ends at an empty line (genome.ucsc.edu/goldenPath/help/trackDb/trackDbHub.html). `logo on` is the dynseq view (Nair et
al. 2022, doi:10.1038/s41588-022-01194-w): letters as high as the signal where bases are wide enough, bars elsewhere. An
assembly that UCSC does not have comes along as 2bit, with `organism` and `defaultPos`, which UCSC requires.

*IGV*: XML for the desktop, JSON for IGV-Web and igv.js. IGV resolves paths in an XML session against the session's own
place; IGV-Web takes addresses only, so its session is of use where the bundle's address is known. Letters instead of
bars are the renderer `DYNSEQ` of the one and the graph type `dynseq` of the other; versions from before they had it
(2025 for igv.js) draw bars.

*WashU Epigenome Browser* (Li et al. 2022, doi:10.1093/nar/gkac238): a JSON list of tracks. The genome is not part of
it: it is chosen in the browser, or in the address that opens it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from typing import Any
from xml.etree import ElementTree

from seqsal.browser.assembly import SIZES_FILE, Reference
from seqsal.browser.labels import Links, clean_label, slug
from seqsal.browser.tracks import NEGATIVE, POSITIVE, FeatureTrack, SignalTrack

__all__ = ["Content", "Track", "hub_files", "igv_json", "igv_xml", "washu_json"]

Track = SignalTrack | FeatureTrack


@dataclass(frozen=True)
class Content:
    """All that a bundle shows."""

    title: str  # one line
    signed: bool  # whether the attributions have a direction
    reference: Reference
    signal: SignalTrack
    features: list[FeatureTrack]  # top to bottom
    locus: str  # what to open at, written as browsers count: from 1, both ends included
    links: Links
    email: str  # whom a hub names for questions

    @property
    def tracks(self) -> list[Track]:
        """All tracks, top to bottom."""
        return [self.signal, *self.features]


SHORT, LONG = 17, 76  # characters that UCSC shows of a label
_DESCRIPTION = "seqsal_tracks.html"


def hub_files(content: Content) -> dict[str, str]:
    """Return the text of each file of the hub, by its path in the bundle; none where no hub can be about the genome."""
    reference = content.reference
    if not reference.in_hub:
        return {}
    to, track_db = content.links.to, f"{reference.name}/trackDb.txt"
    hub = {
        "hub": f"seqsal_{slug(content.title)}",
        "shortLabel": "seqsal",
        "longLabel": clean_label(content.title, LONG),
        "genomesFile": to("genomes.txt"),
        "email": content.email,
        "descriptionUrl": to(_DESCRIPTION),
    }
    genome: dict[str, object] = {"genome": reference.name, "trackDb": to(track_db)}
    if reference.twobit is not None:
        genome["twoBitPath"] = to(reference.twobit)
        genome |= dict.fromkeys(("organism", "scientificName", "description"), reference.name)
        genome |= {"defaultPos": clean_label(content.locus, 300), "orderKey": 1}
    return {
        "hub.txt": _stanza(hub),
        "genomes.txt": _stanza(genome),
        track_db: "\n".join(_stanza(track) for track in _tracks(content)),
        _DESCRIPTION: _description(content),
    }


def _stanza(settings: Mapping[str, object]) -> str:
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def _tracks(content: Content) -> list[dict[str, object]]:
    folder, to = content.reference.name, content.links.to
    return [
        {
            "track": f"seqsal_{track.key}", **_looks(track), "bigDataUrl": to(track.file, source=folder),
            "html": to(_DESCRIPTION, source=folder), "priority": priority,
        }
        for priority, track in enumerate(content.tracks, start=1)
    ]  # fmt: skip


def _looks(track: Track) -> dict[str, object]:
    """Type, visibility and colours of a track."""
    if isinstance(track, SignalTrack):
        return {
            "type": f"bigWig {track.low:.6g} {track.high:.6g}", **_labels(track), "visibility": "full",
            "color": _rgb(POSITIVE), "altColor": _rgb(NEGATIVE), "autoScale": "on", "alwaysZero": "on",
            "gridDefault": "on", "maxHeightPixels": "200:100:16", "logo": "on",
        }  # fmt: skip
    settings: dict[str, object] = {
        "type": track.schema.trackdb_type, **_labels(track), "visibility": "pack", "color": _rgb(track.color),
    }  # fmt: skip
    if track.schema.n_bed >= 9:
        settings["itemRgb"] = "on"
        if track.schema.extra:
            settings["mouseOver"] = "$name ($pattern), contribution $contribution"
    return settings


def _labels(track: Track) -> dict[str, object]:
    return {"shortLabel": clean_label(track.name, SHORT), "longLabel": clean_label(track.label, LONG)}


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


_SIGNAL_HEIGHT, _FEATURE_HEIGHT = 120, 50  # pixels
_SIGNAL_CLASS = "org.broad.igv.track.DataSourceTrack"
_FEATURE_CLASS = "org.broad.igv.track.FeatureTrack"


def igv_xml(content: Content) -> str:
    """Return a session for IGV on the desktop."""
    reference = content.reference
    genome = reference.name if reference.known else content.links.to(reference.twobit or SIZES_FILE)
    session = ElementTree.Element("Session", genome=genome, locus=clean_label(content.locus, 300), version="8")
    resources = ElementTree.SubElement(session, "Resources")
    for track in content.tracks:
        ElementTree.SubElement(resources, "Resource", path=content.links.to(track.file))
    panel = ElementTree.SubElement(session, "Panel", name="DataPanel", height="600")
    signal = ElementTree.SubElement(
        panel, "Track", id=content.links.to(content.signal.file), name=content.signal.name, clazz=_SIGNAL_CLASS,
        color=_rgb(POSITIVE), altColor=_rgb(NEGATIVE), autoScale="true", height=str(_SIGNAL_HEIGHT), renderer="DYNSEQ",
        windowFunction="mean", visible="true",
    )  # fmt: skip
    low, high = f"{content.signal.low:.6g}", f"{content.signal.high:.6g}"
    ElementTree.SubElement(signal, "DataRange", baseline="0.0", minimum=low, maximum=high, type="LINEAR")
    for track in content.features:
        element = ElementTree.SubElement(
            panel, "Track", id=content.links.to(track.file), name=track.name, clazz=_FEATURE_CLASS,
            displayMode="EXPANDED", visible="true",
        )  # fmt: skip
        element.attrib.update(_track_color(track, _rgb(track.color)))
    ElementTree.indent(session)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{ElementTree.tostring(session, encoding="unicode")}\n'


def igv_json(content: Content) -> str:
    """Return a session for IGV-Web."""
    tracks: list[dict[str, Any]] = [
        {"type": "sequence", "order": 0},
        {
            "type": "wig", "format": "bigwig", "url": content.links.to(content.signal.file),
            "name": content.signal.name, "color": f"rgb({_rgb(POSITIVE)})", "altColor": f"rgb({_rgb(NEGATIVE)})",
            "autoscale": True, "graphType": "dynseq", "height": _SIGNAL_HEIGHT, "order": 1,
        },
    ]  # fmt: skip
    tracks += [
        {
            "type": "annotation", "format": "bigbed", "url": content.links.to(track.file), "name": track.name,
            "displayMode": "EXPANDED", "height": _FEATURE_HEIGHT, "order": order,
            **_track_color(track, f"rgb({_rgb(track.color)})"),
        }
        for order, track in enumerate(content.features, start=2)
    ]  # fmt: skip
    reference = content.reference
    genome: dict[str, Any] = {"genome": reference.name}
    if not reference.known:
        about = {"id": reference.name, "name": reference.name, "wholeGenomeView": False}
        sequence = {"format": "chromsizes", "fastaURL": content.links.to(SIZES_FILE)}
        if reference.twobit is not None:
            sequence = {"twoBitURL": content.links.to(reference.twobit)}
        genome = {"reference": {**about, **sequence}}
    session = {**genome, "locus": clean_label(content.locus, 300), "tracks": tracks}
    return json.dumps(session, indent=2) + "\n"


def _track_color(track: FeatureTrack, color: str) -> dict[str, str]:
    """Give the colour of a track; none where items have their own, which it would override."""
    return {} if track.schema.n_bed >= 9 else {"color": color}


def washu_json(content: Content) -> str:
    """Return the data hub: the attributions as dynseq, letters where there is room and bars elsewhere, and bigBeds."""
    options: list[dict[str, object]] = [{"color": _hex(POSITIVE), "color2": _hex(NEGATIVE), "height": 100}]
    options += [{"color": _hex(track.color), "displayMode": "full"} for track in content.features]
    tracks = [
        {
            "type": "dynseq" if track is content.signal else "bigbed", "url": content.links.to(track.file),
            "name": track.name, "showOnHubLoad": True, "metadata": {"source": "seqsal", "content": track.label},
            "options": look,
        }
        for track, look in zip(content.tracks, options, strict=True)
    ]  # fmt: skip
    return json.dumps(tracks, indent=2) + "\n"


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)
