import numpy as np
import pytest
import torch
from PIL import Image

from uda.datasets.corruptions import textures, weather
from uda.datasets.corruptions.apply import corrupt
from uda.datasets.corruptions.draws import Draws
from uda.datasets.corruptions.presets import Flakes, Streak
from uda.errors import UserError


def gray(level: float, side: int = 8) -> torch.Tensor:
    return torch.full((1, 3, side, side), float(level))


def test_fog_by_hand() -> None:
    # 100 + 255 · .5 · 2 = 355 of at most 100 + 510 is scaled to 100 · 355 / 610.
    found = weather.fog(gray(100), torch.full((1, 8, 8), 0.5), 2.0)
    assert found.unique().tolist() == pytest.approx([100 * 355 / 610])


def test_frost_by_hand() -> None:
    assert weather.frost(gray(100), gray(50), 0.6, 0.7).unique().tolist() == pytest.approx([95])


def test_brightness_by_hand() -> None:
    images = torch.tensor([[100.0, 200, 0, 0], [50, 20, 0, 0], [25, 40, 0, 255]])[None, :, None]
    found = weather.brightness(images, 0.2)[0, :, 0]  # the largest value grows by 51
    assert found[:, 0].tolist() == pytest.approx([151, 75.5, 37.75])
    assert found[:, 1].tolist() == pytest.approx([251, 25.1, 50.2])
    assert found[:, 2].tolist() == pytest.approx([51, 51, 51])
    assert found[:, 3].tolist() == pytest.approx([0, 0, 255])


def test_snow_by_hand() -> None:
    # No flake reaches the threshold; gray 100 is whitened to max(100, 150 + 127.5) and mixed at .8.
    flakes = Flakes(0.1, 0.0, 1.0, 0.5, Streak(2, 1.0), 0.8)
    noise, angle = torch.zeros(1, 8, 8, dtype=torch.float64), torch.zeros(1, dtype=torch.float64)
    assert weather.snow(gray(100), noise, angle, flakes).unique().tolist() == pytest.approx([0.8 * 100 + 0.2 * 277.5])
    # All flakes have .61 of 255 = 155.55, rounded to 156 in the end; or cut to 155 before. They fall twice.
    flakes = flakes._replace(mean=0.61, kept=1.0)
    assert weather.snow(gray(10), noise, angle, flakes).unique().tolist() == pytest.approx([10 + 2 * 156])
    assert weather.snow(gray(10), noise, angle, flakes, coarse=True).unique().tolist() == pytest.approx([10 + 2 * 155])


def test_clouds_by_hand() -> None:
    # A torus of two: one corner 0; the center moves by 10⁴ · ½, the sides are the mean of their neighbors, moved.
    found = textures.plasma(torch.tensor([[0.5, 0.0, -0.1]]), 2.0)[0]
    center, top, left = 5000, (5000 + 5000) / 4, (5000 + 5000) / 4 - 1000
    assert found.tolist() == [pytest.approx([0, top / center]), pytest.approx([left / center, 1])]


def test_clouds_fill_the_unit_interval_and_soften_with_decay() -> None:
    draws = Draws(0, 1, "test", torch.arange(6)).signed(64 * 64 - 1, "clouds")
    rough, soft = textures.plasma(draws, 1.4), textures.plasma(draws, 3.0)
    for clouds in (rough, soft):
        assert clouds.shape == (6, 64, 64)
        assert clouds.amin((1, 2)).tolist() == [0] * 6
        assert clouds.amax((1, 2)).tolist() == [1] * 6
    assert (rough.diff(dim=2)).abs().mean() > 2 * (soft.diff(dim=2)).abs().mean()


def test_generated_ice_is_like_the_photographs() -> None:
    ice = textures.generated_ice().float()
    assert ice.shape == (3, 512, 512)
    assert ice.mean((1, 2)).tolist() == pytest.approx([134, 155, 165], abs=3)
    assert ice.mean(0).std().item() == pytest.approx(34, abs=5)


def test_pieces_by_hand() -> None:
    picture = torch.arange(60, dtype=torch.uint8).view(1, 6, 10).expand(3, -1, -1)
    draws = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.99, 0.99], [0.99, 0.5, 0.0]], dtype=torch.float64)
    black = torch.zeros(3, 6, 10, dtype=torch.uint8)
    found = textures.pieces((picture, black), 1.0, draws, 4, 8)
    assert torch.equal(found[0], picture[:, :4, :8])
    assert torch.equal(found[1], picture[:, 2:, 2:])  # the last of three tops and of three lefts
    assert found[2].max() == 0
    # A fifth of 10 x 20: every fifth pixel from the third on. Enlarged to cover 8 x 16, the scale is .8 instead.
    large = torch.arange(200, dtype=torch.uint8).view(1, 10, 20).expand(3, -1, -1)
    assert textures.pieces((large,), 0.2, draws[:1], 2, 4)[0, 0].tolist() == [[42, 47, 52, 57], [142, 147, 152, 157]]
    assert textures.pieces((large,), 0.2, draws[:1], 8, 16).shape == (1, 3, 8, 16)


def test_frost_of_a_folder(tmp_path) -> None:
    for number in range(1, 7):
        Image.new("RGB", (40, 40), (10 * number, 0, 0)).save(tmp_path / f"frost{number}.png")
    images = torch.zeros(200, 3, 16, 16, dtype=torch.uint8)
    found = corrupt(images, "frost", 1, frost=tmp_path)  # .4 of the ice
    assert found[:, 0].unique().tolist() == [4, 8, 12, 16, 20, 24]
    assert found[:, 1:].max() == 0
    assert corrupt(images, "frost", 1, frost=tmp_path, legacy=True)[:, 0].unique().tolist() == [4, 8, 12, 16, 20]
    Image.new("RGB", (40, 40), (255, 0, 0)).save(tmp_path / "frost1.png")
    np.testing.assert_array_equal(textures.read_ice(tmp_path)[0][0], 255)  # read anew


def test_a_folder_without_ice_is_refused(tmp_path) -> None:
    images = torch.zeros(1, 3, 16, 16, dtype=torch.uint8)
    with pytest.raises(UserError, match="there are no images in"):
        corrupt(images, "frost", 1, frost=tmp_path)
    with pytest.raises(UserError, match="is no folder; give one that holds photographs of ice"):
        corrupt(images, "frost", 1, frost=tmp_path / "nowhere")
    (tmp_path / "ice.png").write_bytes(b"no image")
    with pytest.raises(UserError, match=r"frost: .*ice.png: .*; remove the file or give another folder"):
        corrupt(images, "frost", 1, frost=tmp_path)
