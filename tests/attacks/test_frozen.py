import pytest
import torch

from tests.attacks.models import data, small_network
from uda.attacks import frozen


def modes(model: torch.nn.Module) -> list[bool]:
    return [module.training for module in model.modules()]


def test_a_model_is_as_it_was_afterwards() -> None:
    model = small_network()
    model[1].eval()  # a batch norm that somebody has frozen already stays so
    model[0].weight.requires_grad_(False)
    before, wanted = modes(model), [p.requires_grad for p in model.parameters()]
    state = {name: value.clone() for name, value in model.state_dict().items()}
    with frozen(model) as held:
        assert held is model
        assert not any(modes(model))
        assert not any(p.requires_grad for p in model.parameters())
        images = data()[0].requires_grad_()
        model(images).sum().backward()
        assert images.grad is not None
    assert modes(model) == before
    assert any(before)
    assert not all(before)
    assert [p.requires_grad for p in model.parameters()] == wanted
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(value, state[name]) for name, value in model.state_dict().items())


def test_also_after_an_exception() -> None:
    model = small_network()
    with pytest.raises(RuntimeError, match="lost"), frozen(model):
        raise RuntimeError("lost")
    assert all(modes(model))
    assert all(p.requires_grad for p in model.parameters())
