"""A task on its device: layout, precision, compilation, and what goes wrong there in one sentence."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch._dynamo.exc import BackendCompilerFailed

from uda.datasets.streams import Stream
from uda.errors import UserError
from uda.nn.encoder import TimmEncoder
from uda.tasks.task import Task


def place(task: Task, device: torch.device, channels_last: bool, compiled: bool = False) -> None:
    """Bring a task to its device; compiled: the forward passes of its backbones, teachers' too, through torch.compile.

    Raises UserError where there is no backbone to compile.
    """
    task.to(device)
    if channels_last:
        task.to(memory_format=torch.channels_last)
    if not compiled:
        return
    encoders = [module for module in task.modules() if isinstance(module, TimmEncoder)]
    if not encoders:
        raise UserError(
            "training.compile=true compiles a backbone, and none is trained here (a GAN's networks and frozen "
            "features are left as they are); leave it out"
        )
    for encoder in encoders:
        encoder.compile()


def create_accelerator(precision: str, device: torch.device) -> Accelerator:
    """Return accelerate's wrapper for this run; the one before in this process may have had other settings."""
    AcceleratorState._reset_state(reset_partial_state=True)
    return Accelerator(mixed_precision=precision, cpu=device.type == "cpu")


def images_drawn(stream: Stream) -> int:
    """Return how many images a stream draws in a step."""
    return len(stream.sampler(0))


@contextmanager
def device_errors_named(streams: Mapping[str, Stream], setting: str) -> Iterator[None]:
    """Turn what the device refuses into UserErrors: a full memory, with the setting that halves the batch; no compiler.

    streams: where a step's images come from; setting: what the batch size is called.
    """
    try:
        yield
    except torch.cuda.OutOfMemoryError as error:
        tried = max(images_drawn(stream) // stream.parts for stream in streams.values())
        raise UserError(
            f"the GPU's memory does not hold a step of {tried} images of each domain; start anew with "
            f"`{setting} {max(2, tried // 2)}` or a smaller --image-size, and another --out"
        ) from error
    except BackendCompilerFailed as error:
        reason = str(error.inner_exception).strip().splitlines()
        raise UserError(
            f"the backbone could not be compiled ({reason[0][:160] if reason else type(error).__name__}); install a "
            "C++ compiler, or start anew without training.compile and with another --out"
        ) from error
