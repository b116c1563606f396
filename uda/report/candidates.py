"""The section on candidate new classes: the rejected images in groups, for a person to look at and to name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from uda.report import canvas, page, plots
from uda.report.page import Figure, Section
from uda.wording import counted

MOST_SHOWN = 12
"""How many groups are shown with pictures; the table has them all."""

EXAMPLES = 6


@dataclass(frozen=True)
class Candidate:
    """One group of rejected images; `number` counts from 1.

    images: (m, 3, h, w) uint8, those nearest to the center, with their `paths`; none beyond MOST_SHOWN groups.
    spread: mean cosine distance of its images to the center. truth: what its labelled images are, the most frequent
    class first, with how many of each; empty where the target has no labels.
    """

    number: int
    size: int
    spread: float
    images: np.ndarray
    paths: Sequence[str]
    truth: Sequence[tuple[str, int]] = ()


def candidates_section(candidates: Sequence[Candidate], silhouette: float | None, naming: str | None) -> Section:
    """Return the section. naming: the command that makes classes of groups; None where images are not files."""
    title = "Candidate new classes"
    rejected = sum(candidate.size for candidate in candidates)
    if not candidates:
        return Section(title, "No image was rejected, so there is nothing to look for new classes in.")
    text = (
        f"The {rejected} rejected images form {len(candidates)} groups of similar ones, the largest first, found "
        f"without labels (silhouette {silhouette:.2f}, of at most 1)."
        if silhouette is not None
        else f"The {counted(rejected, 'rejected image')} "
        f"{'forms' if rejected == 1 else 'form'} one group: too few, too alike or too scattered to divide."
    )
    text += (
        " A group may be a class that the source lacks, a part of one, several, or known images that were rejected by "
        "mistake: look before you name it. The images shown are those nearest to the group's center."
    )
    figures = [_examples(candidate) for candidate in candidates[:MOST_SHOWN] if len(candidate.images)]
    html = ""
    if naming is not None:
        text += (
            "\n\nTo go on, name the groups that are classes. The command below copies their images into class folders "
            "(several groups may get one name); remove what does not belong there, and adapt again with the source "
            "that has grown. candidates.csv lists every image with its group."
        )
        html = page.preformatted(naming)
    return Section(title, text, figures, [_table(candidates, rejected)], html=html)


def _examples(candidate: Candidate) -> Figure:
    shown = candidate.images[:EXAMPLES]
    captions = [path.replace("\\", "/").rsplit("/", 1)[-1] for path in candidate.paths[: len(shown)]]
    png = plots.gallery(shown, captions, [canvas.GRAY] * len(shown))
    caption = f"Candidate {candidate.number}: {counted(candidate.size, 'image')}"
    return Figure(png, caption, f"{caption}, for example {', '.join(candidate.paths[: len(shown)])}")


def _table(candidates: Sequence[Candidate], rejected: int) -> pd.DataFrame:
    rows = []
    labelled = sum(n for candidate in candidates for _, n in candidate.truth)
    for candidate in candidates:
        row = {
            "candidate": str(candidate.number),
            "images": str(candidate.size),
            "of the rejected": f"{100 * candidate.size / rejected:.1f} %",
            "mean distance to the center": f"{candidate.spread:.3f}",
        }
        if labelled:
            known = sum(n for _, n in candidate.truth)
            row["mostly (oracle)"] = candidate.truth[0][0] if known else page.MISSING
            row["purity (oracle)"] = f"{100 * candidate.truth[0][1] / known:.1f} %" if known else page.MISSING
            row["made of (oracle)"] = ", ".join(f"{name} {n}" for name, n in candidate.truth[:5])
        rows.append(row)
    table = pd.DataFrame(rows)
    table.attrs["caption"] = "The groups, the largest first"
    if labelled:
        purest = sum(candidate.truth[0][1] for candidate in candidates if candidate.truth)
        table.attrs["caption"] += (
            f". Oracle columns use the target's labels, which took no part in the grouping: they check it, and over "
            f"all groups {100 * purest / labelled:.1f} % of the images are of their group's most frequent class."
        )
    return table
