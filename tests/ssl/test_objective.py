from typing import ClassVar

import pytest
import torch

from uda.batch import Batch
from uda.clock import Clock
from uda.errors import UserError
from uda.nn.encoder import FeatureEncoder
from uda.ssl import Info, Loss, Need, Objective, Rotation, Views, check_needs, find_objective
from uda.ssl.random_views import Weak
from uda.ssl.views import PickPass


class Memorize(Objective):
    """Regress the image's number from its features; works on features computed beforehand."""

    name: ClassVar[str] = "memorize"
    needs: ClassVar[Need] = Need.INDEX

    def views(self, batch: Batch, clock: Clock) -> Views:
        return Views(self.info.augment(batch, clock), index=batch.index)

    def loss(self, features: torch.Tensor, views: Views) -> Loss:
        assert views.index is not None
        return Loss((features.mean(1) - views.index).square().mean())


class Sorted(Objective):
    name: ClassVar[str] = "sorted"
    needs: ClassVar[Need] = Need.LABELS | Need.MAP


def test_what_a_task_cannot_give_is_refused_with_what_would_do() -> None:
    with pytest.raises(UserError) as refused:
        check_needs(Rotation, Need.INDEX, "frozen mode (--freeze)", [Rotation, Memorize, Sorted])
    assert str(refused.value) == (
        "objective 'rotation' needs pixels, which frozen mode (--freeze) does not give; these would do: memorize"
    )


def test_all_that_is_lacking_is_named_and_what_to_do_where_nothing_fits() -> None:
    with pytest.raises(UserError) as refused:
        check_needs(Sorted, Need.INDEX, "task 'unida'", [Rotation, Sorted])
    assert str(refused.value) == (
        "objective 'sorted' needs labels and the unpooled feature map, which task 'unida' does not give; "
        "no objective would do there; leave --objective out"
    )


@pytest.mark.parametrize(
    ("name", "given", "backbone"),
    [
        (
            "mae",
            Need.MAP,
            "choose a ViT as --backbone (vit_small_patch16_224, or smallvit for small images), or another",
        ),
        (
            "colorization",
            Need.TOKENS,
            "choose a convolutional --backbone (resnet50, or smallconv for small images), or",
        ),
    ],
)
def test_a_backbone_that_would_do_is_named(name: str, given: Need, backbone: str) -> None:
    with pytest.raises(UserError) as refused:
        check_needs(find_objective(name), Need.PIXELS | given, "task 'unida'", [Rotation])
    assert f"which task 'unida' does not give; {backbone}" in str(refused.value)
    assert str(refused.value).endswith("another objective; these would do: rotation")
    with pytest.raises(UserError) as refused:  # no backbone gives pixels to frozen features
        check_needs(find_objective(name), Need.INDEX, "frozen mode (--freeze)", [Memorize])
    assert "--backbone" not in str(refused.value)


def test_what_is_given_passes() -> None:
    check_needs(Rotation, Need.PIXELS | Need.INDEX, "task 'unida'", [Rotation])
    check_needs(Memorize, Need.INDEX, "frozen mode", [Memorize])
    with pytest.raises(UserError):
        check_needs(Memorize, Need.NOTHING, "frozen mode", [Memorize])


def test_every_need_has_a_word() -> None:
    class Greedy(Objective):
        name: ClassVar[str] = "greedy"
        needs: ClassVar[Need] = Need.PIXELS | Need.LABELS | Need.INDEX | Need.MAP

    with pytest.raises(UserError, match="pixels and labels and a stable image index and the unpooled feature map"):
        check_needs(Greedy, Need.NOTHING, "nothing", [])


def test_an_objective_may_work_on_features() -> None:
    encoder = FeatureEncoder(2, adapter=False)
    objective = Memorize(encoder, Info(3, 0, 0, 0, PickPass(), Weak(8)))
    batch = Batch(torch.tensor([[[1.0, 3.0]], [[2.0, 2.0]]]), torch.tensor([0, 2]), None, "target")
    # means 2 and 2, numbers 0 and 2: (4 + 0) / 2
    assert objective(encoder, batch, Clock(0, 1)).value.item() == 2.0


def test_an_unknown_objective_names_the_nearest() -> None:
    with pytest.raises(UserError, match="unknown objective 'rotatoin': did you mean rotation"):
        find_objective("rotatoin")
