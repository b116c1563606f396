"""A model that an attack may look at without leaving a trace in it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

from torch import nn

Model = TypeVar("Model", bound=nn.Module)


@contextmanager
def frozen(model: Model) -> Iterator[Model]:
    """Put a model in evaluation mode, its parameters without gradients, and put everything back at the end.

    Batch norm normalizes by its running statistics and does not change them, dropout is off, no parameter gets a
    `.grad`; each module's own mode and each parameter's own `requires_grad` come back, after an exception too. Of a
    model in a DistributedDataParallel give the module inside, whose gradients nobody waits for.
    """
    modes = [(module, module.training) for module in model.modules()]
    wanted = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
    try:
        model.eval()
        for parameter, _ in wanted:
            parameter.requires_grad_(False)
        yield model
    finally:
        for module, training in modes:
            module.training = training
        for parameter, requires_grad in wanted:
            parameter.requires_grad_(requires_grad)
