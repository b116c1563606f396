"""Optimizers by name, with their state as flat tensors that safetensors can hold."""

from typing import Any

import torch
from timm.optim import Lars
from torch import Tensor
from torch.optim import SGD, AdamW, Optimizer

OPTIMIZERS = ("sgd", "adamw", "lars")


def create_optimizer(
    name: str, groups: list[dict[str, Any]], lr: float, momentum: float, weight_decay: float, nesterov: bool = True
) -> Optimizer:
    """Return SGD with (Nesterov) momentum, AdamW or LARS, over groups that each carry an "lr_scale".

    LARS (You, Gitman and Ginsburg, 2017) is for large batches. It adapts every rate but those of groups that bring a
    weight decay of 0 of their own (biases and normalization), which keep the plain one. On a GPU a step of SGD and
    AdamW is one kernel for all parameters (PyTorch's `fused`).
    """
    parameters = [parameter for group in groups for parameter in group["params"]]
    fused = True if parameters and all(parameter.is_cuda for parameter in parameters) else None
    if name == "sgd":
        nesterov = nesterov and momentum > 0
        return SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=fused)
    if name == "lars":
        # timm's adapts only what decays: without this a weight decay of 0 for all would be plain SGD.
        groups = [group | {"always_adapt": group.get("weight_decay") != 0} for group in groups]
        return Lars(groups, lr=lr, momentum=momentum, weight_decay=weight_decay)
    return AdamW(groups, lr=lr, weight_decay=weight_decay, fused=fused)


def set_lr(optimizer: Optimizer, lr: float) -> None:
    """Set every group's rate to lr times its own scale."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["lr_scale"]


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """Return the optimizer's state as {"<parameter number>.<key>": tensor}.

    Rates are functions of the step and no part of it.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"{number}.{key}": value.contiguous() if isinstance(value, Tensor) else torch.tensor(value)
        for number, entries in state.items()
        for key, value in entries.items()
        if value is not None
    }


def load_optimizer_tensors(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Put back what `optimizer_tensors` returned."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
