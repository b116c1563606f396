"""The tables of speed: steps against their floor, other packages, data, and how neighborhood clustering grows."""

from collections.abc import Mapping, Sequence
from typing import Any

Spread = Mapping[str, float]
Rows = Sequence[Mapping[str, Any]]


def speed(result: dict[str, Any], corruptions: dict[str, Any] | None) -> str:
    """All rows of `python -m benchmarks` on one kind of device, and what corruptions take against another package."""
    settings = {_setting(part): None for part in result.values()}
    device = next(iter(result.values())).get("gpu", "CPU")
    lines = [
        f"### Speed ({device})",
        "",
        f"{'; or '.join(settings)}. Medians with quartiles; what is compared takes turns in one process. Floor: the "
        "same encoder, heads, losses and optimizer on views that are there already; ours: the whole step of the loop, "
        "with data and views. To be compared within a row: between parts this machine drifts by a fifth, and a step "
        "below its floor is that noise.",
    ]
    rows = {part: [row for row in found["rows"] if "failed" not in row] for part, found in result.items()}
    failed = [f"{part}: {row['failed']}" for part, found in result.items() for row in found["rows"] if "failed" in row]
    said = [_loop(rows.get("loop", ())), _data(rows.get("data", ()))]
    said += [_corruptions(corruptions), f"Not measured: {'; '.join(failed)}." if failed else ""]
    lines += ["", *(f"- {text}" for text in said if text)] if any(said) else []
    made = {"steps": _steps, "views": _views, "options": _options, "peers": _peers, "scaling": _scaling}
    for part, make in made.items():
        if rows.get(part):
            lines += ["", *make(rows[part])]
    return "\n".join(lines)


def _setting(part: Mapping[str, Any]) -> str:
    """Return on what, with what and how often a part was measured."""
    versions = ", ".join(f"{name} {part['versions'][name]}" for name in ("torch", "torchvision", "timm"))
    return (
        f"{part['processor']}, {part['threads']} threads of {part['cores']} cores, {versions}, {part['rounds']} rounds"
    )


def ends(found: Spread, digits: int = 3) -> str:
    """Return a median with its quartiles: "1.04 (1.03 … 1.06)"."""
    values = (found[name] for name in ("median", "low", "high"))
    middle, low, high = (f"{value:,.0f}" if value >= 1000 else f"{value:.{digits}g}" for value in values)
    return f"{middle} ({low} … {high})"


def _loop(rows: Rows) -> str:
    return "".join(f"The loop itself: {ends(row['ms_beyond_the_floor'])} ms a step." for row in rows)


def _data(rows: Rows) -> str:
    said = []
    for row in rows:
        first, second = (row["seconds_to_first_batch"][name] for name in ("first start", "second start"))
        said.append(
            f"Data: {row['images']} JPEG files of {row['size']} px are decoded and packed at "
            f"{row['decoded_and_packed_per_second']:,} a second and read back at {row['read_per_second']:,}; the first "
            f"batch is there after {first:.2g} s, on the second start after {second:.2g} s."
        )
    return " ".join(said)


def _views(rows: Rows) -> list[str]:
    """Return how many times as fast views of SimCLR are made as by each other package."""
    names = list(rows[0]["times_faster"])
    lines = [
        "Views of SimCLR, antialiased, times as fast as other packages' transforms of the same strength. On several "
        "threads the time of lightly and torchvision is that of one, divided: as if their processes cost nothing.",
        "",
        f"| views | threads | ours, ms a view | {' | '.join(names)} |",
        f"|---|---|---|{'---|' * len(names)}",
    ]
    for case in rows:
        blur = f", blur {case['blur']:g}" if case["blur"] else ""
        times = " | ".join(ends(case["times_faster"][name]) for name in names)
        own = ends(case["ms_per_view"]["ours"])
        lines.append(f"| {case['size']} px of {case['stored']}{blur} | {case['threads']} | {own} | {times} |")
    return lines


def _corruptions(result: dict[str, Any] | None) -> str:
    """Return how many times as fast images are corrupted as by imagecorruptions-imaug, on one core."""
    if result is None:
        return ""
    said = (
        f"at {own['size']} px {own['geometric_mean']:g} (least: {own['slowest']}, {own['slowest_times']:.2g})"
        for own in result["summary"]
    )
    return f"Corruptions, times as fast as imagecorruptions-imaug, geometric mean over the kinds: {'; '.join(said)}."


def _steps(rows: Rows) -> list[str]:
    lines = ["| step | images | ms | floor, ms | times the floor |", "|---|---|---|---|---|"]
    return lines + [f"| {row['objective']} | {_images(row)} | {_against_floor(row)} |" for row in rows]


def _against_floor(row: Mapping[str, Any]) -> str:
    return f"{ends(row['ms'])} | {ends(row['floor_ms'])} | {ends(row['times_the_floor'], 4)}"


def _images(row: Mapping[str, Any]) -> str:
    return f"{row['backbone']}, {row['batch_size']} of {row['image_size']} px"


def _options(rows: Rows) -> list[str]:
    lines = ["| option | images | default, ms | so, ms | times the default |", "|---|---|---|---|---|"]
    for row in rows:
        times = " | ".join(ends(row[name]) for name in ("default_ms", "changed_ms", "times_the_default"))
        lines.append(f"| {row['option']} | {_images(row)} | {times} |")
    return lines


def _peers(rows: Rows) -> list[str]:
    lines = ["| against | of what | ours, ms | theirs, ms | times as fast |", "|---|---|---|---|---|"]
    for row in rows:
        if "lightly_ms" in row:
            what = f"SimCLR's step, {_images(row)}, {row['workers']} workers"
            ours, theirs, name = row["ms"], row["lightly_ms"], "lightly"
        else:
            what = f"{row['queries']} votes of 200 neighbors among {row['bank']} of {row['dim']} numbers"
            ours, theirs, name = row["ms"]["ours"], row["ms"]["scikit-learn"], "scikit-learn"
        lines.append(f"| {name} | {what} | {ends(ours)} | {ends(theirs)} | {ends(row['times_faster'])} |")
    return lines


def _scaling(rows: Rows) -> list[str]:
    grown = [row for row in rows if row.get("row") == "neighborhood clustering"]
    lines: list[str] = []
    if grown:
        first = grown[0]
        lines += [
            f"Neighborhood clustering, forward and backward, {first['batch']} images of {first['dim']} numbers; plain: "
            "with all similarities at once; differs by: relative difference of the loss and of its gradient.",
            "",
            "| target images | bank | ms | beyond the bank, MB | plain, ms | plain, MB | differs by | written, ms |",
            "|---|---|---|---|---|---|---|---|",
        ]
        lines += [_clustering(row) for row in grown]
    shapes = [row for row in rows if "objective" in row]
    if shapes:
        lines += ["", "| step | images | classes | ms | floor, ms | times the floor |", "|---|---|---|---|---|---|"]
        lines += [
            f"| {row['objective']} | {_images(row)} | {row['classes']} | {_against_floor(row)} |" for row in shapes
        ]
    return lines


def _clustering(row: Mapping[str, Any]) -> str:
    blocks, plain = row["blocks"], row.get("plain")
    cells = [f"{row['images']:,}", f"{row['bank']}, {row['bank_mb']:g} MB", ends(blocks["ms"])]
    cells += [f"{blocks['mb_beyond_the_bank']:g}"]
    cells += ["", ""] if plain is None else [ends(plain["ms"]), f"{plain['mb_beyond_the_bank']:g}"]
    differs = row.get("differs_by")
    cells.append("" if differs is None else f"{differs['loss']:.0e}, {differs['gradient']:.0e}")
    return f"| {' | '.join([*cells, ends(row['write_ms'])])} |"
