import builtins
import sys

import pytest
import torch

from tests.attacks.models import data, small_network, trained_network
from uda.attacks import Attack, autoattack, lengths
from uda.errors import UserError

FEW = {"steps": 4, "queries": 20}


def installed() -> None:
    pytest.importorskip("pyautoattack", reason="the extra `attacks` is not installed")


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.1), ("l2", 1.0)])
def test_it_finds_at_least_what_one_step_finds_within_the_ball(norm, eps: float) -> None:
    installed()
    model, images, labels = trained_network()
    before, state = images.clone(), torch.random.get_rng_state()
    attacked = autoattack(model, images, labels, eps, norm, **FEW)
    assert bool((lengths(attacked - images, norm) <= eps + 1e-5).all())
    assert bool(((attacked >= 0) & (attacked <= 1)).all())
    assert torch.equal(images, before)
    assert torch.equal(torch.random.get_rng_state(), state)
    stood = model(attacked).argmax(1) == labels
    one_step = model(Attack.single_step(eps, norm)(model, images, labels)).argmax(1) == labels
    assert int(stood.sum()) <= int(one_step.sum()) < len(labels)
    assert torch.equal(attacked[stood], images[stood])
    assert torch.equal(autoattack(model, images, labels, eps, norm, **FEW), attacked)


def test_a_model_in_training_is_left_without_a_trace() -> None:
    installed()
    model, (images, labels) = small_network(), data(3)
    state = {name: value.clone() for name, value in model.state_dict().items()}

    def tracer(frame, event, argument):
        return None

    tracing = sys.gettrace()
    sys.settrace(tracer)
    try:
        with torch.no_grad():
            autoattack(model, images, labels, 0.02, **FEW)
        assert sys.gettrace() is tracer
    finally:
        sys.settrace(tracing)
    assert model.training
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_one_image_and_images_that_are_wrong_already() -> None:
    installed()
    model, images, labels = trained_network()
    assert autoattack(model, images[:1], labels[:1], 0.01, **FEW).shape == (1, 3, 8, 8)
    assert torch.equal(autoattack(model, images, (labels + 1) % 5, 0.01, **FEW), images)


def test_three_classes_are_too_few() -> None:
    installed()
    with pytest.raises(UserError, match="at least 4 classes, not 3: use pgd"):
        autoattack(small_network(3), *data(4, 3), 0.01)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    found = builtins.__import__

    def missing(name, *rest, **options):
        if name == "pyautoattack":
            raise ImportError(name)
        return found(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"pip install 'uda-ssl\[attacks\]'"):
        autoattack(small_network(), *data(4), 0.01)
