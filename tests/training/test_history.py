from pathlib import Path

from uda.training.history import History


def rows(*steps: int) -> list[dict[str, float]]:
    return [{"step": step, "epoch": step / 10, "lr": 0.1, "loss": 1 / step} for step in steps]


def test_columns_are_fixed_by_the_first_row_and_metrics_are_blank_between_evaluations(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", ["h_score", "nmi"])
    history.append(rows(1))
    history.append([rows(2)[0] | {"h_score": 0.5, "nmi": None}])
    lines = (tmp_path / "history.csv").read_text().splitlines()
    assert lines == ["step,epoch,lr,loss,h_score,nmi", "1,0.1,0.1,1.0,,", "2,0.2,0.1,0.5,0.5,"]


def test_cut_keeps_what_a_checkpoint_knows_and_drops_half_a_row(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    History(path, ["h_score"]).append(rows(1, 2, 3, 4))
    with path.open("a") as file:
        file.write("5,0.5,0.")  # a process was killed here
    again = History(path, ["h_score"])
    again.cut(2)
    again.append(rows(3))
    assert path.read_text().splitlines() == [
        "step,epoch,lr,loss,h_score",
        "1,0.1,0.1,1.0,",
        "2,0.2,0.1,0.5,",
        f"3,0.3,0.1,{1 / 3},",
    ]


def test_cut_to_nothing_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    path.write_text("of,another,run\n")
    History(path, []).cut(0)
    assert not path.exists()


def test_cut_of_an_empty_or_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    for content in (None, ""):
        if content is not None:
            path.write_text(content)
        history = History(path, [])
        history.cut(7)
        history.append(rows(8))
        assert path.read_text().splitlines() == ["step,epoch,lr,loss", "8,0.8,0.1,0.125"]
        path.unlink()


def test_read_gives_a_table(tmp_path: Path) -> None:
    history = History(tmp_path / "history.csv", [])
    assert history.read().empty
    history.append(rows(1, 2))
    assert history.read()["step"].tolist() == [1, 2]
