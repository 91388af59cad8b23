"""The bundled prompts: complete, held apart, and a clear word for what is not there."""

from __future__ import annotations

import pytest

from moespac_nb import DOMAINS, MoespacError, load_prompts


@pytest.mark.parametrize("domain", DOMAINS)
def test_every_domain_has_two_halves_with_unique_prompts(domain: str) -> None:
    both = load_prompts(domain)
    assert len({p.id for p in both}) == len({p.prompt for p in both}) == len(both) == 32
    assert {p.domain for p in both} == {domain}
    assert len(load_prompts(domain, half="tune")) == len(load_prompts(domain, half="report")) == 16
    # A line break and the indent after it are one token; alone it reads as the end of a text.
    assert all(p.prompt == p.prompt.rstrip() for p in both)
    assert all(p.prompt.strip() and p.reference.strip() and p.source for p in both)


def test_an_unknown_domain_is_told_the_nearest() -> None:
    with pytest.raises(MoespacError, match=r"'maths'; expected: mcq, chat, math.*did you mean 'math'"):
        load_prompts("maths")


def test_an_unknown_half_is_told_what_there_is() -> None:
    with pytest.raises(MoespacError, match="'test'; expected: 'tune', 'report'"):
        load_prompts("math", half="test")  # type: ignore[arg-type]
