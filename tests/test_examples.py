"""Every public name has an example, and every example in a docstring gives what it says."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

import seqsal

RESULTS = (  # what public functions give back
    "seqsal.agreement:Agreement",
    "seqsal.models:SequenceModel",
    "seqsal.motifs:MotifResult",
    "seqsal.pipeline.run:RunResult",
    "seqsal.training:TrainResult",
)
NO_EXAMPLE_YET: frozenset[str] = frozenset()  # may not grow


def is_documented(value: Any) -> bool:
    return inspect.isclass(value) or inspect.isfunction(value)


def public_objects() -> Iterator[tuple[str, Any]]:
    """Functions and classes of `seqsal.__all__`, result classes, and the public methods of both."""
    found = {name: getattr(seqsal, name) for name in seqsal.__all__ if is_documented(getattr(seqsal, name))}
    for place in RESULTS:
        module, _, name = place.partition(":")
        found[name] = getattr(importlib.import_module(module), name)
    for name, value in found.items():
        yield name, value
        if inspect.isclass(value) and not issubclass(value, Exception):
            inherited = dir(nn.Module) if issubclass(value, nn.Module) else []  # forward and the like
            own = {key: one for key, one in vars(value).items() if not key.startswith("_") and key not in inherited}
            for key, method in own.items():
                if isinstance(method, (types.FunctionType, classmethod, staticmethod)):
                    yield f"{name}.{key}", getattr(method, "__func__", method)


PUBLIC = dict(public_objects())


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name: str) -> None:
    """A name that has got one leaves the list of those that have none."""
    has_example = ">>>" in (PUBLIC[name].__doc__ or "")
    assert has_example != (name in NO_EXAMPLE_YET), name


def test_the_list_of_names_without_an_example_has_no_others() -> None:
    assert NO_EXAMPLE_YET <= set(PUBLIC)


def modules() -> list[str]:
    found = pkgutil.walk_packages(seqsal.__path__, "seqsal.")
    return [one.name for one in found if "__main__" not in one.name and "example_data" not in one.name]


def with_examples() -> list[str]:
    folder = Path(seqsal.__file__).parent.parent
    return [name for name in modules() if ">>>" in _source(folder, name)]


def _source(folder: Path, module: str) -> str:
    path = folder.joinpath(*module.split("."))
    return (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", with_examples())
def test_examples_give_what_they_say(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    runner = doctest.DocTestRunner(optionflags=flags)
    for test in doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(name)):
        said: list[str] = []
        runner.run(test, out=said.append)
        assert not said, "".join(said)
