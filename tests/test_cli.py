import math
import runpy
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import timm
import torch
from safetensors import safe_open
from safetensors.torch import load_file

from tests.tiny import OF_A_SEED, SMALL, adapt, command, draw_classes, metrics_of, newest
from uda.cli import TASKS, output_folder, parser
from uda.errors import UserError
from uda.experiments.unida.assemble import method_label
from uda.layers import read_layer
from uda.metrics import UNIDA_METRICS
from uda.places import kept_if_used, new_folder
from uda.recipe import build


def numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict | list):
        for value in content.values() if isinstance(content, dict) else content:
            yield from numbers(value)
    elif isinstance(content, float):
        yield content


# one seed


def test_the_output_folder_holds_what_it_promises(finished: Path) -> None:
    assert {entry.name for entry in finished.iterdir()} == OF_A_SEED
    assert [entry.name for entry in sorted((finished / "checkpoint").iterdir())] == ["step-12", "step-8"]


def test_metrics_of_one_seed(finished: Path) -> None:
    content = metrics_of(finished)
    assert set(content["metrics"]) == {
        *("known_accuracy", "unknown_accuracy", "h_score", "h3_score", "per_class_accuracy"),
        *("closed_accuracy", "auroc", "oscr", "nmi", "universal_score"),
    }
    assert (content["task"], content["method"], content["seeds"], content["steps"]) == ("unida", "dance", [0], 12)
    assert (content["source"], content["target"], content["setting"]) == ("photo", "sketch", "open-partial")
    assert content["classes"] == ["apple", "bird", "cat"]
    assert content["images"] == {"source": 24, "target": 18}  # two of the target's 20 files cannot be read
    assert set(content["fingerprints"]) == {"source", "target"}
    assert content["metrics"]["universal_score"] == content["metrics"]["h_score"]
    assert all(math.isfinite(value) for value in numbers(content))
    for name, value in content["metrics"].items():
        assert content["per_seed"][name] == [value]
        assert content["std"][name] is None
        interval = content["ci95"][name]
        assert interval is None or interval[0] <= interval[1]
    assert set(content["by_rejection"]) == {"fixed", "otsu", "otsu_or_none"}
    assert content["by_rejection"]["otsu"]["h_score"] == content["metrics"]["h_score"]
    share = content["unknown_share"]
    assert 0 <= share["low"] <= share["estimate"] <= share["high"] <= 1


def test_the_recipe_says_everything_and_builds_again(finished: Path) -> None:
    recipe = build([read_layer(finished / "recipe.yaml")])
    assert recipe.training.steps == 12
    assert recipe.encoder.backbone == "smallconv"
    assert recipe.method["eta"] == 0.05  # the default is written out
    assert recipe.dump() == (finished / "recipe.yaml").read_text()


def test_history_of_one_seed(finished: Path) -> None:
    table = pd.read_csv(finished / "history.csv")
    assert table["step"].tolist() == list(range(1, 13))
    assert set(table.columns) >= {"epoch", "lr", "classification", "neighborhood_clustering", "entropy_separation"}
    last = metrics_of(finished)["metrics"]
    assert table["closed_accuracy"].iloc[-1] == last["closed_accuracy"]


def test_predictions_of_one_seed(finished: Path) -> None:
    table = pd.read_csv(finished / "predictions.csv")
    assert list(table.columns) == ["path", "label", "confidence", "unknown_score"]
    assert len(table) == 18
    assert set(table["label"]) <= {"apple", "bird", "cat", "unknown"}
    assert all(Path(path).is_file() for path in table["path"])
    assert table["confidence"].between(1 / 3, 1).all()  # the best of three classes
    # The figures follow from this table alone: known accuracy is that over images of shared classes.
    truth = table["path"].map(lambda path: Path(path).parent.name)
    content = metrics_of(finished)
    shared = truth.isin(["apple", "bird"])
    per_class = [(table["label"] == name)[truth == name].mean() for name in ("apple", "bird")]
    assert content["metrics"]["known_accuracy"] == pytest.approx(sum(per_class) / 2)
    assert content["metrics"]["unknown_accuracy"] == pytest.approx((table["label"] == "unknown")[~shared].mean())
    threshold = content["rejection"]["threshold"]
    assert ((table["label"] == "unknown") == (table["unknown_score"] > threshold)).all()


def test_the_backbone_loads_strictly_into_timm(finished: Path) -> None:
    model = timm.create_model("smallconv", num_classes=0)
    state = load_file(finished / "backbone.safetensors")
    model.load_state_dict(state, strict=True)
    trained = load_file(newest(finished) / "task.safetensors")
    for name, value in state.items():
        assert torch.equal(value, trained[f"encoder.backbone.{name}"])
    with safe_open(finished / "backbone.safetensors", "pt") as file:
        normalization = {"mean": "0.5 0.5 0.5", "std": "0.25 0.25 0.25"}
        assert file.metadata() == {"timm": "smallconv", "import": "uda.nn.smallconv"} | normalization


def test_the_report_is_one_file_that_names_what_was_left_out(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert "photo → sketch" in page
    assert "data:image/png;base64," in page
    assert 'src="http' not in page
    for name in ("apple/broken.png", "dog/empty.png"):
        assert name in page
    assert metrics_of(finished)["unreadable"] == [
        path for path in metrics_of(finished)["unreadable"] if path.endswith(("broken.png", "empty.png"))
    ]
    assert len(metrics_of(finished)["unreadable"]) == 2


# settings


def test_a_closed_setting_has_no_h_score_but_a_universal_score(tmp_path: Path) -> None:
    draw_classes(tmp_path / "photo", {"apple": 6, "bird": 6})
    draw_classes(tmp_path / "sketch", {"apple": 5, "bird": 5}, noise=50)
    assert adapt(tmp_path, tmp_path / "out", "--setting", "closed", steps=2) == 0
    content = metrics_of(tmp_path / "out")
    undefined = {name for name, value in content["metrics"].items() if value is None}
    assert undefined >= {"h_score", "unknown_accuracy", "auroc", "oscr", "h3_score"}
    assert undefined & {"universal_score", "known_accuracy", "closed_accuracy"} == set()
    assert content["setting"] == "closed"
    # The class mean with every rejection an error is what `known_accuracy` is too.
    assert content["metrics"]["universal_score"] == pytest.approx(content["metrics"]["known_accuracy"])
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    truth = table["path"].map(lambda path: Path(path).parent.name)
    assert content["metrics"]["universal_score"] == pytest.approx((table["label"] == truth).mean())  # 5 images each


def test_a_flat_target_has_predictions_and_no_figures(tmp_path: Path, domains: Path) -> None:
    flat = tmp_path / "flat"
    flat.mkdir()
    for number, file in enumerate(sorted((domains / "sketch").glob("*/[0-9].png"))):
        shutil.copy(file, flat / f"{number:02d}.png")
    (tmp_path / "photo").symlink_to(domains / "photo")
    assert adapt(tmp_path, tmp_path / "out", target="flat", steps=2) == 0
    content = metrics_of(tmp_path / "out")
    assert content["metrics"] == dict.fromkeys(UNIDA_METRICS)
    assert content["ci95"] == dict.fromkeys(UNIDA_METRICS)
    assert content["selection"]["oracle"] is None  # it would need labels
    table = pd.read_csv(tmp_path / "out" / "predictions.csv")
    assert [Path(path).name for path in table["path"]] == [f"{number:02d}.png" for number in range(18)]
    assert (tmp_path / "out" / "report.html").exists()


def test_frozen_features_with_an_adapter(tmp_path: Path, domains: Path) -> None:
    assert adapt(domains, tmp_path / "out", "encoder.adapter=true", "--freeze", steps=2) == 0
    assert metrics_of(tmp_path / "out")["method"] == "dance (frozen features, adapter)"
    adapter = [name for name in load_file(newest(tmp_path / "out") / "task.safetensors") if "adapter" in name]
    assert adapter
    predict = ("--task", "predict", "--source", tmp_path / "out", "--target", domains / "sketch")
    assert command(*predict, "--out", tmp_path / "again") == 0
    ours, theirs = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("out", "again"))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)


@pytest.mark.parametrize(
    ("layer", "label"),
    [
        ({}, "dance"),
        ({"objectives": ["rotation"]}, "dance+rotation"),
        ({"encoder": {"freeze": "true"}}, "dance (head only)"),
        ({"encoder": {"freeze": "true", "adapter": "true"}}, "dance (frozen features, adapter)"),
        ({"encoder": {"freeze": "true"}, "method": "source_only"}, "source_only"),
    ],
)
def test_a_method_that_cannot_move_features_is_labelled(layer: dict[str, Any], label: str) -> None:
    assert method_label(build([layer])) == label


# the command itself


def test_predict_agrees_with_the_run(finished: Path, domains: Path, tmp_path: Path, capsys: Any) -> None:
    predict = ("--task", "predict", "--source", finished, "--target", domains / "sketch", "--out", tmp_path)
    assert command(*predict) == 0
    ours, theirs = (pd.read_csv(folder / "predictions.csv") for folder in (finished, tmp_path))
    pd.testing.assert_frame_equal(ours, theirs, check_exact=True)
    printed = capsys.readouterr().out
    assert "18 images" in printed
    assert "left out" in printed
    assert command(*predict) == 2
    assert "holds predictions already" in capsys.readouterr().err


def test_what_was_understood_is_printed(finished: Path) -> None:
    printed = (finished.parent / "printed.txt").read_text()
    assert "photo: 24 images, 3 classes (apple 8, bird 8, cat 8)" in printed
    assert "2 shared / 1 source-private / 1 target-private classes (open-partial)" in printed
    lost = "sketch: 2 of 20 images cannot be read and are left out, 18 remain; the report lists the files"
    assert printed.count(lost) == 1
    assert f"warning: {lost}" in printed
    assert lost in (finished / "report.html").read_text(encoding="utf-8")
    assert "dance, seed 0: smallconv with weights from random initialization" in printed
    assert f"report: {finished / 'report.html'}" in printed


def test_help_lists_tasks_methods_and_objectives(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        command("--help")
    assert caught.value.code == 0
    text = " ".join(capsys.readouterr().out.split())
    assert f"tasks: {', '.join(TASKS)}" in text
    assert "source_only" in text
    assert "rotation" in text


@pytest.mark.parametrize("how", ["module", "script"])
def test_the_command_by_its_other_names(how: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(sys, "argv", ["uda", "--task", "unidaa"])
    run: Any = runpy.run_module if how == "module" else runpy.run_path
    with pytest.raises(SystemExit) as caught:
        run("uda" if how == "module" else str(Path(__file__).parents[1] / "run.py"), run_name="__main__")
    assert caught.value.code == 2
    assert "unknown task 'unidaa': did you mean unida" in capsys.readouterr().err


def test_without_out_each_run_has_a_new_folder_below_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ends = ["--source", "/data/photo", "--target", "office/dslr"]
    flags = parser().parse_args(["--task", "unida", "--method", "source_only", *ends])
    first = output_folder(flags, "dance")
    assert first == Path("runs/unida-source_only-photo-dslr")
    assert first.is_dir()  # at once, for another run may begin meanwhile
    assert output_folder(flags, None) == Path("runs/unida-source_only-photo-dslr-2")


def test_a_recipe_names_its_task_and_no_other_may_run_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "mine.yaml"
    config.write_text("task: pretrain\nobjectives: [no-such-objective]\n")
    assert command("--config", config, "--out", tmp_path / "out") == 2
    assert "unknown objective 'no-such-objective'" in capsys.readouterr().err  # so it was read as a pre-training
    assert command("--task", "unida", "--config", config, "--out", tmp_path / "out") == 2
    assert f"'{config}' is for task 'pretrain', not 'unida'; leave --task out" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_sweep_takes_no_compare(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--sweep", "training.lr=0.1,0.2", "--compare", "--out", tmp_path / "out") == 2
    assert "--sweep tables its combinations beside each other and takes no --compare" in capsys.readouterr().err


def test_flags_that_mean_nothing_to_a_task_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--task", "unida", "--labels", "10%", "--out", tmp_path / "out") == 2
    assert "--labels means nothing to task 'unida'; leave it out" in capsys.readouterr().err
    assert command("--task", "pretrain", "--target", "x", "--out", tmp_path / "out") == 2
    assert "--target means nothing to task 'pretrain'" in capsys.readouterr().err
    assert command("--task", "predict", "--source", tmp_path, "--target", tmp_path, "--image-size", "64") == 2
    assert "predict takes the run as it is and no --image-size" in capsys.readouterr().err


def test_a_placebo_wants_an_objective(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for objective in ([], ["--objective", "placebo:rotation"]):
        assert command(*objective, "--compare", "placebo", "--out", tmp_path / "out") == 2
        assert "--compare placebo wants an --objective" in capsys.readouterr().err


def test_of_two_runs_that_begin_together_each_has_a_folder(tmp_path: Path) -> None:
    first, second = new_folder(tmp_path / "runs" / "a"), new_folder(tmp_path / "runs" / "a")
    assert [first.name, second.name] == ["a", "a-2"]
    assert len(new_folder(tmp_path / ("long" * 99)).name) == 200
    with pytest.raises(UserError, match="refused"), kept_if_used(first):
        raise UserError("refused")
    assert not first.exists()
    with kept_if_used(second):
        (second / "recipe.yaml").write_text("")
    assert second.is_dir()


def test_a_run_that_is_refused_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command("--task", "unida", "--source", "gone", "--target", "gone") == 2
    assert not list((tmp_path / "runs").iterdir())


def test_names_that_no_disk_takes_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("--task", "probe", "--source", tmp_path / ("a" * 300)) == 2
    assert command("--task", "unida", "--out", tmp_path / ("b" * 300)) == 2
    said = capsys.readouterr().err
    assert said.count("is too long for a file; give a shorter one") == 2


def test_metrics_that_were_cut_off_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "metrics.json").write_text('{"task": ')
    assert command("compare", tmp_path / "a", tmp_path / "b") == 2
    assert "is no whole JSON file; make the run again" in capsys.readouterr().err


def test_whoever_reads_the_first_line_alone_gets_no_traceback(tmp_path: Path) -> None:
    draw_classes(tmp_path / "data", {"apple": 6, "bird": 6})
    script = str(Path(__file__).parents[1] / "run.py")
    flags = ["--task", "pretrain", "--objective", "simclr", "--steps", "1", "--source", str(tmp_path / "data"), *SMALL]
    run = [sys.executable, script, *flags]
    with subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert "defect" not in said
    assert "BrokenPipe" not in said


def test_class_names_may_be_any_bytes(tmp_path: Path) -> None:
    draw_classes(tmp_path / "old", {"apple": 6, "bird": 6, "cat": 6})
    draw_classes(tmp_path / "new", {"apple": 6, "bird": 6, "cafe": 6})
    (tmp_path / "new" / "cafe").rename(tmp_path / "new" / "caf\udce9")  # a byte that is no UTF-8
    ends = ("--source", tmp_path / "old", "--target", tmp_path / "new", "--out", tmp_path / "run")
    assert command("--task", "unida", *ends, "--steps", 2, *SMALL) == 0
    assert metrics_of(tmp_path / "run")["images"]
    assert (
        command("--task", "imbalance", "--source", tmp_path / "new", "--steps", 2, "--out", tmp_path / "t", *SMALL) == 0
    )
