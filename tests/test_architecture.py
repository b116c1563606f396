import ast
import subprocess
import sys
from pathlib import Path

import pytest

import uda

PACKAGE = Path(uda.__file__).parent
CHECKOUT = PACKAGE.parent

FOUNDATION = {"errors", "batch", "clock", "random", "ranges", "wording"}

# What each room may import beside itself and the foundation. The chain of the design is metrics → datasets, nn → ssl,
# attacks → probes → tasks → training → report → the files at the top.
ROOMS: dict[str, set[str]] = {}
ROOMS["metrics"] = set()
ROOMS["datasets"] = {"metrics"}  # knows no network
ROOMS["nn"] = {"metrics"}  # knows no data set
ROOMS["ssl"] = {"metrics", "nn"}  # knows no data set
ROOMS["attacks"] = {"metrics", "nn", "ssl"}
ROOMS["probes"] = {"datasets", *ROOMS["attacks"], "attacks"}
ROOMS["tasks"] = {"probes", *ROOMS["probes"]}
ROOMS["training"] = {"tasks", *ROOMS["tasks"]}
ROOMS["report"] = {"metrics"}  # draws arrays and tables; knows no task
ALL_ROOMS = set(ROOMS)

# The files at the top, lowest first; each may import any room and what stands before it.
TOP = [
    "layers",
    "places",
    "sections",
    "task_recipes",
    "recipe",
    "experiments",
    "printed",
    "flags",
    "api",
    "robustness",
    "estimator",
    "pretrained",
    "cli",
    "__main__",
]


def imported(path: Path) -> set[str]:
    """Return the parts of uda that a file imports anywhere in it: "nn" for `uda.nn.encoder`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            names = [node.module or ""]
            if node.module == "uda":
                names = [f"uda.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("uda.")}
    return found


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


def rooms_there_are() -> list[str]:
    there = {path.name for path in PACKAGE.iterdir() if path.is_dir() and (path / "__init__.py").exists()}
    return sorted(there - {"experiments"})


@pytest.mark.parametrize("room", rooms_there_are())
def test_imports_point_one_way(room: str) -> None:
    allowed = {room, *ROOMS[room], *FOUNDATION}
    wrong = {str(path.relative_to(PACKAGE)): sorted(imported(path) - allowed) for path in files(room)}
    assert {name: extra for name, extra in wrong.items() if extra} == {}


@pytest.mark.parametrize("name", sorted(FOUNDATION))
def test_the_foundation_imports_no_room(name: str) -> None:
    assert imported(PACKAGE / f"{name}.py") <= FOUNDATION - {name}


def test_files_at_the_top_import_only_what_stands_before_them() -> None:
    there = {path.stem for path in PACKAGE.glob("*.py")} - FOUNDATION - {"__init__"}
    assert there | {"experiments"} == set(TOP)
    for number, name in enumerate(TOP):
        allowed = {*ALL_ROOMS, *FOUNDATION, *TOP[:number], name}
        of_it = files(name) if name == "experiments" else [PACKAGE / f"{name}.py"]
        assert set().union(*map(imported, of_it)) <= allowed, name


def test_no_module_is_called_utils() -> None:
    assert list(PACKAGE.rglob("*utils*.py")) == []


@pytest.mark.parametrize("name", ["ssl", "datasets"])
def test_no_package_beside_uda_hides_a_library(name: str) -> None:
    assert not (CHECKOUT / name).exists()
    assert not (CHECKOUT / f"{name}.py").exists()


def test_import_ssl_in_the_checkout_gives_the_standard_library() -> None:
    code = "import ssl; print(ssl.SSLWantReadError.__module__, ssl.__file__)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    module, path = done.stdout.split(maxsplit=1)
    assert module == "ssl"
    assert CHECKOUT not in Path(path.strip()).parents


def test_importing_the_package_alone_loads_no_torch() -> None:
    code = "import sys, uda, uda.metrics; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
