"""What domain generalization refuses, leaves out of training, and warns of."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tasks.dg.small import small_data
from tests.tiny import SMALL, draw_classes
from uda.experiments.dg.domains import find_domains
from uda.experiments.dg.selection import fair_fold
from uda.sections import DomainsRecipe

NIGHT = ("--target", "night")
PUZZLE = (*NIGHT, "--objective", "jigsaw")


@pytest.fixture(scope="module")
def domains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of three domains with two classes; the night has a class of its own."""
    root = tmp_path_factory.mktemp("domains")
    draw_classes(root / "day", {"apple": 6, "bird": 6})
    draw_classes(root / "dusk", {"apple": 6, "bird": 6}, noise=40)
    draw_classes(root / "night", {"apple": 5, "bird": 5, "cat": 2}, noise=60)
    return root


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--target", "nigth"), "night"),
        (("--target", "night", "--freeze"), "moves the backbone"),
        ((), "wants a --target"),
        (("--target", "night", "--method", "corral"), "coral"),
        (("--target", "night", "--method", "rsc", "--set", "compat=official"), "there is none; add --objective jigsaw"),
        ((*PUZZLE, "--method", "mixup", "--set", "compat=official"), "method 'mixup' sees whole images of its own"),
        ((*NIGHT, "--set", "compat=official", "--compare", "method.name=mixstyle"), "the baseline of --compare cannot"),
        (
            (*NIGHT, "--set", "adapt=true", "entropy_weight=0", "--compare"),
            "the baseline of --compare cannot be had: adapt=true has nothing to learn from the target; give an "
            "--objective or an entropy_weight; --compare KEY=VALUE says what it should have instead",
        ),
        (
            ("--target", "all", "--set", "adapt=true", "entropy_weight=0", "--compare"),
            "the baseline of --compare cannot",
        ),
        ((*NIGHT, "--split", "1/1/1"), "--split means nothing to task 'dg'"),
        (
            (*NIGHT, "--batch-size", 1),
            "'training.batch_size' cannot be 1: Input should be greater than or equal to 2",
        ),
        (("--target", "night", "--labels", "10%"), "means nothing to task 'dg'"),
        (("--target", "night", "--set", "selection=source", "data.validation=0"), "data.validation"),
        (("--target", "night", "--set", "encoder.batch_statistics=target"), "held out"),
        (("--target", "night", "--method", "mixstyle", "--set", "training.compile=true"), "leave training.compile out"),
        (("--target", "night", "--method", "deepall", "--compare"), "nothing to compare"),
    ],
)
def test_what_does_not_fit_is_refused(said: Any, domains: Path, tmp_path: Path, more: Any, says: str) -> None:
    small = ("--backbone", "smallconv", "--weights", "none", "--image-size", 16)
    assert says in said("--task", "dg", "--source", domains, "--out", tmp_path / "run", *small, *more)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("source", "more", "says"),
    [
        ("day", (), "two different domains"),  # the target is the only source
        ("dusk", ("--method", "coral"), "compares source domains"),
        (
            "dusk",
            ("--compare", "method.name=coral"),
            "the baseline of --compare cannot be had: method 'coral' compares",
        ),
        ("dusk", ("--set", "selection=leave_one_out"), "1 in all"),
    ],
)
def test_a_single_source_domain_is_not_always_enough(
    said: Any, domains: Path, tmp_path: Path, source: str, more: Any, says: str
) -> None:
    small = ("--backbone", "smallconv", "--weights", "none", "--image-size", 16)
    ends = ("--source", domains / source, "--target", domains / "day", "--out", tmp_path / "run")
    assert says in said("--task", "dg", *ends, *small, *more)


def test_the_held_out_domain_needs_a_source(said: Any, domains: Path, tmp_path: Path) -> None:
    assert "wants a --source" in said("--task", "dg", "--target", domains / "day", "--out", tmp_path / "run")


def test_the_held_out_domain_is_not_learned_from_by_whatever_name(domains: Path, tmp_path: Path) -> None:
    data, link = DomainsRecipe(source=str(domains)), tmp_path / "dark"
    link.symlink_to(domains / "night")
    for target in ("night", str(domains / "night"), str(link), f"{domains.parent}/./{domains.name}/night"):
        found = find_domains(data.model_copy(update={"target": target}))
        assert [table.name.rsplit("/")[-1] for table in found.sources] == ["day", "dusk"], target


def test_a_part_of_a_domain_holds_all_of_it_out(tmp_path: Path) -> None:
    for name in ("day", "dusk", "night"):
        for split in ("train", "test"):
            draw_classes(tmp_path / name / split, {"apple": 2, "bird": 2})
    found = find_domains(DomainsRecipe(source=str(tmp_path), target=str(tmp_path / "night" / "test")))
    assert [table.name.split("/")[-2] for table in found.sources] == ["day", "dusk"]
    assert "not learned from, for it is the target" in "\n".join(found.lines)


def test_a_source_that_is_the_target_leaves_nothing(said: Any, domains: Path, tmp_path: Path) -> None:
    link = tmp_path / "dark"
    link.symlink_to(domains / "night")
    ends = ("--source", domains / "night", "--target", link, "--backbone", "smallconv", "--weights", "none")
    assert "name" in said("--task", "dg", *ends, "--out", tmp_path / "run")


def test_a_selection_without_validation_images_is_refused(said: Any, domains: Path, tmp_path: Path) -> None:
    ends = ("--source", domains, "--target", "night", *SMALL, "selection=source", "data.validation=0.05")
    assert "it takes 10 images of a class and domain" in said("--task", "dg", *ends, "--out", tmp_path / "run")


def test_a_source_domain_that_shares_no_class_with_the_others_gives_no_estimate(said: Any, tmp_path: Path) -> None:
    draw_classes(tmp_path / "set" / "day", {"apple": 2, "bird": 2})
    draw_classes(tmp_path / "set" / "dusk", {"cat": 2, "dog": 2})
    draw_classes(tmp_path / "set" / "fog", {"cat": 2, "dog": 2})
    draw_classes(tmp_path / "set" / "night", {"apple": 2, "cat": 2})
    ends = ("--source", tmp_path / "set", "--target", "night", *SMALL, "selection=leave_one_out")
    message = said("--task", "dg", *ends, "--out", tmp_path / "run")
    assert "tests a run without set/day on it, and the other source domains have none of its classes" in message
    assert not (tmp_path / "run").exists()


def test_a_fold_is_not_tested_on_classes_that_it_does_not_train_on() -> None:
    """Class 2 is domain 1's alone but for row 26, which is kept for validation; class 0 and 1 are everywhere."""
    data = small_data()
    labels = np.where((data.labels == 2) & (data.domains != 1), 0, data.labels)
    labels[26] = 2
    part = fair_fold(replace(data, labels=labels), 1)
    assert part.target_labels.tolist() == [0, 1, -1] * 4
    assert fair_fold(data, 1).target_labels.tolist() == [0, 1, 2] * 4


def test_classes_that_differ_only_in_writing_are_told_once(tmp_path: Path) -> None:
    for domain, first in (("day", "Dog"), ("dusk", "dog"), ("fog", "dog"), ("night", "d-o-g")):
        draw_classes(tmp_path / domain, {first: 2, "bird": 2})
    found = find_domains(DomainsRecipe(source=str(tmp_path), target="night"))
    warned = [text.split(" differ only in writing")[0] for text in found.warnings if "in writing" in text]
    name = tmp_path.name
    assert warned == [
        f"'Dog' of another source domain and 'dog' of {name}/dusk",
        f"'dog' of the source and 'd-o-g' of {name}/night",
    ]
