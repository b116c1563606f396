from uda.wording import counted


def test_one_is_one_and_all_else_are_several() -> None:
    assert [counted(count, "target image") for count in (0, 1, 2)] == [
        "0 target images",
        "1 target image",
        "2 target images",
    ]
    assert [counted(count, "class") for count in (1, 21)] == ["1 class", "21 classes"]
    assert counted("1", "day") == "1 day"
