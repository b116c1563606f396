import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.attacks.models import Linear, data, small_network, trained_network
from uda.attacks import Attack, classification_loss, frozen, lengths, pgd
from uda.errors import UserError


def test_a_linear_classifier_by_hand() -> None:
    # Of class 0 the loss rises along w₁ − w₀ = (2, 0, 3) everywhere, so whatever the start, steps of eps / 4 arrive at
    # the corner (+0.1, ?, +0.1); the pixel without influence stays where it began.
    model, image = Linear(torch.tensor([[1, 0, -2], [3, 0, 1]])), torch.tensor([[0.5, 0.5, 0.5]])
    label = torch.tensor([0])
    loss = classification_loss(model, label)
    attacked = pgd(loss, image, label, 0.1, steps=8)
    assert torch.allclose(attacked[0, [0, 2]], torch.tensor([0.6, 0.6]))
    assert 0.4 <= float(attacked[0, 1]) <= 0.6
    # In l2 without a random start: eps along (2, 0, 3) / √13.
    attacked = pgd(loss, image, label, 0.1, steps=8, norm="l2", random_start=False)
    assert torch.allclose(attacked, torch.tensor([[0.55547, 0.5, 0.58321]]), atol=1e-5)


def test_the_steps_by_hand() -> None:
    # Loss −(x − 0.56)², one pixel from 0.5: two steps of 0.04 pass the top (0.54, 0.58), the third returns to 0.54.
    losses = []

    def loss(views):
        losses.append(float(views.detach()))
        return -((views - 0.56) ** 2).sum(1)

    label, image = torch.tensor([0]), torch.tensor([[0.5]])
    last = pgd(loss, image, label, 0.1, 0.04, 3, random_start=False, keep="last")
    assert losses == pytest.approx([0.5, 0.54, 0.58])
    assert float(last) == pytest.approx(0.54)
    losses.clear()
    best = pgd(loss, image, label, 0.1, 0.04, 2, random_start=False)
    assert losses == pytest.approx([0.5, 0.54, 0.58])
    # 0.54 and 0.58 are equally far from the top but for rounding.
    assert float(best) == pytest.approx(0.56, abs=0.0201)
    assert float(pgd(loss, image, label, 0.1, 0.05, 2, random_start=False)) == pytest.approx(0.55)


def test_an_error_comes_before_a_larger_loss() -> None:
    # Three classes: at 0.6 the answer is wrong at a small loss, at 0.7 it is right at a large one.
    def loss(views):
        x = views[:, 0]
        wrong = ((x > 0.55) & (x < 0.65)).float()
        return x, torch.stack([1 - wrong, wrong], dim=1)

    label, image = torch.tensor([0]), torch.tensor([[0.5]])
    settings_ = {"eps": 0.2, "step": 0.1, "steps": 2, "random_start": False}
    assert float(pgd(loss, image, label, **settings_)) == pytest.approx(0.6)
    assert float(pgd(lambda views: loss(views)[0], image, label, **settings_)) == pytest.approx(0.7)
    assert float(pgd(loss, image, label, **settings_, keep="last")) == pytest.approx(0.7)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_it_equals_torchattacks(norm) -> None:
    library = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    model, images, labels = trained_network()
    eps, step = (8 / 255, 2 / 255) if norm == "linf" else (0.5, 0.1)
    kind = library.PGD if norm == "linf" else library.PGDL2
    with frozen(model):
        ours = pgd(
            classification_loss(model, labels), images, labels, eps, step, 10, 1, norm, random_start=False, keep="last"
        )
        theirs = kind(model, eps=eps, alpha=step, steps=10, random_start=False)(images, labels)
    assert bool((lengths(ours - images, norm) > 0.9 * eps).any())
    assert torch.allclose(ours, theirs, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(
    st.floats(0, 0.5),
    st.floats(0.001, 1),
    st.integers(1, 4),
    st.integers(1, 2),
    st.sampled_from(["linf", "l2"]),
    st.sampled_from(["best", "last"]),
    st.integers(0, 1000),
)
def test_every_attack_stays_in_the_ball_and_in_the_box(eps, step, steps, restarts, norm, keep, seed) -> None:
    images, labels = data(6)
    images = (images * 1.4 - 0.2).clamp(0, 1)  # many pixels at the edges of the box
    before = images.clone()
    attacked = Attack(eps, step, steps, restarts, norm, keep=keep)(small_network(), images, labels, seed=seed)
    assert bool((lengths(attacked - images, norm) <= eps + 1e-6).all())
    assert bool(((attacked >= 0) & (attacked <= 1)).all())
    assert torch.equal(images, before)


def right(model, views, labels) -> torch.Tensor:
    with frozen(model):
        return model(views).argmax(1) == labels


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_steps_and_restarts_never_help_the_model(norm) -> None:
    model, images, labels = trained_network()
    clean = right(model, images, labels)
    assert bool(clean.all())
    for eps in (0.05, 0.07, 0.1) if norm == "linf" else (0.5, 0.8, 1.0):
        stood = clean
        for steps, restarts in ((1, 1), (2, 1), (5, 1), (10, 1), (10, 2)):
            # A coarse step, with which the last iterate often is not the worst.
            attack = Attack(eps, step=1.5 * eps, steps=steps, restarts=restarts, norm=norm)
            still = right(model, attack(model, images, labels), labels)
            assert bool((still <= stood).all())
            stood = still
    assert not bool(stood.all())


def test_the_best_is_at_least_as_good_as_the_last() -> None:
    model, images, labels = trained_network()
    loss = classification_loss(model, labels)
    for eps in (0.05, 0.08):
        best, last = (pgd(loss, images, labels, eps, 2 * eps, 5, keep=keep) for keep in ("best", "last"))
        stood = model(best).argmax(1) == labels
        assert bool((stood <= (model(last).argmax(1) == labels)).all())
        assert bool((loss(best)[0] >= loss(last)[0])[stood].all())


def test_what_happens_to_an_image_does_not_depend_on_the_batch() -> None:
    model, images, labels = trained_network()
    attack, index = Attack(0.03, steps=3), torch.arange(100, 124)
    whole = attack(model, images, labels, seed=5, index=index)
    part = attack(model, images[7:11], labels[7:11], seed=5, index=index[7:11])
    assert torch.allclose(part, whole[7:11], atol=1e-6)
    assert not torch.allclose(attack(model, images, labels, seed=6, index=index), whole, atol=1e-3)


def test_a_model_in_training_is_left_without_a_trace() -> None:
    model, (images, labels) = small_network(), data()
    state = {name: value.clone() for name, value in model.state_dict().items()}
    attacked = Attack(0.05, steps=2)(model, images, labels)
    assert model.training
    assert model[1].training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())
    assert not attacked.requires_grad
    # The same as of a model in evaluation mode: dropout and batch statistics have no part in it.
    assert torch.equal(attacked, Attack(0.05, steps=2)(model.eval(), images, labels))


@pytest.mark.parametrize("outside", [torch.no_grad, torch.inference_mode])
def test_it_works_where_gradients_are_off(outside) -> None:
    model, (images, labels) = small_network(), data()
    expected = Attack(0.05, steps=2)(model, images, labels)
    with outside():
        assert torch.equal(Attack(0.05, steps=2)(model, images.clone(), labels), expected)
        assert torch.is_grad_enabled() is False


def test_half_precision_keeps_the_ball() -> None:
    model, (images, labels) = small_network(), data()
    halves = images.bfloat16()
    attacked = Attack(1 / 255, steps=2)(model, halves, labels)
    assert attacked.dtype == torch.float32
    assert float((attacked - halves.float()).abs().max()) == pytest.approx(1 / 255, abs=1e-6)
    with torch.autocast("cpu", torch.bfloat16):
        attacked = Attack(1 / 255, steps=2)(model, images, labels)
    assert attacked.dtype == torch.float32
    assert float((attacked - images).abs().max()) == pytest.approx(1 / 255, abs=1e-6)


def test_a_loss_of_the_callers_own() -> None:
    # Ascending −(darkness) makes every pixel brighter by eps, whatever the labels say.
    images, labels = data()
    attacked = Attack(0.1, random_start=False)(small_network(), images, labels, lambda views: views.flatten(1).sum(1))
    assert torch.allclose(attacked, (images + 0.1).clamp(max=1))
    with pytest.raises(ValueError, match="one loss for each image"):
        pgd(lambda views: F.mse_loss(views, images), images, labels, 0.1)


def test_a_radius_of_zero_is_the_image() -> None:
    images, labels = data()
    for norm in ("linf", "l2"):
        assert torch.equal(Attack(0.0, norm=norm, steps=1)(small_network(), images, labels), images)
        assert torch.equal(Attack.single_step(0.0, norm)(small_network(), images, labels), images)


def test_settings_that_make_no_attack_are_refused() -> None:
    for wrong, message in (
        ({"eps": 8}, "write 8/255"),
        ({"step": 0.0}, "positive step"),
        ({"steps": 0}, "steps=0: give at least 1"),
        ({"restarts": 0}, "restarts=0: give at least 1"),
        ({"restarts": 2, "random_start": False}, "set random_start to true"),
        ({"norm": "l1"}, "choose linf or l2"),
        ({"keep": "first"}, "choose best or last"),
    ):
        with pytest.raises(UserError, match=message):
            Attack(**wrong)


@pytest.mark.parametrize("keep", ["best", "last"])
def test_a_loss_that_is_not_a_number_is_refused(keep) -> None:
    images, labels = data()
    model = small_network()
    torch.nn.init.constant_(model[-1].weight, torch.nan)
    with pytest.raises(UserError, match="did not diverge"):
        Attack(0.1, steps=2, keep=keep)(model, images, labels)
