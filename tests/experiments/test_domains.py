"""What is said of two domains before anything is decoded."""

from tests.tiny import table, tiny_recipe
from uda.datasets.resolve import Resolved
from uda.experiments.unida.domains import settle


def test_classes_that_differ_only_in_writing_are_a_warning() -> None:
    source, target = table("photo", ("apple", "bird", "C0"), 2), table("sketch", ("apple", "bird", "c0"), 2)
    found = settle(Resolved((source,), (target,), None, (), ("as before",)), tiny_recipe().data)
    assert found.warnings == (
        "as before",
        "'C0' of the source and 'c0' of the target differ only in writing and count as two classes; rename one folder "
        "if they are the same",
    )
