"""The probing task: an encoder, images to learn from and to test on, and the probes to ask."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from uda.batch import Batch
from uda.clock import Clock
from uda.datasets.streams import Images, Stream
from uda.errors import UserError, unknown_name
from uda.nn.encoder import TimmEncoder
from uda.nn.layer import LayerEncoder
from uda.probes.linear import held_out_rows
from uda.probes.low_label import parse_labels
from uda.ssl.objective import RandomView
from uda.ssl.views import NoAugmentation
from uda.tasks.pretrain import Pool
from uda.tasks.probe.probes import PROBES, Figures, Probed, Split
from uda.tasks.task import Task


class Probing:
    """What to ask of the features.

    probes: names among `PROBES`, all of them if none is given; layer: the name of a module of the backbone whose output
    (mean over places or tokens) is taken in place of the pooled features; k, temperature: of the nearest neighbors (200
    and 0.1 as in Wu et al., CVPR 2018); episodes: of the few-shot figures; finetune: shares of the labels ("10%", "40")
    on which the whole backbone is fine-tuned, each a training of `training.steps`; auroc: beside the accuracies of kNN
    and linear classifiers the macro one-vs-rest AUROC and the calibration error.
    """

    name: ClassVar[str] = "frozen"

    def __init__(
        self,
        *,
        probes: list[str] = [],  # noqa: B006  (read, never changed)
        layer: str | None = None,
        k: Annotated[int, Field(ge=1)] = 200,
        temperature: Annotated[float, Field(gt=0)] = 0.1,
        episodes: Annotated[int, Field(ge=2)] = 2000,
        finetune: list[str] = [],  # noqa: B006
        auroc: bool = False,
    ):
        for name in probes:
            if name not in PROBES:
                raise unknown_name("probe", name, PROBES, "several are written as method.probes=[knn, linear]")
        self.probes, self.layer = tuple(probes) or tuple(PROBES), layer
        self.finetune = {_spoken(share): share for share in finetune}
        self.k, self.temperature, self.episodes, self.auroc = k, temperature, episodes, auroc


def _spoken(share: str) -> str:
    """Return "10" for ten per cent of the labels, "40_labels" for a number of them; UserError for anything else."""
    try:
        budget = parse_labels(share)
    except UserError as error:
        raise UserError(f"method.finetune wants shares of the labels, such as [1%, 10%]: {error}") from error
    return f"{budget.count}_labels" if budget.fraction is None else f"{100 * budget.fraction:g}"


def check_classes(labels: np.ndarray) -> None:
    """Refuse labels (N,), −1 where an image has none, of fewer than two classes."""
    if len(np.unique(labels[labels >= 0])) < 2:
        raise UserError("labelled images of at least two classes are needed; name a folder with class folders")


def held_out(labels: np.ndarray, groups: np.ndarray | None = None) -> np.ndarray:
    """Return the rows (M,) that are tested on where the data has no test split: a fifth of each class.

    labels: (N,), −1 where an image has none; groups: (N,) int64, which are never divided. The same for every seed and
    share of the labels. Raises UserError where there are no two classes, or no class with an image (or a group) to
    spare.
    """
    check_classes(labels)
    rows = np.flatnonzero(labels >= 0)
    of_rows = None if groups is None else groups[rows]
    held: np.ndarray = rows[held_out_rows(torch.from_numpy(labels[rows]), seed=0, groups=of_rows).numpy()]
    if not len(held) and groups is not None:
        raise UserError("a second group of some class is needed to test on; add images, or a folder called test")
    if not len(held):
        raise UserError("a second image of some class is needed to test on; add images, or a folder called test")
    return held


class Probe(Task):
    """Nothing is trained but what stands on the features; `evaluate` computes them once and asks every probe."""

    def __init__(
        self,
        encoder: TimmEncoder,
        probing: Probing,
        pool: Pool,
        view: NoAugmentation,
        random_view: RandomView,
        seed: int,
    ):
        super().__init__()
        self.encoder = encoder
        self.probed = LayerEncoder(encoder, probing.layer) if probing.layer else encoder
        self.probing, self.pool, self.view, self.random_view, self.seed = probing, pool, view, random_view, seed
        self.figures: Figures = {}
        self.test_features: Tensor | None = None
        own_split = pool.test_images is not None
        self.test_rows = np.flatnonzero(pool.test_labels >= 0) if own_split else held_out(pool.labels, pool.groups)
        of_tested = pool.test_groups if own_split else pool.groups
        self.test_groups = None if of_tested is None else of_tested[self.test_rows]
        usable = np.flatnonzero(pool.usable >= 0)
        self.train_rows = usable if own_split else np.setdiff1d(usable, self.test_rows)

    def streams(self) -> Mapping[str, Stream]:
        """None: nothing is drawn."""
        return {}

    def evaluate(self) -> dict[str, float | None]:
        """Return every figure of the probes asked for; `figures` holds the intervals too."""
        train, test = self.splits()
        probed = Probed(
            train,
            test,
            len(self.pool.class_names),
            self.probing.k,
            self.probing.temperature,
            self.probing.episodes,
            self.seed,
            self.probing.auroc,
        )
        self.figures = {}
        for name in self.probing.probes:
            self.figures |= PROBES[name](probed)
        self.test_features = test.features
        return {name: figure.value for name, figure in self.figures.items()}

    def splits(self) -> tuple[Split, Split]:
        """Return the features to learn from and to test on: the data's own splits, else a fifth of each class.

        Images without a label that may be used are left out of the first.
        """
        pool = self.pool
        groups = None if pool.groups is None else pool.groups[self.train_rows]
        return replace(self._split(pool.images, self.train_rows, pool.usable), groups=groups), self.tested()

    def tested(self) -> Split:
        """Return the features to test on."""
        pool = self.pool
        own = pool.test_images is not None
        images, labels = (pool.test_images, pool.test_labels) if own else (pool.images, pool.labels)
        assert images is not None
        return replace(self._split(images, self.test_rows, labels), groups=self.test_groups)

    @torch.no_grad()
    def _split(self, images: Images, rows: np.ndarray, labels: np.ndarray) -> Split:
        """Return the features of some rows in their evaluation view, and of a random view of each."""
        training = self.training
        self.eval()
        device = next(self.encoder.parameters()).device
        clock = Clock(0, 1, self.seed)
        features, twins = [], []
        for first in range(0, len(rows), 256):
            at = torch.from_numpy(rows[first : first + 256])
            batch = Batch(images.batch(at.numpy()), at, None, "probed").to(device)
            features.append(self.probed(self.view.plain(batch.images)).float().cpu())
            if "geometry" in self.probing.probes:
                twins.append(self.probed(self.random_view(batch, clock, "twin")).float().cpu())
        self.train(training)
        found = torch.cat(features)
        return Split(found, labels[rows], torch.cat(twins) if twins else found)
