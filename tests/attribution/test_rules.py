"""Each rule against its definition, in float64."""

import itertools

import pytest
import torch

from seqsal.attribution.deeplift import rules

GENERATOR = torch.manual_seed(0)


def pair(*shape):
    return (torch.randn(*shape, dtype=torch.float64, generator=torch.manual_seed(seed)) for seed in (1, 2))


def multipliers(rule, *r):
    """Derivatives that a rule gives, for a result that is summed."""
    leaves = [value.clone().requires_grad_() for value in r]
    return torch.autograd.grad(rule(*leaves).sum(), leaves)


@pytest.mark.parametrize("function", [torch.tanh, torch.exp, torch.relu, torch.nn.functional.gelu])
def test_rescale_is_the_slope_of_the_chord(function):
    r, x = pair(3, 5)
    (m,) = multipliers(lambda r: rules.rescale(function, r, x), r)
    assert torch.allclose(m, (function(x) - function(r)) / (x - r))


@pytest.mark.parametrize("function", [torch.tanh, torch.relu])
def test_without_a_difference_the_slope_is_the_derivative(function):
    r, _ = pair(3, 5)
    (m,) = multipliers(lambda v: rules.rescale(function, v, r), r)
    point = r.clone().requires_grad_()
    assert torch.allclose(m, torch.autograd.grad(function(point).sum(), point)[0])


def test_infinities_that_both_points_share_give_no_nan():
    r = torch.tensor([-torch.inf, 0.0], dtype=torch.float64)
    x = torch.tensor([-torch.inf, 1.0], dtype=torch.float64)
    (m,) = multipliers(lambda r: rules.rescale(torch.exp, r, x), r)
    assert m[0] == 0
    assert torch.isclose(m[1], torch.tensor(1.0).double().exp() - 1)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n_there", [1, 4])
@pytest.mark.parametrize("channels_last", [False, True])
def test_relu_is_rescale_whatever_the_order_in_memory(dtype, n_there, channels_last):
    r, x = (value.to(dtype) for value in pair(4, 6, 9))
    x[:, :, :4] = r[:, :, :4]
    x = x[:n_there]
    if channels_last:
        r, x = (value.transpose(1, 2).contiguous().transpose(1, 2) for value in (r, x))
    leaf = r.detach().requires_grad_()
    weight = torch.randn(4, 6, 9, dtype=dtype)
    (m,) = torch.autograd.grad((rules.relu(leaf, x) * weight).sum(), leaf)
    (expected,) = torch.autograd.grad((rules.rescale(torch.relu, leaf, x) * weight).sum(), leaf)
    assert torch.allclose(m, expected, rtol=1e-5)


def shapley(f, r, x):
    """Shapley values of the entries of x against r under f, by going through every order of replacing them."""
    n = len(r)
    values = torch.zeros(n, dtype=torch.float64)
    orders = list(itertools.permutations(range(n)))
    for order in orders:
        point = r.clone()
        for i in order:
            before = f(point)
            point[i] = x[i]
            values[i] += (f(point) - before) / len(orders)
    return values


def test_a_product_gives_the_shapley_values_of_its_factors():
    r, x = pair(2)
    m_a, m_b = multipliers(lambda a, b: rules.product(torch.mul, (a, b), (x[0], x[1])), r[0], r[1])
    contributions = torch.stack([m_a, m_b]) * (x - r)
    assert torch.allclose(contributions, shapley(torch.prod, r, x))


@pytest.mark.parametrize("seed", range(20))
def test_a_maximum_of_two_gives_their_shapley_values(seed):
    r, x = torch.randn(2, 2, dtype=torch.float64, generator=torch.manual_seed(seed))
    i, j = x.argmax(0, keepdim=True), r.argmax(0, keepdim=True)
    (m,) = multipliers(lambda r: rules.maximum_at(r, x, j, i), r)
    expected = shapley(torch.max, r, x)
    if i == j:  # then the other is taken to play no part
        expected = torch.zeros(2, dtype=torch.float64)
        expected[i] = x.max() - r.max()
    assert torch.allclose(m * (x - r), expected)


@pytest.mark.parametrize("n", [2, 3, 8])
def test_multipliers_of_a_maximum_are_shares(n):
    r, x = pair(500, n)
    r_index, x_index = r.argmax(-1, keepdim=True), x.argmax(-1, keepdim=True)
    (m,) = multipliers(lambda r: rules.maximum_at(r, x, r_index, x_index), r)
    assert bool(((m >= -1e-12) & (m <= 1 + 1e-12)).all())
    assert torch.allclose((m * (x - r)).sum(-1), x.amax(-1) - r.amax(-1))


@pytest.mark.parametrize(
    ("rule", "function"),
    [
        (lambda r, x: rules.softmax(r, x, 1), lambda v: v.softmax(1)),
        (lambda r, x: rules.normalised(r, x, [1], 1e-5), lambda v: torch.nn.functional.layer_norm(v, v.shape[1:])),
        (lambda r, x: rules.square(r, x), torch.square),
        (lambda r, x: rules.quotient((r, 2 + rules.square(r, x)), (x, 2 + x * x)), lambda v: v / (2 + v * v)),
    ],
)
def test_values_are_those_of_the_operation_and_differences_are_kept(rule, function):
    r, x = pair(4, 7)
    leaf = r.clone().requires_grad_()
    value = rule(leaf, x)
    assert torch.allclose(value, function(r))
    weight = torch.randn(4, 7, dtype=torch.float64, generator=GENERATOR)
    (m,) = torch.autograd.grad((value * weight).sum(), leaf)
    assert torch.allclose((m * (x - r)).sum(), ((function(x) - function(r)) * weight).sum())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("apart", [0, 1, 10, 15, 20, 40, 100, 1000])
@pytest.mark.parametrize("dims", [[1], [2], [1, 2]])
def test_exponentials_keep_their_sum_however_far_the_maxima_are_apart(dtype, apart, dims):
    """Maxima that differ by 15 made a shared shift miss the sum by 16 % in float32, by 100 NaN."""
    r, x = (value.to(dtype) for value in pair(3, 5, 7))
    x[0] += apart  # all of the row
    x[1, 2, 3] += apart  # one entry
    r[2, 1] += apart  # some entries of the other point
    weight = torch.randn(3, 5, 7, dtype=dtype, generator=torch.manual_seed(3))

    def softmax(v, rule):
        return (rule(v) * weight).sum((1, 2)) if len(dims) == 1 else rule(v).sum((1, 2))

    if len(dims) == 1:
        rule, exact = lambda v: rules.softmax(v, x, dims[0]), lambda v: v.softmax(dims[0])
    else:
        rule = lambda v: sum(part for part in log_total(*rules.summed_exp(v, x, dims)))  # noqa: E731
        exact = lambda v: v.logsumexp(dims)[:, None, None]  # noqa: E731
    (m,) = multipliers(lambda v: softmax(v, rule), r)
    found = (m * (x - r)).sum((1, 2)).double()
    wanted = (softmax(x, exact) - softmax(r, exact)).double()
    scale = wanted.abs() + (m * (x - r)).abs().sum((1, 2)).double() * 1e-2  # opposite parts may cancel
    assert ((found - wanted).abs() <= (2e-4 if dtype == torch.float32 else 1e-11) * scale).all()


def log_total(at_r, at_x, shift):
    """Logarithm of the sum of exponentials, as its two parts."""
    return rules.rescale(torch.log, at_r[1], at_x[1]), shift
