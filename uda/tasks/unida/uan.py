"""UAN: adversarial alignment of the images that seem to be of common classes."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from uda.clock import Clock
from uda.nn.heads import DomainDiscriminator, reverse_gradient
from uda.ranges import Count, NotNegative
from uda.ssl.functional import domain_adversarial, rescaled_weights, transferability
from uda.tasks.unida.dann import adversarial_strength
from uda.tasks.unida.method import Features, Method, Setup


class Uan(Method):
    """Universal adaptation network (You et al., "Universal domain adaptation", CVPR 2019).

    Loss: cross-entropy(source) (equation 1) + that of a domain discriminator which moves no features (2) + that of an
    adversarial one (3), in which each image has its weight: w_t = P(source) − H / log K on the target, −w_t on the
    source (7, 8), both from the discriminator that moves no features. The adversarial gradient reaches the features
    times −λ, with DANN's schedule. At the end −w_t is the unknown-score, at 0.5.

    Where paper and code differ: the paper leaves open how weights come into [0, 1], the code rescales them within the
    batch and divides by their mean, and so does this; the code flattens the source's predictions by a temperature of
    10 before their entropy is taken and feeds probabilities to a loss that wants logits, the paper and this do neither.
    It differs from both in the cosine classifier, in having no bottleneck and in discriminators without dropout.
    adversarial: largest λ; width: of both hidden layers of each discriminator.
    """

    name: ClassVar[str] = "uan"
    uses_target: ClassVar[bool] = True
    moves_features: ClassVar[bool] = True

    def __init__(self, setup: Setup, *, adversarial: NotNegative = 1.0, width: Count = 1024, **classifier: Any):
        super().__init__(setup, **classifier)
        self.adversarial = adversarial
        self.observer = DomainDiscriminator(setup.dim, width)
        self.adversary = DomainDiscriminator(setup.dim, width)

    @property
    def fixed_threshold(self) -> float:
        """−w_0, with the w_0 = −0.5 that the paper's experiments use."""
        return 0.5

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return the three terms."""
        source, target = features.source, features.target
        assert target is not None
        of_source, of_target = self.observer(source.detach()), self.observer(target.detach())
        with torch.no_grad():
            source_weights = rescaled_weights(-transferability(of_source, self.classifier(source)))
            target_weights = rescaled_weights(transferability(of_target, self.classifier(target)))
        strength = self.adversarial * adversarial_strength(clock.progress)
        adversarial = domain_adversarial(
            self.adversary(reverse_gradient(source, strength)),
            self.adversary(reverse_gradient(target, strength)),
            source_weights,
            target_weights,
        )
        domain = domain_adversarial(of_source, of_target)
        return super().forward(features, clock) | {"domain": domain, "adversarial": adversarial}

    @torch.no_grad()
    def answers(self, features: Tensor, logits: Tensor, of_target: bool) -> tuple[Tensor, Tensor]:
        """Return the classifier's probabilities and −w_t."""
        domain = self.observer(features.to(self.classifier.weight.device)).float().cpu()
        return logits.softmax(1), -transferability(domain, logits)
