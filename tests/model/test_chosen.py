"""The chosen protocol, in every order in which its steps can come.

`MODEL_SIZE=large make test` searches larger settings too; `python -m tests.model` prints what each search found.
"""

import pytest

from .cases import Case
from .chosen import CHOSEN
from .properties import OLDER
from .searches import Search, sized, told


@pytest.mark.parametrize("case", sized(CHOSEN))
def test_the_protocol_holds(case: Case, search: Search) -> None:
    """No order of steps and faults leaves a client stale for good, answers a miss older, or loses or lowers a token."""
    found = search(case.protocol, case.setting)
    assert found.broken is None, told(case, found)
    assert found.states >= case.at_least, told(case, found)
    assert not case.reaches - found.events, told(case, found)


@pytest.mark.parametrize("case", sized(case for case in CHOSEN if not case.setting.faults and not case.setting.ticks))
def test_without_a_fault_no_hit_is_older(case: Case, search: Search) -> None:
    """When all is at rest and nothing has failed, Redis has every token, so no client waits for it to expire."""
    found = search(case.protocol, case.setting)
    assert OLDER not in found.events, told(case, found)
