"""Django's `condition` on an asynchronous view, without middleware; its ETag is a look into a dict."""

import django  # type: ignore[import-untyped]
from django.conf import settings  # type: ignore[import-untyped]
from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
from django.http import HttpRequest, HttpResponse, JsonResponse  # type: ignore[import-untyped]
from django.urls import path  # type: ignore[import-untyped]
from django.views.decorators.http import condition  # type: ignore[import-untyped]

from benchmarks.contestants.desk import ROWS

TOKENS = {1: "17959876543210121234"}


def etag_of(_request: HttpRequest, account_id: int) -> str:
    """Return the account's ETag."""
    return f'W/"{TOKENS[account_id]}"'


@condition(etag_func=etag_of)  # type: ignore[untyped-decorator]
async def labels(_request: HttpRequest, account_id: int) -> HttpResponse:  # noqa: ARG001 - the ETag's
    """Answer the fifty rows."""
    return JsonResponse(ROWS, safe=False)


urlpatterns = [path("api/v1/accounts/<int:account_id>/labels", labels)]
settings.configure(ALLOWED_HOSTS=["127.0.0.1"], ROOT_URLCONF=__name__, SECRET_KEY="bench", LOGGING_CONFIG=None)  # noqa: S106
django.setup()
app = get_asgi_application()
