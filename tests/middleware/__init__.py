"""The middleware around a bare ASGI app."""
