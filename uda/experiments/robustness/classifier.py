"""What names the classes where nothing was trained: a saved run's classifier, a class map, or a probe fitted first."""

from collections.abc import Mapping
from pathlib import Path

from torch import nn

from uda.errors import UserError
from uda.experiments.experiment import read_metrics
from uda.experiments.fitted import fit_classifier
from uda.layers import read_layer
from uda.nn.weights import find_classifier, read_tensors
from uda.probes.robustness import ClassMapped, Subject
from uda.recipe import RobustnessRecipe, build
from uda.ssl.rotation import Rotation
from uda.tasks.robustness import Robust
from uda.training.outputs import write_tensors
from uda.wording import counted

CLASSIFIER = "classifier.safetensors"
_TURNS = "turns."


def give_classifier(recipe: RobustnessRecipe, task: Robust) -> str:
    """Give the task's backbone, whose weights are not trained, a classifier; return in a sentence which one."""
    names = task.data.class_names
    if recipe.report.class_map is not None:
        members = read_class_map(Path(recipe.report.class_map), names)
        own = find_classifier(recipe.encoder.backbone, recipe.encoder.weights)
        # The method's linear classifier makes room for one of the same use.
        task.method.register_module("classifier", ClassMapped(own, [members[name] for name in names]))
        task.method.to(task.threshold.device)
        return (
            f"classifier: the backbone's own, {counted(sum(map(len, members.values())), 'class')} of it as {len(names)}"
        )
    run = saved_run(recipe)
    if run is not None:
        state, _ = read_tensors(run / CLASSIFIER)
        turns = {name.removeprefix(_TURNS): state.pop(name) for name in list(state) if name.startswith(_TURNS)}
        task.method.classifier.load_state_dict(state)
        if turns:
            judge = nn.Linear(task.encoder.dim, 4)
            judge.load_state_dict(turns)
            task.judges = [judge.to(task.threshold.device)]
        return f"classifier: that of the run '{run}'"
    return fit_classifier(task, task.method.classifier, task.data.images, task.data.labels)


def turn_heads(task: Robust) -> list[nn.Linear]:
    """Return the heads that tell how often an image was turned, on pooled features."""
    found = [objective.head for objective in task.objectives if type(objective) is Rotation]
    return [head for head in found if isinstance(head, nn.Linear)]


def subject_of(task: Robust) -> Subject:
    """Return a task as reports ask it, with the head that tells turns if it has one."""
    heads = [*turn_heads(task), *task.judges]
    return Subject(task.encoder, task.method.classifier, heads[0] if heads else None)


def write_classifier(folder: Path, task: Robust) -> None:
    """Write the classifier, and beside it the head that tells turns where rotation was learned."""
    tensors = dict(task.method.classifier.state_dict())
    for head in turn_heads(task)[:1]:
        # As they are in effect: under spectral norm the state has what they are computed from, anew in training.
        head.eval()
        tensors |= {f"{_TURNS}weight": head.weight.detach(), f"{_TURNS}bias": head.bias.detach()}
    write_tensors(folder / CLASSIFIER, tensors)


def read_class_map(path: Path, names: tuple[str, ...]) -> Mapping[str, list[int]]:
    """Return for each class the numbers of the model's own classes that it stands for; UserError says what is wrong."""
    layer = read_layer(path)
    missing = [name for name in names if name not in layer]
    if missing:
        raise UserError(
            f"the class map '{path}' has nothing for class '{missing[0]}'; write its numbers: {missing[0]}: [0]"
        )
    found = {}
    for name in names:
        own = layer[name] if isinstance(layer[name], list) else str(layer[name]).strip("[]").split(",")
        numbers = [str(text).strip() for text in own]
        if not numbers or not all(text.isdecimal() for text in numbers):
            raise UserError(
                f"the class map '{path}' has {layer[name]!r} for '{name}'; write numbers of the model's classes: "
                f"{name}: [281, 282]"
            )
        found[name] = [int(text) for text in numbers]
    return found


def saved_run(recipe: RobustnessRecipe) -> Path | None:
    """Return the run that the weights are of, if it has a classifier and nothing is trained."""
    run = Path(recipe.encoder.weights).expanduser() if recipe.encoder.weights else None
    return run if run is not None and not recipe.training.steps and (run / CLASSIFIER).is_file() else None


def learned_warnings(run: Path, recipe: RobustnessRecipe, fingerprints: Mapping[str, str]) -> list[str]:
    """Refuse images of which a saved run has learned from other ones; return a warning where that cannot be known."""
    content = read_metrics(run)
    pool = ("train", "test")
    if all(content["fingerprints"].get(part) == fingerprints.get(part) for part in pool):
        share = build([read_layer(run / "recipe.yaml")]).model_dump()["data"].get("validation")
        if share not in (None, recipe.data.validation):
            raise UserError(
                f"the run '{run}' kept data.validation={share:g} of these images from training; give the same, so that "
                "the temperature is fitted on images that it has not learned from"
            )
        return []
    return [
        f"these are not just the images that the run '{run}' was trained on: if it has learned from any of those that "
        "are tested on, or that the temperature is fitted on, figures are better than they should be"
    ]


def check_classifier(recipe: RobustnessRecipe, names: tuple[str, ...]) -> None:
    """Refuse, before anything is decoded, a run of other classes, or a class map that fits no classifier."""
    run = saved_run(recipe)
    if recipe.report.class_map is None and run is not None and tuple(read_metrics(run)["classes"]) != names:
        known = read_metrics(run)["classes"]
        raise UserError(
            f"the run '{run}' names the classes {', '.join(known[:3])}, …, and the images are of "
            f"{', '.join(names[:3])}, …; give images of the same classes, or its backbone.safetensors as --weights for "
            "a probe on it"
        )
    if recipe.report.class_map is None:
        return
    if recipe.training.steps:
        raise UserError("report.class_map reads a backbone's own classifier, and training makes one; give --steps 0")
    path = Path(recipe.report.class_map)
    members, own = read_class_map(path, names), find_classifier(recipe.encoder.backbone, recipe.encoder.weights)
    highest = max(max(numbers) for numbers in members.values())
    if highest >= own.out_features:
        raise UserError(
            f"the class map '{path}' names class {highest} and the backbone has {own.out_features}, counted from 0; "
            "mend the map"
        )
