"""The layers of a recipe: trees of texts from published recipes, files, `--set` and flags; what options a class has."""

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

import uda
from uda.errors import UserError

Tree = dict[str, Any]
_SIZES = {48: "32px", 160: "96px", 10**9: "224px"}
SECTIONS = ("method", "objectives", "data", "views", "encoder", "training", "report", "episodes")


def read_layer(path: Path) -> Tree:
    """Return a YAML file as a tree of texts; UserError where it is missing or no mapping."""
    if not path.is_file():
        raise UserError(f"recipe file '{path}' does not exist; published ones are in '{configs_folder()}'")
    try:
        tree = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"recipe file '{path}' is no YAML ({str(error).splitlines()[0]}); mend it") from error
    if tree in (None, ""):
        return {}
    if not isinstance(tree, dict):
        raise UserError(f"recipe file '{path}' is no mapping of keys to values; see '{configs_folder()}' for examples")
    return tree


def published_layers(task: str, dataset: str | None, frozen: bool, image_size: int | None = None) -> list[Tree]:
    """Return the recipes in configs/<task>/ that apply: the task's, for the size of images, for the data set, frozen.

    image_size: that of the layers above, else the data set's own recipe may name one, else 224 px. Where several name
    objectives, the strongest alone does.
    """
    own = configs_folder() / task / f"{dataset}.yaml"
    if image_size is None:
        image_size = int((read_layer(own).get("data") or {}).get("image_size", 224)) if own.is_file() else 224
    tier = next(name for most, name in _SIZES.items() if image_size <= most)
    names = [name for name in ("default", tier, dataset, "frozen" if frozen else None) if name]
    paths = [configs_folder() / task / f"{name}.yaml" for name in names]
    layers = [read_layer(path) for path in paths if path.is_file()]
    chosen = max((i for i, layer in enumerate(layers) if layer.get("objectives")), default=0)
    return [{k: v for k, v in layer.items() if k != "objectives" or i >= chosen} for i, layer in enumerate(layers)]


def replaced_objectives(published: Sequence[Tree], layers: Sequence[Tree]) -> list[Tree]:
    """Return published recipes without the objectives that they choose, where the layers choose for themselves.

    To name a method or an objective is such a choice; published options of the objectives named stay.
    """
    trees = [written_out(layer) for layer in layers]
    named = {name for tree in trees for name in tree.get("objectives", {})}
    if not named and not any((tree.get("method") or {}).get("name") for tree in trees):
        return list(published)
    found = []
    for tree in map(written_out, published):
        kept = {name: options for name, options in tree.get("objectives", {}).items() if name in named}
        found.append({key: value for key, value in tree.items() if key != "objectives"} | {"objectives": kept})
    return [{key: value for key, value in tree.items() if value or key != "objectives"} for tree in found]


def configs_folder() -> Path:
    """Return the folder of published recipes: inside an installed package, else beside it in a checkout."""
    package = Path(uda.__file__).parent
    return next(
        (path for path in (package / "configs", package.parent / "configs") if path.is_dir()), package / "configs"
    )


def assignment(text: str) -> Tree:
    """Turn "training.lr=1e-3" into a layer; "method=NAME" is short for "method.name=NAME"."""
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise UserError(f"--set wants key.path=value, and '{text}' has no '='; for example --set training.lr=1e-3")
    parts = key.strip().split(".")
    if parts in (["method"], ["views"]):
        parts = [*parts, "name"]
    tree: Any = value.strip()
    for part in reversed(parts):
        tree = {part: tree}
    return tree


def check_objectives_named(named: Sequence[str], layers: Iterable[Tree], options: Iterable[Tree]) -> None:
    """Refuse options of an objective that was not named, for they alone would have it trained.

    named: the objectives that the user asked for; those in `layers` (recipe files) are named as well.
    """
    known = {*named, *(name for layer in layers for name in written_out(layer).get("objectives", {}))}
    for tree in options:
        for name, values in written_out(tree).get("objectives", {}).items():
            if values and name not in known:
                raise UserError(
                    f"objectives.{name}.{next(iter(values))} is an option of '{name}', which is not among the "
                    f"objectives named ({', '.join(named)}); name it too, or leave the option out"
                )


def one_rate(layer: Tree) -> Tree:
    """Return a layer that gives `training.lr` or `training.base_lr` with the other one taken back, for the rate is one.

    Raises UserError where it gives both.
    """
    training = layer.get("training") or {}
    given = [key for key in ("lr", "base_lr") if parsed(training.get(key)) is not None]
    if len(given) == 2:
        raise UserError("training.lr and training.base_lr are two ways to give the one learning rate; leave one out")
    if not given:
        return layer
    other = {"lr": "base_lr", "base_lr": "lr"}[given[0]]
    return layer | {"training": {**training, other: None}}


def is_frozen(layers: Iterable[Tree]) -> bool:
    """Return whether the last of the layers that says anything about `encoder.freeze` says yes."""
    said = [tree["encoder"]["freeze"] for tree in map(written_out, layers) if "freeze" in tree.get("encoder", {})]
    try:
        return bool(said) and TypeAdapter(bool).validate_python(said[-1])
    except ValidationError:  # `build` says what is wrong
        return False


def named_size(layers: Iterable[Tree]) -> int | None:
    """Return the image size that the layers name, the strongest; None where they name none, or no number."""
    said = [tree["data"]["image_size"] for tree in map(written_out, layers) if "image_size" in tree.get("data", {})]
    return int(said[-1]) if said and str(said[-1]).isdigit() else None


def layers_of_run(layers: Sequence[Tree]) -> list[Tree]:
    """Return what the layers leave to the run whose folder they give as weights: its backbone, and its image size.

    Nothing where the weights are no run's folder. It goes below the layers, which may name another size. UserError
    for a run that has no backbone to leave.
    """
    said = [tree["encoder"]["weights"] for tree in map(written_out, layers) if "weights" in tree.get("encoder", {})]
    recipe = Path(str(said[-1])).expanduser() / "recipe.yaml" if said else None
    if recipe is None or not recipe.is_file():
        return []
    run = written_out(read_layer(recipe))
    if run.get("task") == "gan":
        raise UserError(
            f"'{recipe.parent}' is a run of task 'gan', which leaves no backbone; give --weights a run of another "
            "task, a file, or none"
        )
    wanted = {"encoder": ("backbone",), "data": ("image_size", "stored_size") if named_size(layers) is None else ()}
    return [{part: {key: run[part][key] for key in keys if key in run.get(part, {})} for part, keys in wanted.items()}]


def named_data(layers: Iterable[Tree]) -> tuple[str | None, str | None]:
    """Return the source and the target that the layers name, the strongest of each."""
    found: Tree = {}
    for tree in map(written_out, layers):
        found |= parsed(tree.get("data", {}))
    return found.get("source"), found.get("target")


def written_out(layer: Tree) -> Tree:
    """Return a layer with its short forms written out: `method: NAME`, `objectives: [NAME, …]`, an empty section.

    Raises UserError where a single value stands in the place of a section.
    """
    tree = dict(layer)
    for key in ("method", "views"):
        if isinstance(tree.get(key), str) and tree[key]:
            tree[key] = {"name": tree[key]}
    objectives = tree.get("objectives")
    if isinstance(objectives, str) and objectives:
        objectives = parsed(objectives) if objectives.startswith("[") else [objectives]
    if isinstance(objectives, list):
        tree["objectives"] = objectives = {str(name): {} for name in objectives}
    if isinstance(objectives, Mapping):
        tree["objectives"] = {name: _section(f"objectives.{name}", options) for name, options in objectives.items()}
    for name in SECTIONS:
        if name in tree:
            tree[name] = _section(name, tree[name])
    return {
        key: value
        for key, value in tree.items()
        if value or key not in ("data", "encoder", "training", "report", "episodes")
    }


def _section(name: str, value: Any) -> Tree:
    if value in (None, "", "null"):
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"recipe key '{name}' is a section and cannot be {value!r}; set one of its keys, {name}.KEY")
    return dict(value)


def parsed(value: Any) -> Any:
    """Turn the text "null" into None and "[0, 1]" into a list; pydantic parses the rest by the field's type."""
    if isinstance(value, Mapping):
        return {key: parsed(entry) for key, entry in value.items()}
    if value == "null":
        return None
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return [part.strip() for part in value[1:-1].split(",") if part.strip()]
    return value


def for_kind(layers: Sequence[Tree], section: str, find: Callable[[str], type]) -> list[Tree]:
    """Return layers without the options of a method (or views) that a stronger layer replaces, but for shared ones.

    A layer that names none speaks of the one in force, and a key that none has stays: both are checked later.
    """
    named = [str(layer[section]["name"]) for layer in layers if (layer.get(section) or {}).get("name")]
    found = []
    for layer in layers:
        given = layer.get(section) or {}
        if named and given.get("name") not in (None, named[-1]):
            old = options_model(find(str(given["name"])), section).model_fields
            new = options_model(find(named[-1]), section).model_fields
            layer = layer | {section: {key: value for key, value in given.items() if key in new or key not in old}}
        found.append(layer)
    return found


def options_model(kind: type, name: str, **extra: Any) -> type[BaseModel]:
    """Return a model of a constructor's keyword-only arguments: their defaults live there and nowhere else.

    Where it passes others on (`**`), the constructor above says which those are.
    """
    fields: dict[str, Any] = {}
    for constructor in (vars(each)["__init__"] for each in kind.__mro__ if "__init__" in vars(each)):
        hints = get_type_hints(constructor, include_extras=True)
        parameters = inspect.signature(constructor).parameters.values()
        own = {p.name: (hints[p.name], p.default) for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY}
        fields = own | fields
        if all(p.kind is not inspect.Parameter.VAR_KEYWORD for p in parameters):
            break
    fields |= {key: (Annotated[type(value), Field(ge=0)], value) for key, value in extra.items()}
    return create_model(name, __config__=ConfigDict(extra="forbid", allow_inf_nan=False), **fields)
