"""The ASGI application: pages and API through Django, sockets through Channels, and the limit on bodies before both."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "holdfast.settings")
os.environ.setdefault("HOLDFAST_ROLE", "web")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402 - models can be imported only once Django is set up
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402

from holdfast.doors import limit_body, token_or_session  # noqa: E402
from holdfast.urls import websocket_urlpatterns  # noqa: E402

application = ProtocolTypeRouter(
    {
        "http": limit_body(django_application),
        "websocket": AuthMiddlewareStack(token_or_session(URLRouter(websocket_urlpatterns))),
    }
)
