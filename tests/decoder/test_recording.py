"""Recording: a trace is what was decoded; from a dense trace every draft length can be replayed."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import product
from time import perf_counter

import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from moespac_nb.cli import main as cli
from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.gamma import AdaptiveGamma
from moespac_nb.decoder.recording import DenseDecoding, record, trace_of
from moespac_nb.decoder.sampling import Sampling, probabilities
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.steps import same_step
from tools.support import tiny_models as tiny
from tools.support.tiny_models import random_prompt

SAMPLE = Sampling("sample", temperature=1.0, top_k=50)
OPTIONS = {"max_new_tokens": 24, "stop_ids": ()}


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLE])
def test_a_recording_is_the_decode_itself(sampling):
    target, draft = tiny.pair()
    trace = record(target, random_prompt(0), draft=draft, gamma=4, sampling=sampling, seed=5, **OPTIONS)
    decoding = decode(target, random_prompt(0), draft=draft, gamma=4, sampling=sampling, seed=5, **OPTIONS)
    for recorded, step in zip(trace, decoding, strict=True):
        untimed = {"draft_ms": 0.0, "verify_ms": 0.0}
        assert same_step(replace(recorded, **untimed), replace(step, **untimed))
    assert trace.committed_ids.tolist() == decoding.new_ids
    assert np.array_equal(trace.prefill().experts, decoding.prefill.experts)
    text = trace.texts[0]
    assert (text.mode, text.gamma, text.gamma_max, text.seed) == (sampling.mode, "4", None, 5)
    assert (text.draft, text.finish_reason) == ("Qwen3MoeForCausalLM", "length")
    assert text.versions["torch"] == torch.__version__


def test_plain_decoding_and_a_lookup_draft_can_be_recorded():
    target, _ = tiny.pair()
    assert record(target, random_prompt(0), gamma=4, **OPTIONS).gamma.tolist() == [0] * 24
    looked_up = record(target, random_prompt(0), draft=NgramDraft(), gamma=AdaptiveGamma(), **OPTIONS)
    assert looked_up.texts[0].draft == "NgramDraft"
    assert looked_up.texts[0].gamma == "AdaptiveGamma(low=1, high=16)"


def test_an_interrupted_decoding_can_be_kept_as_far_as_it_came():
    target, draft = tiny.pair()
    decoding = decode(target, random_prompt(0), draft=draft, gamma=2, **OPTIONS)
    with pytest.raises(MoespacError, match="nothing is decoded yet"):
        trace_of(decoding)
    next(decoding)
    part = trace_of(decoding)
    assert len(part) == 1
    assert part.texts[0].finish_reason is None


@pytest.mark.parametrize("gamma", [0, 1, 2, 4, AdaptiveGamma(high=4)])
def test_a_greedy_dense_trace_replays_what_decoding_does(gamma):
    target, draft = tiny.pair()
    dense = record(target, random_prompt(0), draft=draft, dense=4, **OPTIONS)
    decoding = decode(target, random_prompt(0), draft=draft, gamma=gamma, **OPTIONS)
    for replayed, step in zip(dense.rounds(gamma), decoding, strict=True):
        assert (replayed.index, replayed.position, replayed.accepted) == (
            step.index,
            step.position,
            step.accepted,
        )
        for name in ("window", "emitted", "target_ids", "experts"):
            assert np.array_equal(getattr(replayed, name), getattr(step, name)), name
        assert np.allclose(replayed.gate_weights, step.gate_weights, atol=1e-4)
    assert decoding.ids[-24:] == dense.committed_ids.tolist()


def test_a_dense_trace_ends_at_a_stop_token():
    target, draft = tiny.pair()
    own = tiny.generated(target, random_prompt(0), 24, eos_token_id=None)
    stop = own[9]
    dense = record(target, random_prompt(0), draft=draft, dense=4, max_new_tokens=24, stop_ids=[stop])
    assert dense.committed_ids.tolist() == own[: own.index(stop) + 1]
    assert dense.texts[0].finish_reason == "stop"
    for row in dense:
        assert row.gamma == 4 or row.drafted[-1] == stop
        assert stop not in row.drafted[:-1]
    for gamma in (0, 2, 4):
        assert [
            token for step in dense.rounds(gamma) for token in step.emitted
        ] == dense.committed_ids.tolist()


def test_a_sampled_dense_trace_decides_alike_wherever_a_row_begins():
    target, draft = tiny.pair()
    dense = record(target, random_prompt(0), draft=draft, dense=4, sampling=SAMPLE, **OPTIONS)
    text = dense.committed_ids.tolist()
    assert {0, 4} < set(dense.accepted.tolist())
    for i, row in enumerate(dense):
        expected = 0  # tokens ahead that the rows in front of them took from the draft
        while expected < row.gamma and dense.accepted[i + expected] > 0:
            expected += 1
        assert row.accepted == expected
        if row.accepted < row.gamma - 1:
            assert row.drafted[row.accepted] != text[i + row.accepted]


def test_where_rounding_disagrees_the_committed_text_holds():
    target, draft = tiny.pair()
    dense = decode(target, random_prompt(0), draft=draft, gamma=4, kind=DenseDecoding, **OPTIONS)
    list(dense)
    accepted = trace_of(dense).accepted.tolist()
    dense.steps = [replace(step, accepted=step.gamma) for step in dense.steps]
    assert trace_of(dense).accepted.tolist() == accepted
    assert accepted != [step.gamma for step in dense.steps]


VOCABULARY, PROMPT, TEXTS = 4, [0, 1, 2, 0, 1], 1000


def chain(seed: int) -> tiny.MarkovChain:
    generator = torch.Generator().manual_seed(seed)
    return tiny.MarkovChain(1.2 * torch.randn(VOCABULARY, VOCABULARY, generator=generator))


def p_values(dense_traces: list[Trace], gamma: int) -> tuple[float, float]:
    """Of the first two tokens, and of what the first round drafts after its first token is rejected."""
    hot = Sampling("sample", temperature=1.0)
    p, q = (probabilities(chain(seed).logits, hot).double().numpy() for seed in (1, 2))
    texts = Counter(tuple(dense.committed_ids[:2].tolist()) for dense in dense_traces)
    wanted = {(a, b): p[1, a] * p[a, b] for a, b in product(range(VOCABULARY), repeat=2)}
    first = [next(dense.rounds(gamma)) for dense in dense_traces]
    # What follows a rejected token must not know which token takes its place, nor what comes after that.
    rows = zip(first, dense_traces, strict=True)
    tails = [(s.drafted[0], s.drafted[1], t.committed_ids[1]) for s, t in rows if s.accepted == 0]
    alike = np.array([next_draft == text for _, next_draft, text in tails])
    expected = np.array([q[d, c] for d, _, c in tails])
    z = (alike.sum() - expected.sum()) / np.sqrt((expected * (1 - expected)).sum())
    shares = np.array([*wanted.values()])
    by_text = chisquare([texts[key] for key in wanted], shares / shares.sum() * len(dense_traces)).pvalue
    return float(by_text), abs(float(z))


def sampled_fans() -> list[Trace]:
    target, draft = chain(1), chain(2)
    hot = Sampling("sample", temperature=1.0)
    options = {"draft": draft, "dense": 2, "sampling": hot, "max_new_tokens": 3}
    return [record(target, PROMPT, seed=seed, **options) for seed in range(TEXTS)]


def test_a_sampled_dense_trace_has_the_targets_text_and_tails_that_know_nothing_of_it():
    p, z = p_values(sampled_fans(), gamma=2)
    assert p > 0.01
    assert z < 3


def test_uniforms_shared_by_position_would_give_the_text_away(monkeypatch):
    def by_position(dense, text):
        return np.random.default_rng((dense.seed, len(text))).random(3)

    monkeypatch.setattr(DenseDecoding, "_uniforms", by_position)
    assert p_values(sampled_fans(), gamma=2)[1] > 5


@pytest.mark.parametrize(
    ("draft", "dense", "message"),
    [
        ("noised", 0, "dense is 0; expected: a whole number from 1"),
        ("noised", True, "dense is True"),
        (None, 4, "dense is 4 and draft is None"),
        ("ngram", 4, "a draft that always proposes its 4, such as a model"),
    ],
)
def test_a_dense_trace_that_would_have_holes_is_refused(draft, dense, message):
    target, noised = tiny.pair()
    drafts = {"noised": noised, "ngram": NgramDraft(), None: None}
    with pytest.raises(MoespacError, match=message):
        record(target, random_prompt(0), draft=drafts[draft], dense=dense, **OPTIONS)


# router scores and sensors

ALL = {"scores": True, "channels": ("draft-gates", "next-gate")}


@pytest.fixture(scope="module")
def sensed() -> Trace:
    target, draft = tiny.pair()
    return record(target, random_prompt(0), draft=draft, gamma=4, **ALL, **OPTIONS)


def test_what_is_recorded_beside_changes_nothing_and_leaves_no_hook(sensed):
    target, draft = tiny.pair()
    assert tiny.hook_count(target) == tiny.hook_count(draft) == 0
    plain = record(target, random_prompt(0), draft=draft, gamma=4, **OPTIONS)
    bare = replace(sensed, scores=None, score_experts=None, channels={})
    for name, array in bare.columns.items():
        assert name.endswith("_ms") or np.array_equal(array, getattr(plain, name), equal_nan=True), name


def test_the_best_scores_are_those_of_the_experts_that_were_chosen(sensed):
    assert sensed.scores.shape == (len(sensed.window), 4, 8)
    assert (np.diff(sensed.scores, axis=-1) <= 0).all()
    assert np.array_equal(np.sort(sensed.score_experts[..., :4]), np.sort(sensed.experts))
    best = sensed.scores[..., :4]
    softmax = np.exp(best - best.max(-1, keepdims=True))
    softmax /= softmax.sum(-1, keepdims=True)
    assert np.allclose(softmax, sensed.gate_weights, atol=1e-5)  # this model weighs them so


@torch.no_grad()
def states_of(target: torch.nn.Module, draft: torch.nn.Module, ids: list[int]):
    """By layer what its gate read in one pass over the text; and from what the draft's head spoke."""
    read: list[torch.Tensor] = []
    hooks = [
        g.register_forward_pre_hook(lambda _, args: read.append(args[0])) for g in inspect_model(target).gates
    ]
    target(torch.tensor([ids]))
    for hook in hooks:
        hook.remove()
    return read, draft.model(torch.tensor([ids])).last_hidden_state[0]


def named(gate: torch.nn.Module, state: torch.Tensor) -> list[int]:
    return (gate.weight.detach() @ state).topk(8).indices.tolist()


def test_sensors_see_the_states_they_are_said_to_see(sensed):
    target, draft = tiny.pair()
    prompt = random_prompt(0)
    text = [*prompt, *sensed.committed_ids.tolist()]
    read, spoke = states_of(target, draft, text)
    gates = inspect_model(target).gates
    next_gate, draft_gates = (sensed.channels[name].values for name in ("next-gate", "draft-gates"))
    assert (next_gate[:, 0] == -1).all()
    seen = agreed = 0
    for i, step in enumerate(sensed):
        at, of = sensed.starts["verified"][i], sensed.starts["drafted"][i]
        for offset in range(step.accepted + 1):  # what is committed can be read again in one pass
            place = step.position + offset
            for layer in range(1, 4):
                seen += 1
                agreed += next_gate[at + offset, layer].tolist() == named(
                    gates[layer], read[layer - 1][place]
                )
            if offset < step.gamma:
                for layer in range(4):
                    seen += 1
                    agreed += draft_gates[of + offset, layer].tolist() == named(gates[layer], spoke[place])
    assert seen > 100
    assert agreed >= 0.99 * seen  # passes of other lengths round near ties the other way


def test_a_dense_trace_records_them_too():
    target, draft = tiny.pair()
    dense = record(target, random_prompt(0), draft=draft, dense=3, **ALL, max_new_tokens=6, stop_ids=())
    assert dense.channels["draft-gates"].values.shape == (len(dense.draft_probs), 4, 8)
    assert dense.channels["next-gate"].values.shape == dense.score_experts.shape == (len(dense.window), 4, 8)
    again = record(target, random_prompt(0), draft=draft, dense=3, **ALL, max_new_tokens=6, stop_ids=())
    untimed = {name: np.zeros_like(getattr(dense, name)) for name in ("prefill_ms", "draft_ms", "verify_ms")}
    assert replace(dense, **untimed) == replace(again, **untimed)


def test_where_nothing_is_drafted_the_draft_says_nothing():
    target, draft = tiny.pair()
    trace = record(target, random_prompt(0), draft=draft, gamma=0, **ALL, max_new_tokens=3, stop_ids=())
    assert trace.channels["draft-gates"].values.shape == (0, 4, 8)


@pytest.mark.parametrize(
    ("target", "draft", "asked", "message"),
    [
        (
            "moe",
            "moe",
            {"channels": ("draft-gate",)},
            "channels has 'draft-gate'.* did you mean 'draft-gates'",
        ),
        ("moe", "ngram", {"channels": ("draft-gates",)}, "draft is NgramDraft; expected for draft-gates"),
        ("moe", None, {"channels": ("draft-gates",)}, "draft is None; expected for draft-gates"),
        ("moe", "dense", {"channels": ("draft-gates",)}, "state has 32 numbers .* gates read 64"),
        ("dense", None, {"scores": True}, "Qwen3ForCausalLM, a dense model; expected: a target with experts"),
    ],
)
def test_what_cannot_be_recorded_is_refused(target, draft, asked, message):
    models = {"moe": tiny.pair()[0], "dense": tiny.dense(), "ngram": NgramDraft(), None: None}
    with pytest.raises(MoespacError, match=message):
        record(models[target], random_prompt(0), draft=models[draft], **asked, **OPTIONS)


def test_recording_costs_little_beside_decoding():
    target, draft = tiny.pair()
    decoding = decode(target, random_prompt(0), draft=draft, gamma=4, max_new_tokens=60, stop_ids=())
    start = perf_counter()
    list(decoding)
    decoded = perf_counter() - start
    costs = []
    for _ in range(3):
        start = perf_counter()
        trace_of(decoding)
        costs.append(perf_counter() - start)
    assert min(costs) <= 0.2 * decoded


# the command line


def run(capsys, *argv: str) -> tuple[int, str, str]:
    code = cli.main(list(argv))
    out = capsys.readouterr()
    return code, out.out, out.err


def test_a_trace_is_recorded_and_shown(tmp_path, capsys):
    path = tmp_path / "math.npz"
    command = ["record", "--domain", "math", "--mode", "sample", "--dense", "3", "--max-new-tokens", "8"]
    beside = ["--scores", "--channels", "draft-gates,next-gate"]
    code, said, _ = run(capsys, *command, *beside, "--out", str(path))
    assert code == 0
    code, shown, _ = run(capsys, "trace", str(path))
    assert (code, shown) == (0, said)
    assert "a dense trace of γ ≤ 3" in shown
    assert "overlap" in shown
    assert "router scores: yes; channels: draft-gates, next-gate" in shown
    trace = Trace.load(path)
    code, out, _ = run(capsys, "trace", str(path), "--json")
    figures = json.loads(out)
    assert figures["geometry"] == vars(trace.geometry)
    assert figures["steps"] == figures["committed_tokens"] == 8
    assert figures["texts"][0]["prompt_id"] == "math/0"
    assert (
        "".join(trace.token_strings[token] for token in trace.committed_ids.tolist()) == trace.texts[0].text
    )
    assert {"overlap", "overlap_shuffled", "acceptance_rate"} < figures["locality"].keys()


def test_an_own_prompt_can_be_left_out(tmp_path, capsys):
    path = tmp_path / "own.npz"
    command = [
        "record",
        "--prompt",
        "Quodlibet",
        "--draft",
        "none",
        "--max-new-tokens",
        "2",
        "--redact",
        "--json",
    ]
    code, out, _ = run(capsys, *command, "--out", str(path))
    assert code == 0
    assert json.loads(out)["texts"][0]["redacted"] is True
    assert b"Quod" not in np.load(path)["header.json"].tobytes()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["record", "--prompt", "x", "--channels", "next-gat", "--out", "x.npz"], "did you mean 'next-gate'"),
        (["trace", "none.npz", "--half", "tune"], "half is 'tune' and 'none.npz' is no domain"),
        (["trace", "none.npz"], "'none.npz' is neither a file nor a domain; expected: a trace file"),
        (["trace", "show", "none.npz"], "Got unexpected extra argument"),
        (["record", "--domain", "math"], "--out"),
        (["record", "--domain", "maths", "--out", "x.npz"], "did you mean 'math'"),
        (["record", "--prompt", "x", "--dense", "0", "--out", "x.npz"], "dense is 0"),
        (["record", "--prompt", "x", "--out", "nowhere/x.npz"], "a file in a folder that is there"),
    ],
)
def test_bad_input_is_refused_and_nothing_is_written(tmp_path, monkeypatch, capsys, argv, message):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *argv)
    assert (code, out) == (2, "")
    assert message in err
    assert list(tmp_path.iterdir()) == []
