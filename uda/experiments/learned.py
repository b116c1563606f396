"""What a file of weights has learned from, where the run that wrote it says so."""

from pathlib import Path

from uda.layers import named_data, read_layer


def learned_source(weights: str | None) -> str | None:
    """Return the `data.source` of the run that wrote a file of weights, None where that is not known.

    A run leaves `recipe.yaml` beside its `backbone.safetensors`; `weights` may be the file or the run's folder.
    """
    if weights in (None, "none"):
        return None
    path = Path(str(weights)).expanduser()
    recipe = (path if path.is_dir() else path.parent) / "recipe.yaml"
    return named_data([read_layer(recipe)])[0] if path.exists() and recipe.is_file() else None


def same_source(weights: str | None, source: str | None) -> bool:
    """Return whether weights are known to have been learned from a source, a folder's name in any spelling."""
    learned = learned_source(weights)
    if learned is None or source is None:
        return False
    return learned == source or (Path(source).exists() and Path(learned).resolve() == Path(source).resolve())
