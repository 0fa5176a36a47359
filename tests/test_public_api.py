"""The names that `import seqsal` promises."""

from __future__ import annotations

import pytest

import seqsal


@pytest.mark.parametrize("name", seqsal.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    value = getattr(seqsal, name)
    assert isinstance(value, str) or (value.__doc__ and value.__doc__.strip())


def test_unknown_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = seqsal.nonsense


def test_dir_lists_the_public_names() -> None:
    assert set(seqsal.__all__) <= set(dir(seqsal))
