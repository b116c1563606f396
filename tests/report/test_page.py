import base64
import io
import stat

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.report.reading import read
from uda.report import page
from uda.report.page import Figure, Section


def png(width: int = 30, height: int = 15) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (width, height)).save(buffer, format="png")
    return buffer.getvalue()


def test_a_page_holds_its_parts_in_order_and_nothing_from_outside():
    frame = pd.DataFrame({"metric": ["H-score"], "value": ["80.1 %"]})
    html = page.render(
        "Title",
        "sub",
        [Section("One", "first\n\nsecond", [Figure(png(), "a caption", "an alt")], [frame]), Section("Two")],
    )
    reader = read(html)
    words = [text.strip() for text in reader.text if text.strip()]
    wanted = ["Title", "sub", "One", "first", "second", "a caption", "metric", "80.1 %", "Two"]
    places = [len(words) - 1 - words[::-1].index(word) for word in wanted]
    assert places == sorted(places)
    assert "http://" not in html
    assert "https://" not in html
    image = dict(reader.tags)["img"]
    assert base64.b64decode(image["src"].removeprefix("data:image/png;base64,")) == png()
    assert (image["alt"], image["width"], image["height"]) == ("an alt", "20", "10")  # 30 × 15 pixels ÷ 1.5


def test_names_with_markup_stay_text():
    evil = '"><script>alert(1)</script><img src=x onerror=alert(1)>'
    frame = pd.DataFrame({evil: [evil]})
    frame.attrs["caption"] = evil
    html = page.render(
        evil,
        evil,
        [
            Section(
                evil,
                evil,
                [Figure(png(), evil, evil)],
                [frame],
                html=page.details(evil, frame) + page.preformatted(evil) + page.link(evil, evil),
                lead=page.cards([(evil, evil)]),
            )
        ],
    )
    reader = read(html)  # fails on a script tag, on an event handler, on an outside source
    assert "".join(reader.text).count("<script>alert(1)</script>") >= 10
    assert [tag for tag, _ in reader.tags].count("img") == 1


@settings(max_examples=40)
@given(st.text(st.characters(), max_size=40))
def test_any_text_survives_as_text(text):
    html = page.render(text, "", [Section(text, text, tables=[pd.DataFrame({"x": [text]})])])
    html.encode("utf-8")
    assert page.clean(text) in "".join(read(html).text).replace("\r", "\n") or "\r" in text


def test_a_file_name_that_is_not_unicode_can_be_shown():
    name = b"caf\xe9.jpg".decode("utf-8", "surrogateescape")
    page.text_html(name).encode("utf-8")
    assert page.text_html(name) == "caf\ufffd.jpg"


def test_a_link_cannot_become_a_scheme():
    assert 'href="./javascript%3Aalert%281%29"' in page.link("x", "javascript:alert(1)")
    assert 'href="./seed-0/report.html"' in page.link("x", "seed-0/report.html")


def test_numbers_are_aligned_right_and_missing_ones_are_dashes():
    frame = pd.DataFrame({"name": ["a", "b"], "n": [1, 20], "p": ["80.1 ± 1.2 %", "\u2013"], "x": [0.123456, None]})
    frame["d"] = ["+3.1 pp", "\u22120.2 pp"]
    reader = read(page.table_html(frame))
    right = [tag for tag, attributes in reader.tags if attributes.get("class") == "n"]
    assert right.count("th") == 4  # all but "name"
    assert right.count("td") == 8
    text = "|".join(part.strip() for part in reader.text if part.strip())
    assert text == "name|n|p|x|d|a|1|80.1 ± 1.2 %|0.1235|+3.1 pp|b|20|\u2013|\u2013|\u22120.2 pp"


def test_a_table_without_rows_is_a_table():
    read(page.table_html(pd.DataFrame({"a": []})))


def test_writing_replaces_the_page_in_one_step_and_leaves_nothing_behind(tmp_path):
    path = tmp_path / "deep" / "report.html"
    page.write(path, "old", "", [])
    page.write(path, "new ✓", "", [])
    assert "<h1>new ✓</h1>" in path.read_text(encoding="utf-8")
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o644


def test_a_page_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    page.write(path, "old", "", [])
    monkeypatch.setattr("pathlib.Path.replace", lambda *_: (_ for _ in ()).throw(OSError("no space left")))
    with pytest.raises(OSError, match="no space left"):
        page.write(path, "new", "", [])
    assert "<h1>old</h1>" in path.read_text(encoding="utf-8")
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]


def test_only_png_is_taken():
    with pytest.raises(ValueError, match="PNG"):
        page.render("t", "", [Section("s", figures=[Figure(b"GIF89a", "", "")])])


def test_problems_lists_the_files_and_counts_the_rest():
    section = page.problems([(f"{i}.jpg", "empty file") for i in range(250)], ["a note"])
    assert len(section.tables[0]) == 200
    assert section.tables[0].attrs["caption"].startswith("250 unreadable files left out")
    assert "first 200" in section.tables[0].attrs["caption"]
    assert section.text == "a note"
    assert page.problems([], []).text == "No warnings."


def test_a_recipe_of_any_types_becomes_yaml(tmp_path):
    section = page.recipe({"out": tmp_path, "eta": (0.5, 1), "on": True, "none": None, 3: {"lr": 1e-3}})
    text = "".join(read(section.html).text)
    assert text == f"out: {tmp_path}\neta:\n- 0.5\n- 1\n'on': true\nnone: null\n'3':\n  lr: 0.001\n"
