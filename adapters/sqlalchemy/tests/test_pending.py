"""The stack of what a transaction has touched."""

from cache_revalidate_sqlalchemy.pending import Pending


def test_a_level_that_is_released_becomes_its_parents() -> None:
    """What a released savepoint touched is the parent's, by connection."""
    pending = Pending[str]()
    pending.note(None, "a", "1", ["label"])
    pending.note("s", "a", "1", ["team"])
    pending.note("s", "b", "2", ["label"])
    pending.release("s", None)
    assert pending.take("a") == {"1": {"label", "team"}}
    assert pending.take("b") == {"2": {"label"}}
    assert pending.take("a") == {}


def test_a_level_that_is_dropped_is_forgotten_but_for_what_may_stay() -> None:
    """A savepoint's pairs go, except those on connections that are said to keep their rows."""
    pending = Pending[str]()
    pending.note("s", "a", "1", ["label"])
    pending.note("s", "b", "2", ["label"])
    pending.drop("s", unless=lambda connection: connection == "b")
    assert pending.take("a") == {}
    assert pending.take("b") == {"2": {"label"}}
    pending.drop("s")
    pending.release("s", None)
    assert pending.take("b") == {}


def test_taking_a_connection_takes_it_from_all_levels() -> None:
    """Savepoints that are open give what they hold, too, and nothing of another connection."""
    pending = Pending[str]()
    pending.note(None, "a", "1", ["label"])
    pending.note("s", "a", "1", ["team"])
    pending.note("s", "b", "3", ["team"])
    assert pending.take("a") == {"1": {"label", "team"}}
    assert pending.take("b") == {"3": {"team"}}
