"""What a model's validators look at, gathered in a few passes over at most 2,000 images each."""

from collections.abc import Callable

import numpy as np

from uda.datasets.sampling import spread
from uda.datasets.streams import Images, Mixture, Subset
from uda.probes.answer import Answer
from uda.probes.selection import SHARE, Evidence, mixing_pairs

MOST = 2000
"""Images of a domain that validators look at; of more, evenly spread ones."""


def gather(
    answer: Answer, target: Images, source: Images, source_labels: np.ndarray, ask: Callable[[Images], Answer]
) -> Evidence:
    """Return the evidence about a model: no label of the target enters.

    answer: about the target's images; source: the held-out images, maybe none, with their labels; ask: the model.
    """
    rows = spread(len(answer.scores), MOST)
    seen = answer.at(rows)
    labels = seen.predictions
    pairs = mixing_pairs(labels, seen.probabilities.shape[1])
    mixed = ask(Mixture(target, rows[pairs[:, 0]], rows[pairs[:, 1]], SHARE)) if len(pairs) else None
    kept = spread(len(source), MOST)
    held_out = ask(Subset(source, kept)) if len(source) else None
    return Evidence(seen, mixed, labels[pairs], held_out, source_labels[kept])
