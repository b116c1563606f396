"""What the user can get wrong, said in one sentence that tells what to do."""

import difflib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_LONGEST_LIST = 400
"""Characters of a list of names that are still read; a longer one would push what matters off the screen."""


class UserError(Exception):
    """Something the user can put right; the command prints its one sentence and exits with status 2."""


def unknown_name(kind: str, name: str, choices: Iterable[str], where: str) -> UserError:
    """Return the error for a name that does not exist, with the nearest existing ones.

    `kind` says what was named ("method"), `where` says where the whole list stands ("`--help`"); a short list is given
    here too.
    """
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    close = close or [choice for choice in known if choice.endswith(f".{name}")][:3]  # "lr" for training.lr
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    names = ", ".join(known)
    listed = f"known: {names} " if len(names) <= _LONGEST_LIST else ""
    return UserError(f"unknown {kind} '{name}': {hint}{listed}({where})")


@contextmanager
def baseline_errors_named() -> Iterator[None]:
    """Have a UserError say that it is the other arm of --compare that cannot be had, and how to have another."""
    try:
        yield
    except UserError as error:
        raise UserError(
            f"the baseline of --compare cannot be had: {error}; --compare KEY=VALUE says what it should have instead"
        ) from error
