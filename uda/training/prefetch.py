"""The next step's images, read while the device computes this one's."""

from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor

import torch

from uda.batch import Batch
from uda.datasets.streams import Stream


class Prefetch:
    """Read the next step's batches in a thread while the device computes; batches are pure functions of the step."""

    def __init__(self, streams: Mapping[str, Stream], device: torch.device):
        self.streams, self.device = streams, device
        self.pool = ThreadPoolExecutor(1)
        self.next: tuple[int, Future[dict[str, Batch]]] | None = None

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_: object) -> None:
        self.pool.shutdown(cancel_futures=True)

    def fetch(self, step: int, last: bool) -> dict[str, Batch]:
        """Return the batches of a step on the device, and start reading those of the next."""
        future = self.next[1] if self.next and self.next[0] == step else self.pool.submit(self._read, step)
        self.next = None if last else (step + 1, self.pool.submit(self._read, step + 1))
        return {name: batch.to(self.device) for name, batch in future.result().items()}

    def forget(self) -> None:
        """Drop what was read ahead: the order of images has changed."""
        if self.next is not None:
            self.next[1].cancel()
        self.next = None

    def _read(self, step: int) -> dict[str, Batch]:
        batches = {name: stream.batch(step) for name, stream in self.streams.items()}
        return {name: _pinned(batch) if self.device.type == "cuda" else batch for name, batch in batches.items()}


def _pinned(batch: Batch) -> Batch:
    labels = None if batch.labels is None else batch.labels.pin_memory()
    images = batch.images if batch.images.is_cuda else batch.images.pin_memory()
    return Batch(images, batch.index.pin_memory(), labels, batch.domain)
