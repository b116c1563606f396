"""`uda.robustness_report`: any model, left as it was, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import uda
from tests.tiny import SIZE, draw_classes
from uda.errors import UserError


def labelled(n: int = 12) -> tuple[torch.Tensor, np.ndarray]:
    pixels = torch.randint(0, 256, (n, 3, SIZE, SIZE), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return pixels, np.arange(n) % 3


def test_any_model_is_reported_on(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 3))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    found = uda.robustness_report(
        model, labelled(), corruptions=["contrast"], severities=[5], attacks=["pgd-2"], eps=[4], progress=False
    )
    right = (model(labelled()[0] / 255).argmax(1).numpy() == labelled()[1]).mean()
    assert found.metrics["accuracy"] == pytest.approx(right)
    assert found.tables["corruptions"]["corruption"].tolist() == ["contrast"]
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training
    out = found.save(tmp_path / "report")
    assert {path.name for path in out.iterdir()} == {"robustness.json", "robustness.csv", "metrics.json", "report.html"}
    with pytest.raises(UserError, match="holds a run already"):
        found.save(out)


def test_a_timm_model_shows_its_features_and_a_class_map_reads_its_classes() -> None:
    import timm

    torch.manual_seed(0)
    model = timm.create_model("resnet10t", num_classes=6)
    options = {"corruptions": ["none"], "attacks": [], "progress": False}
    pixels, labels = labelled()
    found = uda.robustness_report(model, (pixels, labels), training=(pixels, labels), **options)
    assert "far_auroc_mahalanobis" in found.metrics
    mapped = uda.robustness_report(
        model, (pixels, labels), class_map={"0": [0, 3], "1": [1, 4], "2": [2, 5]}, **options
    )
    config = model.pretrained_cfg
    views = pixels / 255 - torch.tensor(config["mean"]).view(3, 1, 1)
    with torch.no_grad():
        shares = model.eval()(views / torch.tensor(config["std"]).view(3, 1, 1)).softmax(1)
    answers = (shares[:, :3] + shares[:, 3:]).argmax(1).numpy()
    assert mapped.metrics["accuracy"] == pytest.approx((answers == labels).mean())


def test_a_report_leaves_a_model_as_it_was_and_is_the_same_twice() -> None:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten())
    model = nn.Sequential(body, nn.Linear(4 * (SIZE - 2) ** 2, 3)).to(torch.bfloat16)
    body.eval()
    modes = [module.training for module in model.modules()]
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.random.get_rng_state()
    options = {"corruptions": ["fog"], "severities": [3], "attacks": ["pgd-2"], "eps": [4], "progress": False}
    found = [uda.robustness_report(model, labelled(), **options).metrics for _ in range(2)]
    assert found[0] == found[1]
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(torch.random.get_rng_state(), state)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ((torch.zeros(2, 3, 8, 6, dtype=torch.uint8), [0, 1]), "uint8 tensor"),
        ((torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [0.5, 1.0]), "2 whole numbers"),
        ((torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [[0, 1], [1, 0]]), "2 whole numbers"),
        ((torch.zeros(2, 3, 8, 8, dtype=torch.uint8), [-1, -1]), "none of the images has a label"),
        ((["a.png"], [0]), "not list"),
        (torch.zeros(2, 3, 8, 8, dtype=torch.uint8), "as \\(images, labels\\)"),
    ],
)
def test_data_that_cannot_be_examined_is_refused(data: Any, words: str) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 2))
    with pytest.raises(UserError, match=words):
        uda.robustness_report(model, data, progress=False)


def test_reports_refuse_what_does_not_fit(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * SIZE * SIZE, 2))
    with pytest.raises(UserError, match="the model tells 2 classes and the images are of 3"):
        uda.robustness_report(model, labelled(), progress=False)
    with pytest.raises(UserError, match="want an image_size"):
        uda.robustness_report(model, draw_classes(tmp_path / "x", {"a": 2, "b": 2}), progress=False)
    with pytest.raises(UserError, match="uint8 tensor"):
        uda.robustness_report(model, (torch.zeros(2, 3, 8, 8), [0, 1]), progress=False)
    with pytest.raises(UserError, match="attack"):
        uda.robustness_report(model, labelled(), attacks=["pgd"], progress=False)
