"""How a hub works: `cache_revalidate.push.settings`."""

from typing import Any

import pytest

from cache_revalidate import ConfigurationError
from cache_revalidate.push.settings import HubSettings

TIMES = ["heartbeat", "send_timeout", "max_age", "recheck", "reread", "poll", "max_messages"]
NUMBERS = ["max_connections", "max_per_tenant", "max_per_viewer", "max_subscriptions", "max_message"]


@pytest.mark.parametrize("option", [*TIMES, "spread", "max_spread"])
@pytest.mark.parametrize("value", [-0.5, -1, float("nan"), float("inf"), 86_401, True, "15", None])
def test_times_are_numbers_of_seconds(option: str, value: Any) -> None:
    """What is no number, is negative, or is longer than a day, is refused by its name."""
    with pytest.raises(ConfigurationError, match=option):
        HubSettings(**{option: value})


@pytest.mark.parametrize("option", TIMES)
def test_most_times_are_not_zero(option: str) -> None:
    """A time or rate of zero could not work."""
    with pytest.raises(ConfigurationError, match=option):
        HubSettings(**{option: 0})


@pytest.mark.parametrize("option", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "100", None])
def test_limits_are_whole_numbers(option: str, value: Any) -> None:
    """A limit that lets nobody in, or is no whole number, is refused by its name."""
    with pytest.raises(ConfigurationError, match=option):
        HubSettings(**{option: value})


@pytest.mark.parametrize("name", ["", "a" * 129, "line\nbreak", "é", 7, None])
def test_an_event_has_a_name(name: Any) -> None:
    """What a stream could not carry as an event's name is refused."""
    with pytest.raises(ConfigurationError, match="event"):
        HubSettings(event=name)


@pytest.mark.parametrize("name", ["heartbeat", "closed", "refused", "error", "open"])
def test_an_event_has_a_name_of_its_own(name: str) -> None:
    """What other events go by is refused: a page could not tell them apart."""
    with pytest.raises(ConfigurationError, match=name):
        HubSettings(event=name)


@pytest.mark.parametrize("name", ["", 7, None])
def test_a_channel_has_a_name(name: Any) -> None:
    """ActionCable's clients subscribe to a channel by its name."""
    with pytest.raises(ConfigurationError, match="channel"):
        HubSettings(channel=name)


@pytest.mark.parametrize("retry", [(5.0, 1.0), (1.0,), 1.0, [1.0, 2.0], (0, 1), ("1", "2"), (1.0, float("inf"))])
def test_retry_is_a_span(retry: Any) -> None:
    """What is not two times in order is refused."""
    with pytest.raises(ConfigurationError, match="retry"):
        HubSettings(retry=retry)


@pytest.mark.parametrize(("heartbeat", "rate"), [(15.0, 0.05), (1.0, 0.9), (0.1, 1.9)])
def test_heartbeats_can_be_answered(heartbeat: float, rate: float) -> None:
    """A rate of messages that has no room for the answers to heartbeats is refused."""
    with pytest.raises(ConfigurationError, match="max_messages"):
        HubSettings(heartbeat=heartbeat, max_messages=rate)


def test_jitter_grows_with_listeners() -> None:
    """It is `spread` for each of them, up to `max_spread`, in milliseconds; none at all if that is none."""
    settings = HubSettings(spread=0.001, max_spread=2.0)
    assert [settings.jitter(listeners) for listeners in (0, 1, 500, 2_000, 5_000)] == [0, 1, 500, 2_000, 2_000]
    assert HubSettings(spread=0).jitter(5_000) == 0
    assert HubSettings(max_spread=0).jitter(5_000) == 0
