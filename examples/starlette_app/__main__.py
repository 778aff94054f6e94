"""`python -m examples.starlette_app` serves the desk in the foreground."""

from examples.desk.serve import serve

serve("examples.starlette_app.app:app", framework="Starlette")
