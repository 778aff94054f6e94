"""Which requests have one validator, and which have one each."""

from collections.abc import Collection
from itertools import combinations

from cache_revalidate import CachePolicy, freshness
from cache_revalidate.question import Questions
from cache_revalidate.types import HeaderList, Scope, Tokens

TOKENS = {"inbox": "1" * 20, "label": "2" * 20}


def asking(path: str = "/a", query: bytes = b"", headers: HeaderList | None = None) -> Scope:
    """Return the scope of a request."""
    return {"path": path, "query_string": query, "headers": headers or []}


def entity_tag(tag: str, tokens: Tokens, scope: Scope, selecting: Collection[bytes] = ()) -> bytes:
    """Return the entity tag of what a request asks for."""
    return freshness.entity_tag(tag, tokens, Questions((), selecting).of(scope)[2])


def test_a_validator_belongs_to_one_request_target() -> None:
    """Two paths, two queries, and a question mark that is part of a path, have tags of their own."""
    targets = [asking(), asking("/b"), asking(query=b"p=1"), asking(query=b"p=\xff"), asking("/a?p=1"), asking("/a?")]
    tags = [entity_tag("tag", TOKENS, target) for target in targets]
    assert len(set(tags)) == len(targets)
    assert entity_tag("tag", TOKENS, {"path": "/a", "headers": []}) == tags[0]


def test_viewers_and_tokens_have_tags_of_their_own() -> None:
    """Another tag, model or token makes another validator."""
    others = [("tag", TOKENS), ("gat", TOKENS), ("tag", {"label": "2" * 20}), ("tag", {**TOKENS, "label": "3" * 20})]
    assert all(entity_tag(*one, asking()) != entity_tag(*other, asking()) for one, other in combinations(others, 2))


def test_what_selects_the_answer_is_part_of_its_validator() -> None:
    """The values of the selecting headers count, each as itself; those of other headers don't."""
    german, french = (b"accept-language", b"de"), (b"accept-language", b"fr")
    selecting = CachePolicy("label").selecting
    questions = [
        asking(),
        asking(headers=[german]),
        asking(headers=[french]),
        asking(headers=[german, french]),
        asking(headers=[(b"accept", b"de")]),
    ]
    assert len({entity_tag("tag", TOKENS, question, selecting) for question in questions}) == len(questions)
    of_others = [(b"cookie", b"a=b"), (b"authorization", b"Bearer x"), (b"accept-encoding", b"gzip"), german]
    other = asking(headers=of_others)
    assert entity_tag("tag", TOKENS, other, selecting) == entity_tag("tag", TOKENS, questions[1], selecting)


def test_a_policy_knows_what_its_validators_cover() -> None:
    """Beside what an app negotiates by, the declared headers are covered; `*` and undeclared ones are not."""
    policy = CachePolicy("label", vary=["Authorization", "HX-Request"])
    assert policy.selecting == {b"accept", b"accept-language", b"hx-request"}
    assert policy.uncovered(b"") == []
    assert policy.uncovered(b"Accept, Accept-Encoding, cookie, Origin, HX-REQUEST") == []
    assert policy.uncovered(b"X-Theme, Accept, *, x-theme") == [b"*", b"x-theme"]
