"""Views make a GPU wait for nothing, and autocast changes none of them; checked on tensors that only claim to be there.

A tensor made from Python's numbers, or an index that is a list, lies in main memory: to bring it to a GPU waits for all
that the GPU was told before. PyTorch's fake tensors tell of each such copy on a machine without a GPU.
"""

import traceback
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from uda.batch import Batch
from uda.clock import Clock
from uda.ssl.color import lab_to_rgb, rgb_to_lab
from uda.ssl.differentiable import color, cutout, translation
from uda.ssl.families import RANDOM_VIEWS, find_random_views
from uda.ssl.medical_views import Histology
from uda.ssl.stain import StainStatistics
from uda.ssl.tiles import gray_cells
from uda.ssl.views import Glyph

CLOCK = Clock(3, 10)
STATISTICS = StainStatistics((60.0, 5.0, -5.0), (5.0, 2.0, 2.0), (15.0, 6.0, 6.0), (3.0, 1.0, 1.0))
_WAITS = ("_local_scalar_dense", "nonzero", "is_nonzero", "masked_select", "_unique", "equal.default", "bincount")


class Waiting(TorchDispatchMode):
    """Lists the places of this package at which a GPU would be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self.places: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, tensors = str(func), [part for part in args if isinstance(part, Tensor)]
        if name.startswith("aten._to_copy") and not kwargs.get("non_blocking"):
            wanted = kwargs.get("device")
            waits = wanted is not None and torch.device(wanted).type != tensors[0].device.type
        elif name.startswith("aten.copy_") and len(tensors) > 1:
            waits = tensors[0].device.type != tensors[1].device.type
        else:
            waits = any(part in name for part in _WAITS)
        if name.startswith(("aten.index.", "aten.index_put")):
            indices = [index for index in args[1] if index is not None]
            waits = waits or any(index.dtype == torch.bool or index.device.type == "cpu" for index in indices)
        if waits:
            own = [
                f for f in traceback.extract_stack() if f"{Path('uda')}/" in f.filename and "tests" not in f.filename
            ]
            self.places.append(f"{name} at {own[-1].filename}:{own[-1].lineno}" if own else name)
        return func(*args, **kwargs)


@pytest.fixture
def absent_gpu(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Return a GPU that fake tensors may claim to be on, whether there is one or not."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    return torch.device("cuda")


def waits_of(make: Any, gpu: torch.device, size: int = 40) -> list[str]:
    """Return where `make` waits when it is given a batch of eight fake images, (8, 3, size, size) uint8."""
    with FakeTensorMode(allow_non_fake_inputs=True):
        images = torch.empty(8, 3, size, size, dtype=torch.uint8, device=gpu)
        batch = Batch(images, torch.empty(8, dtype=torch.int64, device=gpu), None, "target")
        with Waiting() as watched:
            make(batch)
    return watched.places


@pytest.mark.parametrize("name", sorted(RANDOM_VIEWS))
@pytest.mark.parametrize("view", ["a", "b"])
def test_no_family_of_views_makes_a_gpu_wait(name: str, view: str, absent_gpu: torch.device) -> None:
    family = find_random_views(name)(32)
    assert waits_of(lambda batch: family(batch, CLOCK, view), absent_gpu) == []


def test_neither_stains_nor_glyphs_nor_tiles_nor_colors_make_a_gpu_wait(absent_gpu: torch.device) -> None:
    def floats(batch: Batch) -> Tensor:
        return batch.images.float() / 255

    def draws(batch: Batch, columns: int) -> Tensor:
        return torch.empty(len(batch.index), columns, device=batch.images.device)

    for make in (
        lambda batch: Histology(32, statistics=STATISTICS)(batch, CLOCK, "a"),
        lambda batch: Glyph(32)(batch, CLOCK),
        lambda batch: gray_cells(floats(batch)[:, None], draws(batch, 1) < 0.5),
        lambda batch: lab_to_rgb(rgb_to_lab(floats(batch))),
        lambda batch: translation(color(floats(batch), draws(batch, 3)), draws(batch, 2)),
        lambda batch: cutout(floats(batch), draws(batch, 2)),
    ):
        assert waits_of(make, absent_gpu) == []


def test_what_waits_is_seen(absent_gpu: torch.device) -> None:
    assert len(waits_of(lambda batch: batch.images[[0, 1]], absent_gpu)) == 1
    assert len(waits_of(lambda batch: batch.images.new_tensor([0.5]), absent_gpu)) == 1
    assert len(waits_of(lambda batch: batch.images.sum().cpu(), absent_gpu)) == 1


@pytest.mark.parametrize("name", sorted(RANDOM_VIEWS))
@pytest.mark.parametrize("size", [32, 96])
def test_autocast_changes_no_view(name: str, size: int) -> None:
    images = torch.randint(0, 256, (6, 3, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    batch, family = Batch(images, torch.arange(6), None, "target"), find_random_views(name)(size)
    plain = family(batch, CLOCK, "a")
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(family(batch, CLOCK, "a"), plain)
