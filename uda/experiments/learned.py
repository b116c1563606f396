"""What a file of weights has learned from, where the run that wrote it says so."""

from pathlib import Path

from uda.layers import named_data, read_layer
from uda.recipe import Tree


def learned_source(weights: str | None) -> str | None:
    """Return the `data.source` of the run that wrote a file of weights, None where that is not known.

    A run leaves `recipe.yaml` beside its `backbone.safetensors`; `weights` may be the file or the run's folder.
    """
    recipe = _recipe_of(weights)
    return None if recipe is None else named_data([recipe])[0]


def _recipe_of(weights: str | None) -> Tree | None:
    if weights in (None, "none"):
        return None
    path = Path(str(weights)).expanduser()
    recipe = (path if path.is_dir() else path.parent) / "recipe.yaml"
    return read_layer(recipe) if path.exists() and recipe.is_file() else None


def same_source(weights: str | None, source: str | None) -> bool:
    """Return whether weights are known to have been learned from a source, a folder's name in any spelling."""
    learned = learned_source(weights)
    if learned is None or source is None:
        return False
    return learned == source or (Path(source).exists() and Path(learned).resolve() == Path(source).resolve())


def seen_before(weights: str | None, source: str | None, advice: str = "") -> tuple[str, ...]:
    """Return the warning that weights have learned from the images among which some are to be tested on, if they have.

    For images without a test split of their own; advice: what else than such a split would help. Other tasks than
    pre-training hold out what is tested on.
    """
    recipe = _recipe_of(weights)
    if recipe is None or recipe.get("task") != "pretrain" or not same_source(weights, source):
        return ()
    seen = "the weights were learned from these very images, those that are tested on among them"
    return (f"{seen}; give the data a test/ folder{advice}",)
