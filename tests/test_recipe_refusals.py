"""What a recipe refuses, and in which words."""

from pathlib import Path

import pytest
import yaml

from uda.cli import parser
from uda.errors import UserError
from uda.flags import recipe_layers
from uda.layers import assignment, read_layer
from uda.recipe import Recipe, Tree, build


def refused(*layers: Tree) -> str:
    with pytest.raises(UserError) as caught:
        build(layers)
    return str(caught.value)


def from_command(*arguments: str) -> Recipe:
    return build(recipe_layers(parser().parse_args(["--task", "unida", *arguments])))


def write(path: Path, content: Tree) -> Path:
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.mark.parametrize(
    "arguments",
    [
        ("--set", "training.lr=1", "objectives.moco.queue=7"),
        ("--sweep", "objectives.moco.queue=7,8"),
    ],
)
def test_an_option_of_an_objective_that_is_not_named_is_refused(arguments: tuple[str, ...], tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        from_command("--objective", "simclr", "rotation", *arguments)
    assert str(caught.value) == (
        "objectives.moco.queue is an option of 'moco', which is not among the objectives named (simclr, rotation); "
        "name it too, or leave the option out"
    )
    config = write(tmp_path / "mine.yaml", {"objectives": ["moco"]})
    for named in (("--objective", "simclr", "moco"), ("--objective", "simclr", "--config", str(config)), ()):
        assert "moco" in from_command(*named, "--set", "objectives.moco.queue=7").objectives


@pytest.mark.parametrize(
    ("text", "nearest"),
    [
        ("training.lrr=1", "training.lr"),
        ("trainig.lr=1", "training.lr"),
        ("lr=1", "training.lr"),
        ("nothing.like.it=1", None),
        ("seed=1", "seeds"),
        ("method.etta=1", "method.eta"),
        ("objectives.rotation.wait=1", "objectives.rotation.weight"),
    ],
)
def test_an_unknown_key_is_named_with_the_nearest(text: str, nearest: str | None) -> None:
    message = refused(assignment(text))
    assert f"unknown recipe key '{text.partition('=')[0]}'" in message
    assert nearest is None or f"did you mean {nearest}" in message
    assert "recipe.yaml" in message
    assert len(message) < 250  # the list of all keys would push the nearest off the screen


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("training.lr=fast", "'training.lr' cannot be 'fast'"),
        ("training.lr=-1", "'training.lr' cannot be '-1': Input should be greater than 0"),
        ("training.steps=1.5", "'training.steps' cannot be '1.5'"),
        ("training.precision=fp8", "'training.precision' cannot be 'fp8'"),
        ("encoder.backbone=null", "'encoder.backbone' cannot be None"),
        ("data.setting=opn", "'data.setting' cannot be 'opn'"),
        ("method.compat=exact", "'method.compat' cannot be 'exact'"),
        ("objectives.rotation.weight=much", "'objectives.rotation.weight' cannot be 'much'"),
        ("seeds=[0, 0]", "'seeds' cannot be ['0', '0']: each seed once"),
        ("seeds=[-1]", "'seeds.0' cannot be '-1'"),
        ("seeds=[]", "'seeds' cannot be []"),
    ],
)
def test_a_value_of_no_use_names_its_key(text: str, words: str) -> None:
    message = refused(assignment(text))
    assert words in message
    assert message.endswith("give another value")


def test_a_task_that_does_not_exist_is_named_with_the_nearest() -> None:
    assert "unknown task 'pretrian': did you mean pretrain?" in refused(assignment("task=pretrian"))


@pytest.mark.parametrize("text", ["data=office", "training=5", "encoder=resnet50", "objectives.rotation=0.5"])
def test_a_value_in_the_place_of_a_section_is_refused(text: str) -> None:
    key = text.partition("=")[0]
    assert f"recipe key '{key}' is a section" in refused(assignment(text))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"method": "danse"}, "unknown method 'danse': did you mean dance"),
        ({"objectives": ["rotations"]}, "unknown objective 'rotations': did you mean rotation"),
        ({"rejection": "otso"}, "unknown rejection rule 'otso': did you mean otsu"),
    ],
)
def test_unknown_names(layer: Tree, words: str) -> None:
    assert words in refused(layer)


@pytest.mark.parametrize("text", ["training.lr", "=5", ""])
def test_an_assignment_needs_a_key_and_a_value(text: str) -> None:
    with pytest.raises(UserError, match=r"--set wants key\.path=value"):
        assignment(text)


def test_files_that_are_no_recipe(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.yaml' does not exist; published ones are in '.*configs'"):
        read_layer(tmp_path / "no.yaml")
    (tmp_path / "broken.yaml").write_text("training: [1\n")
    with pytest.raises(UserError, match=r"broken\.yaml' is no YAML"):
        read_layer(tmp_path / "broken.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(UserError, match="no mapping of keys to values"):
        read_layer(tmp_path / "list.yaml")
    (tmp_path / "empty.yaml").write_text("")
    assert read_layer(tmp_path / "empty.yaml") == {}


def test_one_rate_is_one_value() -> None:
    assert "training.lr and training.base_lr are two ways to" in refused({"training": {"lr": "1", "base_lr": "1"}})
    assert "training.lr and training.base_lr are both null; give one" in refused({"training": {"lr": "null"}})
    assert "'training.base_lr' cannot be '0'" in refused({"training": {"base_lr": "0"}})


# changing the method


def test_another_method_keeps_the_options_that_both_have() -> None:
    below = {"method": {"name": "dance", "eta": "0.3", "temperature": "0.1"}}
    assert build([below, {"method": "source_only"}]).method == {"name": "source_only", "temperature": 0.1}
    assert build([below, {"method": "dance"}]).method["eta"] == 0.3


def test_an_option_that_no_method_has_is_refused_even_when_the_method_changes() -> None:
    below = {"method": {"name": "dance", "etta": "0.3"}}
    assert "unknown recipe key 'method.etta'" in refused(below, {"method": "source_only"})


def test_an_option_set_for_a_method_that_lacks_it_is_refused() -> None:
    with pytest.raises(UserError, match=r"unknown recipe key 'method\.eta'"):
        from_command("--set", "method.eta=0.3", "--method", "source_only")
