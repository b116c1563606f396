import pytest
import torch

from tests.tiny import tiny_domains, tiny_recipe
from uda.experiments.unida.assemble import build_task, margin_warnings, prepare_inputs, unida_data
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


def test_a_margin_that_no_entropy_exceeds_is_said() -> None:
    # Entropies of two classes lie in [0, .693], no further than .347 from the middle; of three .549.
    recipe = tiny_recipe({"method": {"name": "dance"}})
    (said,) = margin_warnings(recipe, 2)
    assert "never acts at method.margin=0.5; set method.margin=0.12" in said
    assert margin_warnings(recipe, 3) == []
    assert margin_warnings(tiny_recipe({"method": {"name": "dance", "margin": 0.12}}), 2) == []
    assert margin_warnings(tiny_recipe({"method": {"name": "source_only"}}), 2) == []
