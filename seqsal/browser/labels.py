"""Names and addresses that can break no file of a browser.

Names come from users' files. A line end would begin a new setting of a trackDb, a backslash at the end of a line would
join the next one to it, and `<` is markup where browsers show names; XML and JSON escape what they hold, but have no
way to write control characters.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from seqsal.errors import UsageError

__all__ = ["NAME_LENGTH", "Links", "check_email", "check_url_base", "clean_label", "clean_name", "slug"]

NAME_LENGTH = 100  # characters of an item's name; browsers draw them next to the item
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ufffe\uffff]+")
_SCHEMES = ("http", "https", "ftp")
_URL = re.compile(r"[A-Za-z0-9\-._~:/\[\]@!$&()*+,;=%]+")


def clean_name(name: object) -> str:
    """Make a name fit for a field of a bigBed: one line, no tab, no markup, at most `NAME_LENGTH` long, not empty."""
    return _shorten(re.sub(r"[<>]", "_", _printable(name, "_")), NAME_LENGTH) or "."


def clean_label(text: object, limit: int) -> str:
    """Make a text fit for a label of a trackDb: one line of at most `limit` characters, no markup, no backslash."""
    return _shorten(re.sub(r"[<>\\]", "_", " ".join(_printable(text, " ").split())), limit)


def slug(text: object) -> str:
    """Make a text fit for a file name or identifier: ASCII letters, digits and underscores, at most 40, no dots."""
    return re.sub(r"[^A-Za-z0-9]+", "_", str(text)).strip("_")[:40].strip("_")


def check_url_base(url: str) -> str:
    """Return the address (http, https or ftp, no query) of a folder with a slash at its end."""
    try:
        parts = urlsplit(url)
        valid = parts.scheme in _SCHEMES and bool(parts.hostname) and _URL.fullmatch(url) is not None
        _ = parts.port
    except ValueError:
        valid = False
    if not valid:
        raise UsageError(
            f"--url-base: got {url!r}, expected the http, https or ftp address of the folder, such as "
            "https://example.org/lab/tracks/, spaces written as %20"
        )
    return url.rstrip("/") + "/"


def check_email(email: str) -> str:
    """Return an address of e-mail that fits on a line of a hub."""
    if not re.fullmatch(r"[^\s@<>\\]+@[^\s@<>\\]+", email):
        raise UsageError(f"--email: got {email!r}, expected one address such as name@example.org")
    return email


@dataclass(frozen=True)
class Links:
    """How files of a bundle refer to each other: by relative path, or by address where the folder's is known."""

    base: str | None = None  # address of the folder, with a slash at its end

    def to(self, target: str, *, source: str = ".") -> str:
        """Refer to the file `target` from a file in the folder `source`, both relative to the bundle's folder."""
        return posixpath.relpath(target, source) if self.base is None else urljoin(self.base, target)


def _printable(text: object, gap: str) -> str:
    return _UNSAFE.sub(gap, str(text).encode("utf-8", "replace").decode())


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 3].rstrip() + "..."
