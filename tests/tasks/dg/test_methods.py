"""The methods of domain generalization: their formulas by hand, and that each of them learns."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.tasks.dg.small import SIZE, encoder, small_data, small_task
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.tasks.dg import METHODS, Sample
from uda.tasks.dg.coral import coral
from uda.tasks.dg.irm import irm_penalty
from uda.tasks.dg.method import partners
from uda.tasks.dg.mixstyle import MixStyle, mix_style, stages
from uda.tasks.dg.mixup import mixed
from uda.tasks.dg.rsc import challenged, kept_channels

LN3 = math.log(3)


def sample(labels: list[int], domains: list[int]) -> Sample:
    return Sample(torch.tensor(labels), torch.tensor(domains), torch.arange(len(labels)))


# formulas


def test_irm_penalty_by_hand() -> None:
    logits = torch.tensor([[LN3, 0.0], [0.0, LN3]])
    # p is (3/4, 1/4) and (1/4, 3/4): slopes 3/4 ln 3 − ln 3 and 3/4 ln 3 − 0
    assert irm_penalty(logits, torch.tensor([0, 0])).item() == pytest.approx(-0.25 * LN3 * 0.75 * LN3)
    assert irm_penalty(logits[:1], torch.tensor([0])).item() == 0


def test_irm_penalty_is_the_product_of_the_gradients_of_a_dummy_scale() -> None:
    torch.manual_seed(0)
    logits, labels = torch.randn(7, 4), torch.arange(7) % 4
    scale = torch.ones((), requires_grad=True)
    gradients = [
        torch.autograd.grad(F.cross_entropy(logits[half] * scale, labels[half]), scale)[0]
        for half in (slice(0, None, 2), slice(1, None, 2))
    ]
    assert irm_penalty(logits, labels).item() == pytest.approx((gradients[0] * gradients[1]).item(), rel=1e-5)


def test_the_weight_of_irm_is_one_at_first() -> None:
    method = METHODS["irm"](encoder(), 2, weight=50.0, warmup=0.5)
    torch.manual_seed(0)
    features, known = torch.randn(8, 128), sample([0, 1] * 4, [0] * 4 + [1] * 4)
    early, late = (method(features, known, Clock(step, 10))["invariance"].item() for step in (4, 5))
    assert early != 0
    assert late == pytest.approx(50 * early, rel=1e-5)


def test_coral_by_hand() -> None:
    a, b = torch.tensor([[0.0, 0.0], [2.0, 0.0]]), torch.tensor([[0.0, 0.0], [0.0, 2.0]])
    assert coral(a, b).item() == pytest.approx(0.5)  # covariances diag(2, 0) and diag(0, 2): 8 ÷ (4 · 2²)
    assert coral(a, a + 5).item() == 0  # means do not count


def test_coral_is_the_mean_over_pairs_and_leaves_single_images_out() -> None:
    method = METHODS["coral"](encoder(), 2, weight=3.0)
    torch.manual_seed(0)
    features = torch.randn(7, 128)
    groups = features[0:2], features[2:4], features[4:6]
    wanted = torch.stack([coral(groups[0], groups[1]), coral(groups[0], groups[2]), coral(groups[1], groups[2])]).mean()
    found = method(features, sample([0, 1, 0, 1, 0, 1, 0], [0, 0, 1, 1, 2, 2, 3]), Clock(0, 1))["alignment"]
    assert found.item() == pytest.approx(3 * wanted.item(), rel=1e-5)
    assert method(features[:2], sample([0, 1], [0, 1]), Clock(0, 1))["alignment"].item() == 0


def test_mixup_by_hand() -> None:
    images = torch.tensor([0.0, 1.0])[:, None, None, None]
    assert mixed(images, torch.tensor([1, 0]), 0.25).flatten().tolist() == [0.75, 0.25]


def test_mixup_weighs_both_labels_by_the_share_of_its_images() -> None:
    method, clock = METHODS["mixup"](encoder(), 2), Clock(2, 10, seed=3)
    torch.manual_seed(0)
    features, known = torch.randn(2, 128), sample([0, 1], [0, 1])  # each is the other's partner
    logits, share = method.classifier(features), method.share(clock)
    assert 0 < share < 1
    own, other = F.cross_entropy(logits, known.labels), F.cross_entropy(logits, known.labels.flip(0))
    found = method(features, known, clock)["classification"]
    assert found.item() == pytest.approx((share * own + (1 - share) * other).item(), rel=1e-5)


def test_mixstyle_by_hand() -> None:
    maps = torch.tensor([[0.0, 2.0], [10.0, 14.0]])[:, None, None]  # means 1 and 12, deviations √2 and 2√2
    found = mix_style(maps, torch.tensor([1, 0]), torch.tensor([0.5, 1.0]))
    # half of each: mean 6.5, deviation 1.5 √2; the image lay 1/√2 deviations off its mean
    assert found.flatten().tolist() == pytest.approx([5.0, 8.0, 10.0, 14.0], rel=1e-4)


def test_a_map_of_a_single_place_takes_on_its_partners_value() -> None:
    maps = torch.tensor([1.0, 3.0])[:, None, None, None]
    assert mix_style(maps, torch.tensor([1, 0]), torch.tensor([0.5, 0.0])).flatten().tolist() == [2.0, 1.0]


def test_mixstyle_mixes_in_its_context_alone_and_at_the_first_two_stages() -> None:
    own = encoder().eval()
    method = MixStyle(own, 3, probability=1.0)
    assert method.layers == ("backbone.stages.0", "backbone.stages.1")
    views, known = torch.rand(6, 3, SIZE, SIZE), sample([0] * 6, [0, 1] * 3)
    plain = own(views)
    assert not torch.allclose(method.encode(own, views, known, Clock(0, 1)), plain)
    assert torch.equal(own(views), plain)
    never = MixStyle(own, 3, probability=0.0)
    assert torch.equal(never.encode(own, views, known, Clock(0, 1)), plain)


@pytest.mark.parametrize("backbone", ["convnext_atto", "resnetv2_50", "resnet18", "tf_efficientnet_lite0"])
def test_the_first_two_stages_are_no_blocks_within_one(backbone: str) -> None:
    names = stages(create_encoder(backbone, "none", 64), [])
    assert len({name.count(".") for name in names}) == 1
    assert not names[1].startswith(f"{names[0]}.")


def test_mixstyle_refuses_what_it_cannot_mix_at() -> None:
    with pytest.raises(UserError, match=r"no module 'layer9'.*method\.layers"):
        MixStyle(encoder(), 3, layers=["layer9"])
    with pytest.raises(UserError, match="choose a convolutional one"):
        MixStyle(create_encoder("smallvit", "none", 32), 3)


def test_rsc_masks_by_hand() -> None:
    # the 2/3 quantile of 1, 2, 3 lies a third of the way from 2 to 3
    assert kept_channels(torch.tensor([[1.0, 2.0, 3.0]]), 1 / 3).tolist() == [[True, True, False]]
    # that of .1, .2, .5 is .3
    assert challenged(torch.tensor([0.1, 0.5, 0.2]), 1 / 3).tolist() == [False, True, False]


def test_rsc_mutes_the_channels_of_the_images_that_lose_most() -> None:
    method = METHODS["rsc"](encoder(), 2, features=1 / 4, batch=1 / 2)
    weight = torch.zeros(2, 128)
    weight[0, :8] = 1.0  # the channels that class 0 goes by are among the muted quarter
    method.classifier.weight.data, method.classifier.bias.data = weight, torch.zeros(2)
    features = torch.zeros(2, 128)
    features[0, :8] = 1.0  # the first image has something to lose, the second nothing
    found = method(features, sample([0, 0], [0, 0]), Clock(0, 1))["classification"]
    assert found.item() == pytest.approx(math.log(2))  # both are left with logits of 0
    assert F.cross_entropy(method.classifier(features), torch.tensor([0, 0])).item() < 0.5


def test_partners_are_of_another_domain_where_there_is_one() -> None:
    domains = [0, 0, 0, 1, 1, 2]
    found = [partners(sample([0] * 6, domains), Clock(step, 99), "x") for step in range(60)]
    chosen = {(row, int(place)) for partner in found for row, place in enumerate(partner)}
    assert chosen == {(i, j) for i in range(6) for j in range(6) if domains[i] != domains[j]}
    single = torch.stack([partners(sample([0] * 3, [1, 1, 1]), Clock(step, 99), "x") for step in range(40)])
    assert {(row, int(p)) for line in single for row, p in enumerate(line)} == {
        (i, j) for i in range(3) for j in range(3) if i != j
    }


# learning


@pytest.mark.parametrize("name", METHODS)
def test_every_method_reaches_the_encoder_and_its_loss_falls(name: str) -> None:
    task = small_task(name)
    task.train()
    batches = {"source": task.streams()["source"].batch(0)}
    optimizer = torch.optim.SGD(task.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(12):
        loss = task(batches, "all", Clock(0, 20, seed=0))["classification"]
        optimizer.zero_grad()
        loss.backward()
        gradients = [p.grad for p in task.encoder.parameters()]
        assert all(g is not None and g.abs().sum() > 0 for g in gradients)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.7 * losses[0]


@pytest.mark.parametrize("name", METHODS)
def test_a_step_is_the_same_whenever_it_is_made(name: str) -> None:
    task = small_task(name)
    task.train()
    batches = {"source": task.streams()["source"].batch(5)}
    first, second = (task(batches, "all", Clock(5, 20, seed=0)) for _ in range(2))
    assert {n: v.item() for n, v in first.items()} == {n: v.item() for n, v in second.items()}
    assert np.isfinite([value.item() for value in first.values()]).all()
    assert small_data().n_domains == 3
