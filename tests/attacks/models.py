import torch
from torch import Tensor, nn


class Linear(nn.Module):
    """logits = W · pixels, with W of whole numbers that a test can reckon with."""

    def __init__(self, weights: Tensor):
        super().__init__()
        self.weights = nn.Parameter(weights.float())

    def forward(self, views: Tensor) -> Tensor:
        return views.flatten(1) @ self.weights.T.to(views.dtype)


def small_network(classes: int = 5, seed: int = 0) -> nn.Module:
    """A network with batch norm and dropout, in training mode, whose running statistics are not the initial ones."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.Tanh(),
            nn.Dropout(0.5),
            nn.Conv2d(8, 8, 3, stride=2),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 9, classes),
        )
        model(torch.rand(32, 3, 8, 8))
    return model


def data(n: int = 24, classes: int = 5, seed: int = 1) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(classes, (n,), generator=generator)


def trained_network(steps: int = 60) -> tuple[nn.Module, Tensor, Tensor]:
    """A network that knows its 24 images, in evaluation mode: one that an attack has to work for."""
    model, (images, labels) = small_network(), data()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(steps):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    optimizer.zero_grad()
    return model.eval(), images, labels
