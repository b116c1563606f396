import torch
from torch import nn

from uda.nn.statistics import estimate_batch_statistics


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Dropout(0.5))


def test_the_statistics_are_those_of_the_views() -> None:
    model, views = network(), torch.rand(6, 3, 8, 8)
    estimate_batch_statistics(model, [views])
    maps = model[0](views)
    # torch keeps the unbiased variance; 6 images of 6 × 6 positions for each channel
    assert torch.allclose(model[1].running_mean, maps.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(model[1].running_var, maps.var((0, 2, 3)), atol=1e-6)


def test_batches_are_averaged_and_what_was_there_before_is_forgotten() -> None:
    first, second = torch.rand(4, 3, 8, 8), torch.rand(4, 3, 8, 8) + 1
    model = network()
    model[1].running_mean.fill_(100.0)
    estimate_batch_statistics(model, [first, second])
    means = [model[0](views).mean((0, 2, 3)) for views in (first, second)]
    assert torch.allclose(model[1].running_mean, (means[0] + means[1]) / 2, atol=1e-6)


def test_the_mode_the_momentum_and_the_weights_stay() -> None:
    model = network().train()
    weights = [parameter.clone() for parameter in model.parameters()]
    estimate_batch_statistics(model, [torch.rand(4, 3, 8, 8)])
    assert model.training
    assert model[1].training
    assert model[1].momentum == 0.1
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def test_an_encoder_without_batch_norm_is_not_even_run() -> None:
    def views() -> torch.Tensor:
        raise AssertionError("no view was needed")
        yield  # type: ignore[unreachable]

    estimate_batch_statistics(nn.Linear(3, 2), views())
