from typing import Any

import pytest

from uda.probes.selection import VALIDATORS as SCORED
from uda.report.page import MISSING
from uda.report.selection import VALIDATORS, selection_section


def content(**changes: Any) -> dict[str, Any]:
    """What `metrics.json` says after three evaluations of which snd took the second."""
    last = {"step": 30, "universal_score": 0.7, "regret": 0.125}
    second = {"step": 20, "universal_score": 0.8, "regret": 0.025}
    found = {
        "rule": "snd",
        "step": 20,
        "evaluations": 3,
        "held_out": 0,
        "by_validator": {"entropy": last, "snd": second, "mixval": second, "iwv": None, "dev": None},
        "last": last,
        "oracle": {"step": 10, "universal_score": 0.825},
    }
    return found | changes


def test_every_validator_is_described() -> None:
    assert VALIDATORS.keys() == SCORED.keys()


def test_the_table() -> None:
    section = selection_section(content())
    (table,) = section.tables
    rows = {row[0]: list(row[1:4]) for row in table.itertuples(index=False)}
    assert rows == {
        "selected: snd": ["20", "80.0 %", "2.5 pp"],
        "last": ["30", "70.0 %", "12.5 pp"],
        "entropy": ["30", "70.0 %", "12.5 pp"],
        "snd": ["20", "80.0 %", "2.5 pp"],
        "mixval": ["20", "80.0 %", "2.5 pp"],
        "iwv": [MISSING, MISSING, MISSING],
        "dev": [MISSING, MISSING, MISSING],
        "oracle": ["10", "82.5 %", "0.0 pp"],
    }
    assert "The answer is that of step 20 (rule: snd), of 3 evaluations" in section.text
    assert "a yardstick, never the answer" in section.text
    assert "data.source_holdout=0.1 keeps a tenth" in section.text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"evaluations": 1}, "There was nothing to choose from"),
        ({"rule": "dev", "step": 30, "held_out": 5}, "dev was undefined at all of them, so the last step was taken"),
        ({"oracle": None}, "The target has no labels, so what a choice is worth is not known"),
    ],
)
def test_what_is_said_where_there_is_less_to_say(changes: dict[str, Any], words: str) -> None:
    assert words in selection_section(content(**changes)).text


def test_who_gave_a_share_is_not_advised_to_give_one() -> None:
    text = selection_section(content(), source_holdout=0.2).text
    assert "data.source_holdout=0.2 of so few images a class rounds to none" in text
    assert "keeps a tenth" not in text


def test_nothing_is_said_of_held_out_images_where_there_are_some() -> None:
    assert "held out" not in selection_section(content(held_out=5)).text.split("\n\n")[-2]
