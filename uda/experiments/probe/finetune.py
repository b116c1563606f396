"""Fine-tuning on a few labels: the whole backbone moves, and is tested on the images that the probes are tested on."""

import copy
from pathlib import Path

import numpy as np
import torch

from uda.datasets.streams import Subset
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.parts import training_view
from uda.experiments.pool import usable_labels
from uda.random import derived_seed
from uda.recipe import ProbeRecipe
from uda.ssl.views import NoAugmentation
from uda.tasks.pretrain import Pool, Pretrain, Supervised
from uda.tasks.probe import Figure, Probe, accuracy_figure
from uda.training.checkpoint import Identity
from uda.training.loop import train


def finetune(
    recipe: ProbeRecipe, probe: Probe, share: str, out: Path, identity: Identity, seed: int, settings: Settings
) -> Figure:
    """Return the accuracy after training on a class-balanced share of the labels; the training lies in `out`."""
    pool = probe.pool
    given = np.full_like(pool.usable, -1)
    given[probe.train_rows] = pool.usable[probe.train_rows]
    rows = np.flatnonzero(usable_labels(given, share, seed, pool.groups) >= 0)
    own = (pool.images, pool.labels)
    images, truth = own if pool.test_images is None else (pool.test_images, pool.test_labels)
    test_images, test_labels = Subset(images, probe.test_rows), truth[probe.test_rows]
    few = Pool(Subset(pool.images, rows), given[rows], given[rows], pool.class_names, test_images, test_labels)
    torch.manual_seed(derived_seed(seed, 0, "initial classifier"))
    encoder = copy.deepcopy(probe.encoder)
    head = Supervised(encoder.dim, len(pool.class_names))
    view = training_view(recipe, pool.images)
    assert isinstance(view, NoAugmentation)
    task = Pretrain(encoder, head, [], few, view, recipe.training.batch_size, seed)
    train(task, loop_options(recipe, seed, settings), out, identity, settings.device, settings.resume)
    # All test images, of which a look along the way takes some.
    return accuracy_figure(task.classify(test_images), test_labels, probe.test_groups)
