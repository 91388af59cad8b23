"""How much one thing tells of another, in bits: entropy of a distribution, mutual information of samples.

    information_bits(counts_now, used_next)    # 0: the one says nothing of the other

An estimate from samples is too high: chance alone gives some. So it is read beside the same of samples whose
order was shuffled. Numpy only.
"""

from __future__ import annotations

import numpy as np

from ..utils.exceptions import MoespacError

__all__ = ["entropy_bits", "information_bits", "information_of"]


def entropy_bits(probabilities: np.ndarray) -> float:
    """Of a distribution, an array of any shape whose sum is 1."""
    some = probabilities[probabilities > 0]
    return float(-(some * np.log2(some)).sum())


def information_of(joint: np.ndarray) -> float:
    """Mutual information of a joint distribution, (values of one, values of the other), whose sum is 1."""
    return entropy_bits(joint.sum(axis=1)) + entropy_bits(joint.sum(axis=0)) - entropy_bits(joint)


def information_bits(one: np.ndarray, other: np.ndarray) -> float:
    """Mutual information of two arrays of whole numbers, 0 and more, as counted: the plug-in estimate."""
    if one.shape != other.shape or not one.size:
        raise MoespacError(
            f"the samples have shapes {one.shape} and {other.shape}; expected: two of one shape, not empty"
        )
    x, y = one.ravel().astype(np.int64), other.ravel().astype(np.int64)
    if min(x.min(), y.min()) < 0:
        raise MoespacError(f"the samples hold {min(x.min(), y.min())}; expected: whole numbers, 0 and more")
    wide = int(y.max()) + 1
    joint = np.bincount(x * wide + y, minlength=(int(x.max()) + 1) * wide).reshape(-1, wide)
    return information_of(joint / x.size)
