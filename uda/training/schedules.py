"""Learning-rate schedules: pure functions of the clock, as factors of the recipe's rate."""

import math
from collections.abc import Callable

from uda.clock import Clock


def inverse(clock: Clock) -> float:
    """(1 + 10·t/T)^(−0.75), the schedule of DANN and its successors (Ganin et al., JMLR 2016, section 5.2.2)."""
    return (1 + 10 * clock.progress) ** -0.75


def cosine(clock: Clock) -> float:
    """Half a cosine from 1 to 0 (Loshchilov and Hutter, ICLR 2017, equation 5, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * clock.progress))


def linear(clock: Clock) -> float:
    """From 1 to 0 in a straight line, as GANs are trained (Miyato et al., ICLR 2018, section 4)."""
    return 1.0 - clock.progress


def constant(clock: Clock) -> float:
    """Always 1."""
    return 1.0


def step(clock: Clock) -> float:
    """1, and a tenth over the last fifth of the run, as JiGen has it (Carlucci et al., CVPR 2019, section 4.2)."""
    return 1.0 if 5 * clock.step < 4 * clock.total else 0.1


SCHEDULES: dict[str, Callable[[Clock], float]] = {
    "inverse": inverse,
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "step": step,
}
