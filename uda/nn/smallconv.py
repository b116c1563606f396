"""A small convolutional network for small images, registered with timm under `smallconv`."""

from timm.models import generate_default_cfgs, register_model
from torch import Tensor, nn

__all__ = ["SmallConv"]

default_cfgs = generate_default_cfgs(
    {
        "smallconv": {
            "url": "",
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "classifier": "classifier",
            "first_conv": "stages.0.0",
        }
    }
)


def _conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU(True))


class SmallConv(nn.Module):
    """Four convolutions in three stages, each halving the image: 32 px → (B, 128, 4, 4) → mean → (B, 128).

    Nothing is computed at full resolution, which on a CPU would cost more than all the rest.
    """

    def __init__(self, num_classes: int = 10, in_chans: int = 3, widths: tuple[int, int, int] = (32, 64, 128)):
        super().__init__()
        first, second, third = widths
        self.stages = nn.Sequential(
            _conv(in_chans, first, kernel=5, stride=2),
            nn.Sequential(_conv(first, second), nn.MaxPool2d(2)),
            nn.Sequential(_conv(second, third), _conv(third, third), nn.MaxPool2d(2)),
        )
        self.num_features = self.head_hidden_size = third
        self.classifier = nn.Linear(self.num_features, num_classes) if num_classes else nn.Identity()

    def forward_features(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, 128, H/8, W/8)."""
        return self.stages(x)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """(B, 128, h, w) → (B, num_classes), or (B, 128) before, or without, a classifier."""
        pooled = x.mean(dim=(2, 3))
        return pooled if pre_logits else self.classifier(pooled)

    def forward(self, x: Tensor) -> Tensor:
        """(B, 3, H, W) → (B, num_classes), or (B, 128) without a classifier."""
        return self.forward_head(self.forward_features(x))


@register_model
def smallconv(pretrained: bool = False, **options: object) -> SmallConv:
    """Return a SmallConv; timm calls this for `timm.create_model("smallconv")`."""
    known = {k: v for k, v in options.items() if k in ("num_classes", "in_chans", "widths")}
    if "dynamic_img_size" in options:
        raise TypeError("smallconv takes any image size")
    return SmallConv(**known)  # type: ignore[arg-type]
