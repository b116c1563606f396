import pytest
import torch

from tests.ssl import small
from uda.errors import UserError
from uda.nn.encoder import create_encoder
from uda.ssl import OBJECTIVES
from uda.ssl.multicrop import check_crops, small_crops, small_size


def test_the_papers_size_and_what_it_is_elsewhere() -> None:
    # 96/224 of 224, 96, 64 and 32: 96, 41.1, 27.4 and 13.7, to multiples of 16
    assert [small_size(size) for size in (224, 96, 64, 32, 16)] == [96, 48, 32, 16, 16]


def test_crops_are_independent_draws() -> None:
    batch = small.batch(4)
    assert small_crops(small.info(), batch, small.CLOCK, 0, 16, (0.1, 0.2)) is None
    crops = small_crops(small.info(), batch, small.CLOCK, 3, 16, (0.1, 0.2))
    assert crops is not None
    assert crops.shape == (12, 3, 16, 16)
    assert not torch.equal(crops[:4], crops[4:8])


def test_a_backbone_that_cannot_take_small_crops_is_refused_and_left_as_it_was() -> None:
    encoder = create_encoder("vit_tiny_patch16_224", "none", 32)
    check_crops("dino", encoder, 16)
    with pytest.raises(UserError, match=r"'dino' shows the backbone crops of 24 pixels.*set its option local_size"):
        check_crops("dino", encoder, 24)
    assert encoder.training
    assert encoder.backbone.training


@pytest.mark.parametrize("name", ["dino", "swav"])
def test_a_size_of_crops_that_are_not_made_is_refused(name: str) -> None:
    small_heads: dict[str, object] = {"prototypes": 8, "hidden": 16}
    with pytest.raises(
        UserError, match=rf"objectives\.{name}\.local_size=16 has no effect without local_crops=4; leave"
    ):
        small.made(OBJECTIVES[name], small.encoder(), local_crops=0, local_size=16, **small_heads)
    made = small.made(OBJECTIVES[name], small.encoder(), local_crops=1, local_size=24, **small_heads)
    views = made.views(small.batch(2), small.CLOCK)
    assert views.crops is not None
    assert views.crops.shape == (2, 3, 24, 24)
