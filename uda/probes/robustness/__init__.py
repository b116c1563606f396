"""One report for any model: clean, corrupted, attacked and other images, and how sure the model is of its answers."""

from uda.probes.robustness.corrupted import Corrupted, CorruptedImages, Generated, Published
from uda.probes.robustness.examine import examine
from uda.probes.robustness.findings import Attacked, Baseline, Findings, Judged, Told, metric_name
from uda.probes.robustness.noise_sets import KINDS, NoiseImages
from uda.probes.robustness.plan import AUTO, Examined, NamedAttack, Plan
from uda.probes.robustness.subject import ClassMapped, Outputs, Subject, outputs

__all__ = [
    "AUTO",
    "KINDS",
    "Attacked",
    "Baseline",
    "ClassMapped",
    "Corrupted",
    "CorruptedImages",
    "Examined",
    "Findings",
    "Generated",
    "Judged",
    "NamedAttack",
    "NoiseImages",
    "Outputs",
    "Plan",
    "Published",
    "Subject",
    "Told",
    "examine",
    "metric_name",
    "outputs",
]
