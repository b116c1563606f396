"""How long domain generalization will take."""

from uda.clock import Clock
from uda.datasets.streams import Concatenated, Subset
from uda.experiments import preflight
from uda.experiments.experiment import Settings, loop_options
from uda.recipe import DgRecipe
from uda.tasks.dg import DomainGeneralization
from uda.training.loop import stream_batch_size


def expected_time(recipe: DgRecipe, task: DomainGeneralization, settings: Settings) -> str:
    """Return how long training will take, the runs of leave_one_out included."""
    options, data, streams = loop_options(recipe, recipe.seeds[0], settings), task.data, task.streams().values()
    images = Concatenated((data.target, Subset(data.source, data.held_out)))
    seen, available = sum(map(stream_batch_size, streams)), sum(len(stream.images) for stream in streams)
    clocks = (Clock(step, options.steps, options.seed, seen, available) for step in range(options.steps))
    looks = [
        preflight.Looks(preflight.evaluations(options), len(images), "all images tested on"),
        preflight.Looks(preflight.assignments(task.objectives, clocks), available, "all images learned from"),
    ]
    seeds, folds = len(recipe.seeds), data.n_domains if recipe.selection == "leave_one_out" else 0
    runs = f" for each of {seeds * (1 + folds)} {'runs' if folds else 'seeds'}" if seeds * (1 + folds) > 1 else ""
    return preflight.time_line(task, options, settings.device, DomainGeneralization.answer, images, looks, runs)
