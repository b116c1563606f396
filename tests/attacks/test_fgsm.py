import pytest
import torch

from tests.attacks.models import Linear, data, small_network
from uda.attacks import classification_loss, fgsm, frozen, pgd
from uda.errors import UserError

# Logits W·x with rows (1, 0, -2) and (3, 0, 1): of an image of class 0 the loss is log(1 + exp((w₁ − w₀)·x)), whose
# gradient is a positive multiple of w₁ − w₀ = (2, 0, 3); of class 1, of −(2, 0, 3).
MODEL = Linear(torch.tensor([[1, 0, -2], [3, 0, 1]]))
IMAGES = torch.tensor([[0.5, 0.5, 0.5], [0.5, 0.5, 0.05]])
LABELS = torch.tensor([0, 1])


def test_a_linear_classifier_by_hand() -> None:
    # Class 0: (+0.1, 0, +0.1). Class 1: (−0.1, 0, −0.1), where 0.05 − 0.1 is cut to 0.
    attacked = fgsm(classification_loss(MODEL, LABELS), IMAGES, 0.1)
    assert torch.allclose(attacked, torch.tensor([[0.6, 0.5, 0.6], [0.4, 0.5, 0.0]]))


def test_a_linear_classifier_by_hand_in_l2() -> None:
    # (2, 0, 3) / √13 = (0.5547, 0, 0.8321), times 0.1.
    attacked = fgsm(classification_loss(MODEL, LABELS), IMAGES, 0.1, "l2")
    assert torch.allclose(attacked, torch.tensor([[0.55547, 0.5, 0.58321], [0.44453, 0.5, 0.0]]), atol=1e-5)


def test_no_perturbation_of_that_size_is_worse_for_a_linear_classifier() -> None:
    loss = classification_loss(MODEL, LABELS)
    worst = loss(fgsm(loss, IMAGES, 0.1))[0]
    others = IMAGES + 0.1 * (2 * torch.rand(500, 2, 3, generator=torch.Generator().manual_seed(0)) - 1)
    assert all(bool((loss(other.clamp(0, 1))[0] <= worst + 1e-6).all()) for other in others)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_is_one_whole_step_of_pgd(norm) -> None:
    images, labels = data()
    with frozen(small_network()) as model:
        loss = classification_loss(model, labels)
        once = fgsm(loss, images, 0.05, norm)
        step = pgd(loss, images, labels, 0.05, 0.05, 1, norm=norm, random_start=False, keep="last")
    assert torch.equal(once, step)


@pytest.mark.parametrize("eps", [1 / 255, 8 / 255])
def test_it_equals_torchattacks(eps: float) -> None:
    library = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    images, labels = data()
    with frozen(small_network()) as model:
        ours = fgsm(classification_loss(model, labels), images, eps)
        theirs = library.FGSM(model, eps=eps)(images, labels)
    # Theirs ascends the mean over the batch, whose gradients are 24 times smaller; signs are the same.
    assert torch.allclose(ours, theirs, atol=1e-6)


def test_the_images_are_left_as_they_are() -> None:
    images, labels = data()
    before = images.clone()
    with frozen(small_network()) as model, torch.no_grad():
        attacked = fgsm(classification_loss(model, labels), images, 0.1)
    assert torch.equal(images, before)
    assert images.grad is None
    assert not attacked.requires_grad
    assert bool((attacked != images).any())


def test_a_loss_that_is_not_a_number_is_refused() -> None:
    with pytest.raises(UserError, match="did not diverge"):
        fgsm(lambda views: views.flatten(1).sum(1) * torch.nan, data()[0], 0.1)
