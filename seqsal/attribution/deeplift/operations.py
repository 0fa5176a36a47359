"""Which rule of :mod:`seqsal.attribution.deeplift.rules` each ATen operation follows.

`rule_for` looks an operation up. None means that its own derivative is right, because it is linear in all that varies;
an operation that is in no table has no rule, and whoever asks must say so rather than let it pass.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import torch

from seqsal.attribution.deeplift import rules
from seqsal.attribution.graph import Op, Ref
from seqsal.errors import MethodError

__all__ = ["NO_RULE", "Rule", "rule_for"]

Args = Sequence[Any]
Rule = Callable[[Op, Args, dict[str, Any], Args], Any]
"""`rule(op, args, kwargs, there)` gives the result, from the reference's `args` and the sequence's, `there`."""


def NO_RULE(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> Any:
    """Stand for an operation that differences cannot be passed through."""
    raise NotImplementedError(str(op))


LINEAR = frozenset(
    "_adaptive_avg_pool2d _adaptive_avg_pool3d _conj _fft_c2c _fft_c2r _fft_r2c _reshape_alias _to_copy "
    "_unsafe_view adaptive_avg_pool1d add alias as_strided avg_pool1d avg_pool2d avg_pool3d cat clone col2im "
    "complex conj conj_physical constant_pad_nd contiguous cumsum detach diagonal expand expand_as flatten flip "
    "gather getitem im2col imag index index_select lift_fresh_copy masked_fill mean movedim narrow neg permute "
    "pixel_shuffle positive real reflection_pad1d reflection_pad2d repeat replication_pad1d replication_pad2d "
    "reshape roll rsub select select_scatter slice slice_scatter split split_with_sizes squeeze stack sub sum t "
    "transpose tril triu unbind unfold unsafe_split unsafe_split_with_sizes unsqueeze upsample_bilinear2d "
    "upsample_linear1d upsample_nearest1d upsample_nearest2d view view_as_complex view_as_real".split()
)
ELEMENTWISE = frozenset(
    "_prelu_kernel abs acos acosh asin asinh atan atanh ceil celu clamp clamp_max clamp_min cos cosh elu erf erfc "
    "erfinv exp exp2 expm1 floor gelu hardshrink hardsigmoid hardswish hardtanh leaky_relu lgamma log log10 log1p log2 "
    "log_sigmoid_forward logit mish reciprocal relu6 round rsqrt selu sigmoid sign silu sin sinh softplus softshrink "
    "sqrt tan tanh threshold trunc".split()
)


def rule_for(op: Op, varying: frozenset[int]) -> Rule | None:
    """Find the rule of an operation whose result varies, as do those of the numbers in `varying`.

    None stands for its own derivative, :func:`NO_RULE` for an operation without a rule.
    """
    moving = [i for i, arg in enumerate(op.args) if isinstance(arg, Ref) and arg.idx in varying]
    if op.name in _PRODUCTS:
        a, b = _PRODUCTS[op.name][:2]
        return _product if a in moving and b in moving else None
    if op.name in ("div", "true_divide"):
        return None if 1 not in moving else NO_RULE if op.kwargs.get("rounding_mode") else _quotient
    if op.name in _ONLY_FIRST:
        return None if moving == [] or moving == [_ONLY_FIRST[op.name]] else NO_RULE
    if op.name == "where":
        return None if 0 not in moving else NO_RULE
    if op.name == "pow":
        return functools.partial(_elementwise, place=moving[0]) if len(moving) == 1 else NO_RULE
    if op.name in _BATCH_NORMS:
        return _batch_norm if _uses_own_statistics(op) else None
    if op.name in LINEAR:
        return NO_RULE if op.name in _INDEXED and _moves_index(op, varying) else None
    if op.name in ELEMENTWISE:
        return functools.partial(_elementwise, place=0) if moving == [0] else NO_RULE
    return _OTHERS.get(op.name, NO_RULE)


# name: places of the two factors, and of a term that is added
_PRODUCTS: dict[str, tuple[int, int, int | None]] = {
    "mul": (0, 1, None), "mm": (0, 1, None), "bmm": (0, 1, None), "mv": (0, 1, None), "dot": (0, 1, None),
    "matmul": (0, 1, None), "addmm": (1, 2, 0), "baddbmm": (1, 2, 0), "addmv": (1, 2, 0), "convolution": (0, 1, 2),
}  # fmt: skip
_ONLY_FIRST = {"addcmul": 0, "addcdiv": 0, "lerp": 0}
_INDEXED = {"gather", "index", "index_select", "masked_fill"}
_BATCH_NORMS = {
    "native_batch_norm": 5, "cudnn_batch_norm": 5, "_native_batch_norm_legit": 5,
    "_native_batch_norm_legit_no_training": None, "_batch_norm_no_update": None,
}  # fmt: skip


def _moves_index(op: Op, varying: frozenset[int]) -> bool:
    """Whether what varies decides which values are taken, rather than being taken."""
    first = op.args[0].idx if isinstance(op.args[0], Ref) else None
    value = op.args[2] if op.name == "masked_fill" else None
    allowed = {first, value.idx if isinstance(value, Ref) else None}
    return any(idx in varying and idx not in allowed for idx in op.refs())


def _uses_own_statistics(op: Op) -> bool:
    place = _BATCH_NORMS[op.name]
    return place is not None and (op.args[place] is True or "no_stats" in str(op.target))


def _product(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> Any:
    a, b, term = _PRODUCTS[op.name]
    added = None if term is None or args[term] is None else args[term]

    def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        filled = list(args)
        filled[a], filled[b] = left, right
        if term is not None:
            filled[term] = None if op.name == "convolution" else torch.zeros_like(args[term])
        result: torch.Tensor = op.target(*filled, **kwargs)
        return result

    value = rules.product(multiply, (args[a], args[b]), (there[a], there[b]))
    if added is None:
        return value
    beta = kwargs.get("beta", 1)
    if op.name == "convolution":
        return value + added.reshape(-1, *[1] * (value.ndim - 2))
    return value + beta * added


def _glu(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    """One half times the sigmoid of the other."""
    dim = args[1] if len(args) > 1 else -1
    (a, b), (a_there, b_there) = (tensor.chunk(2, dim) for tensor in (args[0], there[0]))
    gate = rules.rescale(torch.sigmoid, b, b_there)
    return rules.product(torch.mul, (a, gate), (a_there, b_there.sigmoid()))


def _quotient(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    top, top_there = (
        value if isinstance(value, torch.Tensor) else torch.tensor(value) for value in (args[0], there[0])
    )
    return rules.quotient((top, args[1]), (top_there, there[1]))


def _elementwise(op: Op, args: Args, kwargs: dict[str, Any], there: Args, place: int) -> Any:
    is_pair = op.name == "log_sigmoid_forward"  # its second result is scratch space
    if args[place].is_complex():
        raise MethodError(f"deeplift_shap: has no rule for {op} of complex numbers; use ism, or integrated_gradients")

    def function(value: torch.Tensor) -> torch.Tensor:
        result = op.target(*args[:place], value, *args[place + 1 :], **kwargs)
        first: torch.Tensor = result[0] if is_pair else result
        return first

    value = rules.rescale(function, args[place], there[place])
    return (value, None) if is_pair else value


def _copy(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    """Assign in place, for which autograd has no derivative once it is written as a function."""
    target, source = args[:2]
    result: torch.Tensor = source.to(target.dtype).expand_as(target)
    return result


def _relu(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    return rules.relu(args[0], there[0])


def _square(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    return rules.square(args[0], there[0])


def _softmax(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    return rules.softmax(args[0], there[0], args[1])


def _log_softmax(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    (_, total), (_, total_there), shift = rules.summed_exp(args[0], there[0], [args[1]])
    return args[0] - shift - rules.rescale(torch.log, total, total_there)


def _logsumexp(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    (_, total), (_, total_there), shift = rules.summed_exp(args[0], there[0], args[1])
    value = rules.rescale(torch.log, total, total_there) + shift
    return value if _flag(args, 2) else value.squeeze(tuple(args[1]))


def _flag(args: Args, place: int) -> bool:
    return len(args) > place and bool(args[place])


def _pooled(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> tuple[torch.Tensor, torch.Tensor]:
    """Max pooling of any kind that tells where the maxima are, counted over the pooled axes together."""
    n_axes = 3 if "3d" in op.name else 2
    r = args[0]
    value, r_index = op.target(r.detach(), *args[1:], **kwargs)
    _, x_index = op.target(there[0], *args[1:], **kwargs)
    x, x_index = there[0].expand_as(r), x_index.expand_as(r_index)
    flat = [tensor.flatten(-n_axes) for tensor in (r, x, r_index, x_index)]
    return rules.maximum_at(*flat).reshape(value.shape), r_index


def _amax(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    r, x = args[0], there[0].expand_as(args[0])
    dims = sorted(dim % r.ndim for dim in (args[1] if len(args) > 1 and args[1] else range(r.ndim)))
    kept = [dim for dim in range(r.ndim) if dim not in dims]
    r_flat, x_flat = (tensor.permute(*kept, *dims).flatten(len(kept)) for tensor in (r, x))
    value = rules.maximum_at(r_flat, x_flat, r_flat.argmax(-1, keepdim=True), x_flat.argmax(-1, keepdim=True))
    value = value.squeeze(-1)
    return value.reshape([1 if i in dims else n for i, n in enumerate(r.shape)]) if _flag(args, 2) else value


def _max_along(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> Any:
    """`max` along one axis: values and places."""
    r, x, dim = args[0], there[0].expand_as(args[0]), args[1]
    r_index, x_index = (tensor.argmax(dim, keepdim=True) for tensor in (r, x))
    value = rules.maximum_at(r, x, r_index, x_index, dim)
    return (value, r_index) if _flag(args, 2) else (value.squeeze(dim), r_index.squeeze(dim))


def _larger(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> torch.Tensor:
    sign = -1 if op.name == "minimum" else 1
    r, x = (torch.stack(torch.broadcast_tensors(*(sign * value for value in pair[:2]))) for pair in (args, there))
    x = x.expand_as(r)
    value = rules.maximum_at(r, x, r.argmax(0, keepdim=True), x.argmax(0, keepdim=True), 0)
    return sign * value.squeeze(0)


def _layer_norm(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> tuple[torch.Tensor, None, None]:
    value, shape, weight, bias, eps = args
    out = rules.normalised(value, there[0], range(-len(shape), 0), eps)
    return _scaled(out, weight, bias), None, None


def _scaled(value: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None) -> torch.Tensor:
    value = value if weight is None else value * weight
    return value if bias is None else value + bias


def _group_norm(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> tuple[torch.Tensor, None, None]:
    value, weight, bias, _, channels, _, groups, eps = args
    r, x = (tensor.reshape(len(tensor), groups, -1) for tensor in (value, there[0]))
    out = rules.normalised(r, x, [-1], eps).reshape(value.shape)
    shape = (channels, *[1] * (value.ndim - 2))
    return _scaled(out, *(None if t is None else t.reshape(shape) for t in (weight, bias))), None, None


def _batch_norm(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> tuple[torch.Tensor, None, None]:
    """Normalise by own statistics, which instance norm does with the windows on the axis of the channels."""
    value, weight, bias = args[:3]
    out = rules.normalised(value, there[0], [0, *range(2, value.ndim)], args[-1])
    shape = (-1, *[1] * (value.ndim - 2))
    return _scaled(out, *(None if t is None else t.reshape(shape) for t in (weight, bias))), None, None


def _variance(op: Op, args: Args, kwargs: dict[str, Any], there: Args) -> Any:
    r, x = args[0], there[0].expand_as(args[0])
    dims = list(args[1]) if len(args) > 1 and args[1] else list(range(r.ndim))
    correction = kwargs.get("correction", args[2] if len(args) > 2 else 1)
    n = r.shape.numel() // r.sum(dims).shape.numel()
    centred_r, centred_x = r - r.mean(dims, keepdim=True), x - x.mean(dims, keepdim=True)
    scale = 1 / (n - (1 if correction is None else correction))
    keep = bool(kwargs.get("keepdim", False))
    value = rules.square(centred_r, centred_x).sum(dims, keepdim=keep) * scale
    if op.name == "std":
        return rules.rescale(torch.sqrt, value, centred_x.square().sum(dims, keepdim=keep) * scale)
    return (value, r.mean(dims, keepdim=keep)) if op.name == "var_mean" else value


_OTHERS: dict[str, Rule] = {
    "copy": _copy, "glu": _glu, "relu": _relu, "square": _square,
    "_softmax": _softmax, "_safe_softmax": _softmax, "_log_softmax": _log_softmax, "logsumexp": _logsumexp,
    "max_pool2d_with_indices": _pooled, "max_pool3d_with_indices": _pooled,
    "adaptive_max_pool2d": _pooled, "adaptive_max_pool3d": _pooled,
    "amax": _amax, "max": _max_along, "maximum": _larger, "minimum": _larger,
    "native_layer_norm": _layer_norm, "native_group_norm": _group_norm,
    "var": _variance, "std": _variance, "var_mean": _variance,
}  # fmt: skip
