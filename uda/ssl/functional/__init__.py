"""The losses as pure functions: natural logarithm, features (B, D), L2-normalized inside unless said."""

from uda.ssl.functional.adaptation import (
    entropy,
    entropy_separation,
    hard_negative_one_vs_all,
    open_set_entropy,
)
from uda.ssl.functional.adversarial import domain_adversarial, rescaled_weights, transferability
from uda.ssl.functional.clustering import self_label, sinkhorn, swav
from uda.ssl.functional.consistency import jensen_shannon
from uda.ssl.functional.contrastive import (
    hard_negative_nt_xent,
    info_nce,
    k_positive_contrastive,
    margin_contrastive,
    n_pair,
    nce,
    nt_xent,
    supervised_contrastive,
    triplet,
)
from uda.ssl.functional.distillation import byol, dino, negative_cosine
from uda.ssl.functional.neighborhood import neighborhood_clustering
from uda.ssl.functional.redundancy import barlow_twins, vicreg
from uda.ssl.functional.transport import adaptive_filling, plan_rows, swapped_prediction, transport

__all__ = [
    "adaptive_filling",
    "barlow_twins",
    "byol",
    "dino",
    "domain_adversarial",
    "entropy",
    "entropy_separation",
    "hard_negative_nt_xent",
    "hard_negative_one_vs_all",
    "info_nce",
    "jensen_shannon",
    "k_positive_contrastive",
    "margin_contrastive",
    "n_pair",
    "nce",
    "negative_cosine",
    "neighborhood_clustering",
    "nt_xent",
    "open_set_entropy",
    "plan_rows",
    "rescaled_weights",
    "self_label",
    "sinkhorn",
    "supervised_contrastive",
    "swapped_prediction",
    "swav",
    "transferability",
    "transport",
    "triplet",
    "vicreg",
]
