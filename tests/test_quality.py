"""The benchmark's bookkeeping: what it says is what was answered, and what lies on the disk."""

import json
from pathlib import Path

import pytest
import torch

from examples.quality.__main__ import measure
from examples.quality.chart import chart
from examples.quality.films import Film, film_pool, questions_about, render
from examples.quality.footage import Footage, RememberingModel
from examples.quality.measure import Bench
from examples.quality.report import BEGIN, END, write_report
from examples.quality.results import Results, interval, totals
from examples.quality.settings import KeptBy, Setting, compared, full_kv
from streamkv_cli.method.presets import preset
from streamkv_cli.model.checkpoint import find_checkpoint
from streamkv_cli.model.device import choose_placement
from streamkv_cli.model.loading import load_model

FILM = Film("tiny", 3, "train", "10 min", (60.0,), (4,))
SETTINGS = [full_kv(), Setting("default", preset("default", keep=0.2))]


def test_a_beginning_and_its_long_film_show_and_ask_the_same() -> None:
    early, late = film_pool("test", 0, 1, 0, 7)
    assert (early.asked, late.asked) == ("right after", "long after")
    asked = questions_about(early, 2)
    assert asked == questions_about(late, 2)
    scenes = early.stream(1).until(early.seconds)
    assert late.stream(2).until(late.seconds)[: len(scenes)] == scenes
    assert all(end <= scenes[-1].end for question in asked for _, end in question.proof)
    things = [
        {scene.fact.thing for scene in run if scene.fact.thing}
        for run in (scenes, late.stream(2).until(late.seconds)[len(scenes) :])
    ]
    assert things[0]
    assert not things[0] & things[1]


def test_cells_hold_what_was_answered_and_are_not_measured_twice(tmp_path: Path) -> None:
    results = Results(tmp_path / "cells.jsonl")
    given = {"model": "demo", "each": 1, "work": tmp_path}
    assert measure([FILM], SETTINGS, results, **given) == 2
    lines = (tmp_path / "cells.jsonl").read_text().splitlines()
    again = Results(tmp_path / "cells.jsonl")
    assert again.cells == {cell["key"]: cell for cell in map(json.loads, lines)}
    assert measure([FILM], SETTINGS, again, **given) == 0
    (tmp_path / "cells.jsonl").write_text(lines[0] + "\n" + lines[1][:99])
    torn = Results(tmp_path / "cells.jsonl")
    assert measure([FILM], SETTINGS, torn, **given) == 1
    same = [
        {k: v for k, v in r.cells[json.loads(lines[1])["key"]].items() if "seconds" not in k}
        for r in (again, torn)
    ]
    assert same[0] == same[1]
    for total in totals(torn.cells.values()):
        (cell,) = (c for c in torn.cells.values() if c["row"] == total.row)
        right = [answer["said"] == answer["truth"] for answer in cell["answers"]]
        assert (total.right, total.asked) == (sum(right), len(questions_about(FILM, 1)))
        assert sum(asked for _, asked in total.kinds.values()) == total.asked
    assert total.row == "default"
    page = tmp_path / "quality.md"
    page.write_text(f"Words.\n{BEGIN}\nold\n{END}\nMore words.\n")
    write_report(list(torn.cells.values()), tmp_path)
    assert page.read_text().startswith("Words.\n")
    assert page.read_text().endswith("\nMore words.\n")
    assert f"{100 * total.accuracy:.1f} %" in page.read_text()
    assert "<svg" in (tmp_path / "quality.svg").read_text()


def test_bytes_are_those_of_the_store_and_pictures_are_looked_at_once(tmp_path: Path) -> None:
    checkpoint = find_checkpoint("demo")
    model = RememberingModel(load_model(checkpoint, choose_placement("cpu", "auto")))
    bench = Bench(model, checkpoint, tmp_path / "stores")
    footage = Footage.of(render(FILM, tmp_path), 0.5)
    by_chance = KeptBy(**{**vars(preset("default", keep=0.2)), "name": "by chance"})
    cells = [bench.cell(footage, [], method) for method in (SETTINGS[1].method, by_chance)]
    sizes = [
        sum(f.stat().st_size for f in folder.rglob("*.safetensors"))
        for folder in (tmp_path / "stores").iterdir()
    ]
    assert sorted(cell["bytes"] for cell in cells) == sorted(sizes)
    assert model.looked == len(footage.frames) == cells[0]["frames"]
    assert cells[0]["kept"] == cells[1]["kept"] < cells[0]["frames"]


@pytest.mark.parametrize("rule", ["random", "uniform", "recent"])
def test_rules_beside_the_guidance_prompt_rank_every_block(rule: str) -> None:
    method = KeptBy(**{**vars(preset("default")), "rule": rule})
    keys = torch.randn(11, 2, 4)
    scores = method.keep_scores(torch.randn(3, 4, 4), keys)
    assert len(scores.unique()) == 11
    torch.testing.assert_close(scores, method.keep_scores(torch.randn(3, 4, 4), keys))
    if rule == "recent":
        assert scores.argmax() == 10
    if rule == "uniform":
        assert sorted(scores.topk(3).indices.tolist()) == [0, 4, 8]


def test_wilson_interval() -> None:
    assert interval(90, 100) == pytest.approx((0.8256, 0.9448), abs=1e-4)
    assert interval(10, 10)[1] == 1.0
    assert interval(0, 10)[0] == 0.0


def test_every_compared_row_has_a_line_in_the_chart() -> None:
    from examples.quality.results import Total

    rows = []
    for i, setting in enumerate(compared()):
        total = Total(setting.row, setting.keep, bytes=(i + 1) * 10**6, hours=1.0)
        total.kinds["place"] = [9, 10]
        rows.append(total)
    picture = chart(rows, "T <&>")
    assert picture.count("<polyline") == len({s.row for s in compared()})
    assert "T &lt;&amp;&gt;" in picture
