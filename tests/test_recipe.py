from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from uda.cli import parser
from uda.flags import recipe_layers
from uda.layers import (
    assignment,
    configs_folder,
    is_frozen,
    named_data,
    published_layers,
    read_layer,
    replaced_objectives,
)
from uda.recipe import Recipe, Tree, build, differences
from uda.ssl import OBJECTIVES
from uda.tasks.unida import METHODS

ROTATION = {"form": "all", "upright": None, "head": "linear", "weight": 1.0}


def from_command(*arguments: str) -> Recipe:
    return build(recipe_layers(parser().parse_args(["--task", "unida", *arguments])))


def write(path: Path, content: Tree) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


# precedence


def test_every_layer_overrides_the_one_below(tmp_path: Path) -> None:
    config = write(tmp_path / "mine.yaml", {"training": {"lr": 3, "batch_size": 12, "steps": 7}})
    given = read_layer(configs_folder() / "unida" / "builtin.yaml")["training"]
    file = {key: float(given[key]) for key in ("lr", "batch_size", "steps", "evaluate_every")}
    assert (build([]).training.lr, build([]).training.batch_size, build([]).training.momentum) == (0.01, 36, 0.9)
    published = from_command().training
    assert (published.lr, published.batch_size, published.steps) == (file["lr"], file["batch_size"], file["steps"])
    assert published.lr != 0.01
    assert published.momentum == 0.9
    with_file = from_command("--config", str(config)).training
    assert (with_file.lr, with_file.batch_size, with_file.steps) == (3, 12, 7)
    assert with_file.evaluate_every == file["evaluate_every"]
    setting = ("--config", str(config), "--set", "training.lr=4", "training.steps=8")
    with_set = from_command(*setting).training
    assert (with_set.lr, with_set.batch_size, with_set.steps) == (4, 12, 8)
    with_flag = from_command(*setting, "--steps", "9").training
    assert (with_flag.lr, with_flag.batch_size, with_flag.steps) == (4, 12, 9)


def test_published_recipes_go_by_data_set_and_frozen_mode() -> None:
    assert from_command("--freeze").training.evaluate_every == 0  # frozen.yaml, over builtin.yaml's 200
    assert from_command("--set", "encoder.freeze=yes").training.evaluate_every == 0
    assert from_command("--freeze").data.split == "4/3/3"
    assert from_command("--source", "somewhere/else").data.split is None
    assert len(published_layers("unida", "no such data set", frozen=False)) == 0


def test_named_data_and_frozen_mode_are_those_of_the_strongest_layer() -> None:
    layers = [{"data": {"source": "a", "target": "b"}, "encoder": {"freeze": "true"}}, {"data": {"source": "c"}}]
    assert named_data(layers) == ("c", "b")
    assert is_frozen(layers)
    assert not is_frozen([*layers, {"encoder": {"freeze": "no"}}])
    assert not is_frozen([{"encoder": {"freeze": "perhaps"}}])
    assert not is_frozen([])


def test_every_published_recipe_can_be_built() -> None:
    files = sorted(configs_folder().glob("unida/*.yaml"))
    assert {file.stem for file in files} >= {"builtin", "frozen"}
    for file in files:
        build([read_layer(file)])


# values


def test_a_method_brings_its_own_rejection_rule_unless_the_recipe_names_one() -> None:
    assert build([{"method": {"name": "dance"}}]).model_dump()["rejection"] == "otsu"
    assert build([{"method": {"name": "vote"}}]).model_dump()["rejection"] == "otsu_or_none"
    assert build([{"method": {"name": "vote"}, "rejection": "fixed"}]).model_dump()["rejection"] == "fixed"


@pytest.mark.parametrize(
    ("text", "section", "key", "value"),
    [
        ("training.lr=1e-3", "training", "lr", 0.001),
        ("training.lr=1", "training", "lr", 1.0),
        ("training.precision=no", "training", "precision", "no"),
        ("training.channels_last=no", "training", "channels_last", False),
        ("training.steps=20", "training", "steps", 20),
        ("data.stored_size=null", "data", "stored_size", None),
        ("data.split=4/3/3", "data", "split", "4/3/3"),
        ("encoder.weights=none", "encoder", "weights", "none"),
        ("encoder.freeze=true", "encoder", "freeze", True),
        ("encoder.backbone=resnet18", "encoder", "backbone", "resnet18"),
    ],
)
def test_a_text_is_parsed_by_the_type_of_its_field(text: str, section: str, key: str, value: Any) -> None:
    found = getattr(getattr(build([assignment(text)]), section), key)
    assert found == value
    assert type(found) is type(value)


def test_lists_and_options_of_methods_are_parsed_by_their_types() -> None:
    recipe = build([assignment("seeds=[0, 1,2]"), assignment("method.eta=1e-1"), assignment("method.compat=official")])
    assert recipe.seeds == [0, 1, 2]
    assert recipe.method["eta"] == 0.1
    assert recipe.method["compat"] == "official"


def test_defaults_of_a_method_are_its_constructors() -> None:
    assert build([]).method == {
        "name": "dance",
        "temperature": 0.05,
        "eta": 0.05,
        "margin": 0.5,
        "start": 0.0,
        "bank": "float32",
        "compat": "paper",
    }
    assert build([{"objectives": {"rotation": {}}}]).objectives == {"rotation": ROTATION}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_has_a_recipe(name: str) -> None:
    assert build([{"method": name}]).method["name"] == name


@pytest.mark.parametrize("name", sorted(OBJECTIVES))
def test_every_objective_has_a_recipe(name: str) -> None:
    assert build([{"objectives": [name]}]).objectives[name]["weight"] == OBJECTIVES[name].default_weight


@pytest.mark.parametrize(
    "objectives", [["rotation"], "rotation", "[rotation]", {"rotation": ""}, {"rotation": None}, {"rotation": {}}]
)
def test_objectives_may_be_written_short(objectives: Any) -> None:
    assert build([{"objectives": objectives}]).objectives == {"rotation": ROTATION}


@pytest.mark.parametrize("empty", [{}, "", None])
def test_an_empty_section_says_nothing(empty: Any) -> None:
    assert build([{"training": empty, "data": empty, "objectives": empty, "method": empty}]) == build([])


def test_the_rate_of_published_recipes_follows_the_batch_size() -> None:
    def rate(*arguments: str) -> float:
        given = ("--task", "pretrain", "--objective", "simclr", "--image-size", "32", "--source", "mine", *arguments)
        return build(recipe_layers(parser().parse_args(given))).training.rate

    assert rate() == pytest.approx(0.12)  # 0.06 · 512 / 256
    assert rate("--batch-size", "64") == pytest.approx(0.015)
    assert rate("--batch-size", "64", "--set", "training.lr=0.5") == 0.5
    assert rate("--batch-size", "64", "--set", "training.lr=0.5", "training.base_lr=0.4") == pytest.approx(0.1)
    assert rate("--set", "training.lr=null", "training.base_lr=0.4") == pytest.approx(0.8)


def test_the_stronger_layer_gives_the_rate() -> None:
    layers: list[Tree] = [{"training": {"lr": "0.1"}}, {"training": {"base_lr": "0.2"}}]
    assert (build(layers).training.lr, build(layers).training.base_lr) == (None, 0.2)
    assert (build(layers[::-1]).training.lr, build(layers[::-1]).training.base_lr) == (0.1, None)
    recipe = build(layers)
    assert build([yaml.safe_load(recipe.dump())]) == recipe


def test_a_run_given_as_weights_brings_its_backbone_and_size(tmp_path: Path) -> None:
    run = build([{"task": "pretrain", "encoder": {"backbone": "smallvit"}, "data": {"image_size": 40}}])
    (tmp_path / "recipe.yaml").write_text(run.dump())
    found = from_command("--weights", str(tmp_path))
    assert (found.encoder.backbone, found.data.image_size, found.data.stored_size) == ("smallvit", 40, None)
    assert found.encoder.weights == str(tmp_path)
    assert found.data.augment == "glyph"  # the rest is the task's own
    other = from_command("--weights", str(tmp_path), "--backbone", "resnet18", "--image-size", "16")
    assert (other.encoder.backbone, other.data.image_size, other.data.stored_size) == ("resnet18", 16, 32)


# writing and identity


def test_dump_reads_back_to_the_same_recipe(tmp_path: Path) -> None:
    recipe = build(
        [
            {"data": {"source": "a b/c: d", "split": "4/3/3"}, "training": {"lr": 1e-5, "precision": "no"}},
            {"objectives": {"rotation": {"weight": 0.3}}, "seeds": [3, 4], "encoder": {"weights": None}},
        ]
    )
    (tmp_path / "recipe.yaml").write_text(recipe.dump(), encoding="utf-8")
    again = build([read_layer(tmp_path / "recipe.yaml")])
    assert again == recipe
    assert again.hash() == recipe.hash()


@given(
    st.floats(1e-12, 1e3),
    st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="[]"), min_size=1, max_size=12)),
)
def test_dump_keeps_every_number_and_text(lr: float, source: str | None) -> None:
    if source is not None and source.strip() in ("null", ""):
        return  # means: none
    recipe = build([{"training": {"lr": lr}, "data": {"source": source}}])
    again = build([yaml.load(recipe.dump(), Loader=yaml.BaseLoader)])
    assert again == recipe


@pytest.mark.parametrize(
    "text",
    ["seeds=[5, 6]", "data.root=/elsewhere", "training.evaluate_every=3", "training.checkpoint_every=3"],
)
def test_the_identity_leaves_out_what_changes_no_number(text: str) -> None:
    assert build([assignment(text)]).hash() == build([]).hash()
    assert differences(build([]), build([assignment(text)])) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("training.lr=0.02", "training.lr: 0.01 → 0.02"),
        ("training.steps=5", "training.steps: 10000 → 5"),
        ("training.batch_size=8", "training.batch_size: 36 → 8"),
        ("method.eta=0.1", "method.eta: 0.05 → 0.1"),
        ("data.source=a", "data.source: None → a"),
        ("data.strict=true", "data.strict: False → True"),
        ("encoder.backbone=resnet18", "encoder.backbone: resnet50 → resnet18"),
        ("rejection=fixed", "rejection: otsu → fixed"),
        ("objectives=rotation", "objectives.rotation.weight: None → 1.0"),
    ],
)
def test_the_identity_sees_everything_else(text: str, said: str) -> None:
    changed = build([assignment(text)])
    assert changed.hash() != build([]).hash()
    assert said in differences(build([]), changed)


def test_options_that_one_method_lacks_are_no_difference() -> None:
    one, other = (build([{"method": {"name": name, "temperature": t}}]) for name, t in (("dance", 0.05), ("uan", 0.1)))
    assert "eta" in one.method
    assert "eta" not in other.method
    assert differences(one, other) == ["method.name: dance → uan", "method.temperature: 0.05 → 0.1"]


def test_stored_squares_are_an_eighth_larger_than_the_view() -> None:
    assert build([]).data.packed_size == 256
    assert build([{"data": {"image_size": 32}}]).data.packed_size == 37  # 32·8/7 = 36.57
    assert build([{"data": {"stored_size": 300}}]).data.packed_size == 300


def test_a_method_or_objective_of_ones_own_replaces_the_published_objectives() -> None:
    published = [{"objectives": {"jigsaw": {"weight": "0.7"}}, "data": {"image_size": "32"}}, {"seeds": ["1"]}]
    assert replaced_objectives(published, [{"method": {"temperature": "1"}}, {"data": {}}]) == published
    without = [{"data": {"image_size": "32"}}, {"seeds": ["1"]}]
    assert replaced_objectives(published, [{"method": "mixup"}]) == without
    assert replaced_objectives(published, [{"objectives": {"rotation": {}}}]) == without
    assert replaced_objectives(published, [{"method": "mixup"}, {"objectives": ["jigsaw"]}]) == published


def test_options_of_views_go_with_the_family_that_had_them() -> None:
    recipe = build([{"views": {"name": "contrast", "hue": "0.3"}}, {"views": {"name": "weak"}}])
    assert recipe.views == {"name": "weak"}
