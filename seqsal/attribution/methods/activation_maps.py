"""Class activation maps: `cam` and `grad_cam`, where a layer late in the model sees what drives the output.

At a layer with activations A of shape (N, C, L') and gradient G = ∂f/∂A:

* `grad_cam` is Σ_c α_c A[c, l] with α_c the mean of G[c, l] over l (Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74).
  Theirs is clipped at 0 by a ReLU, which drops what lowers the output. Both signs count here, so that it is an option.
* `cam` is Σ_c w_c A[c, l] (Zhou et al. 2016, arXiv:1512.04150), for a model whose output is Σ_c w_c · mean_l A[c, l]
  + b: an average over all positions and one linear head. The mean of the map plus b then *is* the output. w_c is
  L' · G[c, l], the same at every l, so that the map is L' times that of `grad_cam` at the same layer. Any other model
  is refused.

Both score positions, not bases: nothing is said of the bases that are not there, and the resolution is the layer's.

*From L' positions to L bases.* The map is interpolated linearly between the bases that its positions lie on. Where
L' = L that is each base itself. Else those bases are measured: the input that a position depends on (its receptive
field) is found from gradients at some positions, and where it does not touch the window's ends, its centre moves by the
stride from one position to the next. Bases more than half a stride beyond the first or the last position (cropped by
unpadded convolutions) get 0. When every receptive field touches an end, the layer pads, and its positions cover the
window evenly: position j lies on base (j + ½) L / L' − ½.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

import numpy as np
import torch

from seqsal.attribution.methods.activations import (
    Change,
    LayerSite,
    Site,
    is_centred,
    last_average,
    last_convolution,
    new_leaf,
    run_with_site,
)
from seqsal.attribution.methods.base import Method, ScalarModel, Scores
from seqsal.errors import MethodError
from seqsal.sequence.tensors import one_hot_tensor

__all__ = ["CAM", "GradCAM", "Placement", "cam", "grad_cam", "measure_placement"]

N_PROBE_WINDOWS = 4
PROBE_PLACES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of the positions, whose receptive fields are measured
NEGLIGIBLE = 1e-6  # of the largest gradient: rounding, not dependence
LINEARITY = 1e-3  # relative deviation from a linear head that float32 explains
BF16_LINEARITY = 2e-2  # and bfloat16


class Placement(NamedTuple):
    """Where a layer's positions lie: position j on base `offset` + j · `step`."""

    offset: float
    step: float

    def spread(self, values: torch.Tensor, length: int) -> torch.Tensor:
        """Interpolate (N, L') positions to (N, `length`) bases; 0 beyond half a step from the outermost positions."""
        bases = torch.arange(length, dtype=torch.float64, device=values.device)
        where = (bases - self.offset) / self.step  # in positions
        last = values.shape[1] - 1
        inside = (where >= -0.5) & (where <= last + 0.5)
        where = where.clamp(0, last)
        left = where.floor().long().clamp_max(max(last - 1, 0))
        share = (where - left).to(values.dtype)
        spread = values[:, left] * (1 - share) + values[:, (left + 1).clamp_max(last)] * share
        return spread * inside.to(values.dtype)


def measure_placement(model: ScalarModel, X: torch.Tensor, site: Site, n_at_once: int = 1) -> Placement:
    """Find where the positions of a layer lie on the window, as the module explains.

    X (1, 4, L) tells length, type and device of the random windows that are probed, `n_at_once` together.
    """
    length = X.shape[2]
    n_positions = run_with_site(model, X, site, torch.Tensor.detach)[1].shape[2]
    even = Placement(length / n_positions / 2 - 0.5, length / n_positions)
    if n_positions == length:
        return even
    probes = _random_windows(min(N_PROBE_WINDOWS, max(n_at_once, 1)), X).requires_grad_()
    _, activations = run_with_site(model, probes, site, lambda A: A)
    places = sorted({round(share * (n_positions - 1)) for share in PROBE_PLACES})
    fields = [(j, *_receptive_field(activations, probes, j)) for j in places]
    centres = [(j, (first + last) / 2) for j, first, last in fields if 0 < first <= last < length - 1]
    if len(centres) < 2:
        return even
    step = (centres[-1][1] - centres[0][1]) / (centres[-1][0] - centres[0][0])
    if round(step) >= 1 and abs(step - round(step)) <= 0.05 * step:
        step = float(round(step))  # strides are whole; a dead unit at a field's rim shifts its centre a little
    if step <= 0:
        return even
    return Placement(round(2 * float(np.median([centre - step * j for j, centre in centres]))) / 2, step)


class _ActivationMap(Method):
    """What both maps share: a layer, its activations and gradients, and the way back to bases."""

    hypothetical = False

    def __init__(self, layer: str) -> None:
        self.layer = layer
        self._site: Site | None = None
        self._placement = Placement(0, 1)

    def prepare(self, model: ScalarModel, X: torch.Tensor, batch_size: int) -> None:
        """Find the layer and where its positions lie; see :meth:`Method.prepare`.

        Raises
        ------
        MethodError
            There is no such layer, it is used more than once, it has no positions, or the model's structure is not
            what the method needs.
        """
        with torch.no_grad():
            model(X)  # a wrapped model may look at itself in its first pass
        site = LayerSite(model, self.layer) if self.layer else self._find_layer(model, X)
        self._check(model, X, site)
        self._placement = measure_placement(model, X, site, batch_size)
        self._site = site

    def attribute(self, model: ScalarModel, X: torch.Tensor, *, create_graph: bool = False) -> Scores:
        """Score one batch; see :meth:`Method.attribute`, and :func:`grad_cam`. Prepares itself when nobody has."""
        if self._site is None:
            self.prepare(model, X[:1], len(X))
        assert self._site is not None
        if not create_graph:
            X = X.detach()
        prediction, activations, gradient = _gradient_at(model, X, self._site, create_graph=create_graph)
        track = self._placement.spread(self._map(activations, gradient), X.shape[2])  # (N, L)
        return Scores(prediction, track[:, None] * X)

    @abstractmethod
    def _find_layer(self, model: ScalarModel, X: torch.Tensor) -> Site:
        """Choose the layer when none was named."""

    def _check(self, model: ScalarModel, X: torch.Tensor, site: Site) -> None:
        """Raise unless the method applies."""
        _gradient_at(model, X, site)

    @abstractmethod
    def _map(self, activations: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        """Turn activations and their gradient, both (N, C, L'), into the map (N, L')."""


def grad_cam(
    f: ScalarModel, X: torch.Tensor, *, layer: str = "", relu: bool = False, create_graph: bool = False
) -> Scores:
    """Activations weighted by their mean gradient, Σ_c α_c A[c, l] with α_c = mean_l ∂f/∂A[c, l], spread over bases.

    Selvaraju et al. 2017, doi:10.1109/ICCV.2017.74.

    Parameters
    ----------
    f
        (N, 4, L) → (N,), in evaluation mode.
    X
        One-hot windows (N, 4, L).
    layer, relu
        As in :class:`GradCAM`.
    create_graph
        Keep the graph, so that a loss can be built on the scores and differentiated by the parameters of `f`.

    Returns
    -------
    Scores
        `hypothetical` (N, 4, L), 0 but at the base that is there.

    Raises
    ------
    MethodError
        There is no such layer, or it has no positions.

    Examples
    --------
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv1d(4, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
    ...     torch.nn.Linear(3, 1), torch.nn.Flatten(0),
    ... )
    >>> X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1, 3, 0, 2, 0]]), 4).mT.float()
    >>> grad_cam(model, X, layer="1").track(X).shape
    torch.Size([1, 8])
    """
    return GradCAM(layer=layer, relu=relu).attribute(f, X, create_graph=create_graph)


def cam(f: ScalarModel, X: torch.Tensor, *, layer: str = "", create_graph: bool = False) -> Scores:
    """Activations weighted by the linear head that reads their average, Σ_c w_c A[c, l], spread over bases.

    Zhou et al. 2016, arXiv:1512.04150. Parameters and results are those of :func:`grad_cam`.

    Raises
    ------
    MethodError
        The output is not linear in the average of the layer over all positions, or as for :func:`grad_cam`.

    Examples
    --------
    >>> model = torch.nn.Sequential(
    ...     torch.nn.Conv1d(4, 3, 3, padding=1), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten(),
    ...     torch.nn.Linear(3, 1), torch.nn.Flatten(0),
    ... )
    >>> X = torch.nn.functional.one_hot(torch.tensor([[0, 1, 2, 1, 3, 0, 2, 0]]), 4).mT.float()
    >>> torch.allclose(cam(model, X).track(X).mean(1) + model[4].bias, model(X), atol=1e-6)
    True
    """
    return CAM(layer=layer).attribute(f, X, create_graph=create_graph)


class GradCAM(_ActivationMap):
    """Activations weighted by their mean gradient.

    Parameters
    ----------
    layer
        Dotted name of a module that gives (N, channels, positions), as `named_modules` lists it; empty for the last
        convolution that a forward pass makes, wider than one position if there is such a one.
    relu
        Keep what raises the output only, as the authors do; by default both signs are kept.
    """

    name = "grad_cam"

    def __init__(self, *, layer: str = "", relu: bool = False) -> None:
        super().__init__(layer)
        self.relu = relu
        self.signed = not relu  # type: ignore[misc]

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """The layer, and whether negative parts were dropped."""
        return {"layer": self.layer or "last convolution", "relu": self.relu}

    def _find_layer(self, model: ScalarModel, X: torch.Tensor) -> Site:
        site = last_convolution(model, X)
        if site is None:
            parts = model.modules() if isinstance(model, torch.nn.Module) else ()
            is_script = any(isinstance(part, torch.jit.ScriptModule) for part in parts)
            raise MethodError(
                "layer: no one-dimensional convolution is seen in a forward pass of the model; "
                f"{'TorchScript hides its layers:' if is_script else 'name a layer, or'} use gradient_x_input"
            )
        return site

    def _check(self, model: ScalarModel, X: torch.Tensor, site: Site) -> None:
        """Raise where the method would weigh by rounding."""
        if is_centred(_gradient_at(model, X, site)[2]):
            raise MethodError(
                f"{site.place}: its gradient averages to 0 over positions (what follows is centred, as a profile's "
                "logits are), so that grad_cam is 0 there; name another layer, or use gradient_x_input"
            )

    def _map(self, activations: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        values = (gradient.mean(2, keepdim=True) * activations).sum(1)
        return values.clamp_min(0) if self.relu else values


class CAM(_ActivationMap):
    """Activations weighted by the linear head that reads their average; its mean plus the bias is the output.

    Parameters
    ----------
    layer
        Dotted name of the module whose output (N, channels, positions) is averaged, as `named_modules` lists it;
        empty for whatever the last average over all positions is taken of.
    """

    name = "cam"

    def __init__(self, *, layer: str = "") -> None:
        super().__init__(layer)

    @property
    def options(self) -> dict[str, bool | int | float | str]:
        """The layer."""
        return {"layer": self.layer or "input of the global average"}

    def _find_layer(self, model: ScalarModel, X: torch.Tensor) -> Site:
        site = last_average(model, X)
        if site is None:
            raise MethodError(
                f"cam: the model takes no average over all positions before its head; {_instead(model, X)}"
            )
        return site

    def _check(self, model: ScalarModel, X: torch.Tensor, site: Site) -> None:
        """Raise unless f = Σ_c w_c · mean_l A[c, l] + b with one w and one b for all windows and all A.

        Tried on the window and on random ones, each with the activations that it has and with others far from them:
        a ReLU, a softmax or a second path around the layer would show.
        """
        windows = torch.cat([X, _random_windows(2, X)])
        heads = [_head(model, window[None], site, change) for window in windows for change in (new_leaf, _disturb)]
        weights = torch.stack([head.weight for head in heads])  # (6, C, L'), of which rows and positions are equal
        off = (weights - weights.mean((0, 2), keepdim=True)).abs().max() / weights.abs().max().clamp_min(1e-30)
        biases = torch.stack([head.bias for head in heads])
        scale = torch.stack([head.scale for head in heads])
        off = torch.maximum(off, ((biases - biases[0]).abs() / (scale + scale[0]).clamp_min(1e-30)).max())
        if not off <= (LINEARITY if getattr(model, "autocast_device", None) is None else BF16_LINEARITY):
            raise MethodError(
                f"cam: the output is not linear in the average of {site.place} (off by {float(off):.2g} of its size), "
                f"expected an average over all positions and one linear layer after it; {_instead(model, X)}"
            )

    def _map(self, activations: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
        return (gradient.mean(2, keepdim=True) * activations).sum(1) * activations.shape[2]


def _instead(model: ScalarModel, X: torch.Tensor) -> str:
    """Say what to use in place of `cam`: `grad_cam`, if that finds a layer."""
    try:
        GradCAM().prepare(model, X, 1)
    except MethodError:
        return "use gradient_x_input, which needs no layer"
    return "use grad_cam, which needs no such head"


class _Head(NamedTuple):
    """A linear head as one window shows it: w at every position (C, L'), b, and the size of what was added up."""

    weight: torch.Tensor
    bias: torch.Tensor
    scale: torch.Tensor


def _head(model: ScalarModel, window: torch.Tensor, site: Site, change: Change) -> _Head:
    prediction, activations, gradient = _gradient_at(model, window, site, change)
    terms = (activations * gradient).double()[0]  # (C, L'), sums to Σ_c w_c mean_l A
    value = prediction[0].double()
    return _Head(gradient[0] * gradient.shape[2], value - terms.sum(), value.abs() + terms.abs().sum())


def _gradient_at(
    model: ScalarModel, X: torch.Tensor, site: Site, change: Change = new_leaf, *, create_graph: bool = False
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return f(X), (N,), and the activations and their gradient, both (N, C, L')."""
    if create_graph:
        change = _same
    prediction, activations = run_with_site(model, X, site, change)  # bfloat16 under autocast
    gradient = None
    if prediction.requires_grad:
        (gradient,) = torch.autograd.grad(prediction.sum(), activations, allow_unused=True, create_graph=create_graph)
    if gradient is None:
        raise MethodError(f"{site.place}: the output does not depend on it differentiably; name another layer")
    wide = torch.promote_types(activations.dtype, torch.float32)
    if not create_graph:
        prediction, activations = prediction.detach(), activations.detach()
    return prediction, activations.to(wide), gradient.to(wide)


def _same(activations: torch.Tensor) -> torch.Tensor:
    """Leave activations in their graph, or begin one."""
    return activations if activations.requires_grad else new_leaf(activations)


def _disturb(activations: torch.Tensor) -> torch.Tensor:
    """Replace activations by others far from them, of both signs, the averages of the channels included."""
    generator = torch.Generator().manual_seed(0)
    n, n_channels, n_positions = activations.shape
    noise = torch.randn(n, n_channels, n_positions, generator=generator)
    shift = 3 * torch.randn(n, n_channels, 1, generator=generator)
    spread = activations.abs().mean() + 1
    return new_leaf(activations + spread * (noise + shift).to(activations))


def _receptive_field(activations: torch.Tensor, X: torch.Tensor, position: int) -> tuple[int, int]:
    """First and last base that `position` depends on in any of the windows; (0, −1) when there is none."""
    generator = torch.Generator().manual_seed(position)
    mixture = torch.randn(activations.shape[1], generator=generator).to(activations)  # no channel cancels another
    total = (activations[:, :, position] * mixture).sum()
    (gradient,) = torch.autograd.grad(total, X, retain_graph=True, allow_unused=True)
    if gradient is None:
        return 0, -1
    size = gradient.abs().amax((0, 1))  # (L,)
    used = torch.nonzero(size > NEGLIGIBLE * size.max())[:, 0]
    return (int(used[0]), int(used[-1])) if len(used) else (0, -1)


def _random_windows(n: int, like: torch.Tensor) -> torch.Tensor:
    """Random one-hot DNA (n, 4, L), of the length, type and device of `like`; always the same."""
    codes = torch.randint(0, 4, (n, like.shape[2]), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    return one_hot_tensor(codes.to(like.device), like.dtype)
