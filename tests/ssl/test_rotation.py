import pytest
import torch
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import TimmEncoder, create_encoder
from uda.ssl import OBJECTIVES, Info, Rotation, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.rotation import rotate_four_ways
from uda.ssl.views import CropFlip

CLOCK = Clock(3, 10, seed=1)
AUGMENT = CropFlip(16)


def small_encoder() -> TimmEncoder:
    torch.manual_seed(0)
    return create_encoder("smallconv", "none", 16)


def slopes(n: int = 8) -> Batch:
    """Images that are dark above and bright below, so that which way is up can be seen."""
    generator = torch.Generator().manual_seed(0)
    ramp = torch.linspace(20, 220, 20).view(1, 1, 20, 1)
    noise = 15 * torch.randn(n, 3, 20, 20, generator=generator)
    return Batch((ramp + noise).clamp(0, 255).to(torch.uint8), torch.arange(n), None, "target")


def rotation(encoder: TimmEncoder) -> Rotation:
    return Rotation(encoder, Info(8, 0, 16, 1, AUGMENT, Weak(16)))


def test_all_four_turns_exactly() -> None:
    image = torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])
    turned, turns = rotate_four_ways(image)
    # counter-clockwise: the right column (2, 4) becomes the top row
    assert turned[:, 0].tolist() == [[[1, 2], [3, 4]], [[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]
    assert turns.tolist() == [0, 1, 2, 3]


def test_turns_come_quarter_by_quarter_and_can_be_undone() -> None:
    images = torch.rand(3, 3, 5, 5)
    turned, turns = rotate_four_ways(images)
    assert turns.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    for view, turn, original in zip(turned, turns.tolist(), images.repeat(4, 1, 1, 1), strict=True):
        assert torch.equal(torch.rot90(view, -turn, dims=(1, 2)), original)


def test_the_upright_quarter_is_the_tasks_own_view() -> None:
    batch = slopes()
    views = rotation(small_encoder()).views(batch, CLOCK)
    assert views.images.shape == (32, 3, 16, 16)
    assert views.plain is not None
    assert views.targets is not None
    assert torch.equal(views.images[views.plain], AUGMENT(batch, CLOCK))
    assert views.targets[views.plain].unique().tolist() == [0]


def test_forward_is_views_then_encoder_then_loss() -> None:
    encoder = small_encoder().eval()
    objective, batch = rotation(encoder), slopes()
    views = objective.views(batch, CLOCK)
    apart, whole = objective.loss(encoder(views.images), views), objective(encoder, batch, CLOCK)
    assert torch.equal(whole.value, apart.value)
    assert whole.accuracy is not None
    assert not whole.accuracy.requires_grad


def test_the_loss_by_hand() -> None:
    objective = rotation(small_encoder())
    with torch.no_grad():
        objective.head.weight.zero_()
        objective.head.bias.copy_(torch.tensor([0.0, 0.0, 0.0, 1.0986123]))  # log 3
    loss = objective.loss(torch.zeros(32, 128), objective.views(slopes(), CLOCK))
    # every view is called "three turns" with p = 3/6: −(3·log(1/6) + log(1/2)) / 4 = (3·1.791759 + 0.693147) / 4
    assert loss.value.item() == pytest.approx(1.517106, abs=1e-5)
    assert loss.accuracy is not None
    assert loss.accuracy.item() == 0.25


def test_one_turn_of_each_image_is_what_its_target_says() -> None:
    encoder = small_encoder()
    objective = Rotation(encoder, Info(8, 0, 16, 1, AUGMENT, Weak(16)), form="one", upright=0.5)
    batch = slopes(40)
    views, plain = objective.views(batch, CLOCK), AUGMENT(batch, CLOCK)
    assert views.images.shape == (40, 3, 16, 16)
    for view, turn, own in zip(views.images, views.targets.tolist(), plain, strict=True):
        assert torch.equal(view, torch.rot90(own, turn, dims=(1, 2)))
    assert torch.equal(views.ordered, views.targets == 0)
    assert set(views.targets.tolist()) == {0, 1, 2, 3}
    # upright with 0.5 + 0.5 / 4
    many = Batch(torch.zeros(4000, 3, 16, 16, dtype=torch.uint8), torch.arange(4000), None, "target")
    assert objective.views(many, CLOCK).ordered.float().mean().item() == pytest.approx(0.625, abs=0.03)
    # entropy of (5/8, 1/8, 1/8, 1/8): 0.625 · 0.470004 + 0.375 · 2.079442
    assert objective.loss(torch.zeros(40, 128), views).chance == pytest.approx(1.073543, abs=1e-5)


def test_upright_means_nothing_where_all_turns_are_seen() -> None:
    with pytest.raises(UserError, match=r"upright=0\.5 has no effect without form=one"):
        Rotation(small_encoder(), Info(8, 0, 16, 1, AUGMENT, Weak(16)), upright=0.5)


def test_the_encoder_learns_and_the_loss_falls_on_a_fixed_batch() -> None:
    encoder = small_encoder()
    objective, batch = rotation(encoder), slopes()
    optimizer = torch.optim.SGD([*encoder.parameters(), *objective.parameters()], lr=0.05, momentum=0.9)
    first: Tensor | None = None
    for _ in range(15):
        loss = objective(encoder, batch, CLOCK)
        optimizer.zero_grad()
        loss.value.backward()
        if first is None:
            first = loss.value.detach()
            gradients = [p.grad for p in encoder.parameters()]
            assert all(g is not None and g.abs().sum() > 0 for g in gradients)
        optimizer.step()
    assert first is not None
    assert loss.value < 0.1 * first
    assert loss.accuracy == 1.0


def test_the_objective_is_found_by_name() -> None:
    assert find_objective("rotation") is Rotation
    assert all(kind.name == name for name, kind in OBJECTIVES.items())


def test_a_quarter_of_the_batch_has_each_turn() -> None:
    batch, encoder = slopes(6), small_encoder()
    made = Rotation(encoder, Info(8, 0, 16, 1, AUGMENT, Weak(16)), form="quarters")
    views = made.views(batch, CLOCK)
    assert views.targets is not None
    assert views.ordered is not None
    assert views.targets.tolist() == [0, 0, 1, 2, 2, 3]  # 0 … 5 times 4/6, rounded down
    plain = AUGMENT(batch, CLOCK)
    for view, own, turn in zip(views.images, plain, views.targets.tolist(), strict=True):
        assert torch.equal(view, torch.rot90(own, turn, dims=(1, 2)))
    assert views.ordered.tolist() == [True, True, False, False, False, False]
    with pytest.raises(UserError, match="form=one"):
        Rotation(encoder, Info(8, 0, 16, 1, AUGMENT, Weak(16)), form="quarters", upright=0.5)


def test_a_spectral_head_has_norm_one() -> None:
    made = Rotation(small_encoder(), Info(8, 0, 16, 1, AUGMENT, Weak(16)), head="spectral")
    for _ in range(50):
        made.head(torch.zeros(1, 128))
    assert torch.linalg.matrix_norm(made.eval().head.weight, 2).item() == pytest.approx(1, abs=1e-3)
