"""book/speed.md says what the results say, in its numbers, figures and captions."""

from __future__ import annotations

import json

import pytest
import speed_page
from speed_page import curve, rows, slope

from crate_mini import results

TEXT = speed_page.PAGE.read_text(encoding="utf-8")


def test_page_holds_what_the_results_say():
    assert speed_page.fill(TEXT) == TEXT, "python tools/speed_page.py --write"


@pytest.mark.parametrize(("what", "path"), speed_page.pictures())
def test_figures_are_of_these_results(what, path):
    assert speed_page.digest() in path.read_text(encoding="utf-8"), "python tools/speed_page.py --write"
    assert f"_assets/{path.name}" in TEXT


def test_other_results_make_page_and_figures_stale(monkeypatch):
    before, real = speed_page.digest(), results.read_result

    def plain_is_twice_as_slow(name: str) -> str:
        content = json.loads(real(name))
        for row in content["rows"]:
            if "seconds" in (side := row.get("sides", {}).get("plain formula, float32", {})):
                side["seconds"] *= 2
        return json.dumps(content)

    monkeypatch.setattr(results, "read_result", plain_is_twice_as_slow)
    assert speed_page.digest() != before
    assert speed_page.fill(TEXT) != TEXT


def test_figures_are_drawn_alike_every_time(monkeypatch, tmp_path):
    (tmp_path / "_assets").mkdir()
    monkeypatch.setattr(speed_page, "BOOK", tmp_path)
    speed_page.save_figures()
    first = {path: path.read_bytes() for _, path in speed_page.pictures()}
    speed_page.save_figures()
    assert first == {path: path.read_bytes() for _, path in speed_page.pictures()}


def test_every_side_has_its_curves():
    for what, columns in (("training", 3), ("evaluation", 3), ("meter", 3), ("maskcut", 2)):
        sides = list(rows("seconds", what)[0]["sides"])
        panels = speed_page.draw(what).axes
        assert len(panels) == 2 * columns
        for panel in panels:
            drawn = [line.get_label() for line in panel.lines if not line.get_label().startswith("_")]
            assert sorted(drawn) == sorted(sides)


def test_a_curve_is_sorted_and_of_one_axis():
    points = [
        {"tokens": n, "depth": 8, "axes": axes, "sides": {"a": {"seconds": n / 10}}}
        for n, axes in ((1025, ["tokens"]), (65, ["tokens", "depth"]), (257, ["tokens"]), (65, ["depth"]))
    ]
    assert curve(points, "tokens", "a", "seconds") == ([65, 257, 1025], [6.5, 25.7, 102.5])
    assert slope([1, 10, 100], [5.0, 5.0, 500.0]) == pytest.approx(2)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.0123, "12\u00a0ms"),
        (1.26, "1.3\u00a0s"),
        (0.00149, "1.5\u00a0ms"),
        (123.4, "123\u00a0s"),
        (2.0, "2.0\u00a0s"),
        (9.96, "10\u00a0s"),
    ],
)
def test_durations_in_words(value, words):
    assert speed_page.duration(value) == words


def test_sizes_in_words():
    assert speed_page.size(4.5 * 2**30) == "4.5\u00a0GiB"
    assert speed_page.size(220.4 * 2**20) == "220\u00a0MiB"


def test_ticks_leave_each_other_room():
    assert speed_page.named([64, 256, 1024, 2304, 3600]) == ["64", "256", "1,024", "", "3,600"]
    assert speed_page.named([2, 4, 8, 12]) == ["2", "4", "8", "12"]


class TestCaptions:
    """What the page says of its curves, in words."""

    def growth(self, what: str, side: str, quantity: str, axis: str = "tokens") -> float:
        return slope(*curve(rows(quantity, what), axis, side, quantity))

    def last(self, what: str, side: str, quantity: str) -> float:
        return curve(rows(quantity, what), "tokens", side, quantity)[1][-1]

    @pytest.mark.parametrize("what", ["training", "evaluation"])
    def test_plain_memory_turns_to_the_square_and_fused_attention_does_not(self, what):
        assert self.growth(what, "plain formula, float32", "bytes") > 1.75
        for side in ("CRATE, float32", "CRATE, bfloat16", "ViT, float32", "ViT, bfloat16"):
            assert self.growth(what, side, "bytes") < 1.4, side

    def test_layers_and_images_cost_in_proportion(self):
        for side in rows("seconds", "training")[0]["sides"]:
            for axis in ("depth", "batch"):
                assert 0.75 < self.growth("training", side, "seconds", axis) < 1.3, (side, axis)

    def test_tokens_cost_more_than_in_proportion(self):
        for side in rows("seconds", "training")[0]["sides"]:
            assert self.growth("training", side, "seconds") > 1.2, side

    def test_evaluation_keeps_no_layer(self):
        """What ten more layers take is their weights; in training, it is what they keep for the way back."""
        _, values = curve(rows("bytes", "evaluation"), "depth", "CRATE, float32", "bytes")
        _, trained = curve(rows("bytes", "training"), "depth", "CRATE, float32", "bytes")
        assert (values[-1] - values[0]) < 0.25 * (trained[-1] - trained[0])

    def test_dense_ways_cost_the_cube(self):
        assert self.growth("meter", "one reading, n x n", "seconds") > 2.4
        assert self.growth("maskcut", "SciPy, dense", "seconds") > 2.4
        assert self.growth("meter", "one reading", "seconds") < 1.9
        assert self.growth("maskcut", "iterative", "seconds") < 2.4

    def test_with_few_tokens_it_makes_no_difference(self):
        for what, ours, peer in (
            ("meter", "one reading", "one reading, n x n"),
            ("maskcut", "iterative", "SciPy, dense"),
        ):
            _, a = curve(rows("seconds", what), "tokens", ours, "seconds")
            _, b = curve(rows("seconds", what), "tokens", peer, "seconds")
            assert 1 / 4 < a[0] / b[0] < 4
            assert b[-1] > 10 * a[-1]

    @pytest.mark.parametrize("quantity", ["seconds", "bytes"])
    def test_the_gap_to_the_plain_formula_grows_with_tokens(self, quantity):
        points = rows(quantity, "training")
        _, ours = curve(points, "tokens", "CRATE, float32", quantity)
        _, plain = curve(points, "tokens", "plain formula, float32", quantity)
        assert plain[-1] / ours[-1] > plain[0] / ours[0]


def test_refuses_a_page_without_places():
    with pytest.raises(ValueError, match="no place for 'share'"):
        speed_page.fill("nothing here")
