"""DANN: features that a discriminator cannot tell apart by domain."""

import math
from typing import Any, ClassVar

from torch import Tensor

from uda.clock import Clock
from uda.nn.heads import DomainDiscriminator, reverse_gradient
from uda.ranges import Count, NotNegative
from uda.ssl.functional import domain_adversarial
from uda.tasks.unida.method import Features, Method, Setup


def adversarial_strength(progress: float) -> float:
    """Return λ = 2 / (1 + exp(−10·p)) − 1, from 0 at the start to 1 (Ganin et al., JMLR 2016, section 5.2)."""
    return 2 / (1 + math.exp(-10 * progress)) - 1


class Dann(Method):
    """Domain-adversarial training of neural networks (Ganin et al., JMLR 2016, section 4.2).

    Loss: cross-entropy(source) + domain cross-entropy, whose gradient reaches the features times −λ with
    λ = adversarial · (2 / (1 + exp(−10·p)) − 1) at progress p. A closed-set method, here with the common yardstick for
    unknown images: the entropy, at log(K)/2. On frozen features without an adapter nothing can follow the discriminator
    and the classifier is that of `source_only`.

    It differs from the paper in the cosine classifier and in the recipe's schedule of the learning rate.
    adversarial: largest λ; width: of both hidden layers of the discriminator (the paper's for AlexNet).
    """

    name: ClassVar[str] = "dann"
    uses_target: ClassVar[bool] = True
    moves_features: ClassVar[bool] = True

    def __init__(self, setup: Setup, *, adversarial: NotNegative = 1.0, width: Count = 1024, **classifier: Any):
        super().__init__(setup, **classifier)
        self.adversarial = adversarial
        self.discriminator = DomainDiscriminator(setup.dim, width)

    def forward(self, features: Features, clock: Clock) -> dict[str, Tensor]:
        """Return both terms."""
        assert features.target is not None
        strength = self.adversarial * adversarial_strength(clock.progress)
        source, target = (
            self.discriminator(reverse_gradient(seen, strength)) for seen in (features.source, features.target)
        )
        return super().forward(features, clock) | {"domain": domain_adversarial(source, target)}
