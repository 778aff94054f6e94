"""The checker finds what was planted, and nothing else."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.hunt.checker import judge
from tests.hunt.history import Event, Fault, History, Read, Unanswered, Write, read_history

BOUND = 10.0


def write(revision: int, known: float, *, tenant: int = 1, scene: str = "none", answered: bool = True) -> Write:
    """Return a commit that was known at a moment."""
    return Write(tenant, "patch", scene, known - 0.1, known, revision, answered)


def read(revision: int, asked: float, *, tenant: int = 1, client: str = "etag 1", cached: bool = True) -> Read:
    """Return a read, of rows that were held unless said otherwise."""
    return Read(client, tenant, 0, asked, asked + 0.1, revision, cached)


def test_newest_rows_are_not_stale() -> None:
    """A client that holds the newest revision may be told so for ever."""
    verdict = judge([write(2, 1.0), read(2, 500.0)], BOUND)
    assert (verdict.stale, verdict.longest, verdict.cached_reads) == ([], 0.0, 1)


def test_planted_staleness_is_found() -> None:
    """A read past the bound is found, with the commit that it missed and what was done then."""
    missed, late = write(2, 1.0, scene="raw SQL"), read(1, 11.5)
    verdict = judge([missed, read(1, 10.5), late], BOUND)
    assert verdict.stale == [(late, missed)]
    assert verdict.causes == {"raw SQL": 1}
    assert verdict.longest == 10.5
    assert verdict.behind == 2


def test_staleness_within_the_bound_is_measured_only() -> None:
    """A read within the bound is not held against anyone, but counts for the longest staleness."""
    verdict = judge([write(2, 1.0), read(1, 10.9)], BOUND)
    assert verdict.stale == []
    assert verdict.longest == pytest.approx(9.9)


def test_answer_under_way_is_not_stale() -> None:
    """A read that was asked for before a commit was acknowledged need not show it."""
    assert judge([write(2, 5.0), read(1, 4.9)], BOUND).longest == 0.0


def test_commit_that_was_known_first_counts() -> None:
    """Of several commits that were missed, it is the one known first that counts, whatever their order."""
    events: list[Event] = [write(3, 2.0), write(2, 8.0), write(4, 9.0), read(1, 9.5)]
    assert judge(events, BOUND).longest == 7.5


def test_tenants_are_apart() -> None:
    """Another tenant's commits make nobody stale."""
    assert judge([write(9, 1.0, tenant=2), read(1, 50.0)], BOUND).longest == 0.0


def test_unanswered_commit_counts_from_when_it_was_found() -> None:
    """A commit whose author was told nothing counts as soon as he has found it in the database."""
    verdict = judge([write(2, 3.0, answered=False), read(1, 13.5)], BOUND)
    assert len(verdict.stale) == 1
    assert verdict.writes == 0


def test_one_commit_missed_often_is_one_cause() -> None:
    """Many stale reads of one commit are one commit missed."""
    verdict = judge([write(2, 1.0, scene="bulk UPDATE"), *(read(1, 20.0 + at) for at in range(5))], BOUND)
    assert len(verdict.stale) == 5
    assert verdict.causes == {"bulk UPDATE": 1}


def test_wrong_hunter_is_found() -> None:
    """Rows fresh from the database that lack a known commit can't be: they are no cached read, but an alarm."""
    fetched = read(1, 2.0, cached=False)
    verdict = judge([write(2, 1.0), fetched], BOUND)
    assert (verdict.impossible, verdict.stale, verdict.cached_reads) == ([fetched], [], 0)


def test_watchers_tell_when_a_commit_is_visible() -> None:
    """The time from the first question after a commit to the answer that shows it is taken of watchers."""
    events: list[Event] = [read(1, 0.5, client="watch 1", cached=False), write(2, 1.0), write(3, 1.2)]
    events += [read(1, 1.3, client="watch 1"), read(3, 1.5, client="watch 1", cached=False)]
    assert judge(events, BOUND).visible_after == pytest.approx([0.3, 0.3])


def test_dead_worker_is_not_called_slow() -> None:
    """A commit that a worker could not show, because it did not answer at all, says nothing about visibility."""
    events: list[Event] = [read(1, 0.5, client="watch 1", cached=False), write(2, 1.0)]
    events += [Unanswered("watch 1", 1, 0, 1.1, "ConnectError"), read(2, 9.0, client="watch 1", cached=False)]
    assert judge(events, BOUND).visible_after == []


def test_commit_that_was_seen_before_its_author_knew_is_visible_at_once() -> None:
    """A question that was under way when a commit was acknowledged may be answered with it already."""
    events: list[Event] = [read(1, 0.5, client="watch 1", cached=False), write(2, 1.0)]
    events += [read(2, 0.95, client="watch 1", cached=False)]
    assert judge(events, BOUND).visible_after == [0.0]


def test_refetches_are_counted_by_change() -> None:
    """A client that fetched once for two commits has fetched half as often as there were changes."""
    events: list[Event] = [read(1, 0.5, cached=False), write(2, 1.0), write(3, 1.2), read(3, 2.0, cached=False)]
    assert judge(events, BOUND).refetches_per_change == 0.5


@given(
    st.lists(st.tuples(st.integers(2, 9), st.floats(0, 100)), max_size=8),
    st.lists(st.tuples(st.integers(1, 9), st.floats(0, 100)), max_size=8),
)
def test_judgement_is_the_definition(commits: list[tuple[int, float]], reads: list[tuple[int, float]]) -> None:
    """The checker's shortcuts find exactly what the definition says, word by word."""
    verdict = judge([*(write(*commit) for commit in commits), *(read(*shown) for shown in reads)], BOUND)
    stale = [shown for shown in reads if any(r > shown[0] and shown[1] - known > BOUND for r, known in commits)]
    assert sorted((found.revision, found.asked) for found, _ in verdict.stale) == sorted(stale)


def test_history_is_read_as_it_was_written(tmp_path: Path) -> None:
    """What is written down can be judged later."""
    events: list[Event] = [
        write(2, 1.0),
        read(1, 2.0),
        Fault("Redis stopped", 3.0, "1.0 s"),
        Unanswered("etag 1", 1, 0, 4.0, "ReadTimeout"),
    ]
    with History(tmp_path / "history.jsonl") as history:
        for event in events:
            history.append(event)
    assert list(read_history(tmp_path / "history.jsonl")) == events == history.events
