"""The self-supervised engine: objectives, their views and their losses."""

from uda.errors import unknown_name
from uda.ssl.autoencoder import Autoencoder
from uda.ssl.barlow_twins import BarlowTwins
from uda.ssl.byol import BYOL
from uda.ssl.colorization import Colorization
from uda.ssl.deepcluster import DeepCluster
from uda.ssl.deepercluster import DeeperCluster
from uda.ssl.dino import DINO
from uda.ssl.exemplar import Exemplar
from uda.ssl.families import RANDOM_VIEWS, find_random_views
from uda.ssl.hcl import HCL
from uda.ssl.jigsaw import Jigsaw
from uda.ssl.kcl import KCL
from uda.ssl.location import Location
from uda.ssl.mae import MaskedAutoencoder
from uda.ssl.moco import MoCo
from uda.ssl.npair import NPair
from uda.ssl.npid import NPID
from uda.ssl.objective import Info, Loss, Need, Objective, Views, check_needs
from uda.ssl.pirl import PIRL
from uda.ssl.placebo import PREFIX, placebo
from uda.ssl.rotation import Rotation
from uda.ssl.self_label import SelfLabel
from uda.ssl.siamese import Siamese
from uda.ssl.simclr import SimCLR
from uda.ssl.simsiam import SimSiam
from uda.ssl.swav import SwAV
from uda.ssl.triplet import Triplet
from uda.ssl.turn_shift import TurnShift
from uda.ssl.vae import VariationalAutoencoder
from uda.ssl.vicreg import VICReg
from uda.ssl.visual_words import VisualWords

_PRETEXT = (
    *(Rotation, TurnShift, Jigsaw, Location, Colorization),
    *(Autoencoder, VariationalAutoencoder, MaskedAutoencoder, Exemplar),
)
_CONTRASTIVE = (Siamese, Triplet, NPair, SimCLR, HCL, MoCo, NPID, PIRL, KCL)
_WITHOUT_NEGATIVES = (BYOL, SimSiam, BarlowTwins, VICReg, DINO)
_CLUSTERING = (DeepCluster, DeeperCluster, SelfLabel, SwAV, VisualWords)

OBJECTIVES: dict[str, type[Objective]] = {
    kind.name: kind for kind in (*_PRETEXT, *_CONTRASTIVE, *_WITHOUT_NEGATIVES, *_CLUSTERING)
}

__all__ = [
    "OBJECTIVES",
    "RANDOM_VIEWS",
    "Info",
    "Loss",
    "Need",
    "Objective",
    "TurnShift",
    "Views",
    "check_needs",
    "find_objective",
    "find_random_views",
]


def find_objective(name: str) -> type[Objective]:
    """Return the objective of that name, or its placebo for "placebo:name"; UserError with the nearest otherwise."""
    bare = name.removeprefix(PREFIX)
    if bare not in OBJECTIVES:
        raise unknown_name("objective", name, OBJECTIVES, "`python run.py --help` and docs/objectives.md say more")
    return placebo(OBJECTIVES[bare]) if bare != name else OBJECTIVES[bare]
