"""The sections of a recipe that tasks have in common, with their defaults."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator

from uda.probes.low_label import parse_labels


class Section(BaseModel):
    """A mapping whose keys are known and whose numbers are finite."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)


class ImagesRecipe(Section):
    """Where images come from and what a view of them is."""

    source: str | None = None
    root: str | None = None
    strict: bool = False
    image_size: int = Field(224, ge=8)
    stored_size: int | None = Field(None, ge=8)  # None: 8/7 of image_size, the papers' 256 for 224
    fit: Literal["squash", "crop"] = "squash"
    augment: Literal["crop-flip", "glyph", "none", "views"] = "crop-flip"  # views: those of the section `views`

    @property
    def packed_size(self) -> int:
        """Side of the stored squares that views are cut from, in pixels; what resizes its crops needs no margin."""
        return self.stored_size or (self.image_size if self.augment == "views" else round(self.image_size * 8 / 7))


class PaintedRecipe(ImagesRecipe):
    """Images to learn to paint: stored at the size at which they are judged, unless `stored_size` leaves a margin."""

    @property
    def packed_size(self) -> int:
        """Side of the stored squares, in pixels."""
        return self.stored_size or self.image_size


class EndsRecipe(ImagesRecipe):
    """Images to learn from (`source`), and a domain to be tested on."""

    target: str | None = None

    @property
    def as_published(self) -> bool:
        """Whether the split is a published one, so that published figures may stand beside ours."""
        return True


class DomainsRecipe(EndsRecipe):
    """Labelled domains to learn from, and one that is never seen in training.

    draw: "shuffled" takes all training images as one pile, as JiGen does; "balanced" takes a domain at random, then an
    image of it.
    """

    validation: float = Field(0.1, ge=0, le=0.5)  # share of each class of each source domain that is not trained on
    draw: Literal["shuffled", "balanced"] = "shuffled"


class PairRecipe(EndsRecipe):
    """A labelled source, an unlabelled target, and their label sets.

    A few target images may be learned from with their labels: of a target with class folders so many of each shared
    class (`target_labels`), or those in a folder of class folders of their own (`labelled_target`).
    """

    target_labels: int = Field(0, ge=0)
    labelled_target: str | None = None
    setting: Literal["closed", "partial", "open", "open-partial"] | None = None
    split: str | None = None
    source_holdout: float = Field(0, ge=0, le=0.5)  # share of each source class kept from training, for validators

    @property
    def as_published(self) -> bool:
        """Whether the split is a published one, so that published figures may stand beside ours."""
        return not (self.split or self.target_labels or self.labelled_target)


class PoolRecipe(ImagesRecipe):
    """One pool of images, of one domain or of several, and the share of its labels that may be used ("10%")."""

    labels: str | None = None

    @field_validator("labels")
    @classmethod
    def _a_share(cls, labels: str | None) -> str | None:
        if labels is not None:
            parse_labels(labels)
        return labels


class GroupedRecipe(ImagesRecipe):
    """Images that belong together, which no split may divide, and large images that are cut into tiles.

    groups: a column of the data (`patient`, `slide`, …, of the catalog or of a file `groups.csv`), a regular expression
    whose first parenthesis names the group in a path, `look-alike` (copies of one original, whichever way turned or
    mirrored), `none`, or `auto`: the data's widest column, else look-alike. null: the data's widest column, else none.
    held_out: of data without a test split so much of every class is kept from training, where groups are known, and
    tested on. tiles: pixels of a side (null: images stay whole), cut every `tile_step` of them; a tile of which more
    than `background` is glass or black is left out.
    """

    groups: str | None = None
    held_out: float = Field(0.2, gt=0, le=0.5)
    tiles: int | None = Field(None, ge=8)
    tile_step: int | None = Field(None, ge=1)  # null: tiles lie side by side
    background: float = Field(0.5, ge=0, le=1)


class ProbedRecipe(PoolRecipe, GroupedRecipe):
    """Images whose features are probed."""


class LongTailRecipe(ImagesRecipe):
    """Images of which a long tail may be cut, a test set that stays as it is beside them.

    ratio: how many times the largest class is the smallest; null: images as they come. tail: how sizes fall in between
    (`uda.datasets.long_tail`). tail_order: the frequent classes first by name, or shuffled. tail_seed decides which
    images stay, and the shuffled order; the seeds of a run do not.
    """

    ratio: float | None = Field(None, ge=1)
    tail: Literal["exponential", "step"] = "exponential"
    tail_order: Literal["name", "shuffled"] = "name"
    tail_seed: int = Field(0, ge=0, lt=2**32)


class PartlyLabelledRecipe(PoolRecipe, LongTailRecipe, GroupedRecipe):
    """The same with a folder of further images, whose labels are not looked at if it has any."""

    unlabelled: str | None = None


class NoisyRecipe(PoolRecipe):
    """A pool whose labels may be spoilt for training, and other images to tell from its own.

    noise: how labels go wrong, `noise_rate` of them (`uda.datasets.label_noise`); near, far: images of no known class,
    like the pool's and unlike them (a data set or a folder; without `far`, three kinds of noise).
    """

    validation: float = Field(0.1, ge=0, le=0.5)  # share of each class that is not trained on
    noise: Literal["none", "symmetric", "uniform", "asymmetric", "instance"] = "none"
    noise_rate: float | None = Field(None, ge=0, le=1)  # 0.4 where there is noise
    near: str | None = None
    far: str | None = None


class ClassesRecipe(EndsRecipe):
    """Base classes to learn from, and novel ones to be told by a few images each.

    With a `target` all of its classes are novel: another domain, or another data set. Without one, the source's splits
    say which classes are (`base` and `novel`, or `train` and `test`, of different classes), else the last `novel` of
    its classes in alphabetical order are. unlabelled: a folder of further images for the objectives.
    """

    novel: int | None = Field(None, ge=2)
    unlabelled: str | None = None
    validation: float = Field(0.1, ge=0, le=0.5)  # share of each base class that is not trained on


class EpisodesRecipe(Section):
    """What novel classes are tested by: `episodes` of `ways` classes, `queries` and each number of `shots` of a class.

    unlabelled: further images of each way that refine the prototypes (semi-supervised episodes). classifier: whose
    accuracy is the headline, null: "euclidean" after prototypical training, else "cosine"; the others are tabled. The
    episodes are the same for every model and seed.
    """

    ways: int = Field(5, ge=2)
    shots: list[Annotated[int, Field(ge=1)]] = Field(default_factory=lambda: [1, 5], min_length=1)
    queries: int = Field(15, ge=1)
    episodes: int = Field(2000, ge=1)
    unlabelled: int = Field(0, ge=0)
    classifier: str | None = None


class ExaminationRecipe(Section):
    """What a robustness report looks at.

    images: of the test images a sample of so many, each class in its share; null: all. preset: whose constants
    corruptions have; auto: "cifar" up to 64 px, else "imagenet". eps: radii of attacks in gray levels of 255, in ℓ∞;
    eps_l2: the same in ℓ2. attacks: fgsm, pgd-N and autoattack, on `attacked` of the images. baseline: whose errors the
    mCE divides by, a run's folder; null: AlexNet's for the preset "imagenet". corrupted: a folder of published
    corruptions (CIFAR-10-C, ImageNet-C) in the place of our own. class_map: a YAML file, class folder: ImageNet
    classes; without one a probe is fitted where the model knows none of the classes.
    """

    images: int | None = Field(1000, ge=1)
    preset: Literal["auto", "cifar", "imagenet"] = "auto"
    corruptions: list[str] = Field(default_factory=lambda: ["all"])
    severities: list[Annotated[int, Field(ge=1, le=5)]] = Field(default_factory=lambda: [1, 2, 3, 4, 5], min_length=1)
    legacy: bool = False
    jpeg_quality: Annotated[int, Field(ge=1, le=95)] | None = None
    attacks: list[str] = Field(default_factory=lambda: ["fgsm", "pgd-20"])
    eps: list[Annotated[float, Field(gt=0, le=255)]] = Field(default_factory=lambda: [0.5, 1, 2, 8])
    eps_l2: list[Annotated[float, Field(gt=0)]] = Field(default_factory=list)
    restarts: int = Field(1, ge=1)
    attacked: int = Field(200, ge=1)
    baseline: str | None = None
    corrupted: str | None = None
    class_map: str | None = None

    @field_validator("severities", "eps", "eps_l2", "attacks")
    @classmethod
    def _once(cls, values: list[Any]) -> list[Any]:
        if len(set(values)) < len(values):
            raise ValueError("each value once")
        return values


class GenerationRecipe(Section):
    """What generated images are measured by.

    images: how many are generated at each evaluation, and how many real ones at most they are compared with.
    extractor: whose features these are (`uda.probes.extractor`): "inception", a timm model, "classifier", a small
    network that is first trained on the real images' classes, or "auto", torch-fidelity's Inception where it is on this
    machine, else `tf_efficientnet_lite0`; all but Inception see `extractor_size` pixels, and a timm model has
    `extractor_weights` (a file, a finished run's folder, none; null: as for --weights). probed: images at most that the
    linear probe of the discriminator's features is fitted on, and as many it is tested on.
    """

    images: int = Field(10000, ge=2)
    extractor: str = "auto"
    extractor_size: int = Field(224, ge=8)
    extractor_weights: str | None = None
    probed: int = Field(5000, ge=2)


class EncoderRecipe(Section):
    """The backbone, its weights, and whether it moves."""

    backbone: str = "resnet50"
    weights: str | None = None
    freeze: bool = False
    adapter: bool = False
    passes: int = Field(2, ge=1)
    batch_statistics: Literal["running", "target"] = "running"  # what batch norm is tested with


class DiscriminatorRecipe(EncoderRecipe):
    """The discriminator stands in the encoder's place; its width is the method's (`method.ndf`)."""

    backbone: str = "residual"


class TrainingRecipe(Section):
    """The loop. The defaults are DANCE's published schedule (Saito et al., NeurIPS 2020, supplementary B).

    The learning rate is `lr`, or else `base_lr`, which is for batches of 256 images and grows with the batch; of two
    layers of a recipe that name one of them the stronger decides.
    """

    steps: int = Field(10000, ge=0)
    batch_size: int = Field(36, ge=2)
    optimizer: Literal["sgd", "adamw", "lars"] = "sgd"
    lr: float | None = Field(0.01, gt=0)
    base_lr: float | None = Field(None, gt=0)
    backbone_lr_scale: float = Field(0.1, ge=0)
    momentum: float = Field(0.9, ge=0, lt=1)
    nesterov: bool = True  # of sgd
    weight_decay: float = Field(5e-4, ge=0)
    clip_norm: float = Field(0, ge=0)  # of all gradients together; 0: not clipped
    schedule: Literal["inverse", "cosine", "linear", "constant", "step"] = "inverse"
    warmup_steps: int = Field(0, ge=0)
    evaluate_every: int = Field(500, ge=0)
    checkpoint_every: int = Field(500, ge=0)
    precision: Literal["auto", "no", "bf16"] = "auto"
    channels_last: bool = True
    compile: bool = False  # the backbone's forward pass, by torch.compile; a run resumed may differ in the last bits

    @property
    def rate(self) -> float:
        """The learning rate, with `base_lr` scaled to the batch (Goyal et al., 2017, section 2.1)."""
        if self.lr is not None:
            return self.lr
        assert self.base_lr is not None  # `build` refuses neither
        return self.base_lr * self.batch_size / 256


class PlayersRecipe(TrainingRecipe):
    """The loop of two players: Adam with `betas` (adamw without weight decay), `lr` the generator's rate."""

    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] = (0.0, 0.9)
    discriminator_lr_scale: float = Field(1.0, gt=0)
