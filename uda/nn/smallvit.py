"""A small vision transformer for small images, registered with timm under `smallvit`."""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.vision_transformer import VisionTransformer

default_cfgs = generate_default_cfgs(
    {
        "smallvit": {
            "url": "",
            "num_classes": 10,
            "input_size": (3, 32, 32),
            "mean": (0.5, 0.5, 0.5),
            "std": (0.25, 0.25, 0.25),
            "classifier": "head",
            "first_conv": "patch_embed.proj",
        }
    }
)


@register_model
def smallvit(pretrained: bool = False, **options: Any) -> VisionTransformer:
    """Return timm's VisionTransformer with patches of 4 pixels, 4 blocks of 96 channels and 3 heads.

    32 px → 64 tokens → their mean, (B, 96); 0.46 million parameters. There is no class token: small images are better
    told apart by the mean. timm calls this for `timm.create_model("smallvit")`.
    """
    shape = {"img_size": 32, "patch_size": 4, "embed_dim": 96, "depth": 4, "num_heads": 3}
    # The last norm stands before the mean, so that objectives on tokens train it too.
    pooling = {"class_token": False, "global_pool": "avg", "fc_norm": False}
    return build_model_with_cfg(VisionTransformer, "smallvit", pretrained, **{**shape, **pooling, **options})
