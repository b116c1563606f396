"""The recipe: everything that decides a run's numbers, validated, with one documented order of precedence.

Signature default < published recipe (configs/) < --config < --set < flags. Every layer is a tree of texts; a text is
parsed by the type of its field, so `1e-3` is a number and `no` stays text where text is wanted.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import BaseModel, Field, ValidationError, field_validator

from uda.errors import UserError, unknown_name
from uda.layers import (
    Tree,
    assignment,
    for_kind,
    one_rate,
    options_model,
    parsed,
    published_layers,
    read_layer,
    written_out,
)
from uda.probes.rejection import find_rule
from uda.probes.selection import LAST, find_validator
from uda.sections import (
    DomainsRecipe,
    EncoderRecipe,
    ImagesRecipe,
    PairRecipe,
    PartlyLabelledRecipe,
    PoolRecipe,
    Section,
    TrainingRecipe,
)
from uda.ssl import Objective, find_objective, find_random_views
from uda.tasks import METHODS, find_method

__all__ = [
    "RECIPES",
    "DgRecipe",
    "PretrainRecipe",
    "ProbeRecipe",
    "Recipe",
    "Tree",
    "UnidaRecipe",
    "assignment",
    "build",
    "build_as",
    "differences",
    "published_layers",
    "read_layer",
]

M = TypeVar("M", bound=BaseModel)
R = TypeVar("R", bound="Recipe")


class Recipe(Section):
    """One run, fully resolved; `method`, `views` and each of `objectives` hold the options of their constructors."""

    task: str
    method: dict[str, Any] = Field(default_factory=dict)
    objectives: dict[str, dict[str, Any]] = Field(default_factory=dict)
    data: ImagesRecipe = ImagesRecipe()
    views: dict[str, Any] = Field(default_factory=lambda: {"name": "contrast"})
    encoder: EncoderRecipe = EncoderRecipe()
    training: TrainingRecipe = TrainingRecipe()
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=lambda: [0], min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once: the same seed gives the same run")
        return seeds

    @property
    def method_options(self) -> dict[str, Any]:
        """The method's keyword arguments."""
        return {key: value for key, value in self.method.items() if key != "name"}

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed.

        Neither the seeds, the data's place, the saving intervals nor looking before training do.
        """
        content = self.model_dump(mode="json")
        content.pop("seeds")
        content.pop("preflight", None)
        content["data"].pop("root")
        for key in ("evaluate_every", "checkpoint_every"):
            content["training"].pop(key)
        return content

    def hash(self) -> str:
        """Return a hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def dump(self) -> str:
        """Return the recipe as YAML that `build` reads back to the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)  # ASCII: PyYAML loses U+0085 otherwise


class UnidaRecipe(Recipe):
    """Universal domain adaptation."""

    task: Literal["unida"] = "unida"
    data: PairRecipe = PairRecipe()
    rejection: str = "method"  # the method's own rule, by whose name `build` replaces it
    selection: str = LAST  # which evaluation's weights are the answer: the last one's, or the best by a validator
    preflight: bool = True  # look at the data and the time it will take, before training

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed; with a selection, so does what there is to select from."""
        content = super().identity()
        if self.selection != LAST:
            content["training"]["evaluate_every"] = self.training.evaluate_every
        return content


class PretrainRecipe(Recipe):
    """Self-supervised (or partly supervised) pre-training; `data.labels` is the share of labels that may be used."""

    task: Literal["pretrain"] = "pretrain"
    data: PartlyLabelledRecipe = PartlyLabelledRecipe()


class ProbeRecipe(Recipe):
    """How good features are; `training` is the fine-tuning's."""

    task: Literal["probe"] = "probe"
    data: PoolRecipe = PoolRecipe()


class DgRecipe(Recipe):
    """Domain generalization.

    selection: which evaluation's weights are the answer: the last one's, the best by accuracy on source images that
    were not trained on, or the best by the mean accuracy on each source domain when trained on the others. compat: the
    class loss is on the ordered images of a re-assembled puzzle (the paper's form), or on all, ordered or not (the
    released code's).
    adapt: the target's unlabelled images are learned from too, with `entropy_weight` on the entropy of their classes.
    """

    task: Literal["dg"] = "dg"
    data: DomainsRecipe = DomainsRecipe()
    selection: Literal["last", "source", "leave_one_out"] = "last"
    compat: Literal["paper", "official"] = "paper"
    adapt: bool = False
    entropy_weight: float = Field(0.1, ge=0)
    preflight: bool = True  # say how long training will take

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed; with a selection, so does what there is to select from."""
        content = super().identity()
        if self.selection != LAST:
            content["training"]["evaluate_every"] = self.training.evaluate_every
        return content


RECIPES: dict[str, type[Recipe]] = {
    "unida": UnidaRecipe,
    "pretrain": PretrainRecipe,
    "probe": ProbeRecipe,
    "dg": DgRecipe,
}


def build(layers: Iterable[Tree]) -> Recipe:
    """Merge layers, weakest first, and validate; UserError for an unknown key (with the nearest) or a useless value."""
    written = [one_rate(written_out(layer)) for layer in layers]
    task = str(next((layer["task"] for layer in reversed(written) if layer.get("task")), "unida"))
    model = RECIPES.get(task)
    if model is None:
        raise unknown_name("task", task, RECIPES, "--help describes them")
    merged: Tree = {}
    written = for_kind(written, "method", lambda name: find_method(task, name))
    for layer in for_kind(written, "views", find_random_views):
        merged = _merge(merged, layer)
    method = dict(merged.get("method") or {})
    views = dict(merged.get("views") or {})
    parts = _Parts(
        find_method(task, str(method.setdefault("name", next(iter(METHODS[task]))))),
        find_random_views(str(views.setdefault("name", "contrast"))),
        {str(name): find_objective(str(name)) for name in merged.get("objectives") or {}},
    )
    _check_keys(merged, model, parts)
    recipe = _validated(model, merged | {"task": task, "method": method, "views": views}, "")
    if recipe.training.lr is None and recipe.training.base_lr is None:
        raise UserError("training.lr and training.base_lr are both null; give one of them")
    if isinstance(recipe, UnidaRecipe):
        if recipe.rejection == "method":
            recipe.rejection = find_method(task, str(method["name"])).rejection
        find_rule(recipe.rejection)
        if recipe.selection != LAST:
            find_validator(recipe.selection)
    recipe.method = _with_options(parts.method, method, "method")
    recipe.views = _with_options(parts.views, views, "views")
    for name, objective in parts.objectives.items():
        given = _validated(
            options_model(objective, name, weight=objective.default_weight),
            merged["objectives"][name],
            f"objectives.{name}.",
        )
        recipe.objectives[name] = given.model_dump()
    return recipe


def build_as(kind: type[R], layers: Iterable[Tree]) -> R:
    """Return the recipe of one task; the layers need not name it."""
    task = next(name for name, known in RECIPES.items() if known is kind)
    recipe = build([*layers, {"task": task}])
    assert isinstance(recipe, kind)
    return recipe


@dataclass(frozen=True)
class _Parts:
    """The classes that a recipe names."""

    method: type
    views: type
    objectives: Mapping[str, type[Objective]]


def _with_options(kind: type, values: Tree, section: str) -> Tree:
    """Return a section with its name and all options of its class, those not given at their defaults."""
    given = {key: value for key, value in values.items() if key != "name"}
    return {"name": values["name"]} | _validated(options_model(kind, section), given, f"{section}.").model_dump()


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Return "key: a's value → b's value" for all that decides a seed's numbers and differs.

    Of two methods, or two kinds of views, only the options that both have are compared.
    """
    flat_a, flat_b = ({k: v for k, v in _flat(recipe.identity()).items() if v != {}} for recipe in (a, b))
    keys = [key for key in flat_a | flat_b if flat_a.get(key) != flat_b.get(key)]
    keys = [key for key in keys if key.split(".")[0] not in ("method", "views") or (key in flat_a and key in flat_b)]
    return [f"{key}: {flat_a.get(key)} → {flat_b.get(key)}" for key in keys]


def _merge(below: Tree, above: Tree) -> Tree:
    """Merge two trees, the second over the first."""
    merged = dict(below)
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(merged.get(key), Mapping):
            merged[key] = _merge(merged[key], dict(value))
        else:
            merged[key] = value
    return merged


def _check_keys(tree: Tree, model: type[Recipe], parts: _Parts) -> None:
    """Refuse a key that no recipe of the task has, naming the nearest."""
    sections = {name: type(field.default) for name, field in model.model_fields.items()}
    sections = {name: kind for name, kind in sections.items() if issubclass(kind, BaseModel)}
    known = {name for name in model.model_fields if name not in sections} | {"method.name", "views.name"}
    known |= {f"{section}.{field}" for section, kind in sections.items() for field in kind.model_fields}
    known |= {f"method.{field}" for field in options_model(parts.method, "method").model_fields}
    known |= {f"views.{field}" for field in options_model(parts.views, "views").model_fields}
    for name, objective in parts.objectives.items():
        fields = options_model(objective, name, weight=1.0).model_fields
        known |= {f"objectives.{name}", *(f"objectives.{name}.{field}" for field in fields)}
    for key in _flat(tree):
        if key not in known:
            raise unknown_name("recipe key", key, known, "the recipe of any run is in its recipe.yaml")


def _flat(tree: Tree, prefix: str = "") -> Tree:
    """Return {"data.source": value, …} of a nested tree."""
    found: Tree = {}
    for key, value in tree.items():
        deeper = isinstance(value, Mapping) and len(value) > 0
        found |= _flat(dict(value), f"{prefix}{key}.") if deeper else {f"{prefix}{key}": value}
    return found


def _validated(model: type[M], values: Tree, prefix: str) -> M:
    try:
        return model.model_validate(parsed(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = (prefix + ".".join(str(part) for part in first["loc"])).rstrip(".")
        why = first["msg"].removeprefix("Value error, ")
        raise UserError(f"recipe key '{key}' cannot be {first['input']!r}: {why}; give another value") from error
