"""The data hub of the WashU Epigenome Browser (Li et al. 2022, doi:10.1093/nar/gkac238): a JSON list of tracks.

The genome is not part of it: it is chosen in the browser, or in the address that opens it.
"""

from __future__ import annotations

import json
from typing import Any

from seqsal.browser.content import Content
from seqsal.browser.tracks import NEGATIVE, POSITIVE

__all__ = ["washu_json"]


def washu_json(content: Content) -> str:
    """Return the data hub: the attributions as dynseq, letters where there is room and bars elsewhere, and bigBeds."""
    signal = content.signal
    colors = {"color": _hex(POSITIVE), "color2": _hex(NEGATIVE)}
    tracks: list[dict[str, Any]] = [
        _track("dynseq", signal.file, signal.name, signal.label, content) | {"options": {**colors, "height": 100}}
    ]
    for track in content.features:
        options = {"color": _hex(track.color), "displayMode": "full"}
        tracks.append(_track("bigbed", track.file, track.name, track.label, content) | {"options": options})
    return json.dumps(tracks, indent=2) + "\n"


def _track(kind: str, file: str, name: str, label: str, content: Content) -> dict[str, Any]:
    about = {"source": "seqsal", "content": label}
    return {"type": kind, "url": content.links.to(file), "name": name, "showOnHubLoad": True, "metadata": about}


def _hex(color: tuple[int, int, int]) -> str:
    return "#" + "".join(f"{part:02x}" for part in color)
