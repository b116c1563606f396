import pytest
import torch

from tests.tiny import tiny_domains, tiny_recipe
from uda.experiments.unida.assemble import build_task, prepare_inputs, unida_data
from uda.recipe import Tree


@pytest.mark.parametrize("encoder", [{}, {"freeze": True}, {"freeze": True, "adapter": True}])
def test_initial_weights_depend_on_the_seed_alone(encoder: Tree) -> None:
    recipe = tiny_recipe({"encoder": encoder})
    domains = tiny_domains(recipe)
    inputs = prepare_inputs(recipe, domains, torch.device("cpu"), progress=False)

    def weights(seed: int, drawn_before: int) -> list[torch.Tensor]:
        torch.manual_seed(drawn_before)
        return list(build_task(recipe, unida_data(domains, inputs), inputs.backbone, seed).parameters())

    first = weights(seed=3, drawn_before=0)
    assert all(map(torch.equal, first, weights(seed=3, drawn_before=1)))
    assert not all(map(torch.equal, first, weights(seed=4, drawn_before=0)))
