import math

import pytest
import torch
from torch import Tensor

from tests.ssl import small
from uda.errors import UserError
from uda.ssl.jigsaw import Jigsaw, permuted
from uda.ssl.placebo import placebo
from uda.ssl.tiles import joined, lattice, standardized


def jigsaw(size: int = 32, **options: object) -> tuple[Jigsaw, torch.nn.Module]:
    encoder = small.encoder(size=size)
    return Jigsaw(encoder, small.info(size=size), **options), encoder  # type: ignore[arg-type]


def test_a_lattice_by_hand_and_back() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4)
    tiles = lattice(image, 2)
    assert tiles[0, :, 0].tolist() == [[[0, 1], [4, 5]], [[2, 3], [6, 7]], [[8, 9], [12, 13]], [[10, 11], [14, 15]]]
    assert torch.equal(joined(tiles), image)
    images = torch.rand(3, 3, 12, 12)
    assert torch.equal(joined(lattice(images, 3)), images)


def test_permuted_puts_the_named_tile_at_each_place() -> None:
    tiles = torch.tensor([[10, 11, 12], [20, 21, 22]])
    assert permuted(tiles, torch.tensor([[2, 0, 1], [0, 1, 2]])).tolist() == [[12, 10, 11], [20, 21, 22]]


def test_tiles_are_laid_place_by_place_in_the_permuted_order() -> None:
    # Without jitter, gray and resizing the standardized tiles can be found again.
    objective, _ = jigsaw(size=48, jitter=0.0, gray=0.0, tile_size=16, permutations=20)
    batch = small.batch(6, size=48)
    views = objective.views(batch, small.CLOCK)
    assert views.images.shape == (54, 3, 16, 16)
    assert views.targets is not None
    tiles = standardized(lattice(objective.info.augment(batch, small.CLOCK), 3))
    for image, answer in enumerate(views.targets.tolist()):
        for place, tile in enumerate(objective.permutations[answer].tolist()):
            assert torch.allclose(views.images[place * 6 + image], tiles[image, tile], atol=1e-6)


def test_features_are_concatenated_by_image_in_the_order_of_places() -> None:
    objective = jigsaw()[0]
    seen: list[Tensor] = []
    objective.tile_head, objective.head = torch.nn.Identity(), Spy(seen, len(objective.permutations))
    objective.loss(torch.arange(18.0)[:, None], objective.views(small.batch(2), small.CLOCK))
    # 9 blocks of 2 images: image 0 has the even rows
    assert seen[0].tolist() == [list(range(0, 18, 2)), list(range(1, 18, 2))]


class Spy(torch.nn.Module):
    def __init__(self, seen: list[Tensor], classes: int):
        super().__init__()
        self.seen, self.classes = seen, classes

    def forward(self, x: Tensor) -> Tensor:
        self.seen.append(x)
        return x.new_zeros(len(x), self.classes)


def test_an_assembled_puzzle_is_the_image_with_its_tiles_moved() -> None:
    objective, _ = jigsaw(size=36, form="assembled", gray=0.0, bias_whole_image=0.3)
    batch = small.batch(40, size=36)
    views = objective.views(batch, small.CLOCK)
    assert views.targets is not None
    assert views.ordered is not None
    images = objective.info.augment(batch, small.CLOCK)
    assert 0 < views.ordered.sum() < 40
    assert torch.equal(views.images[views.ordered], images[views.ordered])
    back = objective.permutations[views.targets].argsort(1)
    assert torch.equal(joined(permuted(lattice(views.images, 3), back)), images)
    assert not (views.images == images).flatten(1).all(1)[~views.ordered].any()


def test_how_often_images_are_ordered() -> None:
    objective, _ = jigsaw(form="assembled")
    views = objective.views(small.batch(2000), small.CLOCK)
    assert views.targets is not None
    # 0.9 + 0.1/31 = 0.903, deviation √(0.903·0.097/2000) = 0.0066
    assert abs((views.targets == 0).float().mean().item() - 0.903) < 0.027
    assert views.targets.max() <= 30
    assert objective.head.out_features == 31


def test_a_third_of_tiles_may_be_gray_each_for_itself() -> None:
    objective, _ = jigsaw(size=36, form="assembled", gray=0.33, bias_whole_image=1.0)
    tiles = lattice(objective.views(small.batch(60, size=36), small.CLOCK).images, 3)
    is_gray = (tiles[:, :, 0] == tiles[:, :, 1]).flatten(2).all(2)
    assert 0.25 < is_gray.float().mean() < 0.41
    assert 0 < is_gray[0].sum() < 9


def test_a_side_that_no_grid_divides_keeps_its_border_and_ordered_images_are_whole() -> None:
    objective, _ = jigsaw(form="assembled", gray=0.0)
    views = objective.views(small.batch(16), small.CLOCK)
    assert views.ordered is not None
    plain = objective.info.augment(small.batch(16), small.CLOCK)
    assert torch.equal(views.images[:, :, :, 30:], plain[:, :, :, 30:])  # 3 · 10 pixels are tiles, two are left
    assert torch.equal(views.images[views.ordered], plain[views.ordered])
    assert 0 < views.ordered.sum() < 16
    assert not torch.equal(views.images[~views.ordered], plain[~views.ordered])


@pytest.mark.parametrize("form", ["tiles", "assembled"])
def test_a_head_that_knows_nothing_has_the_loss_of_chance(form: str) -> None:
    objective, encoder = jigsaw(form=form, **({"bias_whole_image": 0.0} if form == "assembled" else {}))
    for parameter in objective.head.parameters():
        torch.nn.init.zeros_(parameter)
    loss = objective(encoder, small.batch(), small.CLOCK)
    assert loss.value.item() == pytest.approx(math.log(64 if form == "tiles" else 31), abs=1e-5)
    assert loss.chance == pytest.approx(loss.value.item(), abs=1e-5)


def test_chance_of_a_biased_puzzle_by_hand() -> None:
    # two answers: p = 0.5 + 0.25 and 0.25; −(0.75 ln 0.75 + 0.25 ln 0.25) = 0.215762 + 0.346574
    objective, encoder = jigsaw(form="assembled", permutations=1, bias_whole_image=0.5)
    assert objective(encoder, small.batch(), small.CLOCK).chance == pytest.approx(0.562335, abs=1e-6)


@pytest.mark.parametrize(
    "options",
    [{"permutations": 8, "hidden": 64}, {"form": "assembled", "bias_whole_image": 0.3, "permutations": 8}, {"grid": 2}],
)
def test_the_encoder_learns_and_the_loss_falls(options: dict[str, object]) -> None:
    objective, encoder = jigsaw(**options)
    first, last = small.falls_on_fixed_batch(objective, encoder, small.batch(), steps=20)  # type: ignore[arg-type]
    assert last < 0.6 * first
    assert small.gradient_reaches(encoder)  # type: ignore[arg-type]


def test_the_set_is_kept_with_the_state_and_a_copy_goes_on_exactly() -> None:
    assert jigsaw(permutations=5)[0].state_dict()["permutations"].shape == (5, 9)
    assert small.continues_exactly(Jigsaw, small.batch(), permutations=8, hidden=16)
    assert small.continues_exactly(Jigsaw, small.batch(), form="assembled")


@pytest.mark.parametrize("form", ["tiles", "assembled"])
def test_the_placebo_has_other_answers_to_the_same_puzzles(form: str) -> None:
    kind, bias = placebo(Jigsaw), {"bias_whole_image": 0.2} if form == "assembled" else {}
    encoder = small.encoder()
    real, fake = (k(encoder, small.info(), form=form, **bias) for k in (Jigsaw, kind))  # type: ignore[arg-type]
    fake.load_state_dict(real.state_dict())
    a, b = (o.views(small.batch(), small.CLOCK) for o in (real, fake))
    assert torch.equal(a.images, b.images)
    assert a.targets is not None
    assert b.targets is not None
    assert not torch.equal(a.targets, b.targets)
    assert torch.equal(a.targets.sort().values, b.targets.sort().values)
    losses = [o(encoder.eval(), small.batch(), small.CLOCK).value.item() for o in (real, fake)]
    assert losses[0] != losses[1]


def test_too_many_permutations_are_refused() -> None:
    with pytest.raises(UserError, match="4 tiles have no 24 permutations; set permutations to 1 … 23"):
        jigsaw(grid=2, permutations=24)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"bias_whole_image": 0.5},
            "objectives.jigsaw.bias_whole_image=0.5 has no effect without form=assembled; leave it out, or set "
            "objectives.jigsaw.form=assembled",
        ),
        ({"form": "assembled", "jitter": 0.0}, "objectives.jigsaw.jitter=0.0 has no effect without form=tiles; leave"),
        ({"form": "assembled", "tile_size": 16}, "objectives.jigsaw.tile_size=16 has no effect without form=tiles"),
        ({"form": "assembled", "hidden": 64}, "objectives.jigsaw.hidden=64 has no effect without form=tiles"),
    ],
)
def test_options_of_the_other_form_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(UserError) as refused:
        jigsaw(**options)
    assert str(refused.value).startswith(sentence)
