from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import nn
from torch._inductor import config as inductor

from tests.tiny import tiny_recipe, tiny_task
from uda.errors import UserError
from uda.experiments.experiment import Settings, loop_options
from uda.nn.encoder import FeatureEncoder, TimmEncoder
from uda.training.checkpoint import Identity
from uda.training.device import place
from uda.training.loop import train

CPU = torch.device("cpu")


def losses(out: Path, compiled: bool) -> pd.DataFrame:
    """Train for three steps and return what the history says."""
    recipe = tiny_recipe({"training": {"steps": 3, "compile": compiled, "evaluate_every": 0}})
    options = loop_options(recipe, 0, Settings(CPU, progress=False))
    train(tiny_task(recipe), options, out, Identity("recipe", "data"), CPU)
    return pd.read_csv(out / "history.csv").drop(columns="epoch")


def test_a_compiled_backbone_learns_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[TimmEncoder] = []

    def traced(self: TimmEncoder) -> None:
        compiled.append(self)
        nn.Module.compile(self, backend="eager")  # traced as ever, and run without the minute that kernels take

    monkeypatch.setattr(TimmEncoder, "compile", traced)
    plain = losses(tmp_path / "plain", compiled=False)
    assert not compiled
    pd.testing.assert_frame_equal(losses(tmp_path / "compiled", compiled=True), plain, rtol=1e-6)
    assert compiled


@pytest.mark.slow
def test_compiled_kernels_learn_the_same(tmp_path: Path) -> None:
    plain = losses(tmp_path / "plain", compiled=False)
    pd.testing.assert_frame_equal(losses(tmp_path / "compiled", compiled=True), plain, rtol=1e-3)


def test_without_a_compiler_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "cache"))
    torch._dynamo.reset()
    missing = {"cpp.cxx": (str(tmp_path / "no-compiler"),), "compile_threads": 1}
    said = r"could not be compiled \(.+\); install a C\+\+ compiler, or start anew without training.compile"
    with inductor.patch(missing), pytest.raises(UserError, match=said):
        losses(tmp_path / "out", compiled=True)


def test_nothing_to_compile_is_refused() -> None:
    task = tiny_task(tiny_recipe({}))
    task.encoder = FeatureEncoder(8, adapter=True)
    with pytest.raises(UserError, match=r"training.compile=true compiles a backbone, and none is trained here"):
        place(task, CPU, channels_last=False, compiled=True)
