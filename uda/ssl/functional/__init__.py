"""The losses as pure functions: natural logarithm, features (B, D), L2-normalized inside unless said."""

from uda.ssl.functional.adaptation import entropy, entropy_separation, neighborhood_clustering
from uda.ssl.functional.clustering import self_label, sinkhorn, swav
from uda.ssl.functional.contrastive import (
    hard_negative_nt_xent,
    info_nce,
    margin_contrastive,
    n_pair,
    nce,
    nt_xent,
    supervised_contrastive,
    triplet,
)
from uda.ssl.functional.distillation import byol, dino, negative_cosine
from uda.ssl.functional.redundancy import barlow_twins, vicreg

__all__ = [
    "barlow_twins",
    "byol",
    "dino",
    "entropy",
    "entropy_separation",
    "hard_negative_nt_xent",
    "info_nce",
    "margin_contrastive",
    "n_pair",
    "nce",
    "negative_cosine",
    "neighborhood_clustering",
    "nt_xent",
    "self_label",
    "sinkhorn",
    "supervised_contrastive",
    "swav",
    "triplet",
    "vicreg",
]
