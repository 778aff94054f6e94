"""A short soak, so that the long one is known to run: `make soak MINUTES=10`."""

from tests.push.soak import Report, soak


async def test_a_short_soak() -> None:
    """For some seconds of coming and going, every client has the store's tokens whenever the bumps pause."""
    report = await soak(6.0, 5, lambda _: None)
    assert report.rounds
    assert report.guests > 200
    assert report.bumps > 20


def test_growth_is_seen() -> None:
    """Memory that grows all the time is found out, memory that wavers is not, whatever came while it was warming up."""
    assert Report(memory=[50, 80, *range(100, 140)]).growth > 0.15
    assert abs(Report(memory=[50, 80, *[100, 103] * 20]).growth) < 0.04
