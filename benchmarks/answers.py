"""Checks that contestants give the same answers, before any of them is timed."""

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from tests.support.servers import HOST

from benchmarks.contestants.desk import PATH, ROWS

Kind: TypeAlias = Literal["validates", "fixed", "rows"]
"""What a contestant does: compares the ETag; answers 304 whatever it is asked, as a limit; sends the rows each time."""

_OF_FIXED = 'W/"cOtUEM8ZuNVu1Y0Xq0vTUA"'
_WRONG = 'W/"nobody-has-sent-this-one"'


class AnswerError(Exception):
    """A contestant does not do what it is measured for."""


@dataclass(frozen=True)
class Answer:
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """Sends GET requests to one server."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str, headers: Mapping[str, str]) -> Answer:
        """Return the answer to one request, on a connection of its own."""
        connection = http.client.HTTPConnection(HOST, self._port, timeout=10)
        try:
            connection.request("GET", path, headers=dict(headers))
            response = connection.getresponse()
            fields = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, fields, response.read())
        finally:
            connection.close()


def sign_in(client: Client, path: str | None, headers: Mapping[str, str]) -> dict[str, str]:
    """Return the headers of who has signed in: those given, or those that the app's `path` hands out."""
    if path is None:
        return dict(headers)
    answer = client.get(path, {})
    if cookie := answer.headers.get("set-cookie"):
        return {"cookie": cookie.partition(";")[0]}
    return dict(json.loads(answer.body))


def check(client: Client, kind: Kind, headers: Mapping[str, str], *, guarded: bool) -> dict[str, str]:
    """Return the headers of the request to measure. Raises `AnswerError` if the answers are not the right ones.

    Who holds the right ETag gets a 304 without a body, anyone else the fifty rows; `guarded` says that who is not
    signed in gets neither.
    """
    if kind == "fixed":
        _expect(client.get(PATH, {**headers, "if-none-match": _WRONG}), 304)
        return {**headers, "if-none-match": _OF_FIXED}
    first = client.get(PATH, headers)
    _expect_rows(first, "the first answer")
    if kind == "rows":
        _expect_rows(client.get(PATH, {**headers, "if-none-match": _WRONG}), "the second answer")
        return {**headers, "if-none-match": _OF_FIXED}
    etag = client.get(PATH, headers).headers.get("etag")
    if etag is None:
        raise AnswerError("the rows came without an ETag")
    asked = {**headers, "if-none-match": etag}
    _expect(client.get(PATH, asked), 304)
    _expect_rows(client.get(PATH, {**headers, "if-none-match": _WRONG}), "the answer to another ETag")
    _expect(client.get(PATH, asked), 304)
    if guarded:
        answer = client.get(PATH, {"if-none-match": etag})
        if answer.status not in {401, 403}:
            raise AnswerError(f"who is not signed in got {answer.status}")
    return asked


def _expect(answer: Answer, status: int) -> None:
    if answer.status != status:
        raise AnswerError(f"the answer was {answer.status}, not {status}")
    if status == http.HTTPStatus.NOT_MODIFIED and answer.body:
        raise AnswerError("a 304 had a body")


def _expect_rows(answer: Answer, which: str) -> None:
    _expect(answer, 200)
    try:
        rows = json.loads(answer.body)
    except ValueError:
        rows = None
    if rows != ROWS:
        raise AnswerError(f"{which} did not have the fifty rows")
