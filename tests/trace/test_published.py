"""Published speeds: whole rows, with their sources; the article's two figures follow from them."""

from __future__ import annotations

import numpy as np
import pytest

from moespac_nb.datasets.published import mean_by_system, published_speeds
from moespac_nb.hardware.machine import list_machines
from moespac_nb.hardware.model import load_model_spec

HERE = published_speeds("qwen3-30b-a3b", "17%")


def test_every_row_says_where_it_comes_from_and_on_what() -> None:
    assert len(published_speeds()) > 90
    for speed in published_speeds():
        for told in (speed.system, speed.model, speed.budget, speed.precision, speed.hardware, speed.source):
            assert told
        assert 0 < speed.tokens_per_s < 100
        assert speed.machine is None or speed.machine in list_machines()
        if speed.model.startswith("qwen"):
            load_model_spec(speed.model)


def test_the_articles_figures_follow() -> None:
    means = mean_by_system(tuple(speed for speed in HERE if "Table 2" in speed.source))
    ours = means.pop("MoE-SpAc")
    assert ours / max(means.values()) == pytest.approx(1.42, abs=0.005)
    means.pop("llama.cpp + SD")
    assert ours / np.mean(list(means.values())) == pytest.approx(4.04, abs=0.005)


def test_what_is_not_published_is_no_row() -> None:
    assert published_speeds("qwen3-30b-a3b", "10%") == ()
    assert {speed.budget for speed in published_speeds("qwen3-30b-a3b-4bit")} == {
        "1 GiB",
        "2 GiB",
        "4 GiB",
        "8 GiB",
    }
