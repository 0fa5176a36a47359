"""Pages that are made from the code, and the check of links in what was built.

`python docs/generate.py check build/site` looks up every link and anchor of a built site, and refuses pages that load
anything from a network.
"""

from __future__ import annotations

import importlib
import inspect
import shutil
import sys
from collections.abc import Iterator
from dataclasses import fields
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import click

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = (
    "attribution", "experiments", "peaks", "motifs", "agreement", "auditing", "models", "training", "plot", "report",
)  # fmt: skip
LOADED = {"script": "src", "img": "src", "iframe": "src"}  # what a page fetches, and where it says so


def write_pages(folder: Path) -> None:
    """Write all of them; a page that has not changed is left alone, so that Sphinx does not read it again."""
    pages = {"cli/index.md": _commands_index(), "api/index.md": _packages_index(), "settings.md": _settings()}
    pages |= {f"cli/{name}.md": _command_page(name, command) for name, command in _commands()}
    pages |= {f"api/{name}.md": _package_page(name) for name in ("seqsal", *PACKAGES)}
    pages["more.md"] = _more()
    pages["changelog.md"] = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    for name, text in pages.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    (folder / "notebooks").mkdir(exist_ok=True)
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        shutil.copy2(notebook, folder / "notebooks")


def _more() -> str:
    """Pages of `docs/` that no list of contents names yet, so that none is lost."""
    folder = ROOT / "docs"
    lists = [path.read_text(encoding="utf-8") for path in folder.rglob("index.md")]
    listed = {line.strip().removeprefix("../") for text in lists for line in text.splitlines()}
    others = [path.stem for path in sorted(folder.glob("*.md")) if path.stem not in listed | {"index"}]
    entries = "\n".join(f"../{name}" for name in others)
    return f"# More\n\n```{{toctree}}\n{entries}\n```\n" if others else "# More\n\nNothing else.\n"


def _commands() -> Iterator[tuple[str, click.Command]]:
    from seqsal.cli import VERBS, main

    context = click.Context(main, info_name="seqsal")
    for name in VERBS:
        command = main.get_command(context, name)  # type: ignore[attr-defined]
        yield name, command


def _commands_index() -> str:
    rows = [f"| [{name}]({name}.md) | {command.get_short_help_str(200)} |" for name, command in _commands()]
    toctree = "\n".join(name for name, _ in _commands())
    return (
        "# Commands\n\nOptions, exit codes and files that all commands share are in [](../../reference/cli.md).\n\n"
        "| command | what it does |\n| --- | --- |\n"
        + "\n".join(rows)
        + f"\n\n```{{toctree}}\n:hidden:\n\n{toctree}\n```\n"
    )


def _command_page(name: str, command: click.Command) -> str:
    """One command: what it does, how it is called, its options by subject, as `--help` has them."""
    context = click.Context(command, info_name=f"seqsal {name}", max_content_width=100, terminal_width=100)
    usage = command.get_usage(context).removeprefix("Usage: ")
    parts = [f"# seqsal {name}", inspect.cleandoc(command.help or ""), f"```text\n{usage}\n```"]
    if command.epilog:
        example, dot, more = command.epilog.removeprefix("Example: ").partition(". ")
        parts += [f"```sh\n{example}\n```", *([more] if dot else [])]
    groups: dict[str, list[str]] = {}
    for parameter in command.get_params(context):
        if isinstance(parameter, click.Option) and (record := parameter.get_help_record(context)) is not None:
            flags, text = (part.replace("|", "\\|") for part in record)
            group = getattr(parameter, "help_group", "Options")
            groups.setdefault(group, []).append(
                f"`{flags}`\n: {text.replace('<', '&lt;').replace('[', chr(92) + '[')}\n"
            )
    for group, records in {"Options": groups.pop("Options", []), **groups}.items():
        if records:
            parts.append(f"## {group}\n\n" + "\n".join(records).replace("\\|", "|"))
    return "\n\n".join(parts) + "\n"


def _public(name: str) -> list[tuple[str, object]]:
    package = importlib.import_module("seqsal" if name == "seqsal" else f"seqsal.{name}")
    return [(one, getattr(package, one)) for one in package.__all__]


def _package_page(name: str) -> str:
    """Everything public of one package; what `seqsal` has already is linked."""
    in_root = {id(value) for _, value in _public("seqsal")} if name != "seqsal" else set()
    path = "seqsal" if name == "seqsal" else f"seqsal.{name}"
    package = importlib.import_module(path)
    summary = (package.__doc__ or "").strip().splitlines()[0]
    parts, elsewhere = [f"# {path}\n\n{summary}"], []
    for one, value in _public(name):
        if id(value) in in_root:
            elsewhere.append(f"{{py:obj}}`seqsal.{one}`")
        elif inspect.isclass(value) or inspect.isfunction(value):
            kind = "exception" if inspect.isclass(value) and issubclass(value, Exception) else "class"
            kind = kind if inspect.isclass(value) else "function"
            members = "\n:members:" if kind == "class" else ""
            parts.append(f"## {one}\n\n```{{eval-rst}}\n.. auto{kind}:: {path}.{one}{_indent(members)}\n```")
    if elsewhere:
        parts.insert(1, f"Also here: {', '.join(elsewhere)}.")
    return "\n\n".join(parts) + "\n"


def _indent(text: str) -> str:
    return text.replace("\n", "\n   ")


def _packages_index() -> str:
    toctree = "\n".join(("seqsal", *PACKAGES))
    lead = "Everything that a user needs is a name of `seqsal`; the packages below it hold what it is made of."
    return f"# Python\n\n{lead} Each example is run by the tests.\n\n```{{toctree}}\n{toctree}\n```\n"


def _settings() -> str:
    """Sizes and thresholds of the audit, and the options of the methods, from their classes."""
    from seqsal.attribution.methods.registry import METHODS, parameters_of
    from seqsal.auditing.settings import RUN_SIZES, AuditSettings

    said = _attribute_texts(AuditSettings)
    rows = [
        f"| `{one.name}` | {one.default} | {RUN_SIZES.get(one.name, one.default)} | {said[one.name]} |"
        for one in fields(AuditSettings)
    ]
    methods = []
    for name in METHODS:
        known = {key: one for key, one in parameters_of(METHODS[name]).items() if key not in ("seed", "draw")}
        options = ", ".join(f"`{key}={one.default}`" for key, one in known.items()) or "none"
        methods.append(f"| `{name}` | {options} |")
    audit = (
        "`--setting NAME=VALUE`, or `seqsal.AuditSettings(NAME=VALUE)`. `seqsal run` and `seqsal report` take smaller"
    )
    audit += " sizes, so that their audit lasts seconds."
    given = "`--method-option NAME=VALUE`, in Python keyword arguments; [what they mean](api/seqsal.md)."
    return "\n\n".join(
        [
            "# Settings",
            "## Audit",
            audit,
            "| setting | `audit` | `run` | meaning |\n| --- | --- | --- | --- |\n" + "\n".join(rows),
            "## Options of the methods",
            given,
            "| method | options and their defaults |\n| --- | --- |\n" + "\n".join(methods) + "\n",
        ]
    )


def _attribute_texts(cls: type) -> dict[str, str]:
    """Text of each attribute in a numpydoc docstring."""
    from numpydoc.docscrape import ClassDoc

    texts = {}
    for one in ClassDoc(cls, config={"show_class_members": False})["Attributes"]:
        for name in one.name.split(", "):
            texts[name] = " ".join(one.desc)
    return texts


class _Page(HTMLParser):
    """Links, anchors and what is fetched, of one page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.fetched: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what an element links to or is called."""
        found = {key: value or "" for key, value in attrs}
        self.anchors |= {found[key] for key in ("id", "name") if key in found}
        if tag == "a" and "href" in found:
            self.links.append(found["href"])
        if tag in LOADED and LOADED[tag] in found:
            self.fetched.append(found[LOADED[tag]])
        if tag == "link" and found.get("rel") in ("stylesheet", "preload", "icon"):
            self.fetched.append(found["href"])


def broken_links(site: Path) -> list[str]:
    """Return what is wrong with the links of a built site, a line each."""
    pages = {path: _Page(path.read_text(encoding="utf-8")) for path in sorted(site.rglob("*.html"))}
    wrong = []
    for path, page in pages.items():
        name = path.relative_to(site)
        wrong += [f"{name}: fetches {one}" for one in page.fetched if urlsplit(one).netloc]
        for link in [*page.links, *page.fetched]:
            address, anchor = urldefrag(link)
            if urlsplit(link).scheme or urlsplit(link).netloc:
                continue
            target = (path.parent / unquote(address.partition("?")[0])).resolve() if address else path
            if not target.exists():
                wrong.append(f"{name}: {link}: no such page")
            elif anchor and target in pages and unquote(anchor) not in pages[target].anchors:
                wrong.append(f"{name}: {link}: no such place")
    return wrong


if __name__ == "__main__":
    found = broken_links(Path(sys.argv[2]).resolve())
    print("\n".join(found) or "all links lead somewhere, and nothing is fetched from a network")
    sys.exit(bool(found))
