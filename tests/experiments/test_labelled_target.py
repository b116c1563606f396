import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from tests.tiny import SMALL, adapt, assert_same_run, draw_classes, newest, table, tiny_recipe
from uda.datasets.labelsets import LabelSets, apply
from uda.datasets.resolve import Resolved
from uda.datasets.table import ImageTable
from uda.errors import UserError
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.unida.assemble import build_task, method_label, prepare_inputs, unida_data
from uda.experiments.unida.domains import Domains, decode_domains, settle
from uda.experiments.unida.labelled import copies, drawn
from uda.recipe import Tree, UnidaRecipe
from uda.tasks.unida import UniDA
from uda.training.checkpoint import Identity
from uda.training.loop import train

SETS = LabelSets(("apple", "bird"), ("cat",), ("dog",))


def loaded(**data: Any) -> Domains:
    recipe = tiny_recipe({"data": data})
    source, target = table("photo", ("apple", "bird", "cat"), 5), table("sketch", ("apple", "bird", "dog"), 5, 60)
    return decode_domains(settle(Resolved((source,), (target,), None, (), ()), recipe.data), recipe.data, False)


def numbered(counts: dict[str, int]) -> ImageTable:
    """Return a target numbered for the source's classes apple, bird, cat."""
    names = tuple(f"{kind}/{i}.png" for kind, n in counts.items() for i in range(n))
    target = ImageTable("sketch", names, np.repeat(np.arange(len(counts)), list(counts.values())), tuple(counts))
    return apply(SETS, table("photo", ("apple", "bird", "cat"), 2), target)[1]


# which images


def test_none_are_used_unless_the_recipe_says_so() -> None:
    domains = loaded()
    assert domains.labelled is None
    assert len(domains.target.table) == 15
    assert not any("labelled target" in line for line in domains.lines)


def test_so_many_of_each_shared_class_leave_the_target() -> None:
    domains, whole = loaded(target_labels=2), loaded()
    assert domains.labelled is not None
    labelled, rest = domains.labelled.table, domains.target.table
    assert [labelled.classes[label] for label in labelled.labels] == ["apple", "apple", "bird", "bird"]
    assert sorted(labelled.paths + rest.paths) == sorted(whole.target.table.paths)
    assert not any(path.startswith("sketch/dog") for path in labelled.paths)  # what is private stays unlabelled
    assert "labelled target images, learned from and in no figure: sketch (labelled): 4 images, 2 classes " in (
        " ".join(domains.lines)
    )
    assert "11 target images" in " ".join(domains.lines)


def test_one_image_of_each_class_stays_to_measure_with() -> None:
    target = numbered({"apple": 3, "bird": 1, "dog": 4})
    found = drawn(target, 3, 10).tolist()
    assert len(found) == 2  # apple gives 3 − 1, bird none; dog is not the source's
    assert set(found) < {0, 1, 2}


def test_fewer_labels_than_asked_for_are_a_warning() -> None:
    """Five of each class: all but one of apple and of bird are taken."""
    (warning,) = loaded(target_labels=500).warnings
    assert warning == (
        "data.target_labels=500 is more than the target has to give of apple (4 used), bird (4 used): one image of "
        "each class stays behind to measure with, and 8 are used in all"
    )
    assert loaded(target_labels=4).warnings == ()


def test_the_draw_is_the_same_each_time_and_a_smaller_one_lies_within() -> None:
    target = numbered({"apple": 40, "bird": 30, "dog": 20})
    few, more = drawn(target, 3, 3), drawn(target, 3, 9)
    assert (few == drawn(target, 3, 3)).all()
    assert set(few) < set(more)
    assert Counter(target.labels[more].tolist()) == {0: 9, 1: 9}
    assert few.tolist() != [0, 1, 2, 40, 41, 42]  # not simply the first


def test_unlabelled_rows_are_never_drawn() -> None:
    target = numbered({"apple": 6, "bird": 6, "dog": 6})
    mixed = ImageTable("t", target.paths, np.where(np.arange(18) < 3, -1, target.labels), target.classes)
    assert set(drawn(mixed, 3, 99)) <= {3, 4, 5, *range(6, 12)}


def test_a_folder_of_their_own_joins_a_flat_target(domains: Path, tmp_path: Path) -> None:
    files = sorted((domains / "sketch").glob("*/[0-9].png"))
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(files):
        shutil.copy(file, flat / f"{number:02d}.png")
    few = tmp_path / "few"
    for kind, name in (("apple", 0), ("apple", 3), ("bird", 2)):
        (few / kind).mkdir(parents=True, exist_ok=True)
        shutil.copy(domains / "sketch" / kind / f"{name}.png", few / kind)
    draw_classes(tmp_path / "other", {"bird": 1}, noise=30)
    shutil.copy(tmp_path / "other" / "bird" / "0.png", few / "bird" / "new.png")
    out = tmp_path / "out"
    assert adapt(domains, out, f"data.labelled_target={few}", target=str(flat)) == 0
    content = json.loads((out / "metrics.json").read_text())
    # 3 of the 4 labelled images are copies of three of the 18 in the flat folder
    assert content["images"] == {"source": 24, "target": 15, "labelled_target": 4}
    assert content["method"] == "dance (labelled target images)"
    assert len(pd.read_csv(out / "predictions.csv")) == 15
    report = (out / "report.html").read_text()
    assert "few (labelled): 4 images, 2 classes (apple 2, bird 2)" in report
    assert "3 target images are copies of them and are left out" in report
    assert "labelled_target" in pd.read_csv(out / "history.csv").columns


def test_copies_are_found_by_content(tmp_path: Path) -> None:
    contents = {"a": b"one", "b": b"two", "c": b"longer", "d": b"one", "e": b"", "f": b""}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    paths = tuple(str(tmp_path / name) for name in contents)
    # "one" is at a and d; of "two" there is only b itself; nothing is a copy of an empty or a missing file
    assert copies(paths, (paths[0],)).tolist() == [0, 3]
    assert copies(paths, (paths[1],)).tolist() == [1]
    assert copies(paths, (paths[4], str(tmp_path / "gone"))).tolist() == []
    assert copies((), paths).tolist() == []


# what a run makes of them


def test_the_fingerprint_knows_them() -> None:
    found = [loaded().fingerprint, loaded(target_labels=1).fingerprint, loaded(target_labels=2).fingerprint]
    assert len(set(found)) == 3
    assert loaded(target_labels=2).fingerprint == found[2]
    domains = loaded(target_labels=2)
    assert domains.labelled is not None
    domains.labelled.table.labels[0] = 1  # the same images, one of them labelled otherwise
    assert domains.fingerprint != found[2]


@pytest.mark.parametrize(
    ("layers", "label"),
    [
        ({}, "dance"),
        ({"data": {"target_labels": 3}}, "dance (target labels: 3 a class)"),
        ({"data": {"labelled_target": "few"}, "objectives": ["rotation"]}, "dance+rotation (labelled target images)"),
        ({"data": {"target_labels": 3}, "encoder": {"freeze": True}}, "dance (head only, target labels: 3 a class)"),
    ],
)
def test_the_methods_name_says_that_it_saw_labels(layers: Tree, label: str) -> None:
    assert method_label(tiny_recipe(layers)) == label


def test_metrics_do_not_see_them() -> None:
    recipe = tiny_recipe({"data": {"target_labels": 2}})
    domains = loaded(target_labels=2)
    inputs = prepare_inputs(recipe, domains, torch.device("cpu"), progress=False)
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, 0)
    task.evaluate()
    assert task.last_answer is not None
    assert len(task.last_answer.scores) == len(task.data.target_labels) == 11
    streams = task.streams()
    assert len(streams["target"].images) == 11
    assert streams["target"].labels is None
    assert streams["labelled_target"].labels is not None
    assert domains.labelled is not None
    assert streams["labelled_target"].labels.tolist() == domains.labelled.table.labels.tolist() == [0, 0, 1, 1]
    shown = streams["labelled_target"].batch(3)
    assert len(shown) == 4  # as many as there are, since a batch would hold 6
    assert all(
        torch.equal(image, torch.from_numpy(domains.labelled.images.image(int(row)).copy()).permute(2, 0, 1))
        for image, row in zip(shown.images, shown.index, strict=True)
    )


def trained(recipe: UnidaRecipe, domains: Domains, out: Path, resume: bool = False) -> UniDA:
    """Train a task to its end, as a run does."""
    cpu = torch.device("cpu")
    inputs = prepare_inputs(recipe, domains, cpu, progress=False)
    task = build_task(recipe, unida_data(domains, inputs), inputs.backbone, 0)
    options = loop_options(recipe, 0, Settings(cpu, progress=False))
    train(task, options, out, Identity(recipe.hash(), domains.fingerprint), cpu, resume)
    return task


@pytest.mark.parametrize("encoder", [{}, {"freeze": True, "adapter": True}], ids=["moving", "frozen"])
def test_a_stopped_run_ends_with_the_same_numbers(tmp_path: Path, encoder: Tree) -> None:
    changes: Tree = {"data": {"target_labels": 2}, "encoder": encoder}
    recipe = tiny_recipe(changes, {"training": {"steps": 6, "checkpoint_every": 3}})
    domains = loaded(target_labels=2)
    for out in (tmp_path / "whole", tmp_path / "stopped"):
        trained(recipe, domains, out)
    shutil.rmtree(newest(tmp_path / "stopped"))
    trained(recipe, domains, tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped")
    assert "labelled_target" in pd.read_csv(tmp_path / "whole" / "history.csv").columns
    with pytest.raises(UserError, match="comes from other data"):  # the same recipe, other images with labels
        trained(recipe, loaded(target_labels=1), tmp_path / "stopped", resume=True)


def test_labels_help_where_domains_contradict_each_other(tmp_path: Path) -> None:
    # In the target the two classes have changed their looks, which no method can know; a few labels tell.
    source, target = table("photo", ("red", "blue"), 8), table("sketch", ("blue", "red"), 8, 21)
    assert target.pixels is not None
    marked = target.pixels // 2
    marked[:, :, 4:12, 4:12] += 70  # by which the domains can be told apart
    target = replace(target, classes=("red", "blue"), pixels=marked)
    found = {}
    for labels in (0, 2):
        recipe = tiny_recipe({"data": {"target_labels": labels}, "method": "source_only", "training": {"steps": 60}})
        settled = settle(Resolved((source,), (target,), None, (), ()), recipe.data)
        task = trained(recipe, decode_domains(settled, recipe.data, progress=False), tmp_path / str(labels))
        assert task.last_answer is not None
        found[labels] = task.measure(task.last_answer)["closed_accuracy"]
    assert found[0] is not None
    assert found[0] <= 0.5  # no better than guessing
    assert found[2] is not None
    assert found[2] > 0.8


# what is refused


def test_labels_of_a_flat_target_are_refused(said: Any, domains: Path, tmp_path: Path) -> None:
    shutil.copytree(domains / "sketch" / "dog", tmp_path / "flat")
    ends = ("--source", domains / "photo", "--target", tmp_path / "flat", "--out", tmp_path / "out")
    message = said(*ends, *SMALL, "data.target_labels=3")
    assert "data.target_labels=3 needs class folders in the target, and flat has none" in message
    assert "data.labelled_target" in message
    assert not (tmp_path / "out").exists()


def test_a_class_that_the_source_does_not_have(said: Any, ends: Any, tmp_path: Path) -> None:
    draw_classes(tmp_path / "few", {"apple": 2, "dog": 2})
    message = said(*ends, *SMALL, f"data.labelled_target={tmp_path / 'few'}")
    assert "has a class 'dog', which the source does not have (apple, bird, cat): rename or remove" in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (("data.target_labels=-1",), "recipe key 'data.target_labels' cannot be '-1'"),
        (("data.target_labels=2", "data.labelled_target=few"), "are both given"),
        (("data.labelled_target=gone",), "folder gone does not exist"),
    ],
)
def test_other_refusals(said: Any, ends: Any, values: tuple[str, ...], words: str) -> None:
    assert words in said(*ends, *SMALL, *values)


def test_a_labelled_folder_without_class_folders(said: Any, ends: Any, domains: Path, tmp_path: Path) -> None:
    shutil.copytree(domains / "sketch" / "dog", tmp_path / "flat")
    assert "holds images without a class folder" in said(*ends, *SMALL, f"data.labelled_target={tmp_path / 'flat'}")
    assert "holds domains above classes" in said(*ends, *SMALL, f"data.labelled_target={domains}")


def test_a_target_of_which_nothing_is_left(said: Any, domains: Path, tmp_path: Path) -> None:
    draw_classes(tmp_path / "few", {"apple": 2})
    ends = ("--source", domains / "photo", "--target", tmp_path / "few" / "apple")
    message = said(*ends, *SMALL, f"data.labelled_target={tmp_path / 'few'}")
    assert "every image of the target is among the labelled ones of few (labelled)" in message


def test_no_second_image_to_measure_with(said: Any, domains: Path, tmp_path: Path) -> None:
    target = draw_classes(tmp_path / "target", {"apple": 1, "dog": 5})
    message = said("--source", domains / "photo", "--target", target, *SMALL, "data.target_labels=1")
    assert "no class that target shares with the source has a second image" in message
