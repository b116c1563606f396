"""What the tests of the commands share: pre-training with the smallest network, and its figures read strictly."""

from pathlib import Path

from tests.tiny import command

SMALL = ["--image-size", "32", "--weights", "none", "--batch-size", "6", "--device", "cpu", "--set"]
SMALL += ["data.stored_size=32", "training.evaluate_every=0", "training.warmup_steps=0", "training.lr=0.01"]

OF_A_RUN = {"recipe.yaml", "metrics.json", "history.csv", "report.html", "backbone.safetensors", "checkpoint"}


def pretrain(
    source: Path,
    out: Path,
    *more: object,
    objective: str | None = "rotation",
    steps: int = 2,
    backbone: str = "smallconv",
) -> int:
    """Pre-train on a folder; return the exit status."""
    what = ("--objective", *objective.split()) if objective else ()
    where = ("--source", source, "--out", out, "--steps", steps, "--backbone", backbone)
    return command("--task", "pretrain", *what, *where, *SMALL, *more)


def probe(source: Path, out: Path, *more: object, backbone: str = "smallconv", weights: Path | str = "none") -> int:
    """Probe a backbone on a folder; return the exit status."""
    given = [*SMALL]
    given[given.index("--weights") + 1] = str(weights)
    where = ("--source", source, "--out", out, "--steps", 2, "--backbone", backbone)
    return command("--task", "probe", *where, *given, "method.episodes=20", *more)
