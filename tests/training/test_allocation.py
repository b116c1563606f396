import json
import platform
import subprocess
import sys

import pytest

PAGES = 100 * 2**20 // 2**21 - 1  # at least: a system may map 2 MB at once, and blocks may begin within them
SCRIPT = """
import json, resource
import torch
from uda.training.allocation import freed_memory_kept

def pages_mapped():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.empty(100 * 2**20, dtype=torch.uint8).fill_(1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

found = {}
with freed_memory_kept(torch.device("cuda")):
    found["on a GPU"] = min(pages_mapped() for _ in range(10))
with freed_memory_kept(torch.device("cpu")):
    found["kept"] = min(pages_mapped() for _ in range(10))  # a place may be a little too small for the next at first
found["afterwards"] = pages_mapped()
try:
    with freed_memory_kept(torch.device("cpu")):
        pages_mapped()
        raise ValueError
except ValueError:
    found["after an error"] = pages_mapped()
print(json.dumps(found))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_memory_that_was_freed_is_mapped_anew_unless_it_is_kept() -> None:
    # In a process of its own, for holes that others have left in this one's heap are filled first.
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found.pop("kept") < PAGES / 5
    assert set(found) == {"on a GPU", "afterwards", "after an error"}
    assert min(found.values()) >= PAGES, found
