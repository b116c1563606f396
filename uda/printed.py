"""What the command prints of a finished run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uda.report.in_domain import figures_table
from uda.report.pairs import mean_table
from uda.report.tables import difference_table, metrics_table, unknown_share_text
from uda.wording import counted

PRINTED = ("universal_score", "h_score", "known_accuracy", "unknown_accuracy", "auroc")
"""The columns of the table of pairs that is printed; the files have all."""


def print_figures(content: Mapping[str, Any], out: Path) -> None:
    """Print the metrics with their intervals, the paired difference if there is one, and where the rest lies.

    content: of `metrics.json`. Where the target has no labels, no figure is defined: then what was answered is printed.
    """
    where = " → ".join(content[key] for key in ("source", "target") if key in content)
    print(f"\n{content['method']}: {where}, seeds {content['seeds']}")
    measured = any(value is not None for value in content["metrics"].values())
    if measured or "answers" not in content:
        print(metrics_table(content["metrics"], content["std"], content["ci95"]).iloc[:, :4].to_string(index=False))
    else:
        print_answers(content)
    if "pairs" in content:
        columns = [name for name in PRINTED if name in content["metrics"]] or None
        print(f"\n{mean_table(content, columns).to_string(index=False)}")
    for warning in content.get("warnings", ()):
        print(f"warning: {warning}")
    if "difference" in content:
        difference = content["difference"]
        print(f"\npaired difference against {difference['against']}")
        frame = difference_table(difference)
        print("none can be measured: the target has no labels" if frame.empty else frame.to_string(index=False))
        if len(content["seeds"]) == 1 and "pairs" not in content:
            print(f"\ncomparison: {out / 'summary.html'}")
    print(f"\nreport: {out / 'report.html'}")


def print_study(content: Mapping[str, Any], out: Path) -> None:
    """Print the figures of every start of the in-domain study, and where the rest lies."""
    print(f"\n{content['method']}: {content['source']}, seeds {content['seeds']}")
    for kind in ("accuracy", "auroc", "ece"):
        frame = figures_table(content["starts"], kind)
        print(f"\n{frame.attrs['caption']} ({content['ci95_kind']})\n{frame.to_string(index=False)}")
    print(f"\nreport: {out / 'report.html'}")


def print_answers(content: Mapping[str, Any]) -> None:
    """Print which labels were given and how much of the target is unknown, of a run on a target without labels."""
    answers, n = content["answers"], content["images"]["target"]
    print_counts(answers)
    seeds = content["seeds"]
    mean = f", mean over {counted(len(seeds), 'seed')}" if len(seeds) > 1 else ""
    print(f"{answers['unknown']:g} of {counted(n, 'target image')} rejected as unknown{mean}")
    if content["unknown_share"]:  # some methods' scores cannot tell
        print(unknown_share_text(content["unknown_share"]))
    print("the target has no labels, so how many answers are right is not known")


def print_counts(counts: Mapping[str, float]) -> None:
    """Print how many images got each label, the most frequent first."""
    for label, count in sorted(counts.items(), key=lambda item: -item[1]):
        print(f"{label:>24} {count:g}")
