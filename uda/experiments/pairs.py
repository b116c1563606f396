"""A run for every ordered pair of domains that `all` stands for, and the tables above them."""

from pathlib import Path
from typing import Any

from uda.datasets.pairs import NamedDomain, domain_pairs, names_all
from uda.errors import UserError
from uda.experiments.content import difference_content, pairs_content
from uda.experiments.experiment import BASELINE, Experiment, Settings, read_metrics
from uda.experiments.series import Member, check_series, run_member
from uda.recipe import Recipe
from uda.report import formats, tables
from uda.report.pairs import PairsReport, frames, tidy, write_pairs_report
from uda.report.published import matching, with_notes
from uda.sections import DomainsRecipe, EndsRecipe
from uda.training.outputs import write_json, write_text

Pair = tuple[NamedDomain, NamedDomain]


def is_for_pairs(recipe: Recipe) -> bool:
    """Return whether a recipe names every pair of domains rather than one."""
    if isinstance(recipe.data, DomainsRecipe):  # its source is all domains but one in any case
        return names_all(recipe.data.target)
    return isinstance(recipe.data, EndsRecipe) and (names_all(recipe.data.source) or names_all(recipe.data.target))


def run_pairs(
    experiment: Experiment, recipe: Recipe, out: Path, settings: Settings, baseline: Recipe | None = None
) -> dict[str, Any]:
    """Run a recipe on every pair, each in its own folder below `out`; return the content of the `metrics.json` above.

    All pairs are looked up before the first is run. With resume, finished pairs are kept and others continued;
    UserError where one was begun with another recipe. The tables are written when all pairs are there.
    """
    assert isinstance(recipe.data, EndsRecipe)
    ends = (recipe.data.source, recipe.data.target)
    if (
        baseline is not None
        and (getattr(baseline.data, "source", None), getattr(baseline.data, "target", None)) != ends
    ):
        raise UserError(
            "--compare cannot change source and target of every pair; leave data.source and data.target out"
        )
    pairs = _by_folder(domain_pairs(*ends, recipe.data.root, isinstance(recipe.data, DomainsRecipe)))
    members = {folder: _member(folder, pair, recipe, baseline) for folder, pair in pairs.items()}
    check_series(experiment, members.values(), out, settings)
    (out / BASELINE if baseline else out).mkdir(parents=True, exist_ok=True)
    write_text(out / "recipe.yaml", recipe.dump())
    if baseline is not None:
        write_text(out / BASELINE / "recipe.yaml", baseline.dump())
    found: dict[str, dict[str, Any]] = {}
    for number, (folder, member) in enumerate(members.items(), 1):
        settings.say(f"\npair {number} of {len(members)}")
        found[folder] = run_member(experiment, member, out, settings)
        score = tables.number(experiment.headline, found[folder]["metrics"].get(experiment.headline))
        settings.say(f"{member.title}: {tables.readable(experiment.headline)} {score}")
    arms = [_arm(found, pairs, recipe)]
    if baseline is not None:
        arms.append(_arm({folder: read_metrics(out / folder / BASELINE) for folder in found}, pairs, baseline))
        difference = difference_content(arms[0], arms[1], {})
        each = [
            {"pair": row["pair"], "domains": row["domains"], "metrics": found[row["folder"]]["difference"]["metrics"]}
            for row in arms[0]["pairs"]
        ]
        arms[0]["difference"] = difference | {"pairs": each}
        write_json(out / BASELINE / "metrics.json", arms[1])
    _write(experiment, recipe, out, arms, _dataset(list(pairs.values())))
    return arms[0]


def _by_folder(pairs: list[Pair]) -> dict[str, Pair]:
    """Return the pairs by the names of their folders, "amazon-dslr"; a name that would come twice is numbered."""
    found: dict[str, Pair] = {}
    for source, target in pairs:
        plain = f"{source.short}-{target.short}"
        names = (plain, *(f"{plain}-{number}" for number in range(2, len(pairs) + 2)))
        found[next(name for name in names if name not in found)] = (source, target)
    return found


def _member(folder: str, pair: Pair, recipe: Recipe, baseline: Recipe | None) -> Member:
    def of_pair(whole: Recipe) -> Recipe:
        data = whole.data.model_copy(update={"source": pair[0].name, "target": pair[1].name})
        return whole.model_copy(update={"data": data})

    return Member(_title(pair), folder, of_pair(recipe), None if baseline is None else of_pair(baseline))


def _title(pair: Pair) -> str:
    return f"{pair[0].short} → {pair[1].short}"


def _arm(found: dict[str, dict[str, Any]], pairs: dict[str, Pair], recipe: Recipe) -> dict[str, Any]:
    content = pairs_content(found)
    for row in content["pairs"]:
        source, target = pairs[row["folder"]]
        row |= {"pair": _title((source, target)), "domains": [source.short, target.short]}
    assert isinstance(recipe.data, EndsRecipe)
    return content | {"source": recipe.data.source, "target": recipe.data.target}


def _dataset(pairs: list[Pair]) -> str | None:
    """Return the one data set of the catalog that all domains are from, None where there is no such."""
    names = {domain.dataset for pair in pairs for domain in pair}
    return names.pop() if len(names) == 1 else None


def _write(experiment: Experiment, recipe: Recipe, out: Path, arms: list[dict[str, Any]], dataset: str | None) -> None:
    """Write the tables and, last, `metrics.json`."""
    assert isinstance(recipe.data, EndsRecipe)
    published = matching(recipe.task, dataset, arms[0]["setting"]) if recipe.data.as_published else []
    encoder = recipe.encoder.model_dump()
    beside = with_notes(published, encoder, recipe.training.steps, recipe.data.image_size)
    title = f"{recipe.data.source} → {recipe.data.target}: {arms[0]['method']}"
    dumped = recipe.model_dump(mode="json")
    report = PairsReport(title, arms, recipe.encoder.backbone, experiment.headline, beside, dumped)
    write_text(out / "table.csv", tidy(report).to_csv(index=False))
    write_text(out / "table.md", formats.markdown_document(title, frames(report)))
    write_text(out / "table.tex", formats.latex_document(frames(report)))
    write_pairs_report(out / "report.html", report)
    write_json(out / "metrics.json", arms[0])
