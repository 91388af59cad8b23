"""A generator of routing: which experts a made-up text's tokens use, by few numbers a layer. Numpy only.

A token's state is a vector of a few dimensions for each layer. It is a sum: what the whole text has in
common (topic), what changes slowly (drift) and quickly (phrase), and what belongs to the token's id and to
that of the token before it, wherever they occur. A router's score of an expert is the state along the
expert's own direction plus the expert's lasting popularity, and the experts of the highest scores are chosen.
Neighbouring layers have similar states: a token that resembles the one before it does so in all layers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from ..trace.step import MoEShape

__all__ = ["LayerParameters", "RoutedText", "RoutingModel", "gate_weights"]


@dataclass(frozen=True, eq=False)
class LayerParameters:
    """What differs between the layers of a `RoutingModel`, (layers,) each.

    Topic, drift, phrase and previous are shares of the variance of a token's state; the rest belongs to its
    id.

    Parameters
    ----------
    spread : ndarray
        Standard deviation of popularity among experts, for a state of variance 1.
    skew, tail : ndarray
        Shape of popularity, g and h of Tukey's distribution: with a skew below 0 there are experts that are
        hardly ever used, and with a high tail there are very popular ones too.
    topic : ndarray
        Share that is constant in a text.
    drift, phrase : ndarray
        Shares that change slowly and quickly, see `drift_tokens` and `phrase_tokens`.
    previous : ndarray
        Share of the id of the token before it.
    frequent : ndarray
        Share that a frequent token's id takes from all others: such a token is read alike in any context.
    gate_scale : ndarray
        Factor from a score to a router's logit.
    """

    spread: np.ndarray
    skew: np.ndarray
    tail: np.ndarray
    topic: np.ndarray
    drift: np.ndarray
    phrase: np.ndarray
    previous: np.ndarray
    frequent: np.ndarray
    gate_scale: np.ndarray

    @property
    def token(self) -> np.ndarray:
        """Share of a token's id, what the others leave."""
        return np.asarray(np.maximum(0, 1 - self.topic - self.drift - self.phrase - self.previous))


class RoutedText(NamedTuple):
    """Routing of a made-up text.

    Parameters
    ----------
    token_ids : ndarray
        (tokens,) int64. They mean nothing but that equal ids are the same token.
    scores : ndarray
        (tokens, layers, experts) float32, the routers' scores.
    """

    token_ids: np.ndarray
    scores: np.ndarray

    def experts(self, top_k: int) -> np.ndarray:
        """Return the experts of the highest scores, best first.

        Parameters
        ----------
        top_k : int
            Number of experts chosen for each token.

        Returns
        -------
        ndarray
            (tokens, layers, k) int16.
        """
        chosen = np.argpartition(-self.scores, top_k - 1, axis=-1)[..., :top_k]
        order = np.argsort(-np.take_along_axis(self.scores, chosen, axis=-1), axis=-1)
        return np.take_along_axis(chosen, order, axis=-1).astype(np.int16)


@dataclass(frozen=True, eq=False)
class RoutingModel:
    """A model's routing in few numbers: `generate` makes texts of it.

    Parameters
    ----------
    geometry : MoEShape
        Shape of the model's routing.
    layers : LayerParameters
        What differs between layers.
    directions : int
        Dimensions of a token's state: the fewer, the more experts go together.
    tilt : float
        Direction i counts i to the power of minus this.
    depth_correlation : float
        Correlation of a token's states in neighbouring layers.
    vocabulary : int
        Number of token ids.
    zipf : float
        Token id i has a probability in proportion to (i + 1) to the power of minus this.
    frequent : int
        How many of the first ids are frequent tokens.
    phrase_tokens, drift_tokens : int
        Tokens after which phrase and drift keep 1/e of what they were.
    gates_of_chosen : bool
        Whether a softmax over the chosen experts gives the gate weights, or one over all.
    seed : int
        Of what all texts of the model have in common.

    Examples
    --------
    >>> even = np.full(2, 0.1)
    >>> model = RoutingModel(MoEShape(2, 8, 2), LayerParameters(*[even] * 8, gate_scale=np.ones(2)))
    >>> text = model.generate(tokens=50, seed=1)
    >>> text.token_ids.shape, text.experts(top_k=2).shape
    ((50,), (50, 2, 2))
    """

    geometry: MoEShape
    layers: LayerParameters
    directions: int = 6
    tilt: float = 0.5
    depth_correlation: float = 0.98
    vocabulary: int = 2048
    zipf: float = 0.9
    frequent: int = 15
    phrase_tokens: int = 5
    drift_tokens: int = 48
    gates_of_chosen: bool = True
    seed: int = 0

    def generate(self, tokens: int, seed: int | tuple[int, ...]) -> RoutedText:
        """Generate a text.

        Parameters
        ----------
        tokens : int
            Number of tokens.
        seed : int or tuple of int
            Of the text; the same seed gives the same text.

        Returns
        -------
        RoutedText
        """
        rng = np.random.default_rng(seed)
        common = _common(self.seed, self.geometry, self.directions, self.tilt, self.depth_correlation,
                         self.vocabulary, self.zipf)  # fmt: skip
        drawn = np.searchsorted(common.cumulative, rng.random(1 + tokens)).clip(max=self.vocabulary - 1)
        of_token, token_ids = common.of_token[drawn], drawn[1:]
        state = self._context(tokens, rng)
        state += _column(self.layers.previous) * of_token[:-1]
        frequent = np.where(token_ids < self.frequent, 1, 0)[:, None] * self.layers.frequent
        kept = (1 - frequent)[..., None].astype(np.float32)
        state *= np.sqrt(kept)
        state += np.sqrt(1 - kept + kept * _column(self.layers.token) ** 2) * of_token[1:]
        scores = np.matmul(state.transpose(1, 0, 2), common.of_expert).transpose(1, 0, 2)
        return RoutedText(token_ids, scores + self.popularity(common.order))

    def _context(self, tokens: int, rng: np.random.Generator) -> np.ndarray:
        """Return topic, drift and phrase, weighted, (tokens, layers, directions)."""
        layers = self.layers

        def noise(count: int) -> np.ndarray:
            return _along_depth(rng, (count, self.geometry.layers, self.directions), self.depth_correlation)

        state = np.repeat(_column(layers.topic) * noise(1), tokens, axis=0)
        for share, memory_tokens in ((layers.drift, self.drift_tokens), (layers.phrase, self.phrase_tokens)):
            walk = noise(tokens)
            keep = np.float32(np.exp(-1 / memory_tokens))
            walk[1:] *= np.sqrt(1 - keep**2)
            for position in range(1, tokens):
                walk[position] += keep * walk[position - 1]
            state += _column(share) * walk
        return state

    def popularity(self, order: np.ndarray | None = None) -> np.ndarray:
        """Return the lasting part of the experts' scores.

        Parameters
        ----------
        order : ndarray, optional
            (layers, experts), the rank of each expert; None sorts them from the least popular on.

        Returns
        -------
        ndarray
            (layers, experts) float32.
        """
        experts = self.geometry.experts
        normal = np.array([NormalDist().inv_cdf((rank + 0.5) / experts) for rank in range(experts)])
        skew = np.where(np.abs(self.layers.skew) < 1e-6, 1e-6, self.layers.skew)[:, None]
        skewed = np.expm1(skew * normal) / skew * np.exp(self.layers.tail[:, None] * normal**2 / 2)
        values = self.layers.spread[:, None] * (skewed - skewed.mean(axis=1, keepdims=True))
        return (values if order is None else np.take_along_axis(values, order, axis=1)).astype(np.float32)


class _Common(NamedTuple):
    """What all texts of a model have in common and no parameter of a layer changes."""

    of_expert: np.ndarray  # (layers, directions, experts), of length 1
    of_token: np.ndarray  # (vocabulary, layers, directions)
    order: np.ndarray  # (layers, experts)
    cumulative: np.ndarray  # (vocabulary,)


@lru_cache(maxsize=4)
def _common(
    seed: int, geometry: MoEShape, directions: int, tilt: float, depth: float, vocabulary: int, zipf: float
) -> _Common:
    rng = np.random.default_rng(seed)
    layers, experts = geometry.layers, geometry.experts
    of_expert = rng.standard_normal((layers, directions, experts), dtype=np.float32)
    of_expert *= (np.arange(1, directions + 1) ** -tilt).astype(np.float32)[:, None]
    of_expert /= np.linalg.norm(of_expert, axis=1, keepdims=True)
    order = np.argsort(rng.random((layers, experts)), axis=1)
    of_token = _along_depth(rng, (vocabulary, layers, directions), depth)
    frequency = np.arange(1, vocabulary + 1) ** -zipf
    return _Common(of_expert, of_token, order, np.cumsum(frequency / frequency.sum()))


def _along_depth(rng: np.random.Generator, shape: tuple[int, int, int], correlation: float) -> np.ndarray:
    """Return normal numbers, (…, layers, directions); those of neighbouring layers are correlated."""
    values = rng.standard_normal(shape, dtype=np.float32)
    values[:, 1:] *= np.float32(np.sqrt(1 - correlation**2))
    for layer in range(1, shape[1]):
        values[:, layer] += np.float32(correlation) * values[:, layer - 1]
    return values


def _column(share: np.ndarray) -> np.ndarray:
    """Return the amplitude of a share of variance, as a column to multiply states with."""
    return np.asarray(np.sqrt(share), np.float32)[:, None]


def gate_weights(scores: np.ndarray, experts: np.ndarray, scale: np.ndarray, of_chosen: bool) -> np.ndarray:
    """Return the weights that routers give the chosen experts.

    Parameters
    ----------
    scores : ndarray
        (tokens, layers, experts).
    experts : ndarray
        (tokens, layers, k), the chosen ones.
    scale : ndarray
        (layers,), factor from a score to a logit.
    of_chosen : bool
        Whether the softmax goes over the chosen experts, or over all.

    Returns
    -------
    ndarray
        (tokens, layers, k) float32.
    """
    logits = np.exp(scale[:, None] * (scores - scores.max(axis=-1, keepdims=True)))
    chosen = np.take_along_axis(logits, experts.astype(np.int64), axis=-1)
    total = (chosen if of_chosen else logits).sum(axis=-1, keepdims=True)
    return np.asarray(chosen / total, np.float32)
