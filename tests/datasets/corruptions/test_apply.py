import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.datasets.corruptions.pictures import blots, photographs
from uda.datasets.corruptions import COMMON, EXTRA, GROUPS, NAMES, PRESETS, SEVERITIES, corrupt
from uda.datasets.corruptions.digital import jpeg_compression
from uda.errors import UserError

RANDOM = {name for name in NAMES if name.endswith("noise")} | {
    "glass_blur",
    "motion_blur",
    "snow",
    "frost",
    "fog",
    "elastic_transform",
    "spatter",
}


def test_there_are_fifteen_and_four() -> None:
    assert len(COMMON) == 15
    assert len(EXTRA) == 4
    assert len(set(NAMES)) == 19
    assert sorted(name for group in GROUPS.values() for name in group) == sorted(COMMON)
    for preset in PRESETS.values():
        assert set(preset) == set(NAMES)
        assert all(len(constants) == 5 for constants in preset.values())


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_an_image_does_not_depend_on_its_batch(name: str, preset: str) -> None:
    images = blots(70, 32, 36)  # more than are made at a time
    for severity in SEVERITIES:
        whole = corrupt(images, name, severity, preset, seed=3)
        assert whole.shape == images.shape
        assert whole.dtype == torch.uint8
        part = corrupt(images[60:63], name, severity, preset, seed=3, index=torch.tensor([60, 61, 62]))
        assert torch.equal(part, whole[60:63])
    alone = corrupt(images[62:63], name, 5, preset, seed=3, index=torch.tensor([62]))
    assert torch.equal(alone, whole[62:63])


@pytest.mark.parametrize("name", NAMES)
def test_seed_and_index_decide_what_is_random(name: str) -> None:
    same = blots(1, 40, 40).expand(2, -1, -1, -1)
    first, second = corrupt(same, name, 3)
    again = corrupt(same[:1], name, 3, seed=1)[0]
    assert torch.equal(first, second) == (name not in RANDOM)
    assert torch.equal(first, again) == (name not in RANDOM)


@pytest.mark.parametrize("name", NAMES)
def test_presets_and_severities_differ(name: str) -> None:
    images = blots(4, 48, 48)
    made = [corrupt(images, name, severity, preset) for preset in PRESETS for severity in SEVERITIES]
    equal = sum(torch.equal(a, b) for i, a in enumerate(made) for b in made[:i])
    # Brightness, impulse noise and the like share constants between the presets.
    shared = sum(a == b for i, a in enumerate(_constants(name)) for b in _constants(name)[:i])
    assert equal <= shared


def _constants(name: str) -> list[object]:
    return [constants for preset in PRESETS.values() for constants in preset[name]]


@settings(max_examples=30)
@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    name=st.sampled_from(NAMES),
    severity=st.sampled_from(SEVERITIES),
    preset=st.sampled_from(sorted(PRESETS)),
    legacy=st.booleans(),
)
def test_any_size_is_taken(height: int, width: int, name: str, severity: int, preset: str, legacy: bool) -> None:
    images = blots(2, height, width)
    out = corrupt(images, name, severity, preset, legacy=legacy)
    assert out.shape == images.shape
    assert torch.equal(images, blots(2, height, width))  # they were not written on


@pytest.mark.parametrize("name", ["gaussian_noise", "defocus_blur", "fog", "jpeg_compression"])
def test_strides_and_no_images_at_all(name: str) -> None:
    images = blots(3, 16, 24)
    last = images.contiguous(memory_format=torch.channels_last)
    assert torch.equal(corrupt(last, name, 2), corrupt(images, name, 2))
    assert corrupt(images[:0], name, 2).shape == (0, 3, 16, 24)


# Not monotone, by the published constants: elastic (its first two severities bend most), snow (kept, zoom and density
# trade off), frost (its two weights do), fog (it takes away contrast, which need not move pixels farther). Saturate
# takes color away at 1 and 2 and adds it from 3 on.
RISING = sorted(set(NAMES) - {"elastic_transform", "snow", "saturate", "fog", "frost"})


@pytest.mark.parametrize("name", RISING)
def test_severity_raises_the_distance(name: str) -> None:
    images = photographs(12, 224, 224)
    distances = [(corrupt(images, name, severity).float() - images).abs().mean().item() for severity in SEVERITIES]
    assert distances == sorted(distances)
    assert distances[-1] > 1.15 * distances[0] > 0


def test_saturate_rises_in_either_direction() -> None:
    images = photographs(8, 224, 224)
    distances = [
        (corrupt(images, "saturate", severity).float() - images).abs().mean().item() for severity in SEVERITIES
    ]
    assert distances[0] < distances[1]
    assert distances[2] < distances[3] < distances[4]


def test_fog_takes_contrast_away() -> None:
    images = photographs(8, 224, 224)
    spread = [corrupt(images, "fog", severity, "cifar").float().std((2, 3)).mean() for severity in (1, 2, 3)]
    assert images.float().std((2, 3)).mean() > spread[0] > spread[1] > spread[2]


def test_saving_as_jpeg_is_the_last_thing_done() -> None:
    images = blots(2, 24, 24)
    saved = corrupt(images, "contrast", 2, jpeg_quality=85)
    plain = corrupt(images, "contrast", 2)
    assert not torch.equal(saved, plain)
    assert torch.equal(saved, jpeg_compression(plain, 85))


def test_legacy_changes_what_its_documentation_names() -> None:
    images = blots(6, 64, 64)
    changed = {
        name for name in NAMES if not torch.equal(corrupt(images, name, 4), corrupt(images, name, 4, legacy=True))
    }
    assert changed == {"glass_blur", "snow", "motion_blur"}  # and frost, where there are six photographs


def test_what_does_not_exist_is_refused() -> None:
    images = blots(1, 8, 8)
    with pytest.raises(UserError, match="unknown corruption 'gausian_noise': did you mean gaussian_noise"):
        corrupt(images, "gausian_noise", 1)
    with pytest.raises(UserError, match="unknown preset of corruptions 'cifar10': did you mean cifar"):
        corrupt(images, "fog", 1, "cifar10")
    for severity in (0, 6, True, 2.5):
        with pytest.raises(UserError, match=r"severity of a corruption is .*: give 1, 2, 3, 4 or 5"):
            corrupt(images, "fog", severity)  # type: ignore[arg-type]
    with pytest.raises(UserError, match="jpeg_quality is 0: give a whole number from 1 to 100"):
        corrupt(images, "fog", 1, jpeg_quality=0)
    with pytest.raises(UserError, match="images of 8 x 7 pixels cannot be corrupted"):
        corrupt(images[..., :7], "fog", 1)
    with pytest.raises(ValueError, match=r"images must be \(B, 3, H, W\) uint8"):
        corrupt(images.float(), "fog", 1)
    with pytest.raises(ValueError, match=r"index must be \(1,\)"):
        corrupt(images, "fog", 1, index=torch.arange(2))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("name", NAMES)
def test_cuda_agrees_to_one_gray_level(name: str, preset: str) -> None:
    images = blots(8, 64, 80)
    for severity in SEVERITIES:
        for legacy in (False, True):
            ours = corrupt(images, name, severity, preset, seed=5, legacy=legacy)
            theirs = corrupt(images.cuda(), name, severity, preset, seed=5, legacy=legacy)
            assert theirs.device.type == "cuda"
            assert (ours.int() - theirs.cpu().int()).abs().max() <= 1
