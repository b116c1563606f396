"""The recipe: everything that decides a run's numbers, validated, with one documented order of precedence.

Signature default < published recipe (configs/) < --config < --set < flags. Every layer is a tree of texts; a text is
parsed by the type of its field, so `1e-3` is a number and `no` stays text where text is wanted.
"""

import hashlib
import inspect
import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model, field_validator

from uda.errors import UserError, unknown_name
from uda.layers import Tree, assignment, parsed, published_layers, read_layer, written_out
from uda.probes.rejection import find_rule
from uda.ssl import find_objective
from uda.tasks.unida import find_method

__all__ = [
    "DataRecipe",
    "EncoderRecipe",
    "Recipe",
    "TrainingRecipe",
    "Tree",
    "assignment",
    "build",
    "differences",
    "published_layers",
    "read_layer",
]

M = TypeVar("M", bound=BaseModel)


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class DataRecipe(_Section):
    """Where images come from and what a view of them is."""

    source: str | None = None
    target: str | None = None
    setting: Literal["closed", "partial", "open", "open-partial"] | None = None
    split: str | None = None
    root: str | None = None
    strict: bool = False
    image_size: int = Field(224, ge=8)
    stored_size: int | None = Field(None, ge=8)  # None: 8/7 of image_size, the papers' 256 for 224
    fit: Literal["squash", "crop"] = "squash"
    augment: Literal["crop-flip", "glyph", "none"] = "crop-flip"

    @property
    def packed_size(self) -> int:
        """Side of the stored squares that views are cut from, in pixels."""
        return self.stored_size or round(self.image_size * 8 / 7)


class EncoderRecipe(_Section):
    """The backbone, its weights, and whether it moves."""

    backbone: str = "resnet50"
    weights: str | None = None
    freeze: bool = False
    adapter: bool = False
    passes: int = Field(2, ge=1)
    batch_statistics: Literal["running", "target"] = "running"  # what batch norm is tested with


class TrainingRecipe(_Section):
    """The loop. The defaults are DANCE's published schedule (Saito et al., NeurIPS 2020, supplementary B)."""

    steps: int = Field(10000, ge=0)
    batch_size: int = Field(36, ge=2)
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = Field(0.01, gt=0)
    backbone_lr_scale: float = Field(0.1, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(5e-4, ge=0)
    schedule: Literal["inverse", "cosine", "constant"] = "inverse"
    warmup_steps: int = Field(0, ge=0)
    evaluate_every: int = Field(500, ge=0)
    checkpoint_every: int = Field(500, ge=0)
    precision: Literal["auto", "no", "bf16"] = "auto"
    channels_last: bool = True


class Recipe(_Section):
    """One run, fully resolved; `method` and each of `objectives` hold the options of their constructors."""

    task: Literal["unida"] = "unida"
    method: dict[str, Any] = Field(default_factory=lambda: {"name": "dance"})
    objectives: dict[str, dict[str, Any]] = Field(default_factory=dict)
    rejection: str = "otsu"
    data: DataRecipe = DataRecipe()
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
        """Return all that decides the numbers of one seed: not the seeds, the data's place or the saving intervals."""
        content = self.model_dump(mode="json")
        content.pop("seeds")
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


_SECTIONS: dict[str, type[BaseModel]] = {"data": DataRecipe, "encoder": EncoderRecipe, "training": TrainingRecipe}


def build(layers: Iterable[Tree]) -> Recipe:
    """Merge layers, weakest first, and validate; UserError for an unknown key (with the nearest) or a useless value."""
    written = [written_out(layer) for layer in layers]
    named = [layer["method"]["name"] for layer in written if (layer.get("method") or {}).get("name")]
    merged: Tree = {}
    for layer in written:
        merged = _merge(merged, _for_method(layer, str(named[-1])) if named else layer)
    method = dict(merged.get("method") or {})
    kind = find_method(str(method.setdefault("name", "dance")))
    objectives = {str(name): find_objective(str(name)) for name in merged.get("objectives") or {}}
    _check_keys(merged, kind, objectives)
    recipe = _validated(Recipe, merged | {"method": method}, "")
    find_rule(recipe.rejection)
    options = _validated(_options_model(kind, "method"), {k: v for k, v in method.items() if k != "name"}, "method.")
    recipe.method = {"name": kind.name} | options.model_dump()
    for name, objective in objectives.items():
        given = _validated(
            _options_model(objective, name, weight=objective.default_weight),
            merged["objectives"][name],
            f"objectives.{name}.",
        )
        recipe.objectives[name] = given.model_dump()
    return recipe


def differences(a: Recipe, b: Recipe) -> list[str]:
    """Return "key: a's value → b's value" for all that decides a seed's numbers and differs."""
    flat_a, flat_b = ({k: v for k, v in _flat(recipe.identity()).items() if v != {}} for recipe in (a, b))
    keys = [key for key in flat_a | flat_b if flat_a.get(key) != flat_b.get(key)]
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


def _for_method(layer: Tree, name: str) -> Tree:
    """Return a layer without the options of a method that `name` replaces, but for those that both have.

    A layer that names no method speaks of the one in force, and a key that no method has stays: both are checked later.
    """
    method = layer.get("method") or {}
    if method.get("name") in (None, name):
        return layer
    old = _options_model(find_method(str(method["name"])), "method").model_fields
    new = _options_model(find_method(name), "method").model_fields
    return layer | {"method": {key: value for key, value in method.items() if key in new or key not in old}}


def _options_model(kind: type, name: str, **extra: Any) -> type[BaseModel]:
    """Return a model of a constructor's keyword-only arguments: their defaults live there and nowhere else."""
    hints = get_type_hints(kind.__init__, include_extras=True)  # type: ignore[misc]
    parameters = inspect.signature(kind).parameters.values()
    fields: dict[str, Any] = {
        p.name: (hints[p.name], p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY
    }
    fields |= {key: (Annotated[type(value), Field(ge=0)], value) for key, value in extra.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)


def _check_keys(tree: Tree, method: type, objectives: Mapping[str, type]) -> None:
    """Refuse a key that no recipe has, naming the nearest."""
    known = {name for name in Recipe.model_fields if name not in _SECTIONS} | {"method.name"}
    known |= {f"{section}.{field}" for section, model in _SECTIONS.items() for field in model.model_fields}
    known |= {f"method.{field}" for field in _options_model(method, "method").model_fields}
    for name, objective in objectives.items():
        fields = _options_model(objective, name, weight=1.0).model_fields
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
