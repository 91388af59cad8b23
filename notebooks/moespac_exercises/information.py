"""Entropy of a distribution and mutual information of samples, in bits. Numpy only.

An estimate from samples is too high: chance alone gives some. Compare it with the same of shuffled samples.
"""

from __future__ import annotations

import numpy as np

from moespac_nb.utils.exceptions import InvalidInputError

__all__ = ["entropy_bits", "information_bits", "information_of"]


def entropy_bits(probabilities: np.ndarray) -> float:
    """Return the entropy of a distribution.

    Parameters
    ----------
    probabilities : ndarray
        Of any shape, its sum 1.

    Returns
    -------
    float
        In bits.

    Examples
    --------
    >>> entropy_bits(np.array([0.5, 0.25, 0.25]))
    1.5
    """
    positive = probabilities[probabilities > 0]
    return float(-(positive * np.log2(positive)).sum())


def information_of(joint: np.ndarray) -> float:
    """Return the mutual information of a joint distribution.

    Parameters
    ----------
    joint : ndarray
        (values of one, values of the other), its sum 1.

    Returns
    -------
    float
        In bits; 0 if the two are independent.

    Examples
    --------
    >>> information_of(np.array([[0.5, 0.0], [0.0, 0.5]]))
    1.0
    """
    return entropy_bits(joint.sum(axis=1)) + entropy_bits(joint.sum(axis=0)) - entropy_bits(joint)


def information_bits(one: np.ndarray, other: np.ndarray) -> float:
    """Estimate the mutual information of two arrays of samples: the plug-in estimate.

    Parameters
    ----------
    one, other : ndarray
        Whole numbers from 0, of the same shape.

    Returns
    -------
    float
        In bits.

    Raises
    ------
    InvalidInputError
        If the shapes differ, or a number is below 0.

    Examples
    --------
    >>> information_bits(np.array([0, 1, 2, 3]), np.array([0, 0, 1, 1]))
    1.0
    """
    if one.shape != other.shape or not one.size:
        raise InvalidInputError(
            f"the samples have shapes {one.shape} and {other.shape}; expected: two of one shape, not empty"
        )
    x, y = one.ravel().astype(np.int64), other.ravel().astype(np.int64)
    if min(x.min(), y.min()) < 0:
        raise InvalidInputError(
            f"the samples hold {min(x.min(), y.min())}; expected: whole numbers, 0 and more"
        )
    wide = int(y.max()) + 1
    joint = np.bincount(x * wide + y, minlength=(int(x.max()) + 1) * wide).reshape(-1, wide)
    return information_of(joint / x.size)
