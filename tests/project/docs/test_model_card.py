"""The card of the pair: each figure worked by hand on made-up routing, and the command run whole."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb import DOMAINS, load_prompts
from moespac_nb.datasets.files import data_path
from moespac_nb.datasets.prompts import Prompt
from moespac_nb.estimator.evaluation import LAST_WINDOW
from tests.helpers.traces.strategies import GEOMETRY, one_text
from tools.pair import evaluate as evaluate_pair
from tools.pair import train_seeds
from tools.pair.card import (
    acceptance,
    decodes,
    losses,
    markdown,
    readings,
    reuse,
    samples,
    seeds,
    streams,
    use,
)
from tools.support import tiny_models as tiny

TOOLS = Path(__file__).resolve().parents[3] / "tools"

WITH_MARKS = f"{evaluate_pair.FIGURES}\n{evaluate_pair.END}"
MARK = streams.ALL_TEMPLATED


def made_up_decodes(texts: int = 2) -> decodes.Decodes:
    return {
        (mode, gamma): [one_text(seed=7 * i + gamma, sampled=mode != decodes.GREEDY) for i in range(texts)]
        for mode in decodes.MODES
        for gamma in decodes.GAMMAS
    }


def asked(count: int = 2) -> list[Prompt]:
    return [
        replace(p, prompt=[3, 4, 5 + i]) for i, p in enumerate(load_prompts("chat", half="report")[:count])
    ]


# the command


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the card and the figures of a quick run that found an old card of other weights."""
    folder = tmp_path_factory.mktemp("card")
    (folder / "README.md").write_text(f"before\n{evaluate_pair.FIGURES}\nold\n{evaluate_pair.END}\nafter\n")
    old = {"sha256": {"target.safetensors": "another"}, "held_out_loss_nats": {"old": {}}, "sources": {}}
    (folder / "card.json").write_text(json.dumps(old))
    command = [sys.executable, "-m", "tools.pair.evaluate", "--quick", *paths(folder)]
    subprocess.run(command, check=True, capture_output=True, timeout=300)
    return folder


def paths(folder: Path) -> list[str]:
    named = {"card": "card.json", "readme": "README.md", "decodes": "decodes"}
    return [part for option, name in named.items() for part in (f"--{option}", str(folder / name))]


def test_the_command_measures_the_bundled_pair(written: Path) -> None:
    card = json.loads((written / "card.json").read_text("utf-8"))
    for by_gamma in card["acceptance"].values():
        for by_name in by_gamma.values():
            assert by_name.keys() >= set(DOMAINS)
            assert all(0 <= figure["rate"] <= 1 for figure in by_name.values())
    counts = np.array(list(card["expert_use"]["counts"].values()))
    assert counts.shape[1:] == (card["geometry"]["layers"], card["geometry"]["experts"])
    for by_stream in card["reuse"]["hit_rate"].values():
        for rates in by_stream.values():
            assert all(lru <= best for lru, best in zip(rates["LRU"], rates["Belady"], strict=True))
    assert {text["stream"].partition(".")[0] for text in card["samples"]["texts"]} == set(DOMAINS)


def test_the_command_leaves_the_text_around_the_figures(written: Path) -> None:
    readme = (written / "README.md").read_text("utf-8")
    assert readme.startswith(f"before\n{evaluate_pair.FIGURES}\n")
    assert readme.endswith(f"\n{evaluate_pair.END}\nafter\n")
    assert "\nold\n" not in readme
    assert list((written / "decodes").iterdir()) == []


def test_losses_of_other_weights_are_not_taken_over(written: Path) -> None:
    losses = json.loads((written / "card.json").read_text("utf-8"))["held_out_loss_nats"]
    assert losses is None or "old" not in losses


def test_every_row_of_a_wholly_templated_domain_is_marked(written: Path) -> None:
    lines = (written / "README.md").read_text("utf-8").splitlines()
    rows = [line for line in lines if line.startswith(("| mcq", "| math"))]
    assert len(rows) > 10
    assert [row for row in rows if MARK not in row.split("|")[1]] == []


def test_tables_alone_come_out_the_same(
    written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("card.json", "README.md"):
        (tmp_path / name).write_bytes((written / name).read_bytes())
    monkeypatch.setattr(sys, "argv", ["evaluate_pair.py", "--tables-only", *paths(tmp_path)])
    monkeypatch.setattr(evaluate_pair, "SEEDS_REPORT", tmp_path / "none")
    evaluate_pair.main()
    for name in ("card.json", "README.md"):
        assert (tmp_path / name).read_text("utf-8") == (written / name).read_text("utf-8")


@pytest.mark.parametrize(
    ("readme", "options", "message"),
    [
        ("no marks", [], "lacks the lines"),
        (WITH_MARKS, [], "holds no card"),
        (WITH_MARKS, ["--tokens", "5"], "--tokens 5; expected: from 1, from 6"),
        (WITH_MARKS, ["--prompts", "0"], "--prompts is 0"),
    ],
)
def test_what_is_missing_is_said_before_any_work(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    readme,
    options,
    message,
) -> None:
    (tmp_path / "README.md").write_text(readme)
    monkeypatch.setattr(sys, "argv", ["evaluate_pair.py", "--tables-only", *options, *paths(tmp_path)])
    with pytest.raises(SystemExit):
        evaluate_pair.main()
    assert message in capsys.readouterr().err


def test_a_stopped_run_goes_on_with_what_is_not_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[Any] = []

    def record(*args: Any, **options: Any) -> Any:
        calls.append(options)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(*args, **options)

    real = decodes.record
    monkeypatch.setattr(decodes, "record", record)
    target, draft = tiny.pair()
    with pytest.raises(KeyboardInterrupt):
        decodes.decodes(target, draft, asked(), 6, tmp_path / "a")
    resumed = decodes.decodes(target, draft, asked(), 6, tmp_path / "a")
    assert len(calls) == 4 + 5  # eight texts, three of them done before the stop
    whole = decodes.decodes(target, draft, asked(), 6, tmp_path / "b")
    for key, traces in whole.items():
        assert [t.committed_ids.tolist() for t in traces] == [t.committed_ids.tolist() for t in resumed[key]]


def test_decodes_of_other_files_or_settings_lie_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "weights"
    path.write_text("a")
    first = decodes.fingerprint([path], 1)
    assert first == decodes.fingerprint([path], 1) != decodes.fingerprint([path], 2)
    path.write_text("b")
    assert first != decodes.fingerprint([path], 1)


def test_without_a_corpus_there_is_no_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_seeds.train_pair, "CORPUS", tmp_path)
    assert losses.measure(*tiny.pair(), windows=1) is None
    assert losses.show(None) == ""


# streams


@pytest.mark.parametrize("domain", DOMAINS)
def test_prompts_are_chosen_from_both_kinds_alike(domain: str) -> None:
    first = streams.chosen(domain, "report", 6)
    assert {p.half for p in first} == {"report"}
    assert len({p.id for p in first}) == 6
    assert sum(p.templated for p in first) in (0, 3, 6)


def test_a_mean_is_of_one_kind_and_templates_are_marked() -> None:
    rows = streams.with_means({"qa.templated": [1.0], "mcq.templated": [0.0], "qa.natural": [8.0]})
    assert rows == [
        (f"mcq, templated {MARK}", [0.0]),
        ("qa, natural", [8.0]),
        (f"qa, templated {MARK}", [1.0]),
        ("mean of natural", [8.0]),
        (f"mean of templated {MARK}", [0.5]),
    ]


def test_a_domain_is_marked_by_what_its_prompts_are() -> None:
    assert [streams.domain_label(d) for d in ("mcq", "chat", "code")] == [f"mcq {MARK}", "chat ‡", "code"]


# figures


def test_acceptance_is_pooled_within_its_spread() -> None:
    traces = {key: [one_text(seed=i) for i in range(5)] for key in made_up_decodes(1)}
    found = acceptance.measure(traces, asked(5))[decodes.GREEDY]["4"]["chat"]
    assert found["rate"] == sum(t.accepted.sum() for t in traces[decodes.GREEDY, 4]) / sum(
        t.gamma.sum() for t in traces[decodes.GREEDY, 4]
    )
    assert min(found["prompts"]) <= found["low"] < found["rate"] < found["high"] <= max(found["prompts"])


def test_texts_that_share_no_expert_are_one_bit_apart() -> None:
    left, right = np.array([[2, 2, 0, 0]]), np.array([[0, 0, 1, 3]])
    counts = {"math.templated": [left] * 4, "code.natural": [right] * 4}
    found = use.distances(counts, [["math.templated"], ["code.natural"]], ["math", "code"])
    assert found["matrix"] == [[0.0, 1.0], [1.0, 0.0]]
    assert (found["between_by_layer"], found["noise_by_layer"]) == ([1.0], [0.0])


def test_noise_is_the_distance_of_a_text_from_itself() -> None:
    rng = np.random.default_rng(0)
    texts = [rng.multinomial(40, [0.25] * 4)[None] for _ in range(12)]
    found = use.distances(
        {"code.natural": texts, "qa.natural": texts}, [["code.natural"], ["qa.natural"]], "ab"
    )
    apart, noise = use.apart_and_noise(found)
    assert 0 < noise.mean() < 0.05
    assert apart.mean() == pytest.approx(noise.mean(), rel=1.0)


def test_a_single_text_has_no_halves() -> None:
    assert use.distances({"code.natural": [np.ones((1, 4))]}, [["code.natural"]], ["code"]) is None


def test_balance_weighs_domains_alike_and_finds_the_dead() -> None:
    busy, calm = np.array([[1000, 0, 0, 0]]), np.array([[0, 1, 1, 0]])
    found = use.balance({"math.templated": [busy], "code.natural": [calm]})
    assert found == {"dead": [1], "busiest_over_mean": [2.0], "idlest_over_mean": [0.0]}
    assert use.measure({"math.templated": [busy + 1], "code.natural": [calm]})["experts_for_half"] == {
        "math.templated": 1.0,
        "code.natural": 1.0,
    }


def test_hit_rates_pool_texts_that_each_start_cold() -> None:
    repeated = np.array([[[0, 1], [2, 3]]] * 3)
    rates = reuse.hit_rates({"code.natural": [repeated, repeated]}, GEOMETRY)["code.natural"]
    slots = [reuse.slots_of(share, GEOMETRY) for share in reuse.SHARES]
    assert slots == [1, 1, 2, 3]
    assert rates["LRU"] == rates["Belady"] == [2 / 6, 2 / 6, 4 / 6, 4 / 6]
    assert rates[reuse.NO_LIMIT] == pytest.approx([4 / 6])


def test_belady_loads_the_fewest_of_what_is_asked() -> None:
    traces = made_up_decodes()
    for mode, by_gamma in reuse.loads(traces, GEOMETRY).items():
        for gamma, figures in by_gamma.items():
            of = traces[mode, int(gamma) or decodes.GAMMAS[0]]
            tokens = sum(int(t.committed.sum()) for t in of)
            asked_for = sum(int((t.counts > 0).sum()) for t in of) / (tokens * GEOMETRY.layers)
            most = asked_for if int(gamma) else GEOMETRY.top_k
            assert 0 < figures["Belady"] <= figures["LRU"] <= most


def test_figures_of_reuse_take_each_mode_by_stream() -> None:
    traces = made_up_decodes()
    texts = reuse.decoded_texts(traces, ["chat.natural", "chat.templated"])
    found = reuse.measure(texts, traces, GEOMETRY)
    assert found["overlap"].keys() == found["hit_rate"].keys() == set(decodes.MODES)
    windows = found["experts_of_a_window"][decodes.GREEDY]
    assert windows["in a row"][0] == windows["as verified"][0] == GEOMETRY.top_k
    assert f"| chat, templated {MARK} |" in reuse.show(found, GEOMETRY, expert_bytes=55_000)


def test_given_text_is_cut_into_windows_that_are_all_accepted() -> None:
    experts = np.arange(12).reshape(6, 1, 2)
    first, second, third = readings.windows(experts, 12, 2)
    assert [w.position for w in (first, second, third)] == [0, 2, 4]
    assert (second.accepted, second.experts.tolist()) == (1, [[[4, 5]], [[6, 7]]])
    assert np.flatnonzero(third.counts[0]).tolist() == [8, 9, 10, 11]


def test_distinct_runs_are_counted_of_all_runs() -> None:
    assert samples.distinct_share([1, 2, 1, 2, 1, 2], gram=2) == 2 / 5
    assert samples.distinct_share([1, 2, 3, 4, 5]) == 1.0
    assert samples.distinct_share([1, 2, 3]) is None


def test_seeds_are_told_by_mean_and_deviation() -> None:
    runs = [
        {"held_out_loss_nats": {"qa.templated": x}, "routing": {"overlap": x / 8}, "predicting_recall": {}}
        for x in (1.0, 3.0)
    ]
    report = {"steps": 2, "seeds": [4, 5], "window_positions": 5, "spread": seeds.spread(runs)}
    shown = seeds.show(report)
    assert f"| held-out loss, qa, templated {MARK} | 2.00 ± 1.41 | 1.00 | 3.00 |" in shown
    assert "| overlap ‡ | 0.250 ± 0.177 | 0.125 | 0.375 |" in shown
    assert seeds.show(None) == ""
    assert seeds.spread(runs[:1])["routing"]["overlap"]["deviation"] is None


def test_a_seed_that_is_trained_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done, trained = {"seed-1": 5, "seed-2": 3}, []
    pair = train_seeds.train_pair
    monkeypatch.setattr(train_seeds, "SEEDS", tmp_path)
    monkeypatch.setattr(pair, "new_model", lambda role: tiny.moe())
    monkeypatch.setattr(
        pair, "load_checkpoint", lambda path, model: (done[path.parent.name.partition("steps-")[2]], 0.0)
    )
    monkeypatch.setattr(
        pair, "train", lambda role, steps, seed, folder: trained.append((role, steps, seed, folder))
    )
    for seed in (1, 2):
        assert not train_seeds.trained(5, seed).training
    assert trained == [("target", 5, 2, tmp_path / "5-steps-seed-2")]


def test_the_figures_of_a_seed_follow_from_its_routing() -> None:
    left, right = np.array([[[0, 1]] * 2] * 20), np.array([[[2, 3]] * 2] * 20)
    texts = {"math.templated": [left] * 4, "code.natural": [right] * 4}
    found = train_seeds._routing(texts, GEOMETRY)
    assert found["overlap"] == found["overlap, shuffled"] == found["bits between domains"] == 1.0
    assert (found["bits of noise"], found["experts never used, all layers"]) == (0.0, 4)
    assert found["busiest over mean, worst layer"] == 1.5
    assert train_seeds._recall(texts, GEOMETRY)[LAST_WINDOW] == 1.0


# what is written


def test_json_keeps_every_string_and_rounds_numbers() -> None:
    card = {"text": "a [ 1, 2 ] b\n[\n 3\n]", "rows": [[1, 2], [0.123456, 1e-9]], "words": ["x", "y"]}
    text = evaluate_pair.as_json(card)
    assert json.loads(text) == card | {"rows": [[1, 2], [0.1235, 0.0]]}
    assert "  [1, 2],\n" in text


@pytest.mark.parametrize("text", ["plain", "~~~ three", "a\n~~~~~\nb", ""])
def test_a_fence_is_longer_than_any_in_the_text(text: str) -> None:
    first, *body, last = markdown.fenced(text).split("\n")
    assert "\n".join(body) == text
    assert first == last + "text"
    assert last not in text


def test_the_sources_in_words_are_those_of_the_card(root: Path) -> None:
    card = json.loads(data_path("pair/card.json").read_text("utf-8"))
    readme = (root / "data/README.md").read_text("utf-8")
    for source in card["sources"].values():
        row = [
            source["what"],
            source["package"],
            source["version"],
            source["licence"],
            f"`{source['sha256']}`",
        ]
        assert "| " + " | ".join(row) + " |" in readme
