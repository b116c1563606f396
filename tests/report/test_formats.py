import re

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from uda.report.formats import escape, latex, latex_document, markdown, markdown_document


def table() -> pd.DataFrame:
    frame = pd.DataFrame({"pair": ["a_1 → b", "mean"], "H-score": ["92.3 ± 0.4", "\u2013"], "note": ["50 % | x", None]})
    frame.attrs |= {"caption": "Means & more", "summary": True}
    return frame


def test_markdown_aligns_figures_and_keeps_bars_apart() -> None:
    assert markdown(table()).splitlines() == [
        "Means & more",
        "",
        "| pair | H-score | note |",
        "| --- | ---: | --- |",
        "| a_1 → b | 92.3 ± 0.4 | 50 % \\| x |",
        "| mean | \u2013 | \u2013 |",
    ]


def test_latex_has_the_rules_of_booktabs_and_escaped_names() -> None:
    assert latex(table()).splitlines() == [
        r"\begin{table}",
        r"\centering",
        r"\caption{Means \& more}",
        r"\begin{tabular}{lrl}",
        r"\toprule",
        r"pair & H-score & note \\",
        r"\midrule",
        r"a\_1 $\rightarrow$ b & 92.3 $\pm$ 0.4 & 50 \% \textbar{} x \\",
        r"\midrule",
        r"mean & -- & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]


def test_a_table_without_caption_or_summary() -> None:
    frame = pd.DataFrame({"a": ["1 … 2", "\u22123.0"]})
    assert markdown(frame) == "| a |\n| ---: |\n| 1 … 2 |\n| \u22123.0 |\n"
    assert latex(frame).count(r"\midrule") == 1
    assert r"1 \dots{} 2 \\" in latex(frame)
    assert "caption" not in latex(frame)


def test_a_table_without_rows() -> None:
    frame = pd.DataFrame(columns=["a", "b"])
    assert markdown(frame) == "| a | b |\n| --- | --- |\n"
    assert r"\begin{tabular}{ll}" in latex(frame)


def test_documents_hold_every_table() -> None:
    assert markdown_document("all", [table(), table()]).startswith("# all\n\nMeans & more\n")
    assert latex_document([table(), table()]).count(r"\toprule") == 2


@given(st.text())
def test_whatever_a_folder_is_called_no_character_of_latex_is_left(text: str) -> None:
    """Without what `escape` writes itself, nothing is left that LaTeX would read."""
    own = r"\\text\w+(\{3\}|\{\})|\\dots\{\}|\$(\\pm|-|\\rightarrow)\$|\\[&%$#_{}]"
    assert not set(re.sub(own, "", escape(text))) & set("\\&%$#_{}~^\n")
