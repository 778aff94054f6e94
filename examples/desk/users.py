"""The three users of the demo and the one rule of who may see what."""

from dataclasses import dataclass


@dataclass(frozen=True)
class User:
    id: int
    name: str
    accounts: frozenset[int]


USERS = {
    "demo-agent-1": User(1, "Ada, agent of account 1", frozenset({1})),
    "demo-agent-2": User(2, "Bo, agent of account 2", frozenset({2})),
    "demo-admin": User(3, "Cleo, admin of both", frozenset({1, 2})),
}


def user_of_bearer(authorization: str | None) -> User | None:
    """Return who an `Authorization: Bearer …` field names, None if nobody."""
    scheme, _, token = (authorization or "").partition(" ")
    return USERS.get(token.strip()) if scheme.lower() == "bearer" else None


def may_be_member(user_id: int, account_id: int) -> bool:
    """Say whether a user may be a member of the account's inboxes."""
    return any(user.id == user_id and account_id in user.accounts for user in USERS.values())
