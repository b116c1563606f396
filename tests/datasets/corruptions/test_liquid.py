import numpy as np
import pytest
import torch
from scipy import ndimage

from uda.datasets.corruptions import liquid
from uda.datasets.corruptions.presets import PRESETS, Liquid


def test_a_square_has_one_pixel_of_edge() -> None:
    gray = torch.zeros(1, 12, 12, dtype=torch.int32)
    gray[:, 4:8, 4:8] = 200
    found = liquid.edges(gray)[0]
    assert found.any()
    # Edges lie within a pixel of the square's border, and none is two wide along the middle row.
    assert found[6].nonzero()[:, 0].tolist() in ([3, 7], [4, 7], [3, 8], [4, 8])
    assert not found[:3].any()
    assert not found[9:].any()
    assert not liquid.edges(torch.full((1, 12, 12), 99).int()).any()


def test_faint_edges_count_where_they_continue_strong_ones() -> None:
    # The step between two halves is 60 high in the upper rows (gradient 240) and falls to 20 (gradient 80) below.
    gray = torch.zeros(2, 20, 20, dtype=torch.int32)
    gray[0, :, 10:] = torch.linspace(60, 20, 20).int()[:, None]
    gray[1, :, 10:] = 20
    connected, alone = liquid.edges(gray)
    assert connected[19].any()
    assert not alone.any()


def test_distance_by_hand() -> None:
    edge = torch.zeros(1, 30, 40, dtype=torch.bool)
    edge[0, 5, 5] = True
    found = liquid.distance(edge)[0].double() / 65536
    assert found[5, 5] == 0
    assert found[5, 9] == 4
    assert found[8, 8] == pytest.approx(3 * 1.4, abs=1e-4)
    assert found[6, 7] == pytest.approx(2.1969, abs=1e-4)
    assert found[7, 10] == pytest.approx(2 * 2.1969 + 1, abs=1e-4)
    assert found[29, 39] == 20
    exact = np.minimum(ndimage.distance_transform_edt(~edge[0].numpy()), 20)
    assert np.abs(found.numpy() - exact).max() < 0.025 * 20


def test_an_image_that_no_drop_falls_on_stays_as_it_is() -> None:
    images = torch.rand(1, 3, 16, 16) * 255
    for severity in (1, 4):
        dry = PRESETS["imagenet"]["spatter"][severity - 1]._replace(mean=0.0, std=0.0)
        assert torch.equal(liquid.spatter(images, torch.zeros(1, 16, 16, dtype=torch.float64), dry), images)


def test_mud_by_hand() -> None:
    # The left half is wet: far inside it is all mud, beyond 80 % of cover there is none.
    noise = torch.zeros(1, 8, 40, dtype=torch.float64)
    noise[..., :20] = 1.0
    found = liquid.spatter(torch.full((1, 3, 8, 40), 200.0), noise, Liquid(0.0, 1.0, 0.01, 0.5, 1.5, True))
    assert found[0, :, 4, 5].tolist() == pytest.approx([63, 42, 20])
    assert found[0, :, 4, 20:].unique().tolist() == [200]


def test_water_adds_pale_turquoise() -> None:
    noise = torch.randn(1, 64, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    constants = PRESETS["imagenet"]["spatter"][2]
    added = liquid.spatter(torch.zeros(1, 3, 64, 64), noise, constants)[0]
    assert torch.allclose(added[0] * 238, added[1] * 175, atol=0.1)
    assert torch.equal(added[1], added[2])
    assert added[1].max().item() == pytest.approx(constants.edge * 238, abs=0.01)
    assert added.min() == 0
