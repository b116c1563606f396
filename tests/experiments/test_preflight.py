import contextlib
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.tiny import adapt, assert_same_run, command, tensors_of, tiny_domains, tiny_recipe, tiny_task
from uda.experiments import preflight
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.experiment import run as experiments_run
from uda.experiments.unida import preflight as unida_preflight
from uda.experiments.unida.assemble import prepare_inputs
from uda.experiments.unida.experiment import UnidaExperiment
from uda.experiments.unida.preflight import lines, look_before, time_line
from uda.recipe import Tree, UnidaRecipe, build_as, differences
from uda.tasks import METHODS

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Path:
    """Return two domains of structured images; the target repeats two of the source's, darker, and one of its own."""
    root = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    for domain, counts in (("photo", {"apple": 12, "bird": 3}), ("sketch", {"apple": 7, "dog": 7})):
        for name, count in counts.items():
            (root / domain / name).mkdir(parents=True)
            for number in range(count):
                blocks = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
                Image.fromarray(blocks).save(root / domain / name / f"{number}.png")
    for number in (4, 5):
        image = Image.open(root / "photo" / "apple" / f"{number}.png")
        image.point(lambda v: v * 0.7).save(root / "sketch" / "apple" / f"{number}.png")
    Image.open(root / "sketch" / "dog" / "0.png").save(root / "sketch" / "dog" / "6.jpg", quality=70)
    (root / "sketch" / "dog" / "6.png").unlink()
    return root


def run(domains: Path, out: Path, *more: object, **options) -> str:
    """Adapt; return what was printed."""
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert adapt(domains, out, "data.stored_size=32", *more, **options) == 0
    return printed.getvalue()


def content(out: Path) -> dict:
    return json.loads((out / "metrics.json").read_text())


@pytest.fixture(scope="module")
def looked(planted, tmp_path_factory) -> tuple[Path, str]:
    """Return a run's folder and what it printed."""
    out = tmp_path_factory.mktemp("looked") / "run"
    return out, run(planted, out, steps=8)


def test_it_is_said_before_training(looked):
    _, printed = looked
    before, after = printed.split("dance, seed 0")
    for part in (
        "15 source images of 2 classes, 14 target images; most of 'apple' (12), fewest of 'bird' (3)",
        "warning: fewer than 5 source images of bird (3)",
        "proxy A-distance",
        "near-duplicate pairs: 2 across the domains, 0 within the source, 1 within the target",
        "warning: 2 target images have a near-duplicate in the source",
        "training takes about",
        "8 steps of",
    ):
        assert part in before
        assert part not in after


def test_metrics_hold_what_was_found_and_no_time(looked, planted):
    found = content(looked[0])["preflight"]
    assert found["source_images"] == {"apple": 12, "bird": 3}
    assert found["few_images"] == ["bird"]
    assert found["target_images"] == 14
    assert found["proxy_a_distance"]["images"] == [15, 14]
    low, high = found["proxy_a_distance"]["ci95"]
    assert 0 <= low <= found["proxy_a_distance"]["value"] <= high <= 2
    across = found["near_duplicates"]["across"]
    assert (across["pairs"], across["images"]) == (2, [2, 2])
    for pair in across["nearest"]:
        assert Path(pair["paths"][0]).name == Path(pair["paths"][1]).name
        assert 0.6 <= pair["similarity"] <= 1
    assert {Path(path).name for pair in across["nearest"] for path in pair["paths"]} == {"4.png", "5.png"}
    (own,) = found["near_duplicates"]["target"]["nearest"]
    assert {Path(path).name for path in own["paths"]} == {"0.png", "6.jpg"}
    assert "second" not in json.dumps(found)


def test_the_report_shows_it(looked):
    html = (looked[0] / "report.html").read_text()
    assert "<h2>Before training</h2>" in html
    assert "near-duplicate pairs: 2 across the domains" in html
    assert html.count("The nearest near-duplicates") == 4  # two figures, each with its caption and its alt text


class Unwritten(UnidaExperiment):
    """The experiment without its reports, which take longer than all the rest."""

    def write(self, *_: object) -> None:
        pass


def unwritten_run(
    planted: Path, out: Path, *layers: Tree, baseline: Tree | None = None, seeds: tuple[int, ...] = (0,)
) -> str:
    """Run a tiny recipe without reports; return what was said."""
    said: list[str] = []
    data: Tree = {"data": {"source": str(planted / "photo"), "target": str(planted / "sketch")}}
    given = (data, {"training": {"steps": 6, "evaluate_every": 2}, "seeds": list(seeds)}, *layers)
    other = None if baseline is None else tiny_recipe(*given, baseline)
    experiments_run(Unwritten(), tiny_recipe(*given), out, Settings(CPU, False, say=said.append), other)
    return "\n".join(said)


LAYERS: list[Tree] = [
    *({"method": {"name": method}} for method in METHODS["unida"]),
    {"encoder": {"freeze": True}},
    {"method": {"name": "consensus"}, "encoder": {"batch_statistics": "target"}},
    {"objectives": {"rotation": {}}},
]


@pytest.mark.parametrize("layer", LAYERS)
def test_no_number_changes_by_looking(planted, tmp_path, layer):
    unwritten_run(planted, tmp_path / "with", layer)
    said = unwritten_run(planted, tmp_path / "without", layer, {"preflight": False})
    assert "proxy A-distance" not in said
    assert "preflight" not in content(tmp_path / "without")
    ours, theirs = tensors_of(tmp_path / "with"), tensors_of(tmp_path / "without")
    assert [name for name, value in ours.items() if not torch.equal(value, theirs[name])] == []
    rows = [pd.read_csv(tmp_path / name / "history.csv") for name in ("with", "without")]
    pd.testing.assert_frame_equal(*rows, check_exact=True)
    seen = content(tmp_path / "with")
    assert seen.pop("preflight")
    assert seen == content(tmp_path / "without")


def test_it_changes_neither_the_task_nor_the_random_state():
    recipe = tiny_recipe()
    domains, task = tiny_domains(recipe), tiny_task(recipe)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    inputs = prepare_inputs(recipe, domains, CPU, progress=False)
    state = torch.random.get_rng_state()
    UnidaExperiment().look_before(recipe, domains, inputs, task, Settings(CPU, say=lambda line: None))
    assert torch.equal(torch.random.get_rng_state(), state)
    for name, value in task.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)
    assert task.training
    assert task.last_answer is None


def test_a_resumed_run_does_not_look_again(looked, tmp_path, monkeypatch):
    shutil.copytree(looked[0], tmp_path / "run")
    monkeypatch.setattr(unida_preflight, "_look", lambda *_: pytest.fail("looked again"))
    monkeypatch.setattr(preflight, "seconds_per_step", lambda *_: pytest.fail("timed again"))
    (tmp_path / "run" / "metrics.json").unlink()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert command("--resume", "--out", tmp_path / "run") == 0
    assert "proxy A-distance" not in printed.getvalue()
    assert_same_run(tmp_path / "run", looked[0])


def test_seeds_and_arms_are_told_once_and_hold_the_same(planted, tmp_path):
    said = unwritten_run(planted, tmp_path, baseline={"method": {"name": "source_only"}}, seeds=(0, 1))
    assert said.count("proxy A-distance") == said.count("training takes about") == 1
    assert "for each of 2 seeds" in said
    folders = [tmp_path / part for part in (".", "seed-0", "seed-1", "baseline", "baseline/seed-1")]
    found = [content(folder)["preflight"] for folder in folders]
    assert all(other == found[0] for other in found)


def test_an_arm_with_another_backbone_is_looked_at_too(planted, tmp_path):
    said = unwritten_run(planted, tmp_path, baseline={"encoder": {"freeze": True}})
    assert said.count("proxy A-distance") == 2


def test_what_the_cache_cannot_give_is_computed_anew(tmp_path, monkeypatch):
    monkeypatch.setenv("UDA_CACHE", str(tmp_path / "cache"))
    recipe = tiny_recipe()
    domains = tiny_domains(recipe)
    inputs = prepare_inputs(recipe, domains, CPU, progress=False)
    found = look_before(recipe, domains, inputs, CPU)
    (kept,) = (tmp_path / "cache" / "preflight").glob("*.json")
    kept.write_text("{")
    assert look_before(recipe, domains, inputs, CPU) == found
    assert json.loads(kept.read_text())  # mended
    (tmp_path / "file").touch()
    monkeypatch.setenv("UDA_CACHE", str(tmp_path / "file"))  # nothing can be written below a file
    assert look_before(recipe, domains, inputs, CPU) == found


def test_the_key_decides_no_number():
    one, other = (build_as(UnidaRecipe, [{"preflight": value}]) for value in ("true", "no"))
    assert (one.preflight, other.preflight) == (True, False)
    assert one.hash() == other.hash()
    assert differences(one, other) == []


def finding(**changes) -> dict:
    duplicates = {"compared": [9, 9]} | {
        kind: {"pairs": 0, "images": [0, 0]} for kind in ("across", "source", "target")
    }
    distance = {"value": 1.5, "ci95": [1.2, 1.7], "error": 0.125, "images": [9, 9]}
    found = {"source_images": {"a": 5, "b": 5}, "few_images": [], "target_images": 9}
    return found | {"proxy_a_distance": distance, "near_duplicates": duplicates} | changes


def test_lines_of_even_classes_without_duplicates():
    assert lines(finding()) == (
        "10 source images of 2 classes, 9 target images; 5 of each class",
        "proxy A-distance 1.50 [1.20, 1.70] before training (0: the domains cannot be told apart, 2: always), "
        "on 9 source and 9 target images",
        "near-duplicate pairs: 0 across the domains, 0 within the source, 0 within the target",
    )


def test_lines_say_where_the_distance_is_undefined_and_where_not_all_were_compared():
    undefined = {"value": None, "ci95": None, "error": None, "images": [9, 1]}
    some = finding()["near_duplicates"] | {"compared": [10_000, 9]}
    told = lines(finding(proxy_a_distance=undefined, near_duplicates=some))
    assert "proxy A-distance: undefined, a domain has a single image" in told
    assert told[-1].startswith("near-duplicate pairs among 10000 source and 9 target images: 0 across")


def test_the_estimate_counts_evaluations_and_pseudo_labels():
    def told(*layers) -> str:
        recipe = tiny_recipe({"training": {"steps": 12, "evaluate_every": 5}}, *layers)
        return time_line(tiny_task(recipe), loop_options(recipe, 0, Settings(CPU)), CPU, seeds=1)

    assert "12 steps of" in told()
    assert "and 3 looks of" in told()  # after steps 5, 10 and 12
    # 15 target and 15 source images, 12 in a step: an epoch ends every 2.5 steps, so clusters are made before steps
    # 0, 3, 5, 8 and 10.
    assert "and 8 looks of" in told({"objectives": {"deepcluster": {"clusters": 2}}})
    assert "0 steps of 0 s and 1 look of" in told({"training": {"steps": 0}})
