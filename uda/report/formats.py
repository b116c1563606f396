"""Tables as Markdown and as LaTeX.

`frame.attrs["caption"]` is the caption; where `frame.attrs["summary"]` is true, the last row sums up the others.
"""

import re
from collections.abc import Iterable

import pandas as pd

from uda.report.page import MISSING

_TEX = {
    **{character: f"\\{character}" for character in "&%$#_{}"},
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "±": r"$\pm$",
    "\u2212": "$-$",
    "→": r"$\rightarrow$",
    "…": r"\dots{}",
    "\u2013": "--",
    "³": r"\textsuperscript{3}",
}
_FIGURE = re.compile("[-+\u2212]?[\\d.,]+( %| pp)?( ± .*| … .*)?|" + MISSING)


def markdown(frame: pd.DataFrame) -> str:
    """Return a table in GitHub's Markdown, its caption in a line above; columns of figures are aligned right."""
    head = [_markdown_cell(name) for name in frame.columns]
    marks = ["---:" if numeric else "---" for numeric in _numeric(frame)]
    rows = [[_markdown_cell(value) for value in row] for row in _texts(frame)]
    lines = ["| " + " | ".join(row) + " |" for row in (head, marks, *rows)]
    caption = frame.attrs.get("caption")
    return "\n".join([*([str(caption), ""] if caption else []), *lines]) + "\n"


def latex(frame: pd.DataFrame) -> str:
    """Return a table environment with the rules of the package booktabs; whatever LaTeX would read is escaped."""
    rows = [" & ".join(map(escape, row)) + r" \\" for row in _texts(frame)]
    if frame.attrs.get("summary") and len(rows) > 1:
        rows.insert(-1, r"\midrule")
    caption = frame.attrs.get("caption")
    columns = "".join("r" if numeric else "l" for numeric in _numeric(frame))
    return "\n".join(
        [
            r"\begin{table}",
            r"\centering",
            *([f"\\caption{{{escape(caption)}}}"] if caption else []),
            f"\\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            " & ".join(map(escape, frame.columns)) + r" \\",
            r"\midrule",
            *rows,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
            "",
        ]
    )


def markdown_document(title: str, frames: Iterable[pd.DataFrame]) -> str:
    """Return several tables below a heading."""
    return "\n".join([f"# {title}\n", *map(markdown, frames)])


def latex_document(frames: Iterable[pd.DataFrame]) -> str:
    """Return several tables to be put into a document that loads booktabs."""
    return "\n".join(["% wants \\usepackage{booktabs} in the preamble", *map(latex, frames)])


def escape(text: object) -> str:
    """Return text that LaTeX prints as it is."""
    return "".join(_TEX.get(character, character) for character in " ".join(str(text).split()))


def _markdown_cell(text: object) -> str:
    return " ".join(str(text).split()).replace("\\", "\\\\").replace("|", "\\|")


def _texts(frame: pd.DataFrame) -> list[list[str]]:
    return [[MISSING if pd.isna(value) else str(value) for value in row] for row in frame.itertuples(index=False)]


def _numeric(frame: pd.DataFrame) -> list[bool]:
    columns = list(zip(*_texts(frame), strict=True)) or [() for _ in frame.columns]
    return [bool(column) and all(_FIGURE.fullmatch(value) for value in column) for column in columns]
