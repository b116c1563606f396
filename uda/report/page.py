"""One self-contained HTML page: text, tables and PNG figures in a single file that works offline."""

import base64
import os
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd
import yaml

from uda.wording import counted

PIXEL_RATIO = 1.5
"""Pixels of a figure for each CSS pixel it is shown at; figures are drawn at 96 times 1.5 dots per inch."""

MISSING = "\u2013"
"""What a table shows where there is no figure: an en dash."""

_NUMBER = re.compile("[-+\u2212]?[\\d,.]+(e[-+]?\\d+)?( %| pp)?( ± [\\d,.]+( %)?)?|\u2013")

_MOST_ROWS = 200  # of a table of files; the rest is counted

_CSS = """
:root { color-scheme: light dark; --ink: #1b1f24; --soft: #57606a; --line: #d5dae0; --back: #ffffff;
  --panel: #f5f7f9; --accent: #0067a5; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --soft: #9aa5b1; --line: #39424d; --back: #14181d;
  --panel: #1d232a; --accent: #6db8ef; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 1120px; background: var(--back); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 1.25rem; margin: 2.6rem 0 .6rem; padding-top: .9rem; border-top: 1px solid var(--line); }
p { margin: .5rem 0; max-width: 75ch; overflow-wrap: anywhere; }
.subtitle { color: var(--soft); }
nav { margin: 1rem 0 0; font-size: .9rem; }
nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: var(--accent); }
figure { margin: 1.1rem 0; }
figure img { display: block; max-width: 100%; height: auto; background: #fff; border: 1px solid var(--line);
  border-radius: 6px; }
figcaption { color: var(--soft); font-size: .92rem; margin-bottom: .35rem; max-width: 80ch; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: .9rem 0; }
table { border-collapse: collapse; font-size: .92rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--soft); padding-bottom: .35rem; }
th, td { text-align: left; vertical-align: top; padding: .32rem .8rem .32rem 0; border-bottom: 1px solid var(--line);
  max-width: 34rem; overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
td.n, th.n { text-align: right; white-space: nowrap; }
.cards { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.card { background: var(--panel); border: 1px solid var(--line); border-radius: 8px; padding: .6rem .85rem;
  min-width: 7rem; }
.card b { display: block; font-size: 1.45rem; line-height: 1.25; }
.card span { color: var(--soft); font-size: .85rem; }
pre { background: var(--panel); border: 1px solid var(--line); border-radius: 6px; padding: .8rem 1rem;
  overflow-x: auto; font-size: .85rem; white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .7rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .92rem; }
@media print { :root { color-scheme: light; --ink: #000; --soft: #444; --line: #bbb; --back: #fff; --panel: #f4f4f4;
  --accent: #000; }
  body { max-width: none; padding: 0; font-size: 10.5pt; } nav { display: none; } .scroll { overflow: visible; }
  figure, tr, .card { break-inside: avoid; } h2, caption { break-after: avoid; }
  details:not([open]) { display: none; } }
"""


@dataclass(frozen=True)
class Figure:
    """A PNG image with its caption and the text that stands for it where it cannot be seen."""

    png: bytes
    caption: str
    alt: str


@dataclass(frozen=True)
class Section:
    """A titled part of the page: `lead`, text, figures, tables, then `html`.

    text:   plain text; a blank line starts a paragraph.
    tables: shown without their index; `frame.attrs["caption"]` is the caption.
    lead, html: the parts taken as they are; whoever writes them escapes what is in them (`cards`, `details`, `link`).
    """

    title: str
    text: str = ""
    figures: Sequence[Figure] = ()
    tables: Sequence[pd.DataFrame] = ()
    html: str = ""
    lead: str = ""


def clean(text: object) -> str:
    """Return text that every HTML parser and UTF-8 take: control characters and lone surrogates become U+FFFD."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", str(text))


def text_html(text: object) -> str:
    """Return any value as escaped text, safe between tags and inside a quoted attribute."""
    return escape(clean(text), quote=True)


def link(text: str, href: str) -> str:
    """Return a link to a file that lies beside the page, by its relative path with forward slashes."""
    # A leading "./" keeps a file whose name has a colon from being read as a scheme ("javascript:...").
    return f'<a href="./{quote(href, safe="/", errors="replace")}">{text_html(text)}</a>'


def preformatted(text: str) -> str:
    """Return a block in which white space stays as it is (the recipe, a log)."""
    return f"<pre>{text_html(text)}</pre>"


def details(summary: str, table: pd.DataFrame) -> str:
    """Return a table that is folded away until it is asked for; a printed page leaves it out."""
    return f"<details><summary>{text_html(summary)}</summary>{table_html(table)}</details>"


def cards(values: Sequence[tuple[str, str]]) -> str:
    """Return a row of large figures from (value, what it is) pairs."""
    items = "".join(f'<div class="card"><b>{text_html(v)}</b><span>{text_html(k)}</span></div>' for v, k in values)
    return f'<div class="cards">{items}</div>'


def _cell(value: Any) -> tuple[str, bool]:
    """Return a cell's text and whether it is a number."""
    if value is None or value is pd.NA or (isinstance(value, float) and value != value):
        return MISSING, True
    if isinstance(value, bool):
        return ("yes" if value else "no"), False
    if isinstance(value, float):
        return f"{value:.4g}", True
    text = str(value)
    return text, bool(_NUMBER.fullmatch(text))


def table_html(frame: pd.DataFrame) -> str:
    """Return a table without its index; columns in which every cell is a number (or missing) are aligned right."""
    columns = [[_cell(value) for value in frame.iloc[:, i].astype(object)] for i in range(frame.shape[1])]
    numeric = [bool(column) and all(is_number for _, is_number in column) for column in columns]
    marks = [' class="n"' if is_number else "" for is_number in numeric]
    head = "".join(
        f'<th scope="col"{mark}>{text_html(name)}</th>' for name, mark in zip(frame.columns, marks, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(f"<td{marks[i]}>{text_html(column[r][0])}</td>" for i, column in enumerate(columns))
        + "</tr>\n"
        for r in range(len(frame))
    )
    caption = frame.attrs.get("caption")
    title = f"<caption>{text_html(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{title}<thead><tr>{head}</tr></thead><tbody>\n{rows}</tbody></table></div>'


def problems(unreadable: Sequence[tuple[str | Path, str]], notes: Sequence[str]) -> Section:
    """Return the section of warnings, notes and files that were left out, with the reason for each."""
    text = "\n\n".join(notes) if notes else "No warnings."
    found = []
    if unreadable:
        left = len(unreadable) - _MOST_ROWS
        more = f", the first {_MOST_ROWS}" if left > 0 else ""
        table = pd.DataFrame(
            [(str(path), reason) for path, reason in unreadable[:_MOST_ROWS]], columns=["file", "reason"]
        )
        table.attrs["caption"] = f"{counted(len(unreadable), 'unreadable file')} left out{more}"
        found.append(table)
    return Section("Problems and notes", text, tables=found)


def recipe(values: Mapping[str, Any]) -> Section:
    """Return the section that shows a recipe as YAML."""
    text = yaml.safe_dump(_yaml_types(values), sort_keys=False, allow_unicode=True, width=100)
    return Section("Recipe", "Everything resolved, as in recipe.yaml.", html=preformatted(text))


def _yaml_types(value: Any) -> Any:
    """Return a value as YAML's own types; what is none of them becomes text."""
    if isinstance(value, Mapping):
        return {str(key): _yaml_types(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_yaml_types(item) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _paragraphs(text: str) -> str:
    return "".join(f"<p>{text_html(part.strip())}</p>" for part in re.split(r"\n\s*\n", text) if part.strip())


def _figure(figure: Figure) -> str:
    if figure.png[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("a figure has to be PNG bytes")
    width, height = (round(side / PIXEL_RATIO) for side in struct.unpack(">II", figure.png[16:24]))
    data = base64.b64encode(figure.png).decode("ascii")
    return (
        f"<figure><figcaption>{text_html(figure.caption)}</figcaption>"
        f'<img src="data:image/png;base64,{data}" alt="{text_html(figure.alt)}" '
        f'width="{width}" height="{height}"></figure>'
    )


def render(title: str, subtitle: str, sections: Sequence[Section]) -> str:
    """Return the page as HTML; all text is escaped, and its content security policy forbids it to load anything."""
    links = "".join(f'<a href="#s{i}">{text_html(section.title)}</a> ' for i, section in enumerate(sections))
    parts = [
        f'<section id="s{i}"><h2>{text_html(section.title)}</h2>{section.lead}{_paragraphs(section.text)}'
        f"{''.join(map(_figure, section.figures))}{''.join(map(table_html, section.tables))}{section.html}</section>"
        for i, section in enumerate(sections)
    ]
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{text_html(title)}</title><link rel="icon" href="data:,"><style>{_CSS}</style></head>\n<body>'
        f'<header><h1>{text_html(title)}</h1><p class="subtitle">{text_html(subtitle)}</p><nav>{links}</nav></header>\n'
        f"<main>{chr(10).join(parts)}</main>\n</body></html>\n"
    )


def write(path: Path, title: str, subtitle: str, sections: Sequence[Section]) -> None:
    """Write the page, replacing an older one in a single step: a reader never sees half a page."""
    content = render(title, subtitle, sections)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)  # mkstemp makes it private; a report is to be shared
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
