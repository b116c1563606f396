"""The recipe: everything that decides a run's numbers, validated, with one documented order of precedence.

Signature default < published recipe (configs/) < --config < --set < flags. Every layer is a tree of texts; a text is
parsed by the type of its field, so `1e-3` is a number and `no` stays text where text is wanted.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError

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
from uda.ssl import Objective, find_objective, find_random_views
from uda.task_recipes import (
    RECIPES,
    DgRecipe,
    FewshotRecipe,
    GanRecipe,
    ImbalanceRecipe,
    PretrainRecipe,
    ProbeRecipe,
    Recipe,
    RobustnessRecipe,
    UnidaRecipe,
)
from uda.tasks import METHODS, find_method

__all__ = [
    "RECIPES",
    "DgRecipe",
    "FewshotRecipe",
    "GanRecipe",
    "ImbalanceRecipe",
    "PretrainRecipe",
    "ProbeRecipe",
    "Recipe",
    "RobustnessRecipe",
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
    recipe = validated(model, merged | {"task": task, "method": method, "views": views}, "")
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
        given = validated(
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
    return {"name": values["name"]} | validated(options_model(kind, section), given, f"{section}.").model_dump()


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


def validated(model: type[M], values: Tree, prefix: str) -> M:
    """Return a section of given values, texts parsed; UserError naming the key and the value that it cannot have."""
    try:
        return model.model_validate(parsed(values))
    except ValidationError as error:
        first = error.errors()[0]
        key = (prefix + ".".join(str(part) for part in first["loc"])).rstrip(".")
        why = first["msg"].removeprefix("Value error, ")
        raise UserError(f"recipe key '{key}' cannot be {first['input']!r}: {why}; give another value") from error
