import numpy as np
import pytest
import torch
from PIL import Image

from tests.datasets.corruptions.pictures import blots
from uda.datasets.corruptions import digital
from uda.datasets.corruptions.presets import Elastic


def test_contrast_by_hand() -> None:
    images = torch.tensor([0, 100, 200, 100], dtype=torch.uint8).view(1, 1, 2, 2).expand(-1, 3, -1, -1)
    assert digital.contrast(images, 0.4)[0, 0].flatten().tolist() == pytest.approx([60, 100, 140, 100])


def test_saturate_by_hand() -> None:
    pixels = torch.tensor([[200.0, 100, 0, 200], [150, 100, 0, 0], [100, 100, 0, 100]])[None, :, None]
    halved = digital.saturate(pixels, 0.5, 0)[0, :, 0]  # from ½ to ¼, and from 1 to ½
    assert halved[:, 0].tolist() == pytest.approx([200, 175, 150])
    assert halved[:, 1].tolist() == [100, 100, 100]
    assert halved[:, 2].tolist() == [0, 0, 0]
    assert halved[:, 3].tolist() == pytest.approx([200, 100, 150])
    raised = digital.saturate(pixels, 5, 0.1)[0, :, 0]
    assert raised[:, 0].tolist() == pytest.approx([200, 100, 0])  # saturated
    assert raised[:, 1].tolist() == pytest.approx([100, 90, 90])  # gray turns red
    assert raised[:, 2].tolist() == [0, 0, 0]


def test_pixelate_by_hand() -> None:
    # Half of four: means of two by two, each in two by two places; .5 is rounded up.
    images = torch.arange(16, dtype=torch.uint8).view(1, 1, 4, 4).expand(-1, 3, -1, -1) * 10
    assert digital.pixelate(images, 0.5)[0, 0].tolist() == [[25, 25, 45, 45]] * 2 + [[105, 105, 125, 125]] * 2
    steps = torch.tensor([0, 1, 0, 1], dtype=torch.uint8).expand(1, 3, 4, 4)
    assert digital.pixelate(steps, 0.5).unique().tolist() == [1]


@pytest.mark.parametrize(("height", "width"), [(32, 32), (224, 224), (37, 53), (9, 8)])
@pytest.mark.parametrize("share", [0.95, 0.75, 0.65, 0.6, 0.3, 0.25])
def test_pixelate_is_pillow_s(height: int, width: int, share: float) -> None:
    images = torch.randint(0, 256, (1, 3, height, width), generator=torch.Generator().manual_seed(0)).byte()
    picture = Image.fromarray(images[0].permute(1, 2, 0).numpy())
    picture = picture.resize((int(width * share), int(height * share)), Image.Resampling.BOX)
    expected = np.asarray(picture.resize((width, height), Image.Resampling.BOX))
    assert np.array_equal(digital.pixelate(images, share)[0].permute(1, 2, 0), expected)


def bent(corners: list[list[float]], affine: float = 1.0) -> torch.Tensor:
    """Return where the ramps x and y come from, (2, 9, 9)."""
    ramps = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy"))[None]
    moves = torch.zeros(1, 2, 9, 9)
    shifts = torch.tensor([corners], dtype=torch.float64)
    return digital.elastic_transform(ramps, shifts, moves, Elastic(0, 0, affine))[0]


def test_elastic_bends_by_hand() -> None:
    ramps = bent([[0.0, 0.0]] * 3)
    assert torch.allclose(ramps[0], torch.arange(9.0).expand(9, 9), atol=1e-5)
    # All three points move by (1, 2): the image does, and is mirrored about its first pixel.
    moved = bent([[1.0, 2.0]] * 3)
    assert moved[0, 0].tolist() == pytest.approx([1, 0, 1, 2, 3, 4, 5, 6, 7], abs=1e-5)
    assert moved[1, :, 0].tolist() == pytest.approx([2, 1, 0, 1, 2, 3, 4, 5, 6], abs=1e-5)
    # The points are (7, 7), (7, 1), (1, 1); moving the last one to (−5, 1) stretches x about 7 to the double.
    stretched = bent([[0.0, 0.0], [0.0, 0.0], [-6.0, 0.0]])
    assert stretched[0, 4].tolist() == pytest.approx([7 + (x - 7) / 2 for x in range(9)], abs=1e-5)
    assert torch.allclose(stretched[1], torch.arange(9.0)[:, None].expand(9, 9), atol=1e-5)


def test_elastic_moves_by_smoothed_noise() -> None:
    ramps = torch.stack(torch.meshgrid(torch.arange(9.0), torch.arange(9.0), indexing="xy"))[None]
    moves = torch.tensor([0.5, -0.25])[None, :, None, None].expand(1, 2, 9, 9)  # even noise stays even
    out = digital.elastic_transform(ramps, torch.zeros(1, 3, 2, dtype=torch.float64), moves, Elastic(2, 1.0, 0))[0]
    assert out[0, 4, 1:7].tolist() == pytest.approx([x + 1.0 for x in range(1, 7)], abs=1e-4)
    assert out[1, 1:8, 4].tolist() == pytest.approx([y - 0.5 for y in range(1, 8)], abs=1e-4)


def test_points_on_a_line_send_nothing_astray() -> None:
    # The last point falls onto the second one.
    assert torch.isfinite(bent([[0.0, 0.0], [0.0, 0.0], [6.0, 0.0]])).all()


def test_jpeg_keeps_even_gray_and_loses_with_quality() -> None:
    even = torch.full((1, 3, 16, 16), 128, dtype=torch.uint8)
    assert torch.equal(digital.jpeg_compression(even, 10), even)
    images = blots(1, 48, 64)
    lost = [(digital.jpeg_compression(images, quality).int() - images).abs().sum() for quality in (90, 40, 10)]
    assert lost[0] < lost[1] < lost[2]
