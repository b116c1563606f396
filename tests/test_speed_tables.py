"""The tables of speed say what the rows hold."""

from typing import Any

from benchmarks.speed_tables import ends, speed

CASE = {"backbone": "resnet18", "image_size": 32, "stored_size": 32, "batch_size": 64, "stored": 1024, "classes": 10}


def spread(middle: float) -> dict[str, float]:
    return {"median": middle, "low": middle / 2, "high": middle * 2}


def result() -> dict[str, Any]:
    step = {"objective": "simclr", **CASE, "ms": spread(110), "floor_ms": spread(100)}
    clustering = {"row": "neighborhood clustering", "batch": 64, "dim": 512, "bank": "bfloat16", "bank_mb": 1.0}
    clustering |= {"blocks": {"ms": spread(3), "mb_beyond_the_bank": 7}, "write_ms": spread(0.5)}
    plain = {"plain": {"ms": spread(4), "mb_beyond_the_bank": 40}, "differs_by": {"loss": 1e-7, "gradient": 2e-6}}
    parts: dict[str, list[dict[str, Any]]] = {
        "loop": [{"row": "loop", "ms_beyond_the_floor": spread(0.2)}],
        "steps": [step | {"times_the_floor": spread(1.1)}],
        "options": [
            {"option": "training.compile=true", **CASE, "default_ms": spread(10), "changed_ms": spread(8)}
            | {"times_the_default": spread(0.8)}
        ],
        "peers": [
            {**CASE, "workers": 2, "ms": spread(100), "lightly_ms": spread(200), "times_faster": spread(2)},
            {"queries": 5, "bank": 9, "dim": 4, "times_faster": spread(3)}
            | {"ms": {"ours": spread(1), "scikit-learn": spread(3)}},
        ],
        "data": [
            {"images": 512, "size": 256, "decoded_and_packed_per_second": 1234, "read_per_second": 9999}
            | {"seconds_to_first_batch": {"first start": 0.5, "second start": 0.01}}
        ],
        "scaling": [
            clustering | {"images": 1000} | plain,
            clustering | {"images": 1_000_000},
            step | {"times_the_floor": spread(1.1)},
        ],
        "views": [
            {"stored": 32, "size": 32, "blur": 0.0, "threads": 1}
            | {"ms_per_view": {"ours": spread(0.5)}, "times_faster": {"lightly": spread(4)}}
        ],
    }
    versions = {"torch": "2", "torchvision": "3", "timm": "4"}
    setting = {"processor": "a core", "cores": 2, "threads": 2, "rounds": 7, "versions": versions}
    return {part: setting | {"rows": rows} for part, rows in parts.items()}


def test_every_row_stands_in_a_table() -> None:
    slow = {"size": 32, "geometric_mean": 7.5, "slowest": "fog", "slowest_times": 0.931}
    text = speed(result(), {"summary": [slow]})
    assert "a core, 2 threads of 2 cores, torch 2, torchvision 3, timm 4, 7 rounds. Medians" in text
    assert "geometric mean over the kinds: at 32 px 7.5 (least: fog, 0.93)." in text
    assert "The loop itself: 0.2 (0.1 … 0.4) ms a step." in text
    assert "1,234 a second and read back at 9,999" in text
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert rows == [
        "| step | images | ms | floor, ms | times the floor |",
        "|---|---|---|---|---|",
        "| simclr | resnet18, 64 of 32 px | 110 (55 … 220) | 100 (50 … 200) | 1.1 (0.55 … 2.2) |",
        "| views | threads | ours, ms a view | lightly |",
        "|---|---|---|---|",
        "| 32 px of 32 | 1 | 0.5 (0.25 … 1) | 4 (2 … 8) |",
        "| option | images | default, ms | so, ms | times the default |",
        "|---|---|---|---|---|",
        "| training.compile=true | resnet18, 64 of 32 px | 10 (5 … 20) | 8 (4 … 16) | 0.8 (0.4 … 1.6) |",
        "| against | of what | ours, ms | theirs, ms | times as fast |",
        "|---|---|---|---|---|",
        "| lightly | SimCLR's step, resnet18, 64 of 32 px, 2 workers | 100 (50 … 200) | 200 (100 … 400) | 2 (1 … 4) |",
        "| scikit-learn | 5 votes of 200 neighbors among 9 of 4 numbers | 1 (0.5 … 2) | 3 (1.5 … 6) | 3 (1.5 … 6) |",
        "| target images | bank | ms | beyond the bank, MB | plain, ms | plain, MB | differs by | written, ms |",
        "|---|---|---|---|---|---|---|---|",
        "| 1,000 | bfloat16, 1 MB | 3 (1.5 … 6) | 7 | 4 (2 … 8) | 40 | 1e-07, 2e-06 | 0.5 (0.25 … 1) |",
        "| 1,000,000 | bfloat16, 1 MB | 3 (1.5 … 6) | 7 |  |  |  | 0.5 (0.25 … 1) |",
        "| step | images | classes | ms | floor, ms | times the floor |",
        "|---|---|---|---|---|---|",
        "| simclr | resnet18, 64 of 32 px | 10 | 110 (55 … 220) | 100 (50 … 200) | 1.1 (0.55 … 2.2) |",
    ]


def test_a_result_of_some_parts_has_their_tables_alone() -> None:
    steps = result()["steps"]
    text = speed({"steps": steps}, None)
    assert text.count("|---|---|---|---|---|") == 1
    assert "The loop itself" not in text


def test_parts_of_two_machines_and_rows_that_failed_are_said() -> None:
    found = result()
    failed = found["steps"] | {"processor": "another", "rows": [{"failed": "OutOfMemoryError: no room"}]}
    text = speed({"loop": found["loop"], "steps": failed}, None)
    assert "a core, 2 threads of 2 cores, torch 2, torchvision 3, timm 4, 7 rounds; or another, 2 threads" in text
    assert "Not measured: steps: OutOfMemoryError: no room." in text


def test_ends_keep_as_many_digits_as_asked() -> None:
    assert ends({"median": 1.0412, "low": 1.0301, "high": 1.0649}, 4) == "1.041 (1.03 … 1.065)"
