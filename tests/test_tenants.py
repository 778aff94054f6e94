"""Tenants in their one canonical form."""

import enum
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cache_revalidate import InvalidTenantError, canonical_tenant
from cache_revalidate.tenants import MAX_TENANT_LENGTH, checked_tenant

ALLOWED = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._:@~-"


@given(st.text(alphabet=ALLOWED, min_size=1, max_size=MAX_TENANT_LENGTH))
def test_allowed_string_stays(tenant: str) -> None:
    """A string of 1 to 128 allowed characters is a tenant as it is."""
    assert canonical_tenant(tenant) == tenant == checked_tenant(tenant)


@given(st.text(max_size=MAX_TENANT_LENGTH + 10))
def test_any_string_is_itself_or_refused(text: str) -> None:
    """Any other string is refused, and none is changed."""
    allowed = 1 <= len(text) <= MAX_TENANT_LENGTH and set(text) <= set(ALLOWED)
    try:
        assert canonical_tenant(text) == text
    except InvalidTenantError:
        assert not allowed
    else:
        assert allowed


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x" * 129,
        "x" * 300,
        "a\0b",
        "a/b",
        "..//",
        "a%2Fb",
        "\N{LATIN SMALL LETTER E WITH ACUTE}",
        "\N{ARABIC-INDIC DIGIT ONE}",
        "1\n",
        " 1",
        "1 ",
        "+1",
        "{1}",
        "a*b",
        "\udc80",
    ],
)
def test_bad_string_is_refused(text: str) -> None:
    """An empty or long string, NUL, slash, percent, spaces, braces and all that is not ASCII are refused."""
    with pytest.raises(InvalidTenantError, match="can't be a tenant"):
        canonical_tenant(text)


def test_long_string_is_shown_short() -> None:
    """The error shows the beginning of a long value alone, in ASCII, so that it can go into any log."""
    with pytest.raises(InvalidTenantError) as caught:
        canonical_tenant("\N{SNOWMAN}" * 10_000)
    assert str(caught.value).isascii()
    assert len(str(caught.value)) < 500


@given(st.integers(0, 10**MAX_TENANT_LENGTH - 1))
def test_integer_is_its_digits(number: int) -> None:
    """An integer is the tenant that a URL names by its digits without leading zeros."""
    assert canonical_tenant(number) == str(number) == canonical_tenant(str(number))


@pytest.mark.parametrize("number", [-1, 10**MAX_TENANT_LENGTH, 10**5_000], ids=["negative", "long", "huge"])
def test_unfit_integer_is_refused(number: int) -> None:
    """A negative integer, or one with more than 128 digits, is refused."""
    with pytest.raises(InvalidTenantError, match="An integer tenant"):
        canonical_tenant(number)


@given(st.uuids())
def test_uuid_is_lower_case(uuid: UUID) -> None:
    """A UUID is its lower-case form with hyphens, however it was spelt."""
    assert canonical_tenant(UUID(str(uuid).upper())) == str(uuid).lower()
    assert canonical_tenant(uuid) == canonical_tenant(UUID(uuid.hex))


@pytest.mark.parametrize("value", [None, True, False, 1.0, b"1", ["1"], ("1",), object()])
def test_other_types_are_refused(value: object) -> None:
    """No tenant is made of None, a bool, a float, bytes or a list: the error names the ways out."""
    with pytest.raises(InvalidTenantError, match=r"Revalidator\(canonical=\.\.\.\)"):
        canonical_tenant(value)


class Number(int, enum.Enum):
    """A tenant that is a member of an enum of numbers."""

    SEVEN = 7


class Name(str, enum.Enum):  # noqa: UP042 - an older style, of which there is plenty
    """A tenant that is a member of an enum of strings."""

    ACME = "acme"


@pytest.mark.parametrize(("member", "tenant"), [(Number.SEVEN, "7"), (Name.ACME, "acme")])
def test_members_of_enums_are_their_values(member: object, tenant: str) -> None:
    """A member of an enum is the tenant of its value, however it is formatted."""
    assert f"{canonical_tenant(member)}" == tenant
    assert type(canonical_tenant(member)) is str
