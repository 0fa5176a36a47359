"""IGV sessions: XML for IGV on the desktop, JSON for IGV-Web and igv.js.

IGV resolves paths in an XML session against the session's own place; IGV-Web takes addresses only, so its session is
of use where the bundle's address is known. Letters instead of bars are the renderer `DYNSEQ` of the one and the graph
type `dynseq` of the other; versions from before they had it (2025 for igv.js) draw bars.
"""

from __future__ import annotations

import json
from typing import Any
from xml.etree import ElementTree

from seqsal.browser.assembly import SIZES_FILE
from seqsal.browser.content import Content
from seqsal.browser.text import clean_label
from seqsal.browser.tracks import NEGATIVE, POSITIVE, FeatureTrack

__all__ = ["igv_json", "igv_xml"]

_SIGNAL_HEIGHT, _FEATURE_HEIGHT = 120, 50  # pixels
_SIGNAL_CLASS = "org.broad.igv.track.DataSourceTrack"
_FEATURE_CLASS = "org.broad.igv.track.FeatureTrack"


def igv_xml(content: Content) -> str:
    """Return a session for IGV on the desktop."""
    session = ElementTree.Element(
        "Session", genome=_genome_path(content), locus=clean_label(content.locus, 300), version="8"
    )
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
    session = {**_genome_json(content), "locus": clean_label(content.locus, 300), "tracks": tracks}
    return json.dumps(session, indent=2) + "\n"


def _genome_path(content: Content) -> str:
    """Give the assembly's name, or the file that stands in for it."""
    reference = content.reference
    return reference.name if reference.known else content.links.to(reference.twobit or SIZES_FILE)


def _genome_json(content: Content) -> dict[str, Any]:
    reference = content.reference
    if reference.known:
        return {"genome": reference.name}
    about = {"id": reference.name, "name": reference.name, "wholeGenomeView": False}
    if reference.twobit is not None:
        return {"reference": {**about, "twoBitURL": content.links.to(reference.twobit)}}
    return {"reference": {**about, "format": "chromsizes", "fastaURL": content.links.to(SIZES_FILE)}}


def _track_color(track: FeatureTrack, color: str) -> dict[str, str]:
    """Give the colour of a track; none where items have their own, which it would override."""
    return {} if track.schema.n_bed >= 9 else {"color": color}


def _rgb(color: tuple[int, int, int]) -> str:
    return ",".join(map(str, color))
