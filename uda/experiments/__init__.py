"""How a task is run from its recipe to its output folder; one experiment a task."""

from uda.experiments.dg.experiment import DgExperiment
from uda.experiments.experiment import Experiment
from uda.experiments.fewshot.experiment import FewshotExperiment
from uda.experiments.gan.experiment import GanExperiment
from uda.experiments.imbalance.experiment import ImbalanceExperiment
from uda.experiments.pretrain.experiment import PretrainExperiment
from uda.experiments.probe.experiment import ProbeExperiment
from uda.experiments.robustness.experiment import RobustnessExperiment
from uda.experiments.unida.experiment import UnidaExperiment

EXPERIMENTS: dict[str, Experiment] = {
    "unida": UnidaExperiment(),
    "pretrain": PretrainExperiment(),
    "probe": ProbeExperiment(),
    "dg": DgExperiment(),
    "robustness": RobustnessExperiment(),
    "fewshot": FewshotExperiment(),
    "imbalance": ImbalanceExperiment(),
    "gan": GanExperiment(),
}
