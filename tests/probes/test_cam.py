"""Class activation maps: the formula by hand, and that they are the logit spread over the image."""

import torch

from uda.nn.encoder import create_encoder
from uda.probes.cam import activation_maps, class_activation_maps


def test_the_formula_by_hand() -> None:
    maps = torch.tensor([[[[1.0, 2.0]], [[3.0, 4.0]]]])  # (1, 2, 1, 2)
    weight = torch.tensor([[1.0, 0.0], [2.0, -1.0]])
    assert class_activation_maps(maps, weight, torch.tensor([1])).tolist() == [[[-1.0, 0.0]]]
    assert class_activation_maps(maps, weight, torch.tensor([0])).tolist() == [[[1.0, 2.0]]]


def test_the_mean_of_a_map_and_the_bias_are_the_logit() -> None:
    torch.manual_seed(0)
    encoder = create_encoder("smallconv", "none", 32).eval()
    head, views, classes = torch.nn.Linear(encoder.dim, 4), torch.rand(3, 3, 32, 32), torch.tensor([2, 0, 3])
    maps = activation_maps(encoder, head, views, classes)
    assert maps is not None
    assert maps.shape == (3, 4, 4)
    logits = head(encoder(views)).gather(1, classes[:, None])[:, 0]
    torch.testing.assert_close(maps.mean(dim=(1, 2)) + head.bias[classes], logits)


def test_a_backbone_without_a_map_has_none() -> None:
    encoder = create_encoder("smallvit", "none", 32)
    head = torch.nn.Linear(encoder.dim, 2)
    assert activation_maps(encoder, head, torch.rand(1, 3, 32, 32), torch.tensor([0])) is None


def test_features_wider_than_the_map_have_none() -> None:
    encoder = create_encoder("mobilenetv3_small_050", "none", 32)
    head = torch.nn.Linear(encoder.dim, 2)
    assert activation_maps(encoder, head, torch.rand(1, 3, 32, 32), torch.tensor([0])) is None
