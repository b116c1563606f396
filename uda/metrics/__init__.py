"""Figures as pure functions of arrays: universal adaptation, OOD, calibration, features, corruption error, generated
images, statistics.

Everything takes array-likes (CPU tensors too) and gives Python floats; an undefined figure is None, never NaN. Scores
are unknown-scores: higher means more unknown. Arguments of the wrong shape or kind raise ValueError.
"""

from uda.metrics.calibration import (
    ReliabilityBin,
    adaptive_calibration_error,
    brier_score,
    calibration_intervals,
    calibration_metrics,
    expected_calibration_error,
    negative_log_likelihood,
    reliability_bins,
)
from uda.metrics.corruption import (
    ALEXNET,
    ALEXNET_CLEAN,
    mean_corruption_error,
    plain_corruption_error,
    relative_mean_corruption_error,
)
from uda.metrics.domains import ProxyADistance, proxy_a_distance
from uda.metrics.features import alignment, balancedness, effective_rank, l2_normalize, uniformity
from uda.metrics.generation import (
    KernelDistance,
    effective_classes,
    frechet_distance,
    kernel_distance,
    kid,
    kid_interval,
    precision_recall,
)
from uda.metrics.imbalance import SIGMA, balanced_parts, class_accuracies, class_mean, frequency_groups
from uda.metrics.ood import aupr, auroc, auroc_interval, fpr_at_tpr, macro_auroc, ood_metrics, oscr
from uda.metrics.statistics import (
    BootstrapInterval,
    PairedDifference,
    Summary,
    accuracy_interval,
    bootstrap_ci,
    paired_difference,
    smallest_detectable_difference,
    summarize,
)
from uda.metrics.unida import (
    UNIDA_METRICS,
    class_recalls,
    closed_accuracy,
    h3_score,
    h_score,
    known_accuracy,
    per_class_accuracy,
    private_nmi,
    unida_metrics,
    universal_score,
    unknown_accuracy,
)

__all__ = [
    "ALEXNET",
    "ALEXNET_CLEAN",
    "SIGMA",
    "UNIDA_METRICS",
    "BootstrapInterval",
    "KernelDistance",
    "PairedDifference",
    "ProxyADistance",
    "ReliabilityBin",
    "Summary",
    "accuracy_interval",
    "adaptive_calibration_error",
    "alignment",
    "aupr",
    "auroc",
    "auroc_interval",
    "balanced_parts",
    "balancedness",
    "bootstrap_ci",
    "brier_score",
    "calibration_intervals",
    "calibration_metrics",
    "class_accuracies",
    "class_mean",
    "class_recalls",
    "closed_accuracy",
    "effective_classes",
    "effective_rank",
    "expected_calibration_error",
    "fpr_at_tpr",
    "frechet_distance",
    "frequency_groups",
    "h3_score",
    "h_score",
    "kernel_distance",
    "kid",
    "kid_interval",
    "known_accuracy",
    "l2_normalize",
    "macro_auroc",
    "mean_corruption_error",
    "negative_log_likelihood",
    "ood_metrics",
    "oscr",
    "paired_difference",
    "per_class_accuracy",
    "plain_corruption_error",
    "precision_recall",
    "private_nmi",
    "proxy_a_distance",
    "relative_mean_corruption_error",
    "reliability_bins",
    "smallest_detectable_difference",
    "summarize",
    "unida_metrics",
    "uniformity",
    "universal_score",
    "unknown_accuracy",
]
