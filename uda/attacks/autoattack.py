"""AutoAttack through the library `pyautoattack`, a packaged copy of its authors' code."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from uda.attacks.ball import Norm, check_radius, checked_attack, checked_views
from uda.attacks.frozen import frozen
from uda.attacks.loss import differentiable
from uda.errors import UserError

_NAMES = {"linf": "Linf", "l2": "L2"}


def autoattack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    eps: float,
    norm: Norm = "linf",
    seed: int = 0,
    batch_size: int = 250,
    steps: int = 100,
    queries: int = 5000,
) -> Tensor:
    """Return views that the standard ensemble of four attacks found (Croce and Hein, ICML 2020, section 5).

    images: (B, 3, H, W) float in [0, 1], left as they are; labels: (B,) int64; the model (views → logits of at least 4
    classes) is frozen meanwhile. In order, each on what is still classified rightly: APGD on the cross-entropy, APGD on
    the targeted DLR loss and FAB, each toward up to 9 other classes, Square. Where none succeeds, or the clean image is
    classified wrongly already, the clean image is returned. steps (of the first three) and queries (of Square) are the
    published ones; a result with fewer is not AutoAttack's.
    seed: of the library's own draws, which depend on the batch; torch's generators are left as they were. Its doubts
    about a measurement (gradients that are zero, outputs that are random) come as warnings of the logger `auto-attack`.

    Raises UserError where the library is not installed, for fewer than 4 classes (the DLR loss compares four logits)
    or a radius that is none; ValueError for images outside of [0, 1].
    """
    check_radius(eps, norm)
    try:
        from pyautoattack import AutoAttack
    except ImportError as missing:
        raise UserError("AutoAttack needs the library pyautoattack: pip install 'uda-ssl[attacks]'") from missing
    with frozen(model), differentiable(), _generators_restored(images.device):
        clean = checked_views(images)
        with torch.no_grad():
            n_classes = model(clean[:1]).shape[1]
        if n_classes < 4:
            raise UserError(f"AutoAttack needs at least 4 classes, not {n_classes}: use pgd with several restarts")
        library = AutoAttack(model, norm=_NAMES[norm], eps=eps, seed=seed, device=clean.device)
        library.verbose = False
        targets = min(9, n_classes - 1)
        library.apgd_targeted.n_target_classes = library.fab.n_target_classes = targets
        library.apgd.n_iter = library.apgd_targeted.n_iter = library.fab.n_iter = steps
        library.square.n_queries = queries
        attacked, _ = library.run_standard_evaluation(clean, labels.to(clean.device), batch_size=batch_size)
    return checked_attack(attacked.detach(), clean, eps, norm)


@contextmanager
def _generators_restored(device: torch.device) -> Iterator[None]:
    """Undo what the library does to the process: it seeds torch, and ends the tracing of debuggers and coverage."""
    tracing = sys.gettrace()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            sys.settrace(tracing)
