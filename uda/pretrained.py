"""The Python interface of pre-training: `uda.pretrain` and the backbone that it returns, and `uda.load` for any run."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from uda.api import Result, load_classifier, override
from uda.datasets.given import given_images
from uda.experiments import EXPERIMENTS
from uda.experiments.experiment import Settings, read_metrics, run
from uda.experiments.parts import dataset_name, load_domain, square, training_view
from uda.layers import Tree, check_objectives_named, layers_of_run, named_data, named_size, published_layers, read_layer
from uda.nn.encoder import create_encoder
from uda.places import check_out, choose_device, copy_run, kept_if_used, new_folder, progress_shown
from uda.recipe import PretrainRecipe, build_as
from uda.ssl.views import NoAugmentation


@dataclass
class Pretrained:
    """A finished pre-training: its figures, and its backbone."""

    folder: Path
    recipe: PretrainRecipe
    content: dict[str, Any]
    device: torch.device

    @property
    def metrics(self) -> dict[str, float | None]:
        """The figures of the features, means over seeds; None where undefined."""
        return self.content["metrics"]

    @property
    def weights(self) -> Path:
        """The file to give as `--weights` to any task; of several seeds the first one's."""
        single = len(self.recipe.seeds) == 1
        return (self.folder if single else self.folder / f"seed-{self.recipe.seeds[0]}") / "backbone.safetensors"

    def backbone(self) -> nn.Module:
        """Return the timm model with the trained weights; it wants images normalized as the file's metadata says."""
        model = timm.create_model(self.recipe.encoder.backbone, num_classes=0)
        model.load_state_dict(load_file(self.weights))
        return model

    @torch.no_grad()
    def features(self, images: "str | Path | Tensor", strict: bool = False) -> np.ndarray:
        """Return the features (N, D) float32 of a folder's images (or one), or of a uint8 tensor (N, 3, H, W)."""
        recipe = self.recipe
        encoder = create_encoder(recipe.encoder.backbone, str(self.weights), recipe.data.image_size)
        encoder = encoder.to(self.device).eval()
        domain = load_domain(given_images(images).table, recipe.data.model_copy(update={"strict": strict}))
        pixels, view = square(recipe, domain.images, self.device), training_view(recipe)
        assert isinstance(view, NoAugmentation)
        found = []
        for first in range(0, len(pixels), 128):
            batch = pixels.batch(np.arange(first, min(first + 128, len(pixels))))
            found.append(encoder(view.plain(batch.to(self.device))).float().cpu())
        return torch.cat(found).numpy()

    def save(self, folder: str | Path) -> Path:
        """Copy the whole output folder, from which `uda.load` makes this result again; return its path."""
        return copy_run(self.folder, Path(folder))


def pretrain(
    source: str | Path | None = None,
    objective: str | Sequence[str] = "simclr",
    out: str | Path | None = None,
    device: str | None = None,
    config: str | Path | None = None,
    **overrides: Any,
) -> Pretrained:
    """Pre-train a backbone on unlabelled images by one objective or several, and return it.

    source: as on the command line; none = the built-in digits. overrides: recipe keys with double underscores for dots:
    `training__steps=300`, `encoder__backbone="resnet18"`, `data__labels="10%"` with `method="supervised"` for S4L.
    """
    names = [objective] if isinstance(objective, str) else list(objective)
    layers: list[Tree] = [read_layer(Path(config))] if config else []
    layers.append({"objectives": {name: {} for name in names}})
    if source is not None:
        layers.append({"data": {"source": str(source)}})
    options = [override(key, value) for key, value in overrides.items()]
    check_objectives_named(names, layers, options)
    layers += options
    layers = [*layers_of_run(layers), *layers]
    data = dataset_name(*named_data(layers))
    recipe = build_as(PretrainRecipe, [*published_layers("pretrain", data, False, named_size(layers)), *layers])
    folder = Path(out) if out else new_folder(Path("runs") / f"pretrain-{'-'.join(names)}")
    check_out(folder)
    chosen = choose_device(device)
    with kept_if_used(folder, new=not out):
        content = run(EXPERIMENTS["pretrain"], recipe, folder, Settings(chosen, progress=progress_shown()))
    return Pretrained(folder, recipe, content, chosen)


def load(folder: str | Path, device: str | None = None) -> Result | Pretrained:
    """Return the result of a finished run from its output folder: what `uda.adapt` or `uda.pretrain` returned.

    Of several seeds predictions and features are the first one's.
    """
    path = Path(folder)
    content = read_metrics(path)
    if content["task"] != "pretrain" or "sweep" in content:
        return load_classifier(path, device)
    return Pretrained(
        path, build_as(PretrainRecipe, [read_layer(path / "recipe.yaml")]), content, choose_device(device)
    )
