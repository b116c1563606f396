import pytest
from pydantic import TypeAdapter

from uda.datasets.catalog import find_dataset
from uda.report.published import Published, entries, matching, otherwise
from uda.report.tables import METRICS

SETTINGS = ("closed", "partial", "open", "open-partial")
PUBLISHED = entries("unida")
GENERALIZED = entries("dg")
NAMES = [f"{entry.dataset} {entry.method} {entry.backbone}" for entry in PUBLISHED]
TYPES = TypeAdapter(Published)


@pytest.mark.parametrize("entry", PUBLISHED, ids=NAMES)
def test_an_entry_says_all_that_it_should(entry: Published) -> None:
    TYPES.validate_python(vars(entry))
    assert entry.setting in SETTINGS
    assert entry.over >= 1
    assert entry.mean
    assert 2019 <= entry.year <= 2030
    assert min(len(entry.paper), len(entry.differences)) > 10
    assert len(entry.table) > 5


@pytest.mark.parametrize("entry", PUBLISHED, ids=NAMES)
def test_an_entry_fits_the_catalog_and_our_metrics(entry: Published) -> None:
    dataset = find_dataset(entry.dataset)
    assert dataset is not None
    assert dataset.name == entry.dataset
    sets = dataset.splits[entry.setting]
    assert entry.split == f"{len(sets.shared)}/{len(sets.source_private)}/{len(sets.target_private)}"
    domains = {domain.name for domain in dataset.domains}
    for (source, target), figures in entry.pairs.items():
        assert source != target
        assert {source, target} <= domains
        assert figures.keys() == entry.mean.keys()
    for figures in (entry.mean, *entry.pairs.values()):
        assert set(figures) <= set(METRICS)
        assert all(0 < value < 1 for value in figures.values())


@pytest.mark.parametrize("entry", GENERALIZED, ids=[entry.method for entry in GENERALIZED])
def test_an_entry_of_domain_generalization_has_every_domain_held_out(entry: Published) -> None:
    TYPES.validate_python(vars(entry))
    dataset = find_dataset(entry.dataset)
    assert dataset is not None
    assert set(entry.pairs) == {(dataset.name, domain.name) for domain in dataset.domains}
    assert entry.split == f"{len(dataset.classes)}/0/0"
    assert all(figures.keys() == {"accuracy"} for figures in (entry.mean, *entry.pairs.values()))


@pytest.mark.parametrize("entry", [e for e in (*PUBLISHED, *GENERALIZED) if e.pairs])
def test_a_mean_is_that_of_its_pairs_within_rounding(entry: Published) -> None:
    assert entry.over == len(entry.pairs)
    for name, mean in entry.mean.items():
        digits = 4 if name == "h_score" else 3  # 54.48, 82.3: what was rounded in pairs and mean
        assert mean == pytest.approx(
            sum(figures[name] for figures in entry.pairs.values()) / entry.over, abs=1.1 * 10**-digits
        )


def test_no_entry_stands_twice() -> None:
    assert len(set(NAMES)) == len(NAMES)


def test_figures_are_found_by_data_set_and_setting() -> None:
    found = {(entry.method, entry.backbone): entry for entry in matching("unida", "office", "open-partial")}
    dance = found["DANCE", "resnet50"]
    assert dance.figure(("amazon", "dslr"), "h_score") == 0.7787
    assert dance.figure(("amazon", "dslr"), "auroc") is None
    assert dance.mean["h_score"] == 0.8032


@pytest.mark.parametrize(
    ("task", "dataset", "setting"),
    [
        ("unida", "office", "closed"),
        ("unida", "office_caltech10", "open-partial"),
        ("unida", None, "open-partial"),
        ("unida", "office", None),
        ("pretrain", "office", "open-partial"),
        ("dg", "pacs", None),
    ],
)
def test_without_a_match_there_is_none(task: str, dataset: str | None, setting: str | None) -> None:
    assert matching(task, dataset, setting) == []


def test_a_mean_stands_only_beside_a_mean_over_the_same_pairs() -> None:
    """DANCE from dslr: (77.00 + 90.92) / 2 = 83.96; GLC's pairs are not here, so it has a mean over all 6 alone."""
    by_name = {(entry.method, entry.backbone): entry for entry in matching("unida", "office", "open-partial")}
    dance, glc = by_name["DANCE", "resnet50"], by_name["GLC", "resnet50"]
    every = list(dance.pairs)
    part = [("dslr", "amazon"), ("dslr", "webcam")]
    assert dance.mean_over(every, "h_score") == 0.8032
    assert dance.mean_over(part, "h_score") == pytest.approx(0.8396)
    assert dance.mean_over([*part, ("dslr", "caltech10")], "h_score") is None
    assert dance.mean_over(every, "auroc") is None
    assert (glc.mean_over(every, "h_score"), glc.mean_over(part, "h_score")) == (0.878, None)


def test_what_differs_from_our_run_is_said() -> None:
    resnet = next(entry for entry in entries("unida") if (entry.dataset, entry.backbone) == ("office", "resnet50"))
    clip = next(entry for entry in entries("unida") if entry.image_size == 336)
    lite = {"backbone": "tf_efficientnet_lite0", "freeze": True}
    assert otherwise(resnet, lite, 300, 224) == (
        "backbone resnet50, here tf_efficientnet_lite0; backbone moving, here frozen; 10,000 steps, here 300"
    )
    assert otherwise(resnet, {"backbone": "resnet50.a1_in1k", "freeze": False}, 10000, 128) == "nothing that is known"
    assert otherwise(clip, {"backbone": "vit_large_patch14_clip_336.openai", "freeze": False}, 5000, 224) == (
        "backbone frozen, here not; 336 pixels, here 224"
    )
