import pytest
import timm
import torch

from uda.nn import smallconv


def test_timm_knows_it() -> None:
    assert timm.is_model("smallconv")
    assert isinstance(timm.create_model("smallconv"), smallconv.SmallConv)


@pytest.mark.parametrize(("size", "map_size"), [(32, 4), (16, 2), (28, 3), (8, 1)])
def test_shapes(size: int, map_size: int) -> None:
    model = timm.create_model("smallconv", num_classes=0)
    images = torch.rand(2, 3, size, size)
    assert model.forward_features(images).shape == (2, 128, map_size, map_size)
    assert model(images).shape == (2, 128) == (2, model.num_features)


def test_the_classifier_is_one_linear_layer_on_the_mean_of_the_map() -> None:
    model = timm.create_model("smallconv", num_classes=7).eval()
    images = torch.rand(2, 3, 16, 16)
    pooled = model.forward_features(images).mean(dim=(2, 3))
    assert torch.allclose(model(images), pooled @ model.classifier.weight.T + model.classifier.bias, atol=1e-6)


def test_tensors_load_strictly_between_instances() -> None:
    first, second = (timm.create_model("smallconv", num_classes=0) for _ in range(2))
    second.load_state_dict(first.state_dict(), strict=True)
    images = torch.rand(2, 3, 16, 16)
    assert torch.equal(first.eval()(images), second.eval()(images))
    # 4 convolutions with a batch norm of weight, bias, mean, variance and counter each
    assert len(first.state_dict()) == 4 * 6


def test_the_size_of_the_model() -> None:
    model = timm.create_model("smallconv", num_classes=0)
    # 25·3·32 + 9 · (32·64 + 64·128 + 128·128) weights, and 2 · (32 + 64 + 128 + 128) of the batch norms
    assert sum(p.numel() for p in model.parameters()) == 2400 + 9 * 26624 + 2 * 352


def test_options_of_its_constructor_pass_through_timm() -> None:
    model = timm.create_model("smallconv", num_classes=0, in_chans=1, widths=(4, 8, 16))
    assert model(torch.rand(1, 1, 16, 16)).shape == (1, 16)
