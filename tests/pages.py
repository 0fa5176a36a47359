"""What a browser would see of a page, for the tests."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

__all__ = ["EVIL", "Page", "rows_of"]

EVIL = "\"><script>alert(1)</script><img src=x onerror=alert(2)>'&"


class Page(HTMLParser):
    """What a browser would see: elements by tag, ids, links, and the text of cells."""

    void = frozenset({"meta", "input", "img", "br", "link"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.void:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1] not in ("script", "style"):
            self.texts.append(data.strip())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.elements if name == tag]

    @property
    def ids(self) -> list[str]:
        return [str(attrs["id"]) for _, attrs in self.elements if "id" in attrs]


def rows_of(text: str, key: str) -> list[list[object]]:
    """All rows of a table, from its JSON."""
    found = re.search(rf'id="{key}".*?<script type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return list(json.loads(found[1]))
