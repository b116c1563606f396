"""The small modules: classifier head, projectors, adapter, memory bank, queue."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from uda.nn.adapter import ResidualAdapter
from uda.nn.heads import (
    BottleneckClassifier,
    CosineClassifier,
    DomainDiscriminator,
    OneVsAllClassifier,
    mlp,
    reverse_gradient,
)
from uda.nn.memory import MemoryBank, Queue


def classifier(normalize_rows: bool = True) -> CosineClassifier:
    head = CosineClassifier(2, 2, temperature=0.5, normalize_rows=normalize_rows)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[2.0, 0.0], [3.0, 4.0]]))
    return head


def test_cosine_classifier_by_hand() -> None:
    # the feature normalized: (0.6, 0.8); the rows: (1, 0) and (0.6, 0.8); cosines 0.6 and 1, over 0.5
    assert classifier()(torch.tensor([[6.0, 8.0]])).tolist()[0] == pytest.approx([1.2, 2.0])


def test_rows_count_as_they_stand_where_the_forward_pass_does_not_normalize_them() -> None:
    head = classifier(normalize_rows=False)
    # products with (2, 0) and (3, 4): 1.2 and 5, over 0.5
    assert head(torch.tensor([[6.0, 8.0]])).tolist()[0] == pytest.approx([2.4, 10.0])
    parameter = head.weight
    head.normalize_()
    assert head.weight is parameter  # in place: the optimizer keeps hold of it
    assert head.weight.requires_grad
    assert head.weight.norm(dim=1).tolist() == pytest.approx([1.0, 1.0])
    assert head(torch.tensor([[6.0, 8.0]])).tolist()[0] == pytest.approx([1.2, 2.0])


def test_the_classifier_has_no_bias_and_ignores_the_length_of_features() -> None:
    head = CosineClassifier(5, 3)
    assert [name for name, _ in head.named_parameters()] == ["weight"]
    features = torch.randn(4, 5)
    assert torch.allclose(head(features), head(features * torch.tensor([[0.01], [1.0], [30.0], [5.0]])), atol=1e-5)
    assert head(features).abs().max() <= 1 / 0.05 + 1e-4


def test_a_bottleneck_comes_before_the_cosines() -> None:
    head = BottleneckClassifier(3, 2, temperature=0.5, width=2)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[1.0, 0.0], [0.6, 0.8]]))
        head.bottleneck.weight.copy_(torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, 2.0]]))
        head.bottleneck.bias.copy_(torch.tensor([1.0, 0.0]))
    # (5, 9, 4) is projected to (6, 8), a cosine of 0.6 with the first row and 1 with the second, over 0.5
    assert head(torch.tensor([[5.0, 9.0, 4.0]])).tolist()[0] == pytest.approx([1.2, 2.0])


def test_one_vs_all_is_the_row_for_minus_the_row_against() -> None:
    head = OneVsAllClassifier(2, 2, temperature=0.5)
    with torch.no_grad():
        head.pairs.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.6, 0.8]]))
    # (0.6, 0.8): 0.6 for class 0 and −0.6 against it; 0.8 for class 1 and 1 against; over 0.5
    assert head(torch.tensor([[6.0, 8.0]])).tolist()[0] == pytest.approx([2.4, -0.4])


def test_a_discriminator_gives_one_logit_an_image() -> None:
    head = DomainDiscriminator(4, width=5)
    assert head(torch.randn(3, 4)).shape == (3,)
    assert [p.shape[0] for name, p in head.named_parameters() if "weight" in name] == [5, 5, 1]


def test_a_reversed_gradient_comes_back_times_minus_the_scale() -> None:
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    reversed_ = reverse_gradient(x, 0.5)
    assert torch.equal(reversed_, x)
    reversed_.square().sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [-1.0, -2.0]  # −½ · 2x


def test_a_residual_adapter_starts_as_the_identity_and_can_learn() -> None:
    adapter, features = ResidualAdapter(6, width=4), torch.randn(3, 6)
    assert torch.equal(adapter(features), features)
    optimizer = torch.optim.SGD(adapter.parameters(), lr=0.1)
    for _ in range(2):  # the first step moves the second layer, the next one both
        optimizer.zero_grad()
        adapter(features).square().sum().backward()
        optimizer.step()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in adapter.parameters())
    assert not torch.allclose(adapter(features), features, atol=1e-3)


def test_memory_starts_at_zero_and_keeps_normalized_rows() -> None:
    memory = MemoryBank(4, 2)
    assert torch.equal(memory.rows, torch.zeros(4, 2))
    features = torch.tensor([[3.0, 4.0], [0.0, -2.0]], requires_grad=True)
    memory.write(torch.tensor([2, 0]), features)
    # (3, 4) ÷ 5 and (0, −2) ÷ 2; rows 1 and 3 have not been seen
    assert torch.allclose(memory.rows, torch.tensor([[0.0, -1.0], [0.0, 0.0], [0.6, 0.8], [0.0, 0.0]]))
    assert not memory.rows.requires_grad


def test_a_row_is_replaced_whole_without_momentum() -> None:
    memory = MemoryBank(1, 2)
    memory.write(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    memory.write(torch.tensor([0]), torch.tensor([[0.0, 5.0]]))
    assert memory.rows.tolist() == [[0.0, 1.0]]


def test_momentum_mixes_old_and_new_and_normalizes_again() -> None:
    memory = MemoryBank(1, 2)
    memory.write(torch.tensor([0]), torch.tensor([[1.0, 0.0]]))
    memory.write(torch.tensor([0]), torch.tensor([[0.0, 5.0]]), momentum=0.75)
    # 0.75·(1, 0) + 0.25·(0, 1) = (0.75, 0.25), over √0.625
    assert torch.allclose(memory.rows, torch.tensor([[0.75, 0.25]]) / 0.625**0.5)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_memory_keeps_its_own_precision(dtype: torch.dtype) -> None:
    memory = MemoryBank(2, 3).to(dtype)
    features = torch.tensor([[1.0, 2.0, 3.0]], dtype=torch.float64)
    memory.write(torch.tensor([1]), features)
    assert memory.rows.dtype == dtype
    assert torch.allclose(memory.rows[1].double(), F.normalize(features)[0], rtol=2 * torch.finfo(dtype).eps)


def test_the_memory_is_state_and_is_not_trained() -> None:
    memory = MemoryBank(3, 2)
    memory.write(torch.tensor([1]), torch.tensor([[1.0, 0.0]]))
    assert not list(memory.parameters())
    other = MemoryBank(3, 2)
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.rows, memory.rows)


def kinds(layers: nn.Sequential) -> list[str]:
    """Name each layer, with its width and a + where it has a bias or affine parameters."""
    found = []
    for layer in layers:
        has = "+" if getattr(layer, "bias", None) is not None else ""
        width = getattr(layer, "out_features", getattr(layer, "num_features", ""))
        found.append(f"{type(layer).__name__}{width}{has}")
    return found


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, ["Linear5", "BatchNorm1d5+", "ReLU", "Linear3+"]),
        ({"bias": True}, ["Linear5+", "BatchNorm1d5+", "ReLU", "Linear3+"]),
        ({"norm": False}, ["Linear5+", "ReLU", "Linear3+"]),
        ({"last_norm": True}, ["Linear5", "BatchNorm1d5+", "ReLU", "Linear3", "BatchNorm1d3+"]),
        ({"last_norm": False}, ["Linear5", "BatchNorm1d5+", "ReLU", "Linear3", "BatchNorm1d3"]),
    ],
)
def test_mlp_has_the_layers_that_were_asked_for(options: dict[str, bool], expected: list[str]) -> None:
    assert kinds(mlp([4, 5, 3], **options)) == expected
    assert mlp([4, 5, 3], **options)(torch.randn(6, 4)).shape == (6, 3)


def test_mlp_of_two_widths_is_one_layer() -> None:
    assert kinds(mlp([4, 3])) == ["Linear3+"]
    assert kinds(mlp([8, 6, 5, 3], norm=False)) == ["Linear6+", "ReLU", "Linear5+", "ReLU", "Linear3+"]


def test_a_queue_starts_as_directions_and_overwrites_the_oldest() -> None:
    torch.manual_seed(0)
    queue = Queue(4, 2)
    start = queue.rows.clone()
    assert torch.allclose(start.norm(dim=1), torch.ones(4))
    queue.push(torch.tensor([[3.0, 4.0], [0.0, -2.0], [5.0, 0.0]]))
    # each divided by its length; the fourth row is still the first one there was
    assert torch.allclose(queue.rows[:3], torch.tensor([[0.6, 0.8], [0.0, -1.0], [1.0, 0.0]]))
    assert torch.equal(queue.rows[3], start[3])
    # the fourth row, and round to the first
    assert queue.push(torch.tensor([[0.0, 7.0], [-1.0, 0.0]], requires_grad=True)).tolist() == [3, 0]
    assert torch.allclose(queue.rows, torch.tensor([[-1.0, 0.0], [0.0, -1.0], [1.0, 0.0], [0.0, 1.0]]))
    assert not queue.rows.requires_grad
    assert queue.position.item() == 1


def test_of_more_than_a_queue_holds_the_last_ones_count() -> None:
    queue = Queue(2, 2)
    queue.push(torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]]))
    assert {tuple(row) for row in queue.rows.tolist()} == {(0.0, 1.0), (-1.0, 0.0)}
    queue.push(torch.tensor([[0.0, -1.0]]))
    assert {tuple(row) for row in queue.rows.tolist()} == {(-1.0, 0.0), (0.0, -1.0)}  # the oldest has gone


def test_a_queue_is_state_and_is_not_trained() -> None:
    torch.manual_seed(0)
    queue, other = Queue(5, 3), Queue(5, 3)
    queue.push(torch.randn(3, 3))
    assert not list(queue.parameters())
    other.load_state_dict(queue.state_dict())
    for each in (queue, other):
        each.push(torch.ones(1, 3))
    assert torch.equal(other.rows, queue.rows)
