"""All layers at once: one threshold a layer, the slots shared, and a deadline a layer on the shared link.

    joint = Joint(table)
    print(joint)
    thresholds = solve(joint)
    joint.explain(thresholds.tau)

A copy for layer l must be there when layer l begins its experts. It can hide in the drafting and in the
layers before l, never in what comes later: hence one deadline a layer, not one sum over the window.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from .candidates import Candidates, Thresholds
from .highs import add_deadlines, linear, new_program

__all__ = ["Joint", "Switches"]

Array = np.ndarray


class Switches(NamedTuple):
    """Effects of changing one layer's τ while the other layers stay; arrays are (layers, K).

    Attributes
    ----------
    gain_s : ndarray
        Seconds won.
    hot : ndarray of int
        Slots taken in addition.
    copies_s : ndarray
        Seconds of the link taken in addition.
    link_kept : ndarray of bool
        Whether every deadline is kept.
    free : int
        Slots that are free before the change.
    """

    gain_s: Array
    hot: Array
    copies_s: Array
    link_kept: Array
    free: int

    @property
    def slots_kept(self) -> Array:
        """Whether the slots suffice, (layers, K)."""
        return np.asarray(self.hot <= self.free)

    @property
    def allowed(self) -> Array:
        """Whether slots and deadlines allow the change, (layers, K)."""
        return np.asarray(self.slots_kept & self.link_kept)


@dataclass(frozen=True, eq=False)
class Joint:
    """One integer program for all layers: they share the slots, and the link has a deadline a layer.

    Parameters
    ----------
    table : Candidates
        What each threshold brings in each layer.

    See Also
    --------
    balancer.solve : Finds the thresholds.

    Examples
    --------
    >>> from moespac_nb import Demand, LaneTimes, candidates, solve
    >>> utility = np.array([[2, 1, 0, 0], [2, 2, 1, 0]])
    >>> demand = Demand.of(utility, np.array([[6, 3, 0, 1], [5, 4, 1, 0]]), levels=2)
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> program = Joint(candidates(utility, utility > 1, 4, times, demand))
    >>> program.violations(np.array([1, 1])), program.violations(np.array([2, 2]))
    (('slots',), ())
    >>> solve(program).tau
    array([1, 2])
    """

    table: Candidates

    def objective_s(self, tau: Array) -> float:
        """Return the seconds that all layers take at some thresholds.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.

        Returns
        -------
        float
        """
        return float(self.table.of(self.table.total_s, tau).sum())

    def slack_s(self, tau: Array) -> Array:
        """Return the link's time left when each layer begins its experts.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.

        Returns
        -------
        ndarray, shape (layers,)
            In seconds; below 0 is late.
        """
        table, times = self.table, self.table.times
        total_s = table.of(table.total_s, tau)
        begins_s = times.draft_window_s + (total_s + times.dense_s).cumsum() - total_s
        return np.asarray(begins_s - times.copy_s * table.of(table.loads, tau).cumsum())

    def violations(self, tau: Array) -> tuple[str, ...]:
        """Return the constraints that some thresholds violate.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.

        Returns
        -------
        tuple of str
            Of the deadlines only the first.
        """
        late = np.flatnonzero(self.slack_s(tau) < -self.table.tolerance_s)
        slots = ("slots",) if self.table.of(self.table.hot, tau).sum() > self.table.slots else ()
        return slots + tuple(f"link by layer {layer}" for layer in late[:1])

    def switches(self, tau: Array) -> Switches:
        """Return what changing the τ of one layer would bring.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.

        Returns
        -------
        Switches
        """
        table, least_s = self.table, -self.table.tolerance_s
        rows, at = np.arange(table.layers), tau - 1
        hot = table.hot[rows, at]
        gain_s = table.total_s[rows, at][:, None] - table.total_s
        copies_s = table.times.copy_s * (table.loads - table.loads[rows, at][:, None])
        slack_s = self.slack_s(tau)
        # The tightest deadline after each layer.
        later_s = np.append(np.minimum.accumulate(slack_s[:0:-1])[::-1], np.inf)
        in_time = (slack_s[:, None] - copies_s >= least_s) & (later_s[:, None] - copies_s - gain_s >= least_s)
        return Switches(gain_s, table.hot - hot[:, None], copies_s, in_time, table.slots - int(hot.sum()))

    def binding(self, tau: Array, switches: Switches | None = None) -> tuple[str, ...]:
        """Return what keeps a layer from a faster τ: the slots, the link's tightest deadline.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.
        switches : Switches, optional
            Of these thresholds, where they are known already.

        Returns
        -------
        tuple of str
        """
        switches = switches or self.switches(tau)
        faster = switches.gain_s > self.table.tolerance_s
        names: tuple[str, ...] = ("slots",) if (faster & ~switches.slots_kept).any() else ()
        if (faster & ~switches.link_kept).any():
            names += (f"link by layer {int(self.slack_s(tau).argmin())}",)
        return names

    def thresholds(
        self, tau: Array | None, method: str, optimal: bool, switches: Switches | None = None
    ) -> Thresholds:
        """Make a result of a point.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,), or None
            A feasible point; None where there is none, and then every τ is K.
        method : str
            The method that found it.
        optimal : bool
            Whether it is proven.
        switches : Switches, optional
            Of these thresholds, where they are known already.

        Returns
        -------
        Thresholds
        """
        if tau is None:
            tau = np.full(self.table.layers, self.table.levels)
            return Thresholds(tau, self.objective_s(tau), False, False, method, self.violations(tau))
        return Thresholds(tau, self.objective_s(tau), True, optimal, method, self.binding(tau, switches))

    def program(self) -> tuple[Any, list[dict[int, Any]]]:
        """Build the PuLP problem, with times in units of `unit_s`.

        A layer's time is known at each τ, so max(T_cpu, T_gpu) is a coefficient.

        Returns
        -------
        program : pulp.LpProblem
        chosen : list of dict
            chosen[layer][τ] is a variable that is 0 or 1.
        """
        table, unit_s = self.table, self.table.unit_s
        taus = range(1, table.levels + 1)
        program = new_program("joint")
        chosen = [
            program.add_variable_dicts(f"tau_{layer}", taus, cat="Binary") for layer in range(table.layers)
        ]

        def at_tau(values: Array) -> list[list[tuple[Any, float]]]:
            rows = zip(chosen, values.tolist(), strict=True)
            return [list(zip(bits.values(), row, strict=True)) for bits, row in rows]

        takes = at_tau(table.total_s / unit_s)
        program += linear(chain.from_iterable(takes))
        program += linear(chain.from_iterable(at_tau(table.hot))) <= table.slots, "slots"
        for layer, terms in enumerate(at_tau(np.ones(table.hot.shape))):
            program += linear(terms) == 1, f"one_{layer}"
        add_deadlines(
            program, table.times, unit_s, at_tau(table.loads * (table.times.copy_s / unit_s)), takes
        )
        return program, chosen

    def explain(self, tau: Array) -> list[dict[str, Any]]:
        """Return a row for every candidate of every layer, beside the thresholds chosen.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            The thresholds chosen.

        Returns
        -------
        list of dict
            `feasible`: whether this layer alone may switch to the candidate; `binding`: what it violates.
        """
        gain_s, rows = self.switches(tau).gain_s, []
        for layer, level in np.ndindex(gain_s.shape):
            other = tau.copy()
            other[layer] = level + 1
            violated = self.violations(other)
            rows.append(
                {
                    **self.table.row(layer, level),
                    "gain_s": float(gain_s[layer, level]),
                    "feasible": not violated,
                    "binding": list(violated),
                    "chosen": bool(tau[layer] == level + 1),
                }
            )
        return rows

    def __str__(self) -> str:
        """Return the program in words."""
        table, times = self.table, self.table.times
        return "\n".join(
            [
                f"For all {table.layers} layers at once: thresholds τ_l of the hot experts (s ≥ τ_l)",
                "  minimise    Σ_l max(T_cpu,l(τ_l), T_gpu,l(τ_l))",
                f"  over        τ_l = 1 … {table.levels}, {table.levels}^{table.layers} points",
                f"  subject to  slots            Σ_l hot_l(τ_l) ≤ {table.slots}",
                f"              link by layer l  {times.copy_s * 1e3:.4g} ms · Σ_(j≤l) n_j(τ_j) ≤ "
                f"{times.draft_window_s * 1e3:.4g} ms of drafting + {times.dense_s * 1e3:.4g} ms · (l + 1) + "
                "Σ_(j<l) max(T_cpu,j, T_gpu,j)",
                "  else        every τ_l = K, where no point is feasible",
                "hot: experts to be kept or loaded. n: those of them that are not resident.",
            ]
        )
