"""Which URLs name a Redis, and what is said of those that don't."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate import ConfigurationError
from cache_revalidate.stores.redis import RedisStore
from cache_revalidate.stores.redis.urls import Address, parse_url

ONE = (("redis.example", 6379),)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://redis.example", Address("standalone", ONE)),
        ("valkey://redis.example/", Address("standalone", ONE)),
        ("redis://redis.example:6380/3", Address("standalone", (("redis.example", 6380),), db=3)),
        ("redis://redis.example?db=3", Address("standalone", ONE, db=3)),
        ("redis://[::1]:6380", Address("standalone", (("::1", 6380),))),
        ("redis://:p%40ss%2F@redis.example", Address("standalone", ONE, password="p@ss/")),
        ("redis://ann:p@ss@redis.example", Address("standalone", ONE, username="ann", password="p@ss")),
        ("redis://ann@redis.example", Address("standalone", ONE, username="ann")),
        ("rediss://redis.example", Address("standalone", ONE, tls={"ssl": True})),
        (
            "valkeys://redis.example?ssl_ca_certs=%2Fca.pem&ssl_check_hostname=false&ssl_cert_reqs=required",
            Address(
                "standalone",
                ONE,
                tls={
                    "ssl": True,
                    "ssl_ca_certs": "/ca.pem",
                    "ssl_check_hostname": False,
                    "ssl_cert_reqs": "required",
                },
            ),
        ),
        ("unix:///run/redis%20x.sock", Address("unix", socket="/run/redis x.sock")),
        (
            "unix://ann:pass@/run/redis.sock?db=2",
            Address("unix", socket="/run/redis.sock", db=2, username="ann", password="pass"),
        ),
        ("redis+sentinel://a/main", Address("sentinel", (("a", 26379),), service="main")),
        (
            "redis+sentinel://ann:pass@a:1,b,[::1]:3/main/2",
            Address(
                "sentinel",
                (("a", 1), ("b", 26379), ("::1", 3)),
                service="main",
                db=2,
                username="ann",
                password="pass",
            ),
        ),
        ("rediss+sentinel://a/main", Address("sentinel", (("a", 26379),), service="main", tls={"ssl": True})),
        ("redis+cluster://a:1,b", Address("cluster", (("a", 1), ("b", 6379)))),
        ("valkeys+cluster://a/0", Address("cluster", (("a", 6379),), tls={"ssl": True})),
    ],
)
def test_address(url: str, address: Address) -> None:
    """Each form of URL names its address."""
    assert parse_url(url) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "scheme is ''"),
        ("redis.example:6379", "scheme is 'redis.example'"),
        ("http://redis.example", "scheme is 'http'"),
        ("redis:", "no host"),
        ("redis:///0", "no host"),
        ("redis://:pass@", "no host"),
        ("redis://redis.example:port", "not a number from 1 to 65535"),
        ("redis://redis.example:65536", "not a number from 1 to 65535"),
        ("redis://redis.example:0", "port is 0"),
        ("redis://redis.example/db", "database is not one number"),
        ("redis://redis.example/-1", "database is not one number"),
        ("redis://redis.example/1/2", "database is not one number"),
        ("redis://redis.example/1?db=2", "database is not one number"),
        ("redis://redis.example?db=", "database is not one number"),
        ("redis://redis.example?socket_timeout=9", "unknown option"),
        ("redis://redis.example?ssl_ca_certs=ca.pem", "unknown option"),
        ("redis://redis.example?garbage", "can't be read as a URL"),
        ("redis://[::1", "can't be read as a URL"),
        ("redis://redis.example/0#x", "'#'"),
        ("rediss://redis.example?ssl_cert_reqs=maybe", "ssl_cert_reqs"),
        ("redis://a,b", "several hosts"),
        ("unix://", "absolute path"),
        ("unix://run/redis.sock", "absolute path"),
        ("redis+sentinel://a,b", "service"),
        ("redis+sentinel://a,,b/main", "one too few"),
        ("redis+cluster://a/1", "database 0 alone"),
        (None, "it is a NoneType"),
        (b"redis://redis.example", "it is a bytes"),
    ],
)
def test_wrong_url(url: str, reason: str) -> None:
    """A URL that names no Redis is an error when the store is made, which says why and shows the right forms."""
    with pytest.raises(ConfigurationError, match=reason) as caught:
        RedisStore.from_url(url)
    assert "\n  redis+sentinel://[user:password@]host[:port][,host[:port]...]/service[/db]" in str(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://ann:hunter2@redis.example:port",
        "redis://ann:hun/ter2@redis.example",
        "redis://ann:hunter2/@redis.example",
        "redis://ann:hunter2?@redis.example",
        "redis://ann:hunter2#@redis.example",
        "redis://ann:[hunter2@redis.example",
        "http://ann:hunter2@redis.example",
    ],
)
def test_password_stays_secret(url: str) -> None:
    """No error about a URL repeats its password, nor a part of it that should have been percent-encoded."""
    with pytest.raises(ConfigurationError) as caught:
        RedisStore.from_url(url)
    assert "hun" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://ann:pass@redis.example/2", "redis://redis.example:6379/2"),
        ("valkeys://[::1]", "rediss://[::1]:6379"),
        ("unix://:pass@/run/redis.sock", "unix:///run/redis.sock"),
        ("rediss+sentinel://ann:pass@a,b:1/main/2", "rediss+sentinel://a:26379,b:1/main/2"),
        ("redis+cluster://ann:pass@a", "redis+cluster://a:6379"),
    ],
)
def test_address_is_shown_without_its_password(url: str, shown: str) -> None:
    """Messages name a Redis by its URL without user and password."""
    assert str(parse_url(url)) == shown
    assert "pass" not in repr(parse_url(url))


@given(st.text(max_size=60), st.sampled_from(["", "redis://", "redis+sentinel://a,", "unix:///", "redis+cluster://"]))
def test_any_text_is_an_address_or_an_error(text: str, start: str) -> None:
    """Whatever is given for a URL, it names an address or is a configuration error."""
    try:
        address = parse_url(start + text)
    except ConfigurationError:
        return
    assert parse_url(str(address)).hosts == address.hosts
