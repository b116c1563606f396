"""What is worth knowing before training: the data's pitfalls, how far the domains lie apart, and how long it takes."""

import contextlib
import hashlib
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from uda.clock import Clock
from uda.datasets.cache import default_cache_dir
from uda.datasets.duplicates import THUMBNAIL, Pairs, near_duplicates
from uda.datasets.sampling import spread
from uda.datasets.streams import FrozenFeatures, Images, Subset
from uda.experiments import preflight
from uda.experiments.parts import Domain, pixel_view, starting_encoder, training_view
from uda.experiments.unida.assemble import Inputs
from uda.experiments.unida.domains import Domains
from uda.metrics import proxy_a_distance
from uda.nn.encoder import TimmEncoder
from uda.probes.frozen import compute_passes, image_ids, weights_hash
from uda.recipe import UnidaRecipe
from uda.report.preflight import KINDS
from uda.tasks.unida import UniDA
from uda.training.loop import LoopOptions
from uda.training.outputs import write_json
from uda.wording import counted

FEW = 5
"""Images below which a source class is named."""

_EMBEDDED = 500  # images of a domain whose features tell how far apart the domains are
_COMPARED = 10_000  # images of a domain that near-duplicates are looked for among
_LISTED = 50  # pairs of each kind that are named


def look_before(recipe: UnidaRecipe, domains: Domains, inputs: Inputs, device: torch.device) -> dict[str, Any]:
    """Return what `metrics.json` holds under `preflight`: a function of the data, the backbone and its weights.

    What takes time is kept in the cache, so that other seeds, arms and a resumed run do not look again.
    """
    counts = domains.source.table.counts()
    backbone = inputs.backbone or starting_encoder(recipe, 0)  # random weights too are the same for every seed
    key = (
        f"preflight 1 {domains.source.images.fingerprint} {domains.target.images.fingerprint} "
        f"{weights_hash(backbone)} {backbone.name} {pixel_view(recipe)!r} "
        f"{recipe.data.packed_size} {recipe.data.fit}"
    )
    found = _kept(key, lambda: _look(recipe, domains, inputs, backbone, device))
    for kind, (first, second) in sides(domains).items():
        for pair in found["near_duplicates"][kind]["nearest"]:
            i, j = pair["rows"]
            pair["paths"] = [first.table.paths[i], second.table.paths[j]]
    few = [name for name, count in counts.items() if count < FEW]
    images = {"source_images": counts, "few_images": few, "target_images": len(domains.target.table)}
    return images | found


def sides(domains: Domains) -> dict[str, tuple[Domain, Domain]]:
    """Return which two domains are compared in each of `KINDS`."""
    source, target = domains.source, domains.target
    return {"across": (source, target), "source": (source, source), "target": (target, target)}


def _look(
    recipe: UnidaRecipe, domains: Domains, inputs: Inputs, backbone: TimmEncoder, device: torch.device
) -> dict[str, Any]:
    source, target = domains.source, domains.target
    features = [
        _features(recipe, backbone, domain, images, device)
        for domain, images in ((source, inputs.source), (target, inputs.target))
    ]
    distance = proxy_a_distance(features[0], features[1], seed=0)
    rows = [spread(len(domain.images), _COMPARED) for domain in (source, target)]
    first, second = source.images.square(rows[0], THUMBNAIL), target.images.square(rows[1], THUMBNAIL)
    pairs = {
        "across": _described(near_duplicates(first, second), rows[0], rows[1]),
        "source": _described(near_duplicates(first), rows[0], rows[0]),
        "target": _described(near_duplicates(second), rows[1], rows[1]),
    }
    return {
        "proxy_a_distance": {
            "value": distance.value,
            "ci95": None if distance.ci95 is None else list(distance.ci95),
            "error": distance.error,
            "images": [len(part) for part in features],
        },
        "near_duplicates": {"compared": [len(part) for part in rows]} | pairs,
    }


def _features(
    recipe: UnidaRecipe, backbone: TimmEncoder, domain: Domain, images: Images, device: torch.device
) -> np.ndarray:
    """Return features of the evaluation view as training starts, of at most 500 images, (n, D)."""
    rows = spread(len(images), _EMBEDDED)
    if isinstance(images, FrozenFeatures):
        return images.passes[0, rows].numpy()
    view = training_view(recipe).plain
    ids = image_ids(domain.images.hashes[rows])
    views = [lambda pixels, _: view(pixels)]
    return compute_passes(backbone, Subset(images, rows), ids, views, device, None)[0].numpy()


def _described(pairs: Pairs, first: np.ndarray, second: np.ndarray) -> dict[str, Any]:
    """Return how many pairs there are, how many images they hold on both sides, and the nearest, as rows of tables."""
    i, j = first[pairs.first], second[pairs.second]
    nearest = zip(i[:_LISTED], j[:_LISTED], pairs.similarity[:_LISTED], strict=True)
    return {
        "pairs": len(pairs),
        "images": [len(np.unique(i)), len(np.unique(j))],
        "nearest": [{"rows": [int(a), int(b)], "similarity": round(float(s), 3)} for a, b, s in nearest],
    }


def _kept(key: str, compute: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return `compute()`, kept in the cache under a key that names all that it depends on."""
    path = default_cache_dir() / "preflight" / f"{hashlib.sha256(key.encode()).hexdigest()}.json"
    with contextlib.suppress(OSError, ValueError):  # absent, or spoilt
        return json.loads(path.read_text())
    found = compute()
    with contextlib.suppress(OSError):  # no room or no right to write there: it is computed anew next time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, found)
    return found


def lines(found: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the findings as plain lines."""
    counts = found["source_images"]
    most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
    images = (
        f"{counted(sum(counts.values()), 'source image')} of {counted(len(counts), 'class')}, "
        f"{counted(found['target_images'], 'target image')}"
    )
    spread_out = f"most of '{most}' ({counts[most]}), fewest of '{least}' ({counts[least]})"
    told = [images + (f"; {spread_out}" if counts[most] > counts[least] else f"; {counts[most]} of each class")]
    if found["few_images"]:
        listed = ", ".join(f"{name} ({counts[name]})" for name in found["few_images"])
        told.append(f"warning: fewer than {FEW} source images of {listed}")
    return (*told, _distance_line(found["proxy_a_distance"]), *_duplicate_lines(found["near_duplicates"]))


def _distance_line(distance: Mapping[str, Any]) -> str:
    if distance["value"] is None:
        return "proxy A-distance: undefined, a domain has a single image"
    low, high = distance["ci95"]
    n, m = distance["images"]
    return (
        f"proxy A-distance {distance['value']:.2f} [{low:.2f}, {high:.2f}] before training (0: the domains cannot be "
        f"told apart, 2: always), on {n} source and {counted(m, 'target image')}"
    )


def _duplicate_lines(duplicates: Mapping[str, Any]) -> list[str]:
    numbers = ", ".join(f"{duplicates[kind]['pairs']} {where}" for kind, where in KINDS.items())
    n, m = duplicates["compared"]
    of = f" among {n} source and {m} target images" if _COMPARED in (n, m) else ""
    told = [f"near-duplicate pairs{of}: {numbers}"]
    if duplicates["across"]["pairs"]:
        images = duplicates["across"]["images"][1]
        told.append(
            f"warning: {counted(images, 'target image')} {'has' if images == 1 else 'have'} a near-duplicate in the "
            "source, which makes adaptation look better than it is; the report shows them"
        )
    return told


def time_line(task: UniDA, options: LoopOptions, device: torch.device, seeds: int) -> str:
    """Return how long training will take."""
    clocks = (task.target_clock(Clock(step, options.steps, options.seed)) for step in range(options.steps))
    times = preflight.evaluations(options) + preflight.assignments(task.objectives, clocks)
    looks = [preflight.Looks(times, len(task.data.target), "the whole target")]
    runs = preflight.for_each(seeds)
    return preflight.time_line(task, options, device, UniDA.encode, task.data.target, looks, runs)
