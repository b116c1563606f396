import math
from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F

from tests.ssl import small
from uda.clock import Clock
from uda.errors import UserError
from uda.ssl.color import rgb_to_lab
from uda.ssl.colorization import Colorization, map_shape, rebalanced, soft_bins, split_colors
from uda.ssl.placebo import placebo

BINS = torch.tensor([[0.0, 0.0], [10.0, 0.0], [0.0, 20.0]])


def colorization(**options: object) -> tuple[Colorization, small.TimmEncoder]:
    encoder = small.encoder()
    return Colorization(encoder, small.info(), **options), encoder  # type: ignore[arg-type]


def test_soft_answers_by_hand() -> None:
    nearest, share = soft_bins(torch.tensor([[5.0, 0.0], [10.0, 0.0]]), BINS, 2)
    assert nearest[1].tolist() == [1, 0]
    # squared distances 0 and 100, σ = 5: 1 against e^(−2) = 0.135335, so 0.880797
    assert share.flatten().tolist() == pytest.approx([0.5, 0.5, 0.880797, 0.119203], abs=1e-6)
    hard, one = soft_bins(torch.tensor([[6.0, 0.0], [1.0, 16.0]]), BINS, 1)
    assert hard.tolist() == [[1], [2]]
    assert one.tolist() == [[1.0], [1.0]]


def test_rebalancing_by_hand() -> None:
    # Bins so far apart that nothing is smoothed: prior 0.75, 0.25, 0; λ = 0.6, λ/Q = 0.2; denominators 0.5, 0.3, 0.2;
    # 1/… = 2, 3.3333, 5; Σ p·w = 1.5 + 0.83333 = 2.33333
    apart = 1000 * BINS
    weights = rebalanced(torch.tensor([0.75, 0.25, 0.0]), apart, 0.6)
    assert weights.tolist() == pytest.approx([0.857143, 1.428571, 2.142857], abs=1e-5)
    assert rebalanced(torch.tensor([0.75, 0.25, 0.0]), apart, 1.0).tolist() == pytest.approx([1.0] * 3)


def test_the_network_sees_lightness_alone_and_answers_the_colors() -> None:
    objective, _ = colorization()
    batch = small.batch(4)
    views = objective.views(batch, small.CLOCK)
    lab = rgb_to_lab(objective.info.augment(batch, small.CLOCK))
    assert torch.equal(views.images, (lab[:, :1] / 100).expand(-1, 3, -1, -1))
    assert views.targets is not None
    assert torch.equal(views.targets, lab[:, 1:])
    assert views.plain is None


def test_a_hard_answer_with_weights_is_weighted_cross_entropy() -> None:
    objective, encoder = colorization(neighbors=1)
    objective.weights.copy_(torch.rand(len(objective.weights)) + 0.5)
    views = objective.views(small.batch(4), small.CLOCK)
    features = objective.encode(encoder, views)
    assert features.shape == (4, 128, 4, 4)
    assert views.targets is not None
    colors = F.adaptive_avg_pool2d(views.targets, 4)
    answers = (colors[:, None] - objective.bins[None, :, :, None, None]).square().sum(2).argmin(1)
    expected = F.cross_entropy(objective.head(features), answers, weight=objective.weights)
    assert objective.loss(features, views).value.item() == pytest.approx(expected.item(), abs=1e-5)


def test_a_head_that_knows_nothing_has_the_loss_of_chance() -> None:
    objective, encoder = colorization()
    torch.nn.init.zeros_(objective.head.weight)
    assert objective.head.bias is not None
    torch.nn.init.zeros_(objective.head.bias)
    loss = objective(encoder, small.batch(), small.CLOCK)
    assert loss.value.item() == pytest.approx(math.log(261), abs=1e-5) == loss.chance


def all_views() -> Iterator[torch.Tensor]:
    images = small.batch().images / 255.0
    yield images[:10]
    yield images[10:]


def test_the_prior_of_all_images_sets_the_weights_before_the_first_step() -> None:
    objective, encoder = colorization()
    assert [step for step in range(4) if objective.assign_due(Clock(step, 10))] == [0]
    assert objective.assign(encoder, all_views, Clock(0, 10)) == []
    colors = F.adaptive_avg_pool2d(torch.cat([split_colors(x)[1] for x in all_views()]), 4)
    nearest = (colors[:, None] - objective.bins[None, :, :, None, None]).square().sum(2).argmin(1).flatten()
    prior = nearest.bincount(minlength=261) / len(nearest)
    assert torch.allclose(objective.weights, rebalanced(prior, objective.bins, 0.5))
    # a color that never comes weighs most, one that comes often least
    assert objective.weights[prior.argmax()] < objective.weights[prior == 0].max()
    assert torch.equal(objective.state_dict()["weights"], objective.weights)


def test_gray_images_are_refused() -> None:
    objective, encoder = colorization()
    with pytest.raises(UserError, match="needs images in color and all of these are gray"):
        objective.assign(encoder, lambda: iter([torch.full((2, 3, 32, 32), 0.4)]), Clock(0, 10))


def test_a_backbone_without_a_map_is_refused() -> None:
    with pytest.raises(UserError, match=r"needs a backbone with a map of features .* gives \(5, 192\); choose"):
        Colorization(small.encoder("vit_tiny_patch16_224"), small.info())
    encoder = small.encoder()
    assert map_shape(encoder, 32) == (128, 4, 4)
    assert encoder.training


def test_the_encoder_learns_and_the_loss_falls() -> None:
    objective, encoder = colorization()
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(), steps=25, lr=0.2)
    assert last < 0.6 * first
    assert small.gradient_reaches(encoder)


def test_a_copy_goes_on_exactly() -> None:
    assert small.continues_exactly(Colorization, small.batch())


def test_the_placebo_has_the_colors_of_other_images() -> None:
    encoder = small.encoder().eval()
    real, fake = (kind(encoder, small.info()) for kind in (Colorization, placebo(Colorization)))
    fake.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), small.CLOCK) for o in (real, fake))
    assert torch.equal(a.images, b.images)
    assert a.targets is not None
    assert b.targets is not None
    assert not (a.targets == b.targets).flatten(1).all(1).any()
    losses = [o(encoder, small.batch(), small.CLOCK).value.item() for o in (real, fake)]
    assert losses[0] != losses[1]
