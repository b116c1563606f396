"""How neighborhood clustering grows with the target images there are, and a step with batch and image size."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.speed.measure import PeakMemory, Row, megabytes, spread
from benchmarks.speed.steps import CASES, DANCE, Case
from uda.nn.memory import MemoryBank
from uda.ssl.functional import entropy, neighborhood_clustering
from uda.training.timing import timed

ROWS = (1000, 10_000, 100_000, 1_000_000)
SHAPE = {"cpu": (64, 512), "cuda": (1024, 2048)}  # batch, dimensions
CLASSES = 10
_MOST_AT_ONCE = 100_000  # rows that the plain form is tried with


def plain_clustering(features: Tensor, logits: Tensor, memory: Tensor, index: Tensor, temperature: float) -> Tensor:
    """Return neighborhood clustering as its equations stand there, with all similarities at once."""
    features = F.normalize(features)
    stored = (features @ memory.to(features.dtype).T).index_fill(1, index, -1.0)
    batch = (features @ features.T).masked_fill(index[:, None] == index[None], -1.0)
    return entropy(torch.cat([logits, stored / temperature, batch / temperature], dim=1)).mean()


def clustering_row(n: int, dtype: torch.dtype, device: torch.device, rounds: int = 3) -> Row:
    """Return milliseconds and memory beyond the bank, forward and backward, with n target images."""
    batch, dim = SHAPE[device.type]
    batch = min(batch, n)
    torch.manual_seed(0)
    bank = MemoryBank(n, dim, dtype).to(device)
    for start in range(0, n, _MOST_AT_ONCE):
        rows = bank.rows[start : start + _MOST_AT_ONCE]
        rows.copy_(F.normalize(torch.randn(rows.shape, device=device)))
    features = torch.randn(batch, dim, device=device, requires_grad=True)
    logits = torch.randn(batch, CLASSES, device=device, requires_grad=True)
    index = torch.randperm(n, device=device)[:batch]

    def passes(loss: Callable[..., Tensor]) -> tuple[Tensor, Tensor]:
        value = loss(features, logits, bank.rows, index, 0.05)
        return value.detach(), torch.autograd.grad(value, features)[0]

    forms: dict[str, Callable[..., Tensor]] = {"blocks": neighborhood_clustering}
    if n <= _MOST_AT_ONCE:
        forms["plain"] = plain_clustering
    row: Row = {"row": "neighborhood clustering", "images": n, "batch": batch, "dim": dim}
    row |= {"bank": str(dtype).removeprefix("torch."), "bank_mb": megabytes(bank.rows.nbytes)}
    answers = {}
    for name, loss in forms.items():
        answers[name] = passes(loss)
        with PeakMemory(device) as peak:
            passes(loss)
        times = [timed(lambda loss=loss: passes(loss), device) for _ in range(rounds)]  # type: ignore[misc]
        row[name] = {"ms": spread([1000 * t for t in times]), "mb_beyond_the_bank": megabytes(peak.bytes)}
    if len(answers) == 2:
        (ours, slope), (theirs, other) = answers["blocks"], answers["plain"]
        row["differs_by"] = {
            "loss": float((ours - theirs).abs() / theirs.abs()),
            "gradient": float((slope - other).norm() / other.norm()),
        }
    written = [timed(lambda: bank.write(index, features), device) for _ in range(rounds)]
    return row | {"write_ms": spread([1000 * t for t in written])}


def shapes(device: torch.device) -> list[tuple[str, Case]]:
    """Return whose steps are measured by shape: SimCLR's by batch and image size, DANCE's by the number of classes."""
    small = next(case for case in CASES[device.type] if case.image_size == 32)
    batches = [replace(small, batch_size=size) for size in (16, 256)]
    half = replace(small, batch_size=small.batch_size // 2, stored=256)
    sizes = [replace(half, image_size=size, stored_size=size) for size in (64, 96)]
    classes = [replace(small, classes=count) for count in (100, 1000)]
    return [*(("simclr", case) for case in (*batches, *sizes)), *((DANCE, case) for case in classes)]
