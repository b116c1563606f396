"""How long domain generalization will take."""

from uda.datasets.streams import Concatenated, Subset
from uda.experiments.experiment import Settings, loop_options
from uda.experiments.preflight import for_each, supervised_time
from uda.recipe import DgRecipe
from uda.tasks.dg import DomainGeneralization


def expected_time(recipe: DgRecipe, task: DomainGeneralization, settings: Settings) -> str:
    """Return how long training will take, the runs of leave_one_out included."""
    options, data = loop_options(recipe, recipe.seeds[0], settings), task.data
    images = Concatenated((data.target, Subset(data.source, data.held_out)))
    folds = data.n_domains if recipe.selection == "leave_one_out" else 0
    runs = for_each(len(recipe.seeds) * (1 + folds), "runs" if folds else "seeds")
    return supervised_time(task, options, settings.device, images, "all images tested on", runs)
