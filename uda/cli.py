"""The command line: flags become the last layer of a recipe, errors become one sentence and an exit status."""

import argparse
import errno
import os
import sys
import traceback
from collections import Counter
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from uda.errors import UserError, unknown_name
from uda.wording import counted

if TYPE_CHECKING:
    from uda.experiments.experiment import Settings
    from uda.recipe import Recipe

EXIT_OK, EXIT_BROKE, EXIT_USER, EXIT_INTERRUPTED = 0, 1, 2, 130


class _Parser(argparse.ArgumentParser):
    """An argparse parser whose errors are one sentence with the nearest flag."""

    def error(self, message: str) -> NoReturn:
        prefix = "unrecognized arguments: "
        if message.startswith(prefix):
            flag = message.removeprefix(prefix).split()[0]
            flags = [option for action in self._actions for option in action.option_strings if option.startswith("--")]
            raise unknown_name("flag", flag.partition("=")[0], flags, "--help lists them all")
        raise UserError(f"{message} (see --help)")


def parser() -> argparse.ArgumentParser:
    """Return the parser; its help lists tasks, methods and objectives."""
    from uda.ssl import OBJECTIVES
    from uda.tasks import METHODS

    made = _Parser(
        prog="run.py",
        allow_abbrev=False,
        description="Self-supervision for domain adaptation. With no data named, the built-in data is used.",
        epilog=f"tasks: {', '.join(TASKS)}. "
        + "".join(f"methods of {task}: {', '.join(methods)}. " for task, methods in METHODS.items())
        + f"objectives: {', '.join(OBJECTIVES)}; placebo:NAME is NAME with random answers. "
        "run.py compare RUN RUN ... compares finished runs.",
    )
    add = made.add_argument
    add("--task", metavar="T", help=f"what to do: {', '.join(TASKS)} (default: the recipe's, else unida)")
    add("--method", metavar="M", help="the task's method (default: the first of its list)")
    add("--objective", nargs="+", metavar="O", help="self-supervised objectives")
    add("--source", metavar="S", help="dataset/domain, a data set, a folder; for predict: the folder of a finished run")
    add(
        "--target",
        metavar="T",
        help="dataset/domain, a bare domain of the source's data set, a folder, or all: every pair (dg: every domain "
        "held out in turn)",
    )
    add("--setting", help="the data set's published label sets: closed, partial, open, open-partial")
    add("--split", help="4/3/3 (shared/source-private/target-private, alphabetically) or a YAML file of class names")
    add("--config", type=Path, metavar="FILE", help="a recipe file; it goes over the published recipe")
    add(
        "--set",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help="single recipe values, training.lr=1e-3",
    )
    add("--backbone", metavar="NAME", help="any timm model")
    add(
        "--weights",
        metavar="FILE|RUN|none",
        help="backbone weights: a file, a finished run's folder (its backbone and image size too), none = random "
        "(default: see the README)",
    )
    add("--freeze", action="store_true", default=None, help="compute features once; train only what stands on them")
    add("--image-size", type=int, metavar="N", help="pixels of a side that the backbone sees")
    add(
        "--labels",
        metavar="SHARE",
        help="labels that training may use: 10%% or 40 (pretrain: joins --method supervised)",
    )
    add(
        "--unlabelled",
        metavar="DIR",
        help="pretrain, fewshot: a folder of further images (pretrain: joins --method supervised)",
    )
    add("--steps", type=int, metavar="N", help="training steps")
    add("--batch-size", type=int, metavar="N", help="images of each domain in a step")
    add("--seeds", nargs="+", type=int, metavar="N", help="one run a seed, and their summary (default: 0)")
    add(
        "--compare",
        nargs="*",
        metavar="KEY=VALUE",
        help="also run without self-supervision, or with these values instead",
    )
    add("--sweep", nargs="+", metavar="KEY=A,B,C", help="run every combination of these values, and table them")
    add("--out", type=Path, metavar="DIR", help="output folder (default: a new one below runs/)")
    add("--resume", action="store_true", help="go on with the run in --out from its newest checkpoint")
    add("--device", choices=("cpu", "cuda"), help="default: cuda where there is one")
    add("--data-root", metavar="DIR", help="where data sets lie (default: $UDA_DATA, else ./data)")
    add("--download", action="store_true", help="fetch a data set that is not there, where it has a source")
    add("--strict", action="store_true", default=None, help="refuse unreadable image files instead of leaving them out")
    add("--deterministic", action="store_true", help="deterministic algorithms on the GPU too")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return the exit status: 0 done, 1 broke, 2 the user's to mend, 130 stopped by Ctrl-C."""
    from uda.training.loop import Interrupted
    from uda.training.outputs import DISK_FULL

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show "→" is no reason to lose a run
    given = sys.argv[1:] if arguments is None else list(arguments)
    try:
        if given[:1] == ["compare"]:
            run_compare(given[1:])
            return EXIT_OK
        flags = parser().parse_args(given)
        flags.task = flags.task or recipe_task(flags) or "unida"
        if flags.task not in TASKS:
            raise unknown_name("task", flags.task, TASKS, "--help describes them")
        TASKS[flags.task](flags)
        sys.stdout.flush()  # here, where a reader that has gone is known to be no defect
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return EXIT_USER
    except Interrupted as stop:
        print(stop, file=sys.stderr)
        return EXIT_INTERRUPTED
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # who reads what is printed has had enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKE
    except Exception as error:
        if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
            print(
                f"error: the name '{str(error.filename)[:40]}…' is too long for a file; give a shorter one",
                file=sys.stderr,
            )
            return EXIT_USER
        if isinstance(error, OSError) and error.errno in DISK_FULL:
            where = f" of '{error.filename}'" if error.filename else ""
            advice = "free some space and go on with --resume; the last whole checkpoint stays"
            print(f"error: the disk{where} is full: {advice}", file=sys.stderr)
            return EXIT_USER
        traceback.print_exc()
        print("this is a defect of uda, not of your input; the lines above say where", file=sys.stderr)
        return EXIT_BROKE
    return EXIT_OK


def recipe_task(flags: argparse.Namespace) -> str | None:
    """Return the task that --config, or the run that --resume goes on with, says its recipe is for."""
    begun = flags.out / "recipe.yaml" if flags.resume and flags.out else None
    paths = [path for path in (flags.config, begun) if path is not None and path.is_file()]
    if not paths:
        return None
    from uda.layers import read_layer

    said = read_layer(paths[0]).get("task")
    return str(said) if said else None


def run_experiment(flags: argparse.Namespace) -> None:
    """Run a task's recipe, write the output folder, and print the figures."""
    from uda.flags import recipe_layers
    from uda.places import check_one_process, kept_if_used
    from uda.recipe import build

    check_one_process()
    layers = recipe_layers(flags)
    recipe = build(layers)
    methods = [recipe.method["name"], *(recipe.objectives if recipe.task != "unida" else ())]
    named = methods if recipe.task in ("unida", "dg", "robustness", "fewshot", "imbalance", "gan") else []
    out = output_folder(flags, "-".join(named[: 1 if flags.objective else None]))
    with kept_if_used(out, new=flags.out is None):
        _run_recipe(flags, layers, recipe, out)


def _run_recipe(flags: argparse.Namespace, layers: list[dict[str, Any]], recipe: "Recipe", out: Path) -> None:
    from uda.experiments import EXPERIMENTS
    from uda.experiments.experiment import BASELINE, run
    from uda.experiments.in_domain import run_study
    from uda.experiments.pairs import is_for_pairs, run_pairs
    from uda.experiments.series import check_begun
    from uda.experiments.sweep import read_begun, run_sweep
    from uda.flags import baseline_begun, baseline_recipe
    from uda.printed import print_figures, print_study
    from uda.recipe import PretrainRecipe

    if flags.sweep and flags.compare is not None:
        raise UserError("--sweep tables its combinations beside each other and takes no --compare; give one of the two")
    if flags.sweep and is_for_pairs(recipe):
        raise UserError("--sweep and all each make many runs; name one domain on each side, or leave --sweep out")
    given, sweep = (read_begun(out) if flags.resume else None) or ([], [])
    if sweep:
        layers = [*given, *layers[1:]]  # what --resume put first is the sweep's own recipe, without its combinations
    if flags.sweep or sweep:
        print(run_sweep(EXPERIMENTS[flags.task], layers, flags.sweep or sweep, out, settings(flags)))
        return
    if isinstance(recipe, PretrainRecipe) and recipe.study:
        if flags.compare is not None:
            raise UserError("a study compares its starts already; leave --compare out (placebo:NAME is an --objective)")
        if flags.resume:
            check_begun(out, recipe)
        print_study(run_study(recipe, out, settings(flags)), out)
        return
    baseline = None if flags.compare is None else baseline_recipe(recipe, layers, flags.compare)
    if flags.resume:
        check_begun(out, recipe)
        baseline = baseline_begun(baseline, out / BASELINE, recipe.seeds, check=bool(flags.compare))
    runner = run_pairs if is_for_pairs(recipe) else run
    print_figures(runner(EXPERIMENTS[flags.task], recipe, out, settings(flags), baseline), out)


def settings(flags: argparse.Namespace) -> "Settings":
    """Return what decides how a run is made, not its numbers."""
    from uda.experiments.experiment import Settings
    from uda.places import choose_device, progress_shown

    return Settings(
        device=choose_device(flags.device, flags.deterministic),
        progress=progress_shown(),
        download=flags.download,
        resume=flags.resume,
    )


def run_predict(flags: argparse.Namespace) -> None:
    """Classify a folder of images, or one image, with a finished run."""
    import pandas as pd

    from uda.api import load_classifier
    from uda.places import choose_device, new_folder
    from uda.printed import print_counts
    from uda.training.outputs import write_text

    if flags.source is None or flags.target is None:
        raise UserError("predict wants --source RUN (the folder of a finished run) and --target FOLDER (the images)")
    own = ("task", "source", "target", "out", "device", "strict", "deterministic", "data_root", "download")
    given = [f"--{name.replace('_', '-')}" for name, value in vars(flags).items() if name not in own and value]
    if given:
        raise UserError(
            f"predict takes the run as it is and no {given[0]}; of several seeds name one: --source RUN/seed-N"
        )
    if flags.out is not None and (flags.out / "predictions.csv").exists():
        raise UserError(f"'{flags.out}' holds predictions already; give another --out")
    result = load_classifier(flags.source, device=str(choose_device(flags.device, flags.deterministic)))
    table = result.predict(flags.target, strict=bool(flags.strict))
    out = flags.out or new_folder(Path(flags.source) / f"predict-{Path(flags.target).name}")
    out.mkdir(parents=True, exist_ok=True)
    write_text(out / "predictions.csv", table.to_csv(index=False))
    print_counts(Counter(table["label"]))
    print(f"{counted(len(table), 'image')} → {out / 'predictions.csv'}")
    if unreadable := table.attrs["unreadable"]:
        listed = pd.DataFrame(unreadable, columns=["path", "reason"])
        write_text(out / "unreadable.csv", listed.to_csv(index=False))
        print(f"warning: {counted(len(unreadable), 'unreadable file')} left out → {out / 'unreadable.csv'}")


TASKS = {
    "unida": run_experiment,
    "dg": run_experiment,
    "robustness": run_experiment,
    "fewshot": run_experiment,
    "imbalance": run_experiment,
    "gan": run_experiment,
    "pretrain": run_experiment,
    "probe": run_experiment,
    "predict": run_predict,
}


def output_folder(flags: argparse.Namespace, method: str | None) -> Path:
    """Return where to write: --out, or a new folder below runs/ that is called after what is run."""
    from uda.places import check_out, new_folder

    if flags.out is None:
        if flags.resume:
            raise UserError("--resume wants --out with the folder of the run to go on with")
        parts = [flags.task, flags.method or method, *(flags.objective or ()), flags.source, flags.target]
        name = "-".join(Path(part).name if os.sep in part else part for part in parts if part)
        return new_folder(Path("runs") / name)
    check_out(flags.out, flags.resume)
    return flags.out


def run_compare(arguments: Sequence[str]) -> None:
    """Compare finished runs: `compare RUN RUN … [--out DIR]`."""
    from uda.experiments import EXPERIMENTS
    from uda.experiments.compare import compare_runs, read_comparable
    from uda.places import check_out, kept_if_used, new_folder

    made = _Parser(prog="run.py compare", description="Paired differences of the first run to each of the others.")
    made.add_argument("runs", nargs="*", type=Path, metavar="RUN", help="output folders of finished runs")
    made.add_argument("--out", type=Path, metavar="DIR", help="output folder (default: a new one below runs/)")
    flags = made.parse_args(arguments)
    task = read_comparable(flags.runs)[0]["task"]
    if flags.out is not None:
        check_out(flags.out)
    out = flags.out or new_folder(Path("runs") / "-".join(["compare", *(run.resolve().name for run in flags.runs)]))
    with kept_if_used(out, new=flags.out is None):
        print(compare_runs(flags.runs, out, EXPERIMENTS[task].headline))
