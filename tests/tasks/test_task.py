import pytest

from uda.clock import Clock
from uda.tasks.task import Task


def test_a_task_that_defines_nothing_says_so() -> None:
    task = Task()
    for call in (task.streams, task.evaluate, lambda: task({}, "all", Clock(0, 1))):
        with pytest.raises(TypeError, match="Task defines no"):
            call()
    assert task.players() == {"all": [{"params": [], "lr_scale": 1.0}]}
