"""The chosen protocol, in every order in which its steps can come.

`MODEL_SIZE=large make test` searches larger settings too; `python -m tests.model` prints what each search found.
"""

import pytest

from .cases import CHOSEN, Case
from .searches import found_in, sized, told


@pytest.mark.parametrize("case", sized(CHOSEN))
def test_the_protocol_holds(case: Case) -> None:
    """No order of steps and faults leaves a client stale for good, answers a miss older, or loses or lowers a token."""
    found = found_in(case.protocol, case.setting)
    assert found.broken is None, told(case, found)
    assert found.states >= case.at_least, told(case, found)
    assert not case.reaches - found.events, told(case, found)
