"""What every task says of one seed: the frame of its `metrics.json` and of its page."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import torch

from uda.datasets.cache import Unreadable
from uda.experiments.content import environment
from uda.recipe import Recipe


class Loaded(Protocol):
    """Decoded data of any task; `fingerprints` tell images and labels apart, side by side."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def class_names(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def fingerprints(self) -> Mapping[str, str]: ...  # noqa: D102
    @property
    def unreadable(self) -> Sequence[Unreadable]: ...  # noqa: D102
    @property
    def lines(self) -> tuple[str, ...]: ...  # noqa: D102
    @property
    def warnings(self) -> tuple[str, ...]: ...  # noqa: D102


def seed_frame(
    recipe: Recipe,
    label: str,
    seed: int,
    loaded: Loaded,
    metrics: Mapping[str, float | None],
    ci95: Mapping[str, list[float] | None],
    ci95_kind: str,
    device: torch.device,
) -> dict[str, Any]:
    """Return what `metrics.json` has in every task; nothing in it depends on when or how fast the run was.

    ci95: by figure; one that is not there has none.
    """
    return {
        "task": recipe.task,
        "method": label,
        "seeds": [seed],
        "steps": recipe.training.steps,
        "metrics": dict(metrics),
        "std": dict.fromkeys(metrics),
        "ci95": dict.fromkeys(metrics) | dict(ci95),
        "ci95_kind": ci95_kind,
        "per_seed": {name: [value] for name, value in metrics.items()},
        "classes": list(loaded.class_names),
        "fingerprints": dict(loaded.fingerprints),
        "unreadable": [image.path for image in loaded.unreadable],
        "environment": environment(device),
    }


def page_frame(recipe: Recipe, loaded: Loaded, content: Mapping[str, Any], origin: str, seed: int) -> dict[str, Any]:
    """Return the fields of `uda.report.run.RunReport`; content: the seed's `metrics.json`, origin: of the weights."""
    return {
        "title": f"{loaded.title}: {content['method']}",
        "recipe": recipe.model_dump(mode="json"),
        "metrics": content["metrics"],
        "ci95": content["ci95"],
        "class_names": loaded.class_names,
        "unreadable": [(image.path, image.reason) for image in loaded.unreadable],
        "notes": [*loaded.lines, f"weights at the start: {origin}", *loaded.warnings],
        "seed": seed,
    }
