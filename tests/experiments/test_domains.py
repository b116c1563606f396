"""What is said of two domains before anything is decoded."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.tiny import SMALL, draw_classes, table, tiny_recipe
from uda.datasets.resolve import Resolved
from uda.errors import UserError
from uda.experiments.unida.assemble import check_held_out
from uda.experiments.unida.domains import settle


def test_classes_that_differ_only_in_writing_are_a_warning() -> None:
    source, target = table("photo", ("apple", "bird", "C0"), 2), table("sketch", ("apple", "bird", "c0"), 2)
    found = settle(Resolved((source,), (target,), None, (), ("as before",)), tiny_recipe().data)
    assert found.warnings == (
        "as before",
        "'C0' of the source and 'c0' of the target differ only in writing and count as two classes; rename one folder "
        "if they are the same",
    )


@pytest.mark.parametrize("rule", ["iwv", "dev"])
def test_a_selection_for_which_nothing_is_held_out_is_refused(rule: str) -> None:
    recipe = tiny_recipe({"selection": rule, "data": {"source_holdout": 0.2}})
    with pytest.raises(UserError, match=r"data\.source_holdout=0\.2 holds none out: give a class 3 images or more"):
        check_held_out(recipe, table("photo", ("apple", "bird"), 2))
    check_held_out(recipe, table("photo", ("apple", "bird"), 3))
    check_held_out(tiny_recipe({"selection": "snd"}), table("photo", ("apple", "bird"), 1))


def test_no_patient_is_held_out_in_part() -> None:
    recipe = tiny_recipe({"selection": "dev", "data": {"source_holdout": 0.2}})
    whole = table("center0", ("normal", "tumor"), 5)
    check_held_out(recipe, replace(whole, columns={"patient": np.array(list("ppqqq" * 2))}))
    with pytest.raises(UserError, match="holds none out"):  # each class is one patient's
        check_held_out(recipe, replace(whole, columns={"patient": np.array(list("pppppqqqqq"))}))


def test_it_is_refused_before_anything_trains(tmp_path: Path, said: Any) -> None:
    for name in ("photo", "sketch"):
        draw_classes(tmp_path / name, {"apple": 1, "bird": 1})
    ends = ("--source", tmp_path / "photo", "--target", tmp_path / "sketch", "--out", tmp_path / "out")
    message = said(*ends, *SMALL, "data.source_holdout=0.5", "selection=dev")
    assert "give a class 2 images or more, or choose a rule that needs none: last, entropy, snd, mixval" in message
    assert not (tmp_path / "out").exists()
