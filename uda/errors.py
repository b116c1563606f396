"""What the user can get wrong, said in one sentence that tells what to do."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Something the user can put right; the command prints its one sentence and exits with status 2."""


def unknown_name(kind: str, name: str, choices: Iterable[str], where: str) -> UserError:
    """Return the error for a name that does not exist, with the nearest existing ones.

    `kind` says what was named ("method"), `where` says where the whole list stands ("`--help`").
    """
    known = sorted(set(choices))
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(close)}? " if close else ""
    listed = f"known: {', '.join(known)} " if len(known) <= 60 else ""
    return UserError(f"unknown {kind} '{name}': {hint}{listed}({where})")
