"""What a refusal tells the user to use instead works on the very model that was refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import torch
from nets import random_X
from torch import nn
from torch.utils.checkpoint import checkpoint

import seqsal
from seqsal.errors import SeqsalError

LENGTH = 16
METHODS = ("gradient_x_input", "integrated_gradients", "deeplift_shap", "ism", "grad_cam", "cam")
OTHERWISE = ("use_reentrant=False",)  # remedies that are no method


class Net(nn.Module):
    """Convolution → body → average → head."""

    def __init__(self, body: nn.Module | None = None, head: nn.Module | None = None) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv1d(4, 5, 3), body or nn.ReLU(), head or nn.Linear(5, 1)

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(self.stem(X)).mean(-1))


class Applied(nn.Module):
    def __init__(self, function: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.function(h)


def dense() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(4 * LENGTH, 5), nn.Softplus(), nn.Linear(5, 1))


def max_pooled() -> nn.Module:
    return nn.Sequential(nn.Conv1d(4, 5, 3), nn.ReLU(), nn.AdaptiveMaxPool1d(1), nn.Flatten(), nn.Linear(5, 1))


hidden_head = nn.Sequential(nn.Linear(5, 5), nn.Sigmoid(), nn.Linear(5, 1))
MODELS: dict[str, Callable[[], nn.Module]] = {
    "eager": Net,
    "scripted": lambda: torch.jit.script(Net()),
    "traced": lambda: torch.jit.trace(Net(), random_X(3, LENGTH)),
    "frozen": lambda: torch.jit.freeze(torch.jit.script(Net().eval())),
    "a script within": lambda: nn.Sequential(torch.jit.script(Net()), nn.Softplus()),
    "hidden head": lambda: Net(head=hidden_head),
    "hidden head, scripted": lambda: torch.jit.script(Net(head=hidden_head)),
    "max pool": max_pooled,
    "dense": dense,
    "dense, scripted": lambda: torch.jit.script(dense()),
    "two-dimensional": lambda: nn.Sequential(
        nn.Unflatten(1, (1, 4)), nn.Conv2d(1, 5, (4, 3)), nn.ReLU(), nn.Flatten(), nn.Linear(5 * LENGTH - 10, 1)
    ),
    "jumps": lambda: Net(Applied(lambda h: torch.where(h > 0, h + 1, h))),
    "sorted": lambda: Net(Applied(lambda h: h.sort(-1).values[..., :3])),
    "decides": lambda: Net(Applied(lambda h: h.relu() if h[0].sum() > 0 else h.sigmoid())),
    "by batch": lambda: Net(Applied(lambda h: h.relu() if len(h) == 2 else h.clamp(min=0))),
    "tokens": lambda: nn.Sequential(Applied(lambda X: nn.functional.one_hot(X.argmax(1), 4).mT.float()), Net()),
    "classes": lambda: nn.Sequential(Net(head=nn.Linear(5, 3)), Applied(lambda z: z.argmax(1))),
    "classes, scripted": lambda: torch.jit.script(Classes()),
    "checkpointed": lambda: Net(Applied(lambda h: checkpoint(torch.relu, h, use_reentrant=True))),
    "quantised": lambda: torch.ao.quantization.quantize_dynamic(dense(), {nn.Linear}),
}


class Classes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = Net(head=nn.Linear(5, 3))

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        return self.net(X).argmax(1)


def refusal(module: nn.Module, method: str) -> str:
    """Return what a user is told; empty where there is a map."""
    try:
        seqsal.attribute(module, X=random_X(1, LENGTH), method=method, device="cpu", n_controls=0)
    except SeqsalError as error:
        return str(error)
    return ""


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of TorchScript, quantisation
@pytest.mark.parametrize("name", MODELS)
def test_what_a_refusal_advises_works(name: str) -> None:
    torch.manual_seed(3)
    module = MODELS[name]()
    told = {method: refusal(module, method) for method in METHODS}
    assert not told["ism"]
    assert seqsal.score(module, X=random_X(2, LENGTH), device="cpu")["prediction"].notna().all()
    for method, message in told.items():
        advised: list[Any] = [one for one in METHODS if re.search(rf"(use|or|while|: ism|such as) {one}\b", message)]
        assert not message or advised or any(word in message for word in OTHERWISE), (method, message)
        for one in advised:
            is_conditional = re.search(rf"{one} where", message)
            assert is_conditional or not told[one], (method, message, one, told[one])
    if "gradient" not in told["gradient_x_input"]:  # what needs no structure refuses no model that has a gradient
        assert not told["gradient_x_input"]
