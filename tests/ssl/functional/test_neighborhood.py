import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from uda.ssl.functional import neighborhood_clustering


def random_case(
    seed: int, batch: int = 4, n: int = 9, k: int = 3, dim: int = 5
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Features (B, D), logits (B, K), memory (N, D) with unit rows and distinct indices (B,), all float64."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(batch, dim, dtype=torch.float64, generator=generator)
    logits = 2 * torch.randn(batch, k, dtype=torch.float64, generator=generator)
    memory = torch.randn(n, dim, dtype=torch.float64, generator=generator)
    index = torch.randperm(n, generator=generator)[:batch]
    return features, logits, memory / memory.norm(dim=1, keepdim=True), index


def plain_neighborhood_clustering(
    features: Tensor, logits: Tensor, memory: Tensor, index: Tensor, temperature: float, eps: float
) -> float:
    """The same loss, number by number."""
    rows, own = features.tolist(), index.tolist()
    rows = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in rows]

    def cosine(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    total = 0.0
    for i, row in enumerate(rows):
        values = logits[i].tolist()
        for j, stored in enumerate(memory.tolist()):
            values.append((-1 if j in own else cosine(row, stored)) / temperature)
        for j, other in enumerate(rows):
            values.append((-1 if j == i else cosine(row, other)) / temperature)
        largest = max(values)
        z = sum(math.exp(v - largest) for v in values)
        probabilities = [math.exp(v - largest) / z for v in values]
        total -= sum(p * math.log(p + eps) for p in probabilities if p > 0)
    return total / len(rows)


def test_neighborhood_clustering_by_hand() -> None:
    features = torch.tensor([[2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)  # normalized: the two unit vectors
    logits = torch.tensor([[1.0, 0.0], [0.0, 0.0]], dtype=torch.float64)
    memory = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]], dtype=torch.float64)
    found = neighborhood_clustering(features, logits, memory, torch.tensor([0, 1]), temperature=0.5)
    # ÷ 0.5; a mask is −1 ÷ 0.5 = −2.            classes | memory: own, own, third | batch
    # row 1: exponents 1, 0 | −2, −2, 0.6/0.5 = 1.2 | −2, 0
    #   Z = e + 1 + 3·e⁻² + e^1.2 + 1 = 2.718282 + 2 + 0.406006 + 3.320117 = 8.444405
    #   H = log Z − Σ eˣ·x / Z = 2.133504 − (2.718282 − 2·0.406006 + 1.2·3.320117)/8.444405 = 1.435952
    # row 2: exponents 0, 0 | −2, −2, 0.8/0.5 = 1.6 | 0, −2
    #   Z = 3 + 0.406006 + 4.953032 = 8.359038
    #   H = 2.123343 − (−0.812012 + 1.6·4.953032)/8.359038 = 1.272427
    assert found.item() == pytest.approx((1.435952 + 1.272427) / 2, abs=2e-6)


@pytest.mark.parametrize("eps", [0.0, 1e-5])
@pytest.mark.parametrize("temperature", [0.05, 1.0])
def test_neighborhood_clustering_against_plain_numbers(temperature: float, eps: float) -> None:
    for seed in range(3):
        case = random_case(seed)
        expected = plain_neighborhood_clustering(*case, temperature, eps)
        assert neighborhood_clustering(*case, temperature, eps).item() == pytest.approx(expected, rel=1e-10)


def test_features_are_normalized_inside_and_memory_counts_as_stored() -> None:
    features, logits, memory, index = random_case(0)
    loss = neighborhood_clustering(features, logits, memory, index, 0.5)
    scale = torch.tensor([[0.1], [1.0], [7.0], [300.0]], dtype=torch.float64)
    assert neighborhood_clustering(features * scale, logits, memory, index, 0.5).item() == pytest.approx(loss.item())
    assert neighborhood_clustering(features, logits, 0.5 * memory, index, 0.5).item() != pytest.approx(loss.item())


def test_rows_of_the_batch_itself_are_masked_for_every_row_of_the_batch() -> None:
    features, logits, memory, index = random_case(1)
    loss = neighborhood_clustering(features, logits, memory, index, 0.5)
    for row in range(len(memory)):
        changed = memory.clone()
        changed[row] = features[0] / features[0].norm()  # as near as can be to one of the batch
        same = neighborhood_clustering(features, logits, changed, index, 0.5).item() == pytest.approx(
            loss.item(), abs=1e-12
        )
        assert same == (row in index.tolist())


@given(seed=st.integers(0, 1000), order=st.permutations(range(4)))
@settings(max_examples=25)
def test_the_order_of_the_batch_does_not_matter(seed: int, order: list[int]) -> None:
    features, logits, memory, index = random_case(seed)
    loss = neighborhood_clustering(features, logits, memory, index, 0.05)
    shuffled = neighborhood_clustering(features[order], logits[order], memory, index[order], 0.05)
    assert shuffled.item() == pytest.approx(loss.item(), abs=1e-10)


@pytest.mark.parametrize(("temperature", "eps"), [(0.5, 0.0), (0.05, 0.0), (0.05, 1e-5)])
def test_gradients_of_neighborhood_clustering_are_finite_differences(temperature: float, eps: float) -> None:
    features, logits, memory, index = random_case(2)

    def loss(f: Tensor, c: Tensor) -> Tensor:
        return neighborhood_clustering(f, c, memory, index, temperature, eps)

    assert torch.autograd.gradcheck(loss, (features.requires_grad_(), logits.requires_grad_()))


def test_the_memory_gets_no_gradient() -> None:
    features, logits, memory, index = random_case(3)
    memory.requires_grad_()
    neighborhood_clustering(features.requires_grad_(), logits, memory, index, 0.5).backward()
    assert memory.grad is None
    assert features.grad is not None
    assert (features.grad.norm(dim=1) > 0).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    features, logits, memory, index = random_case(0)
    with pytest.raises(ValueError, match=r"features \(4, 5\), logits \(3, 3\) and memory \(9, 5\) do not fit"):
        neighborhood_clustering(features, logits[:3], memory, index)
    with pytest.raises(ValueError, match=r"memory \(9, 4\)"):
        neighborhood_clustering(features, logits, memory[:, :4], index)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("eps", [0.0, 1e-5])
def test_extreme_logits_stay_finite(dtype: torch.dtype, eps: float) -> None:
    features, _, memory, index = random_case(4)
    logits = torch.tensor([[1e4, -1e4, 0.0], [3e38, -3e38, 0.0], [-1e30, -1e30, -1e30], [0.0, 0.0, 0.0]])
    features, logits = features.to(dtype).requires_grad_(), logits.to(dtype).requires_grad_()
    loss = neighborhood_clustering(features, logits, memory.to(dtype), index, 0.05, eps)
    loss.backward()
    assert loss.isfinite()
    for value in (features.grad, logits.grad):
        assert value is not None
        assert value.isfinite().all()


def test_bfloat16_is_near_float64() -> None:
    case = random_case(5, batch=8, n=500)
    exact = neighborhood_clustering(*case, 1.0)
    *low, index = (x.bfloat16() if x.is_floating_point() else x for x in case)
    assert neighborhood_clustering(*low, index, 1.0).item() == pytest.approx(exact.item(), rel=0.02)


@given(seed=st.integers(0, 1000), block=st.integers(1, 40), eps=st.sampled_from([0.0, 1e-5]))
@settings(max_examples=40)
def test_blocks_of_any_size_give_the_loss_and_the_gradients_of_one(seed: int, block: int, eps: float) -> None:
    features, logits, memory, index = random_case(seed, batch=5, n=37)
    found = []
    for rows_at_once in (37, block):
        f, c = features.clone().requires_grad_(), logits.clone().requires_grad_()
        loss = neighborhood_clustering(f, c, memory, index, 0.05, eps, rows_at_once)
        found.append((loss.detach(), *torch.autograd.grad(loss, (f, c))))
    for whole, blockwise in zip(*found, strict=True):
        torch.testing.assert_close(blockwise, whole, rtol=1e-9, atol=1e-12)


def test_what_waits_for_the_backward_pass_does_not_grow_with_the_memory() -> None:
    def waiting(n: int) -> int:
        features, logits, memory, index = random_case(0, n=n)
        sizes: list[int] = []

        def note(kept: Tensor) -> Tensor:
            sizes.append(0 if kept.data_ptr() == memory.data_ptr() else kept.numel())
            return kept

        with torch.autograd.graph.saved_tensors_hooks(note, lambda kept: kept):
            neighborhood_clustering(features.requires_grad_(), logits.requires_grad_(), memory, index)
        return sum(sizes)

    assert waiting(5000) == waiting(50)


def test_a_memory_in_bfloat16_is_as_good_as_its_rounding() -> None:
    features, logits, memory, index = random_case(6, batch=8, n=300)
    rounded = memory.bfloat16()
    found = neighborhood_clustering(features, logits, rounded, index)
    assert found.item() == pytest.approx(neighborhood_clustering(features, logits, rounded.double(), index).item())


def test_autocast_multiplies_alike_in_both_passes() -> None:
    features, logits, memory, index = (x.float() if x.is_floating_point() else x for x in random_case(7, n=50, dim=16))
    found = []
    for enabled in (False, True):
        f = features.clone().requires_grad_()
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            loss = neighborhood_clustering(f, logits, memory, index, 1.0)
        assert loss.dtype == torch.float32
        found.append((loss.item(), *torch.autograd.grad(loss, f)))
    (exact, exact_slope), (rounded, slope) = found
    assert 0 < abs(rounded - exact) < 1e-2 * exact  # bfloat16 has eight bits, and was used
    assert (slope - exact_slope).norm() < 0.03 * exact_slope.norm()
