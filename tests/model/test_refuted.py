"""The variants that were refuted: each differs from the protocol by one switch, and fails where the protocol holds.

Not here: what is slow rather than wrong, like an upsert of the version row in the data's transaction (serialization
failures, deadlocks), since the checker counts no time that a lock is held.
"""

from dataclasses import fields

import pytest

from .cases import Case
from .refuted import REFUTED
from .searches import Search, sized, told
from .switches import Protocol


@pytest.mark.parametrize("case", sized(REFUTED))
def test_a_refuted_variant_fails(case: Case, search: Search) -> None:
    """The checker finds what is wrong with the variant."""
    found = search(case.protocol, case.setting)
    assert found.broken == case.breaks, told(case, found)
    assert found.trace


@pytest.mark.parametrize("case", sized(REFUTED))
def test_the_protocol_holds_where_the_variant_fails(case: Case, search: Search) -> None:
    """In the very setting in which the variant fails, the switch put back makes everything hold."""
    found = search(case.instead, case.setting)
    assert found.broken is None, told(case, found)


@pytest.mark.parametrize("case", sized(REFUTED))
def test_one_switch_makes_the_variant(case: Case) -> None:
    """Nothing else than the one choice can be what makes the variant fail."""
    switched = [
        field.name
        for field in fields(Protocol)
        if getattr(case.protocol, field.name) != getattr(case.instead, field.name)
    ]
    assert len(switched) == 1
