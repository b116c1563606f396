"""The study of pre-training on one's own images: whether it beats other initial weights, and how surely."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from uda.errors import UserError
from uda.experiments.content import difference_content, summary_content
from uda.experiments.experiment import Settings
from uda.experiments.parts import thumbnails
from uda.experiments.pool import PoolLoaded
from uda.experiments.pretrain.experiment import PretrainExperiment
from uda.experiments.probe.experiment import OVER_EPISODES, ProbeExperiment
from uda.experiments.series import Member, check_series, run_member
from uda.layers import Tree
from uda.nn.weights import find_weights
from uda.probes.low_label import labelled_rows, parse_labels
from uda.recipe import PretrainRecipe, ProbeRecipe, build_as
from uda.report.in_domain import InDomainReport, StartShown, write_in_domain_report
from uda.sections import ProbedRecipe
from uda.tasks.pretrain.method import SelfSupervised
from uda.tasks.probe.probes import SHARES
from uda.training.outputs import write_json, write_text

RANDOM, IMAGENET = "random", "imagenet"
PROBES = ("knn", "linear", "few_labels")
DEFAULT_OBJECTIVE = "moco"
_SHOWN_A_CLASS = 2


@dataclass(frozen=True)
class Start:
    """Weights that are probed: random or ImageNet's, or pre-trained by an objective from one of these."""

    initial: str
    objective: str | None = None

    @property
    def name(self) -> str:
        """How tables call it."""
        return self.initial if self.objective is None else f"{self.objective} from {self.initial}"

    @property
    def folder(self) -> str:
        """What its folders are called."""
        return self.name.replace(" ", "-").replace(":", "-")


def check_study(recipe: PretrainRecipe) -> None:
    """Refuse what a study would have to leave out of one of its parts."""
    data = recipe.data
    for key, value in (("labels", data.labels), ("unlabelled", data.unlabelled), ("ratio", data.ratio)):
        if value is not None:
            raise UserError(
                f"study=in-domain learns from and is tested on the same pool for every start; leave data.{key} out"
            )
    if recipe.encoder.weights not in (None, "none"):  # a backbone that has none is given "none" by itself
        raise UserError("study=in-domain starts from random and from ImageNet weights by itself; leave --weights out")
    if recipe.method["name"] != SelfSupervised.name:
        raise UserError(f"study=in-domain pre-trains without labels; leave --method {recipe.method['name']} out")
    if not recipe.training.steps:
        raise UserError("study=in-domain pre-trains; give --steps")


def starts_of(recipe: PretrainRecipe) -> tuple[list[Start], str | None]:
    """Return the starts, the plain ones first, and why ImageNet's weights are not among them where they are not."""
    initials, lacking = [RANDOM], None
    try:
        find_weights(recipe.encoder.backbone, None)
        initials.append(IMAGENET)
    except UserError as error:
        lacking = f"starts from ImageNet are left out: {error}"
    named = [Start(initial) for initial in initials]
    return named + [Start(i, objective) for objective in _objectives(recipe) for i in initials], lacking


def _objectives(recipe: PretrainRecipe) -> list[str]:
    return list(recipe.objectives) or [DEFAULT_OBJECTIVE]


def pretraining(recipe: PretrainRecipe, start: Start, seed: int) -> PretrainRecipe:
    """Return the recipe that makes a start's weights."""
    assert start.objective is not None
    content: Tree = recipe.model_dump(mode="json") | {"study": None, "seeds": [seed]}
    content["objectives"] = {start.objective: recipe.objectives.get(start.objective, {})}
    content["encoder"]["weights"] = "none" if start.initial == RANDOM else None
    content["data"]["groups"] = recipe.data.groups or "auto"
    return build_as(PretrainRecipe, [content])


def probing(recipe: PretrainRecipe, start: Start, seed: int, weights: str | None) -> ProbeRecipe:
    """Return the recipe that probes a start's weights, on the images that pre-training holds out."""
    content: Tree = recipe.model_dump(mode="json")
    data = {key: value for key, value in content["data"].items() if key in ProbedRecipe.model_fields}
    plain = "none" if start.initial == RANDOM else None
    made: Tree = {
        "data": data | {"groups": recipe.data.groups or "auto"},
        "views": content["views"],
        "encoder": content["encoder"] | {"weights": plain if weights is None else weights},
        "method": {"probes": list(PROBES), "auroc": True},
        "seeds": [seed],
    }
    return build_as(ProbeRecipe, [made])


def run_study(recipe: PretrainRecipe, out: Path, settings: Settings) -> dict[str, Any]:
    """Pre-train and probe every start with every seed below `out`; return the content of `metrics.json`.

    Each is a run with a folder of its own; with resume finished ones are kept and others continued. What they name is
    looked up before the first is run. `study.csv`, `metrics.json` and `report.html` stand above them.
    """
    check_study(recipe)
    starts, lacking = starts_of(recipe)
    pretrain, probe = PretrainExperiment(), ProbeExperiment()
    trained = {
        (start, seed): Member(
            f"\nseed {seed}: pre-training, {start.name}",
            f"seed-{seed}/pretrain-{start.folder}",
            pretraining(recipe, start, seed),
        )
        for seed in recipe.seeds
        for start in starts
        if start.objective is not None
    }
    check_series(pretrain, trained.values(), out, settings)
    plain = probing(recipe, starts[0], recipe.seeds[0], None)
    probe.check(plain)
    if lacking is not None:
        settings.say(f"warning: {lacking}")
    loaded = probe.load(probe.find(plain, settings), plain, settings)
    if loaded.test is None:  # the probes would hold out images that pre-training has seen
        raise UserError(f"{loaded.title} has no images that pre-training would not see; leave data.groups=none out")
    shares = _shares_line(loaded, recipe.seeds)
    for line in (*loaded.lines, *loaded.warnings, shares):
        settings.say(line)
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe.dump())
    quiet = replace(settings, say=_only_new(settings.say, (*loaded.lines, *(f"warning: {w}" for w in loaded.warnings))))
    found: dict[Start, list[dict[str, Any]]] = {start: [] for start in starts}
    for seed in recipe.seeds:
        for start in starts:
            weights = None
            if start.objective is not None:
                member = trained[start, seed]
                content = run_member(pretrain, member, out, quiet)
                _same_test(content, loaded)
                weights = str(out / member.folder)
            asked = probing(recipe, start, seed, weights)
            title = f"seed {seed}: probing, {start.name}"
            probed = run_member(probe, Member(title, f"seed-{seed}/probe-{start.folder}", asked), out, quiet)
            _same_test(probed, loaded)
            found[start].append(probed)
    content = study_content(recipe, found, lacking)
    write_text(out / "study.csv", study_table(content).to_csv(index=False))
    first = recipe.seeds[0]
    weights_of = {start: str(out / trained[start, first].folder) if start.objective else None for start in starts}
    subjects = {start: probing(recipe, start, first, weights_of[start]) for start in starts}
    write_in_domain_report(
        out / "report.html",
        InDomainReport(
            title=f"{loaded.title}: in-domain pre-training",
            recipe=recipe.model_dump(mode="json"),
            metrics={},
            class_names=loaded.class_names,
            unreadable=[(image.path, image.reason) for image in loaded.unreadable],
            notes=[*loaded.lines, shares, *loaded.warnings, *([lacking] if lacking else [])],
            starts=content["starts"],
            differences=content["differences"],
            leaked=int((content["groups"] or {}).get("leaked", 0)),
            ci95_kind=content["ci95_kind"],
            shown=[_shown(probe, subject, loaded, start, settings) for start, subject in subjects.items()],
            images=_images(plain, loaded),
        ),
    )
    write_json(out / "metrics.json", content)
    return content


def study_content(
    recipe: PretrainRecipe, found: Mapping[Start, Sequence[Mapping[str, Any]]], lacking: str | None
) -> dict[str, Any]:
    """Return `metrics.json` from each start's probes, seed by seed; figures are called "moco from random: knn_auroc".

    Of several seeds means and Student's t, of one its bootstrap over the groups of test images. Differences are paired
    by seeds, of every pre-trained start to the weights that it started from and to ImageNet's.
    """
    arms = {start: dict(rows[0]) if len(rows) == 1 else summary_content(rows) for start, rows in found.items()}
    first = next(iter(arms.values()))
    # What does not vary over seeds, such as the plain weights' neighbors, has another interval: the longest says so.
    kind = max((str(arm["ci95_kind"]) for arm in arms.values()), key=len)
    flat: dict[str, dict[str, Any]] = {"metrics": {}, "std": {}, "ci95": {}, "per_seed": {}}
    listed = []
    for start, arm in arms.items():
        own = {key: arm[key] for key in flat}
        listed.append({"start": start.name, "initial": start.initial, "objective": start.objective, **own})
        for key, values in own.items():
            flat[key] |= {f"{start.name}: {name}": value for name, value in values.items()}
    differences = []
    for start, arm in arms.items():
        against = [Start(start.initial)] if start.objective is not None else []
        if start.objective is not None and start.initial != IMAGENET and Start(IMAGENET) in arms:
            against.append(Start(IMAGENET))
        for other in against:
            made = difference_content(arm, arms[other], {})
            differences.append({"start": start.name, **made, "against": other.name})
    return {
        "task": recipe.task,
        "study": recipe.study,
        "method": "in-domain: " + ", ".join(_objectives(recipe)),
        "seeds": recipe.seeds,
        "steps": recipe.training.steps,
        **flat,
        "ci95_kind": kind.removesuffix(OVER_EPISODES),  # nothing here is over these
        "starts": listed,
        "differences": differences,
        "source": first["source"],
        "classes": first["classes"],
        "images": first["images"],
        "groups": first.get("groups"),
        "warnings": [lacking] if lacking else [],
        "environment": first["environment"],
    }


def study_table(content: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row a start and figure: value, standard deviation over seeds, and the ends of the interval."""
    rows = []
    for arm in content["starts"]:
        for name, value in arm["metrics"].items():
            low, high = arm["ci95"].get(name) or (None, None)
            row = {key: arm[key] for key in ("start", "initial", "objective")}
            rows.append(row | {"figure": name, "value": value, "std": arm["std"].get(name), "low": low, "high": high})
    return pd.DataFrame(rows)


def _shares_line(loaded: PoolLoaded, seeds: Sequence[int]) -> str:
    """Return how many labels the shares come to: more than they say, where a group of each class is more."""
    labels = loaded.train.table.labels
    told = []
    for share in SHARES:
        sizes = {len(labelled_rows(labels, parse_labels(share), seed, loaded.train_groups)) for seed in seeds}
        told.append(f"{share} is {' or '.join(map(str, sorted(sizes)))}")
    whole = "" if loaded.train_groups is None else ", in whole groups"
    return f"labels: {', '.join(told)} of {int((labels >= 0).sum())}{whole}, of every class at least one"


def _only_new(say: Any, known: Sequence[str]) -> Any:
    """Return a voice that does not repeat, run after run, what was said of the images."""

    def new(text: str) -> None:
        if text not in known:
            say(text)

    return new


def _same_test(content: Mapping[str, Any], loaded: PoolLoaded) -> None:
    """Refuse to go on where a run has other images to test on than the others have."""
    if content["fingerprints"] != loaded.fingerprints:
        raise UserError(
            "the images have changed since the study was begun, and its parts would not compare; begin another --out"
        )


def _shown_rows(loaded: PoolLoaded) -> np.ndarray:
    """Return the rows of the test images whose maps are shown: a few of each class, as they come."""
    assert loaded.test is not None
    labels = loaded.test.table.labels
    rows = [np.flatnonzero(labels == i)[:_SHOWN_A_CLASS] for i in range(min(4, len(loaded.class_names)))]
    return np.concatenate(rows)


def _images(recipe: ProbeRecipe, loaded: PoolLoaded) -> tuple[np.ndarray, list[str]]:
    """Return the test images whose maps are shown, (n, 3, s, s) uint8, and their classes."""
    assert loaded.test is not None
    rows = _shown_rows(loaded)
    names = [loaded.class_names[label] for label in loaded.test.table.labels[rows]]
    return thumbnails(recipe, loaded.test, rows).numpy(), names


@torch.no_grad()
def _shown(
    probe: ProbeExperiment, recipe: ProbeRecipe, loaded: PoolLoaded, start: Start, settings: Settings
) -> StartShown:
    """Return what the page shows of one start: the test features, and how strong the map is at each place."""
    inputs = probe.prepare(recipe, loaded, settings)
    task = probe.build(recipe, loaded, inputs, recipe.seeds[0]).to(settings.device)
    tested = task.tested()
    maps = None
    if loaded.test is not None and inputs.test is not None and task.encoder.unpooled_dims == 4:
        views = task.view.plain(inputs.test.batch(_shown_rows(loaded)).to(settings.device))
        task.eval()
        maps = task.encoder.map(views).float().norm(dim=1).cpu().numpy()
    return StartShown(start.name, tested.features.numpy(), tested.labels, maps)
