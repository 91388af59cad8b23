"""Recording: a trace is what was decoded; from a dense trace every draft length can be replayed."""

from __future__ import annotations

import json
import timeit
from collections import Counter
from contextlib import ExitStack
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
from tests.helpers.decodes import decoded, markov_chain, own_text, refused
from tests.helpers.traces.steps import same_step
from tools.support import tiny_models as tiny
from tools.support.tiny_models import random_prompt

SAMPLE = Sampling("sample", temperature=1.0, top_k=50)
OPTIONS = {"max_new_tokens": 24, "stop_ids": ()}
PROMPT = random_prompt(0)


def recorded(dense: int | None = None, gamma: int = 4, **options) -> Trace:
    """A trace of the tiny pair."""
    target, draft = tiny.pair()
    return record(target, PROMPT, draft=draft, gamma=gamma, dense=dense, **OPTIONS | options)


def untimed(trace: Trace) -> Trace:
    zeros = {name: np.zeros_like(getattr(trace, name)) for name in trace.columns if name.endswith("_ms")}
    return replace(trace, **zeros)


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLE])
def test_a_recording_is_the_decode_itself(sampling):
    target, draft = tiny.pair()
    trace = recorded(sampling=sampling, seed=5)
    decoding = decoded(target, PROMPT, draft=draft, gamma=4, sampling=sampling, seed=5, max_new_tokens=24)
    for recorded_step, step in zip(trace, decoding.steps, strict=True):
        times = {"draft_ms": 0.0, "verify_ms": 0.0}
        assert same_step(replace(recorded_step, **times), replace(step, **times))
    assert trace.committed_ids.tolist() == decoding.new_ids
    assert np.array_equal(trace.prefill().experts, decoding.prefill.experts)
    text = trace.texts[0]
    assert (text.mode, text.gamma, text.gamma_max, text.seed) == (sampling.mode, "4", None, 5)
    assert (text.draft, text.finish_reason) == ("Qwen3MoeForCausalLM", "length")
    assert (text.temperature, text.top_k) == ((1.0, 50) if sampling is SAMPLE else (None, None))
    assert text.versions["torch"] == torch.__version__


def test_plain_decoding_and_a_lookup_draft_can_be_recorded():
    target, _ = tiny.pair()
    assert record(target, PROMPT, gamma=4, **OPTIONS).gamma.tolist() == [0] * 24
    text = record(target, PROMPT, draft=NgramDraft(), gamma=AdaptiveGamma(), **OPTIONS).texts[0]
    assert (text.draft, text.gamma) == ("NgramDraft", "AdaptiveGamma(low=1, high=16)")


def test_an_interrupted_decoding_can_be_kept_as_far_as_it_came():
    target, draft = tiny.pair()
    decoding = decode(target, PROMPT, draft=draft, gamma=2, **OPTIONS)
    with refused("nothing is decoded yet"):
        trace_of(decoding)
    next(decoding)
    part = trace_of(decoding)
    assert len(part) == 1
    assert part.texts[0].finish_reason is None


@pytest.mark.parametrize("gamma", [0, 1, 2, 4, AdaptiveGamma(high=4)])
def test_a_greedy_dense_trace_replays_what_decoding_does(gamma):
    target, draft = tiny.pair()
    dense = recorded(dense=4)
    decoding = decoded(target, PROMPT, draft=draft, gamma=gamma, max_new_tokens=24)
    for replayed, step in zip(dense.rounds(gamma), decoding.steps, strict=True):
        for name in ("index", "position", "accepted", "window", "emitted", "target_ids", "experts"):
            assert np.array_equal(getattr(replayed, name), getattr(step, name)), name
        assert np.allclose(replayed.gate_weights, step.gate_weights, atol=1e-4)
    assert decoding.new_ids == dense.committed_ids.tolist()


def test_a_dense_trace_ends_at_a_stop_token():
    own = own_text(tiny.pair()[0], PROMPT, 24)
    dense = recorded(dense=4, stop_ids=[own[9]])
    text = dense.committed_ids.tolist()
    assert text == own[: own.index(own[9]) + 1]
    assert dense.texts[0].finish_reason == "stop"
    for row in dense:
        assert row.gamma == 4 or row.drafted[-1] == own[9]
        assert own[9] not in row.drafted[:-1]
    for gamma in (0, 2, 4):
        assert [token for step in dense.rounds(gamma) for token in step.emitted] == text


def test_a_sampled_dense_trace_decides_alike_wherever_a_row_is():
    dense = recorded(dense=4, sampling=SAMPLE)
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
    dense = decoded(target, PROMPT, draft=draft, gamma=4, kind=DenseDecoding, max_new_tokens=24)
    accepted = trace_of(dense).accepted.tolist()
    dense.steps = [replace(step, accepted=step.gamma) for step in dense.steps]
    assert trace_of(dense).accepted.tolist() == accepted
    assert accepted != [step.gamma for step in dense.steps]


VOCABULARY, TEXTS = 4, 1000
HOT = Sampling("sample", temperature=1.0)
CHAINS = [markov_chain(seed, VOCABULARY) for seed in (1, 2)]


def p_and_z(gamma: int = 2) -> tuple[float, float]:
    """Of the first two tokens, and of what the first round drafts after its first token is rejected."""
    options = {"draft": CHAINS[1], "dense": 2, "sampling": HOT, "max_new_tokens": 3}
    traces = [record(CHAINS[0], [0, 1, 2, 0, 1], seed=seed, **options) for seed in range(TEXTS)]
    p, q = (probabilities(chain.logits, HOT).double().numpy() for chain in CHAINS)
    texts = Counter(tuple(dense.committed_ids[:2].tolist()) for dense in traces)
    keys = list(product(range(VOCABULARY), repeat=2))
    shares = np.array([p[1, a] * p[a, b] for a, b in keys])
    by_text = chisquare([texts[key] for key in keys], shares / shares.sum() * len(traces)).pvalue
    # What follows a rejected token must not know which token takes its place, nor what comes after that.
    rounds = [(next(dense.rounds(gamma)), dense.committed_ids[1]) for dense in traces]
    tails = [(*step.drafted[:2], text) for step, text in rounds if step.accepted == 0]
    alike = sum(next_draft == text for _, next_draft, text in tails)
    expected = np.array([q[drafted, text] for drafted, _, text in tails])
    return float(by_text), abs(alike - expected.sum()) / np.sqrt((expected * (1 - expected)).sum())


def test_a_sampled_dense_trace_has_free_tails():
    p, z = p_and_z()
    assert p > 0.01
    assert z < 3


def test_uniforms_shared_by_position_would_give_the_text_away(monkeypatch):
    def by_position(dense, text):
        return np.random.default_rng((dense.seed, len(text))).random(3)

    monkeypatch.setattr(DenseDecoding, "_uniforms", by_position)
    assert p_and_z()[1] > 5


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
    with refused(message):
        record(target, PROMPT, draft=drafts[draft], dense=dense, **OPTIONS)


# router scores and sensors

ALL = {"scores": True, "channels": ("draft-gates", "next-gate")}


@pytest.fixture(scope="module")
def sensed() -> Trace:
    return recorded(**ALL)


def test_what_is_recorded_beside_changes_nothing(sensed):
    assert tiny.hook_count(tiny.pair()[0]) == tiny.hook_count(tiny.pair()[1]) == 0
    bare = untimed(replace(sensed, scores=None, score_experts=None, channels={}))
    plain = untimed(recorded())
    for name, array in bare.columns.items():
        assert np.array_equal(array, getattr(plain, name), equal_nan=True), name


def test_the_best_scores_are_those_of_the_chosen_experts(sensed):
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
    with ExitStack() as hooks:
        for gate in inspect_model(target).gates:
            hooks.enter_context(gate.register_forward_pre_hook(lambda _, args: read.append(args[0])))
        target(torch.tensor([ids]))
    return read, draft.model(torch.tensor([ids])).last_hidden_state[0]


def named(gate: torch.nn.Module, state: torch.Tensor) -> list[int]:
    return (gate.weight.detach() @ state).topk(8).indices.tolist()


def test_sensors_see_the_states_they_are_said_to_see(sensed):
    target, draft = tiny.pair()
    read, spoke = states_of(target, draft, [*PROMPT, *sensed.committed_ids.tolist()])
    gates = inspect_model(target).gates
    next_gate, draft_gates = (sensed.channels[name].values for name in ("next-gate", "draft-gates"))
    assert (next_gate[:, 0] == -1).all()
    agreed = []
    for i, step in enumerate(sensed):
        at, of = sensed.starts["verified"][i], sensed.starts["drafted"][i]
        for offset in range(step.accepted + 1):  # what is committed can be read again in one pass
            place = step.position + offset
            for layer in range(1, 4):
                ahead = next_gate[at + offset, layer].tolist()
                agreed.append(ahead == named(gates[layer], read[layer - 1][place]))
            for layer in range(4) if offset < step.gamma else ():
                drafted = draft_gates[of + offset, layer].tolist()
                agreed.append(drafted == named(gates[layer], spoke[place]))
    assert len(agreed) > 100
    assert np.mean(agreed) >= 0.99  # passes of other lengths round near ties the other way


def test_a_dense_trace_records_them_too():
    dense, again = (recorded(dense=3, **ALL, max_new_tokens=6) for _ in range(2))
    assert dense.channels["draft-gates"].values.shape == (len(dense.draft_probs), 4, 8)
    assert dense.channels["next-gate"].values.shape == dense.score_experts.shape == (len(dense.window), 4, 8)
    assert untimed(dense) == untimed(again)


def test_where_nothing_is_drafted_the_draft_says_nothing():
    trace = recorded(gamma=0, **ALL, max_new_tokens=3)
    assert trace.channels["draft-gates"].values.shape == (0, 4, 8)


@pytest.mark.parametrize(
    ("target", "draft", "asked", "message"),
    [
        ("moe", "moe", {"channels": ("draft-gate",)}, "'draft-gate'; .* did you mean 'draft-gates'"),
        ("moe", "ngram", {"channels": ("draft-gates",)}, "draft is NgramDraft; expected for draft-gates"),
        ("moe", None, {"channels": ("draft-gates",)}, "draft is None; expected for draft-gates"),
        ("moe", "dense", {"channels": ("draft-gates",)}, "state has 32 numbers .* gates read 64"),
        ("dense", None, {"scores": True}, "Qwen3ForCausalLM, a dense model; expected: a target with experts"),
    ],
)
def test_what_cannot_be_recorded_is_refused(target, draft, asked, message):
    models = {"moe": tiny.pair()[0], "dense": tiny.dense(), "ngram": NgramDraft(), None: None}
    with refused(message):
        record(models[target], PROMPT, draft=models[draft], **asked, **OPTIONS)


def test_recording_costs_little_beside_decoding():
    target, draft = tiny.pair()
    start = perf_counter()
    decoding = decoded(target, PROMPT, draft=draft, gamma=4, max_new_tokens=60)
    decoded_s = perf_counter() - start
    assert min(timeit.repeat(lambda: trace_of(decoding), number=1, repeat=3)) <= 0.2 * decoded_s


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
    command = ["record", "--prompt", "Quodlibet", "--draft", "none", "--max-new-tokens", "2"]
    command += ["--redact", "--json"]
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
