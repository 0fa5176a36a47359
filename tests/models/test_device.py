"""Device names."""

from __future__ import annotations

import pytest
import torch

from seqsal.errors import DeviceError
from seqsal.models.state import resolve_device


def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == resolve_device(torch.device("cpu")) == torch.device("cpu")
    with pytest.raises(DeviceError, match="'cuda' asked for, but torch sees no GPU here; use cpu"):
        resolve_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert resolve_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(DeviceError, match=r"'cuda:2' asked for, but there are 2 GPUs \(cuda:0 to cuda:1\)"):
        resolve_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "mps", "cuda:", "cuda:x", "cuda:-1", "cpu:0", ""])
def test_unknown_names(name: str) -> None:
    with pytest.raises(DeviceError, match=r"is unknown, expected auto, cpu, cuda or cuda:0"):
        resolve_device(name)
