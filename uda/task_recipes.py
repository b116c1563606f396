"""The recipes of the tasks: what each has beside the sections that all share."""

import hashlib
import json
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, field_validator

from uda.layers import Tree
from uda.probes.selection import LAST
from uda.sections import (
    ClassesRecipe,
    DiscriminatorRecipe,
    DomainsRecipe,
    EncoderRecipe,
    EpisodesRecipe,
    ExaminationRecipe,
    GenerationRecipe,
    ImagesRecipe,
    LongTailRecipe,
    NoisyRecipe,
    PaintedRecipe,
    PairRecipe,
    PartlyLabelledRecipe,
    PlayersRecipe,
    ProbedRecipe,
    Section,
    TrainingRecipe,
)


class Recipe(Section):
    """One run, fully resolved; `method`, `views` and each of `objectives` hold the options of their constructors."""

    task: str
    method: dict[str, Any] = Field(default_factory=dict)
    objectives: dict[str, dict[str, Any]] = Field(default_factory=dict)
    data: ImagesRecipe = ImagesRecipe()
    views: dict[str, Any] = Field(default_factory=lambda: {"name": "contrast"})
    encoder: EncoderRecipe = EncoderRecipe()
    training: TrainingRecipe = TrainingRecipe()
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default_factory=lambda: [0], min_length=1)

    @field_validator("seeds")
    @classmethod
    def _seeds_differ(cls, seeds: list[int]) -> list[int]:
        if len(set(seeds)) < len(seeds):
            raise ValueError("each seed once: the same seed gives the same run")
        return seeds

    @property
    def method_options(self) -> dict[str, Any]:
        """The method's keyword arguments."""
        return {key: value for key, value in self.method.items() if key != "name"}

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed.

        Neither the seeds, the data's place, the saving intervals nor looking before training do.
        """
        content = self.model_dump(mode="json")
        content.pop("seeds")
        content.pop("preflight", None)
        content["data"].pop("root")
        for key in ("evaluate_every", "checkpoint_every"):
            content["training"].pop(key)
        return content

    def hash(self) -> str:
        """Return a hash of `identity`."""
        return hashlib.sha256(json.dumps(self.identity(), sort_keys=True).encode()).hexdigest()

    def dump(self) -> str:
        """Return the recipe as YAML that `build` reads back to the same recipe."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False)  # ASCII: PyYAML loses U+0085 otherwise


class UnidaRecipe(Recipe):
    """Universal domain adaptation."""

    task: Literal["unida"] = "unida"
    data: PairRecipe = PairRecipe()
    rejection: str = "method"  # the method's own rule, by whose name `build` replaces it
    selection: str = LAST  # which evaluation's weights are the answer: the last one's, or the best by a validator
    preflight: bool = True  # look at the data and the time it will take, before training

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed; with a selection, so does what there is to select from."""
        content = super().identity()
        if self.selection != LAST:
            content["training"]["evaluate_every"] = self.training.evaluate_every
        return content


class PretrainRecipe(Recipe):
    """Self-supervised (or partly supervised) pre-training; `data.labels` is the share of labels that may be used.

    study: "in-domain" asks whether pre-training on these images beats other initial weights, each probed alike.
    """

    task: Literal["pretrain"] = "pretrain"
    data: PartlyLabelledRecipe = PartlyLabelledRecipe()
    study: Literal["in-domain"] | None = None


class ProbeRecipe(Recipe):
    """How good features are; `training` is the fine-tuning's."""

    task: Literal["probe"] = "probe"
    data: ProbedRecipe = ProbedRecipe()


class DgRecipe(Recipe):
    """Domain generalization.

    selection: which evaluation's weights are the answer: the last one's, the best by accuracy on source images that
    were not trained on, or the best by the mean accuracy on each source domain when trained on the others. compat: the
    class loss is on the ordered images of a re-assembled puzzle (the paper's form), or on all, ordered or not (the
    released code's).
    adapt: the target's unlabelled images are learned from too, with `entropy_weight` on the entropy of their classes.
    """

    task: Literal["dg"] = "dg"
    data: DomainsRecipe = DomainsRecipe()
    selection: Literal["last", "source", "leave_one_out"] = "last"
    compat: Literal["paper", "official"] = "paper"
    adapt: bool = False
    entropy_weight: float = Field(0.1, ge=0)
    preflight: bool = True  # say how long training will take

    def identity(self) -> Tree:
        """Return all that decides the numbers of one seed; with a selection, so does what there is to select from."""
        content = super().identity()
        if self.selection != LAST:
            content["training"]["evaluate_every"] = self.training.evaluate_every
        return content


class RobustnessRecipe(Recipe):
    """Training for robustness, and the report on corruptions, attacks, other images and calibration at its end."""

    task: Literal["robustness"] = "robustness"
    data: NoisyRecipe = NoisyRecipe()
    report: ExaminationRecipe = ExaminationRecipe()
    preflight: bool = True  # say how long training and the report will take


class FewshotRecipe(Recipe):
    """Few-shot boosting."""

    task: Literal["fewshot"] = "fewshot"
    data: ClassesRecipe = ClassesRecipe()
    episodes: EpisodesRecipe = EpisodesRecipe()
    preflight: bool = True  # say how long training will take


class ImbalanceRecipe(Recipe):
    """Long-tailed data: few images of most classes, and a test that asks for all of them alike."""

    task: Literal["imbalance"] = "imbalance"
    data: LongTailRecipe = LongTailRecipe()
    preflight: bool = True  # say how long training will take


class GanRecipe(Recipe):
    """Generative adversarial networks."""

    task: Literal["gan"] = "gan"
    data: PaintedRecipe = PaintedRecipe()
    encoder: DiscriminatorRecipe = DiscriminatorRecipe()
    training: PlayersRecipe = PlayersRecipe()
    report: GenerationRecipe = GenerationRecipe()
    preflight: bool = True  # say how long training will take


RECIPES: dict[str, type[Recipe]] = {
    "unida": UnidaRecipe,
    "pretrain": PretrainRecipe,
    "probe": ProbeRecipe,
    "dg": DgRecipe,
    "robustness": RobustnessRecipe,
    "fewshot": FewshotRecipe,
    "imbalance": ImbalanceRecipe,
    "gan": GanRecipe,
}
