"""Every error this library raises on purpose; each message names the way out."""


class CacheRevalidateError(Exception):
    """The root of this library's errors."""


class ConfigurationError(CacheRevalidateError, ValueError):
    """Something was set up in a way that could not work; raised when it is made, not when it is used."""


class InvalidTenantError(CacheRevalidateError, ValueError):
    """A value can't be a tenant: it is empty, too long, or holds characters that no tenant may have."""


class UnknownModelError(CacheRevalidateError, ValueError):
    """A model was named that the revalidator was not given."""


class StoreError(CacheRevalidateError):
    """The store did not answer, or not in time. What was to be bumped is owed, and paid when it answers again."""


class SnapshotError(CacheRevalidateError):
    """A handler's snapshot was bound too late: rows may have been read, or the answer's headers sent, before it."""


class Refused(CacheRevalidateError):  # noqa: N818 - an answer of `authorize`, not a fault
    """Raised by an `authorize` function to refuse a caller.

    `challenge`, for a caller who is not signed in at all, is the value of `WWW-Authenticate` (RFC 9110
    section 11.6.1): the keys endpoint then answers 401 instead of 403. Raises `ConfigurationError` if it can't be
    a header's value.
    """

    def __init__(self, challenge: str | None = None) -> None:
        if challenge is not None and not (challenge.isascii() and challenge.isprintable() and challenge.strip()):
            raise ConfigurationError(
                f"{challenge!r} can't be the value of WWW-Authenticate: write printable ASCII, Refused('Bearer') say."
            )
        super().__init__("The caller may not see this tenant.")
        self.challenge = challenge
