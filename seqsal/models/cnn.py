"""The built-in convolutional network: a stem, residual dilated blocks, pooling over positions, a linear head.

The head is *raw*: a logit for ``binary``, the value itself for ``regression``, the log of the expected count for
``count``. In evaluation mode a sequence's result does not depend on the batch that it is in.

For ``profile`` the same trunk has the two heads of BPNet (Avsec et al. 2021, doi:10.1038/s41588-021-00782-6; sizes and
dilations 2, 4, 8, … as in ChromBPNet and bpnet-lite): a wide convolution gives a logit for each base in the middle of
the window, and the mean over these bases the log of 1 + the counts there. Control tracks join the features of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import torch
from torch import nn

from seqsal.errors import ModelError

__all__ = ["CNN", "LOSSES", "CNNConfig", "scalar"]

LOSSES = ("binary", "regression", "count", "profile")
_POOLINGS = ("attention", "max", "mean", "flatten")


class _Exp(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.exp()


_ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "gelu": nn.GELU, "exp": _Exp}
# What the head gives, and the function from there to the natural scale.
_SPACES: dict[str, tuple[str, str | None]] = {
    "binary": ("logit", "sigmoid"),
    "regression": ("linear", None),
    "count": ("log", "exp"),
    "profile": ("log", "exp"),  # of the counts
}


@dataclass(frozen=True)
class CNNConfig:
    """Sizes of a `CNN`; flat, so that it travels as JSON inside the checkpoint.

    Parameters
    ----------
    input_length
        Window length in bp.
    n_targets
        How many values the head gives per sequence.
    loss
        What the head means: ``binary`` (logits), ``regression`` (values), ``count`` (log counts) or ``profile`` (logits
        along the window, and log counts; see `for_profile`).
    n_filters
        Channels of the stem and of every block.
    stem_kernel
        Width of the first convolution in bp, odd. The blocks put motifs together from what it finds.
    stem_pool
        Width of the max-pooling after the stem; 1 keeps single-base resolution throughout.
    n_blocks
        Residual blocks; block i is dilated by ``dilation_growth ** i``, in pooled positions.
    block_kernel
        Width of the blocks' convolutions, odd.
    dilation_growth
        Factor by which the dilation grows from block to block.
    batch_norm
        Normalise each convolution's channels; in evaluation mode a fixed affine map.
    activation
        ``relu`` or ``gelu``.
    pooling
        How positions become one vector: ``attention`` (a mean weighted by a softmax over positions, its weights from
        the features and from the position itself), ``max``, ``mean``, or ``flatten`` (every position is a feature).
    dropout
        Share of the pooled features that a training step leaves out.
    stem_activation
        ``relu``, ``gelu`` or ``exp``, with which the first filters come to look like motifs (Koo and Ploenzke 2021,
        doi:10.1038/s42256-020-00291-x); empty takes `activation`.
    output_length, profile_kernel, n_controls
        For ``profile``: bases in the middle of the window that have a logit, width of the convolution that gives it,
        odd, and control tracks. `pooling` and `dropout` play no part.

    Raises
    ------
    ModelError
        A value that makes no network.
    """

    input_length: int
    n_targets: int = 1
    loss: str = "binary"
    n_filters: int = 64
    stem_kernel: int = 7
    stem_pool: int = 2
    n_blocks: int = 4
    block_kernel: int = 3
    dilation_growth: int = 2
    batch_norm: bool = True
    activation: str = "relu"
    pooling: str = "attention"
    dropout: float = 0.2
    stem_activation: str = ""
    output_length: int = 0
    profile_kernel: int = 75
    n_controls: int = 0

    def __post_init__(self) -> None:
        for name in ("input_length", "n_targets", "n_filters", "stem_kernel", "stem_pool", "block_kernel"):
            _check(name, getattr(self, name), _is_whole(getattr(self, name), 1), "a whole number above 0")
        _check("n_blocks", self.n_blocks, _is_whole(self.n_blocks, 0), "a whole number, 0 or more")
        _check("dilation_growth", self.dilation_growth, _is_whole(self.dilation_growth, 1), "a whole number above 0")
        for name in ("stem_kernel", "block_kernel", "profile_kernel"):
            _check(name, getattr(self, name), getattr(self, name) % 2 == 1, "an odd width, which has a centre")
        _check("dropout", self.dropout, 0 <= self.dropout < 1, "a share from 0 to below 1")
        _check("loss", self.loss, self.loss in LOSSES, " or ".join(LOSSES))
        _check("pooling", self.pooling, self.pooling in _POOLINGS, " or ".join(_POOLINGS))
        _check("activation", self.activation, self.activation in ("relu", "gelu"), "relu or gelu")
        stem = self.stem_activation
        _check("stem_activation", stem, stem in ("", *_ACTIVATIONS), " or ".join(_ACTIVATIONS))
        self._check_profile()
        shortest = max(self.stem_kernel, self.stem_pool)
        if self.input_length < shortest:
            raise ModelError(
                f"input_length: got {self.input_length} bp, expected {shortest} at least (the stem's width); "
                "give a window length such as 200"
            )
        if self.n_blocks and self.dilation(self.n_blocks - 1) >= self.n_positions:
            raise ModelError(
                f"n_blocks: the last of {self.n_blocks} blocks would be dilated by "
                f"{self.dilation(self.n_blocks - 1)}, beyond the {self.n_positions} positions after "
                "the stem; take fewer blocks or longer windows"
            )

    def _check_profile(self) -> None:
        n_out, is_profile = self.output_length, self.loss == "profile"
        most = f"1 to {self.input_length} bp, the window's" if is_profile else "0 but for a profile"
        _check("output_length", n_out, _is_whole(n_out, is_profile) and n_out <= self.input_length * is_profile, most)
        _check("n_controls", self.n_controls, _is_whole(self.n_controls, 0), "a whole number, 0 or more")
        _check("n_controls", self.n_controls, is_profile or not self.n_controls, "0 but for a profile")
        if is_profile:
            _check("stem_pool", self.stem_pool, self.stem_pool == 1, "1, since a profile has a value for each base")
            even = (self.input_length - n_out) % 2 == 0
            _check("output_length", n_out, even, f"an even number of bases less than input_length, {self.input_length}")

    @classmethod
    def for_profile(cls, input_length: int, **sizes: Any) -> CNNConfig:
        """Return BPNet's sizes, but for those given: 8 blocks if they fit, a stem of 21 bp, the middle half.

        Examples
        --------
        >>> config = CNNConfig.for_profile(2114, output_length=1000)
        >>> config.n_blocks, config.dilation(7)
        (8, 256)
        """
        usual: dict[str, Any] = {"loss": "profile", "output_length": input_length - 2 * (input_length // 4)}
        n_blocks = min(8, int(input_length - 1).bit_length() - 1)  # the last of which is no wider than the window
        usual |= {"stem_kernel": 21, "stem_pool": 1, "n_blocks": n_blocks, "batch_norm": False}
        return cls(input_length, **usual | sizes)

    def dilation(self, block: int) -> int:
        """Return by how many pooled positions a block, counted from 0, is dilated."""
        return self.dilation_growth ** (block + (self.loss == "profile"))

    @property
    def n_positions(self) -> int:
        """Positions after the stem's pooling; the last one may span fewer than `stem_pool` bases."""
        return -(-self.input_length // self.stem_pool)

    @property
    def n_products(self) -> int:
        """How often a forward pass of one window multiplies a weight by a value, in its convolutions."""
        n = self.n_filters
        is_profile = self.loss == "profile"
        a_position = n * n * (self.n_blocks * self.block_kernel + (self.pooling == "attention" and not is_profile))
        a_position += is_profile * self.n_targets * n * self.profile_kernel // 2
        return 4 * n * self.stem_kernel * self.input_length + a_position * self.n_positions

    def to_dict(self) -> dict[str, Any]:
        """Return the values by name, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> CNNConfig:
        """Rebuild a configuration from `to_dict`.

        Raises
        ------
        ModelError
            A name that is unknown, or `input_length` missing.
        """
        known = {item.name for item in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown or "input_length" not in values:
            what = f"unknown entry {unknown[0]!r}" if unknown else "no input_length"
            raise ModelError(f"configuration: {what}, expected entries of {', '.join(sorted(known))}")
        return cls(**values)


class CNN(nn.Module):
    """A network of the sizes in `config`.

    Parameters
    ----------
    config

    Notes
    -----
    Convolutions are padded by zeros, which is what an unknown base looks like.
    """

    NOTES = ("metadata",)  # attributes that its results do not depend on
    metadata: dict[str, Any]  # of its training, where it is known
    frozen: tuple[str, ...] = ()  # modules that stay as they are while others are trained

    def __init__(self, config: CNNConfig) -> None:
        super().__init__()
        self.config = config
        n = config.n_filters
        self.stem = _convolution(4, n, config.stem_kernel, 1, config, config.stem_activation)
        self.pool = nn.MaxPool1d(config.stem_pool, ceil_mode=True) if config.stem_pool > 1 else nn.Identity()
        self.blocks = nn.Sequential(*(_Block(config, config.dilation(i)) for i in range(config.n_blocks)))
        if config.loss == "profile":
            self.edge = min((config.input_length - config.output_length) // 2, config.profile_kernel // 2)
            padding = config.profile_kernel // 2 - self.edge
            n += config.n_controls
            self.profile = nn.Conv1d(n, config.n_targets, config.profile_kernel, padding=padding)
            self.head = nn.Linear(n, config.n_targets)
            return
        self.pooling = _pooling(config)
        self.dropout = nn.Dropout(config.dropout)
        n_features = n * config.n_positions if config.pooling == "flatten" else n
        self.head = nn.Linear(n_features, config.n_targets)

    def train(self, mode: bool = True) -> CNN:
        """Train or evaluate; frozen parts stay in evaluation mode."""
        super().train(mode)
        for name in self.frozen:
            self.get_submodule(name).training = False
        return self

    @property
    def output_space(self) -> str:
        """What the head gives: ``logit``, ``linear`` or ``log``, which is of the counts for ``profile``."""
        return _SPACES[self.config.loss][0]

    @property
    def squash_kind(self) -> str | None:
        """The function from the head to the natural scale: ``sigmoid``, ``exp`` or None."""
        return _SPACES[self.config.loss][1]

    def forward(self, X: torch.Tensor, controls: torch.Tensor | None = None) -> Any:
        """Return raw head values.

        Parameters
        ----------
        X : Tensor of float, shape (N, 4, input_length)
            Rows A, C, G, T.
        controls : Tensor of float, shape (N, n_controls, input_length), optional
            Control tracks of a ``profile`` network that has any; zeros when None, as such networks are explained.

        Returns
        -------
        Tensor, shape (N, n_targets)
            For ``profile`` the tuple of logits (N, n_targets, output_length) and log counts (N, n_targets).

        Raises
        ------
        ModelError
            Sequences of another shape.
        """
        length = self.config.input_length
        if X.ndim != 3 or X.shape[1:] != (4, length):
            raise ModelError(
                f"X: got shape {tuple(X.shape)}, but the model reads (N, 4, {length}); "
                f"resize the regions to {length} bp"
            )
        x = self.blocks(self.pool(self.stem(X)))  # (N, n_filters, n_positions)
        if self.config.loss == "profile":
            return self._profile(x, controls)
        return self.head(self.dropout(self.pooling(x)))

    def _profile(self, x: torch.Tensor, controls: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """Read logits and log counts from features (N, n_filters, L), those that the profile's convolution sees."""
        config = self.config
        first = (config.input_length - config.output_length) // 2 - self.edge
        x = x[..., first : config.input_length - first]
        features = x.mean(dim=-1)
        if config.n_controls:
            near = x.new_zeros(len(x), config.n_controls, x.shape[2]) if controls is None else controls
            near = near[..., first : config.input_length - first] if controls is not None else near
            x = torch.cat([x, near], dim=1)
            features = torch.cat([features, near.sum(dim=-1).log1p()], dim=1)
        return self.profile(x), self.head(features)

    def squash(self, raw: torch.Tensor) -> torch.Tensor:
        """Map head values to the natural scale: probability, value or count."""
        if self.squash_kind == "sigmoid":
            return torch.sigmoid(raw)
        return torch.exp(raw) if self.squash_kind == "exp" else raw


def scalar(model: nn.Module, X: torch.Tensor) -> torch.Tensor:
    """Return one number per sequence, (N,), of a network like `CNN`: the sum of its outputs, log counts of a profile's.

    Examples
    --------
    >>> scalar(CNN(CNNConfig(40, n_filters=4)), torch.zeros(2, 4, 40)).shape
    torch.Size([2])
    """
    raw = model(X)
    return (raw[1] if isinstance(raw, tuple) else raw).sum(dim=1)


class _Block(nn.Module):
    """x + activation(norm(dilated convolution of x))."""

    def __init__(self, config: CNNConfig, dilation: int) -> None:
        super().__init__()
        self.convolution = _convolution(config.n_filters, config.n_filters, config.block_kernel, dilation, config)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.convolution(x)


def _convolution(
    n_in: int, n_out: int, kernel: int, dilation: int, config: CNNConfig, activation: str = ""
) -> nn.Sequential:
    """Convolve, normalise and activate, (N, n_in, P) → (N, n_out, P)."""
    convolution = nn.Conv1d(
        n_in, n_out, kernel, padding=dilation * (kernel // 2), dilation=dilation, bias=not config.batch_norm
    )
    norm = nn.BatchNorm1d(n_out) if config.batch_norm else nn.Identity()
    return nn.Sequential(convolution, norm, _ACTIVATIONS[activation or config.activation]())


class _Attention(nn.Module):
    """Weighted mean over positions, (N, C, P) → (N, C); the weights of a channel are a softmax over positions."""

    def __init__(self, n_channels: int, n_positions: int) -> None:
        super().__init__()
        self.score = nn.Conv1d(n_channels, n_channels, 1)
        self.position = nn.Parameter(torch.zeros(n_positions))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        weights = torch.softmax(self.score(x) + self.position, dim=-1)
        return (weights * x).sum(dim=-1)


class _Max(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.amax(dim=-1)


class _Mean(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mean(dim=-1)


def _pooling(config: CNNConfig) -> nn.Module:
    if config.pooling == "attention":
        return _Attention(config.n_filters, config.n_positions)
    return {"max": _Max, "mean": _Mean, "flatten": nn.Flatten}[config.pooling]()


def _is_whole(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check(name: str, value: object, is_good: bool, expected: str) -> None:
    if not is_good:
        raise ModelError(f"{name}: got {value!r}, expected {expected}")
