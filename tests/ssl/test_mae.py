import pytest
import timm
import torch

from tests.ssl import small
from uda.errors import UserError
from uda.nn import smallvit  # noqa: F401  (registers its model with timm)
from uda.ssl.mae import MaskedAutoencoder, MaskedViews, normalized, taken, to_patches
from uda.ssl.placebo import placebo


def mae(name: str = "smallvit", size: int = 32, **options: object) -> tuple[MaskedAutoencoder, small.TimmEncoder]:
    encoder = small.encoder(name, size)
    return MaskedAutoencoder(encoder, small.info(size=size), **options), encoder  # type: ignore[arg-type]


def views_of(objective: MaskedAutoencoder, n: int = 4, size: int = 32) -> MaskedViews:
    views = objective.views(small.batch(n, size=size), small.CLOCK)
    assert isinstance(views, MaskedViews)
    return views


def test_patches_by_hand() -> None:
    image = torch.arange(16.0).view(1, 1, 4, 4).repeat(1, 3, 1, 1) + torch.tensor([0.0, 100.0, 200.0]).view(1, 3, 1, 1)
    patches = to_patches(image, 2)
    assert patches.shape == (1, 4, 12)
    # row by row, pixel by pixel, the three channels of a pixel together
    assert patches[0, 1].tolist() == [2, 102, 202, 3, 103, 203, 6, 106, 206, 7, 107, 207]


def test_patches_lie_as_the_backbone_has_them() -> None:
    _, encoder = mae()
    images = torch.rand(2, 3, 32, 32)
    convolution = encoder.backbone.patch_embed.proj
    # weights (out, channel, row, column) in the order of `to_patches`: row, column, channel
    by_hand = to_patches(images, 4) @ convolution.weight.permute(0, 2, 3, 1).flatten(1).T + convolution.bias
    assert torch.allclose(encoder.backbone.patch_embed(images).flatten(1, 2), by_hand, atol=1e-5)


def test_normalized_by_hand() -> None:
    # mean 2, unbiased variance (1 + 0 + 1)/2 = 1
    assert normalized(torch.tensor([1.0, 2.0, 3.0])).tolist() == pytest.approx([-1, 0, 1], abs=1e-5)
    assert normalized(torch.full((3, 48), 0.3)).abs().max() < 1e-3


def test_a_quarter_is_seen_another_one_for_each_image_and_the_same_when_asked_twice() -> None:
    objective, _ = mae()
    views = views_of(objective, 16)
    assert objective.visible == 16
    assert views.order is not None
    assert torch.equal(views.order.sort(1).values, torch.arange(64).expand(16, 64))
    seen = torch.zeros(16, 64).scatter_(1, views.order[:, :16], 1.0)
    assert len(seen.unique(dim=0)) == 16
    again = views_of(objective, 16).order
    assert again is not None
    assert torch.equal(again, views.order)


@pytest.mark.parametrize(("name", "own"), [("smallvit", 0), ("vit_tiny_patch16_224", 1)])
def test_seeing_every_patch_is_the_whole_backbone(name: str, own: int) -> None:
    size = 32 if own == 0 else 64
    objective, encoder = mae(name, size, width=32, depth=1)
    encoder.eval()
    views = views_of(objective, size=size)
    assert views.order is not None
    objective.visible = views.order.shape[1]
    whole = encoder.map(views.images)
    expected = torch.cat([whole[:, :own], taken(whole[:, own:], views.order)], dim=1)
    assert torch.allclose(objective.encode(encoder, views), expected, atol=1e-4)


def test_the_encoder_does_not_see_what_it_shall_paint() -> None:
    objective, encoder = mae(width=32, depth=1)
    encoder.eval()
    views = views_of(objective)
    assert views.order is not None
    assert objective.encode(encoder, views).shape == (4, 16, 96)
    hidden = torch.ones(4, 64).scatter_(1, views.order[:, :16], 0.0)
    mask = hidden.view(4, 1, 8, 8).repeat_interleave(4, 2).repeat_interleave(4, 3)
    spoiled = MaskedViews(torch.where(mask > 0, 0.123, views.images), targets=views.targets, order=views.order)
    assert torch.equal(objective.encode(encoder, spoiled), objective.encode(encoder, views))


def test_tokens_are_put_back_in_their_places() -> None:
    objective, _ = mae(width=32, depth=1)
    objective.embed = torch.nn.Identity()  # type: ignore[assignment]
    objective.blocks = torch.nn.Sequential()
    objective.norm, objective.paint = torch.nn.Identity(), torch.nn.Identity()  # type: ignore[assignment]
    order = views_of(objective).order
    assert order is not None
    features = order[:, :16, None].float().expand(-1, -1, 32)  # each token says where it was
    places = objective.decode(features, order) - objective.positions
    seen = torch.zeros(4, 64).scatter_(1, order[:, :16], 1.0) > 0
    assert torch.allclose(places[..., 0][seen], torch.arange(64.0).expand(4, 64)[seen], atol=1e-4)
    assert torch.allclose(places[~seen], objective.gap.expand(4 * 48, 32), atol=1e-5)


def test_only_unseen_patches_count() -> None:
    objective, encoder = mae(width=32, depth=1)
    torch.nn.init.zeros_(objective.paint.weight)
    torch.nn.init.zeros_(objective.paint.bias)
    views = views_of(objective)
    assert views.order is not None
    assert views.targets is not None
    features = objective.encode(encoder, views)
    # nothing painted: the mean square of what is asked for, 2 on unseen patches and 9 on those seen
    targets = torch.full_like(views.targets, 3.0)
    targets.scatter_(1, views.order[:, 16:, None].expand(-1, -1, 48), 2.0**0.5)
    asked = MaskedViews(views.images, targets=targets, order=views.order)
    assert objective.loss(features, asked).value.item() == pytest.approx(2.0, abs=1e-5)
    # normalized patches that are not flat: (48 − 1)/48 in each
    assert objective.loss(features, views).value.item() == pytest.approx(47 / 48, abs=0.01)


@pytest.mark.parametrize(("name", "size"), [("smallvit", 32), ("vit_tiny_patch16_224", 64)])
def test_the_encoder_learns_and_the_loss_falls(name: str, size: int) -> None:
    objective, encoder = mae(name, size, width=64, depth=1)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *objective.parameters()], lr=2e-3)
    losses = [small.step(objective, encoder, small.batch(8, size=size), optimizer) for _ in range(15)]
    assert losses[-1] < 0.8 * losses[0]
    gradients = {key: p.grad for key, p in encoder.named_parameters()}
    assert [key for key, grad in gradients.items() if grad is None or not grad.abs().sum() > 0] == []


def test_pixels_may_be_left_as_they_are() -> None:
    objective, _ = mae(normalize=False)
    views = views_of(objective)
    assert views.targets is not None
    assert torch.equal(views.targets, to_patches(views.images, 4))


def test_the_backbone_is_exported_as_timm_has_it() -> None:
    _, encoder = mae()
    timm.create_model("smallvit", num_classes=0).load_state_dict(encoder.backbone.state_dict(), strict=True)


def test_what_is_no_vit_or_has_too_few_patches_is_refused() -> None:
    with pytest.raises(UserError, match="needs one of timm's VisionTransformer models as backbone; choose"):
        mae("smallconv")
    with pytest.raises(UserError, match=r"has 4 patches an image, of which mask=0\.9 leaves 0 to see; choose another"):
        mae("vit_tiny_patch16_224", mask=0.9)


def test_a_copy_goes_on_exactly() -> None:
    batch = small.batch(4)

    def start(seed: int) -> tuple[MaskedAutoencoder, small.TimmEncoder]:
        torch.manual_seed(seed)
        return mae(width=32, depth=1)

    def run(objective: MaskedAutoencoder, encoder: small.TimmEncoder, steps: range) -> list[float]:
        optimizer = small.optimizer_of(objective, encoder)
        return [small.step(objective, encoder, batch, optimizer, small.Clock(k, 10, 1, 4, 4)) for k in steps]

    first, encoder = start(1)
    run(first, encoder, range(2))
    second, other = start(2)
    second.load_state_dict(first.state_dict())
    other.load_state_dict(encoder.state_dict())
    assert run(first, encoder, range(2, 4)) == run(second, other, range(2, 4))


def test_the_placebo_paints_other_images_through_the_same_mask() -> None:
    encoder = small.encoder("smallvit").eval()
    real, fake = (
        kind(encoder, small.info(), width=32, depth=1) for kind in (MaskedAutoencoder, placebo(MaskedAutoencoder))
    )
    fake.load_state_dict(real.state_dict())
    a, b = (views_of(objective) for objective in (real, fake))
    assert torch.equal(a.images, b.images)
    assert a.order is not None
    assert b.order is not None
    assert torch.equal(a.order, b.order)
    assert a.targets is not None
    assert b.targets is not None
    assert not (a.targets == b.targets).flatten(1).all(1).any()
    assert real.loss(real.encode(encoder, a), a).value != fake.loss(fake.encode(encoder, b), b).value
