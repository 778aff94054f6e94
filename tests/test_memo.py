"""The bounded memory of what was worked out."""

from cache_revalidate.memo import Memo


def test_what_was_put_is_found() -> None:
    """A value is found under its key, and the last one put there."""
    memo: Memo[str, int] = Memo(8)
    assert memo.get("a") is None
    memo.put("a", 1)
    memo.put("b", 2)
    memo.put("a", 3)
    assert (memo.get("a"), memo.get("b"), memo.get("c")) == (3, 2, None)


def test_it_is_bounded() -> None:
    """However much is put into it, it holds no more than its size, and the newer half of that for certain."""
    memo: Memo[int, int] = Memo(8)
    for number in range(100):
        memo.put(number, number)
        held = [each for each in range(number + 1) if each in memo._young or each in memo._old]
        assert len(held) <= 8
        assert set(held) >= set(range(max(0, number - 3), number + 1))


def test_what_is_used_is_kept() -> None:
    """A value that is asked for in between outlives any number of others."""
    memo: Memo[int, int] = Memo(8)
    memo.put(-1, -1)
    for number in range(100):
        memo.put(number, number)
        assert memo.get(-1) == -1
    assert memo.get(0) is None
