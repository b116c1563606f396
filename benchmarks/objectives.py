"""The table of objectives in docs/objectives.md, written from the classes and from nothing else.

python -m benchmarks.objectives
"""

import inspect

from benchmarks.common import DOCS
from uda.ssl import OBJECTIVES, Need, Objective
from uda.ssl.objective import words

PAGE = DOCS / "objectives.md"

GIVEN: dict[str, Need] = {
    "pretrain, CNN": Need.INDEX | Need.PIXELS | Need.MAP | Need.LABELS,
    "pretrain, ViT": Need.INDEX | Need.PIXELS | Need.TOKENS | Need.LABELS,
    "pretrain without labels": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS,
    "unida": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS,
    "unida --freeze": Need.INDEX,
    "dg": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS | Need.LABELS,
    "fewshot": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS | Need.LABELS,
    "robustness": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS | Need.LABELS,
    "imbalance": Need.INDEX | Need.PIXELS | Need.MAP | Need.TOKENS | Need.LABELS,
    "gan": Need.PIXELS | Need.MAP,
}
"""What a task gives; a backbone gives a map (most CNNs) or tokens (ViTs), so both stand for a choice."""


def page() -> str:
    """Return the page as Markdown."""
    head = ["objective", "what it does", "needs", *GIVEN]
    lines = [
        "# Objectives",
        "",
        "Each is one file in `uda/ssl/`, usable alone (`--task pretrain --objective NAME`) and as an auxiliary head of",
        "a task that gives what it needs (✓). `placebo:NAME` is the same with random answers. As a head of `unida` an",
        "objective sees the target's images as that task draws them, each once an epoch, also where pre-training draws",
        "uniformly over clusters; as a head of `dg` it sees the images of all source domains, as one of `fewshot`",
        "those of the base classes, as one of `robustness` or `imbalance` those that the class loss is on, attacked or",
        "not; as one of `gan` real images and generated ones. Options and defaults are the constructor's keyword",
        "arguments, and the class's docstring says what `None` stands for; a recipe sets them as",
        "`objectives.NAME.OPTION`. Written by `python -m benchmarks.objectives`.",
        "",
        f"| {' | '.join(head)} |",
        f"|{'---|' * len(head)}",
    ]
    for name, kind in OBJECTIVES.items():
        first = (inspect.getdoc(kind) or "").split("\n")[0].removesuffix(".")
        fits = [_mark(kind.needs, given) for given in GIVEN.values()]
        lines.append(f"| `{name}` | {first} | {words(kind.needs)} | {' | '.join(fits)} |")
    lines += ["", "## Options", ""]
    lines += [f"- `{name}`: {options(kind)}" for name, kind in OBJECTIVES.items()]
    return "\n".join(lines) + "\n"


def _mark(needs: Need, given: Need) -> str:
    """Return whether what is given will do, and with which backbones alone where either is."""
    if needs & ~given:
        return ""
    both = Need.MAP | Need.TOKENS
    only = {Need.MAP: " CNN only", Need.TOKENS: " ViT only"} if given & both == both else {}
    return "✓" + only.get(needs & both, "")


def options(kind: type[Objective]) -> str:
    """Return an objective's options with their defaults."""
    parameters = inspect.signature(kind).parameters.values()
    own = [f"`{p.name}={p.default}`" for p in parameters if p.kind is inspect.Parameter.KEYWORD_ONLY]
    return ", ".join([*own, f"`weight={kind.default_weight}`"])


if __name__ == "__main__":
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8")
