"""`python -m examples.litestar_app` serves the desk in the foreground."""

from examples.desk.serve import serve

serve("examples.litestar_app.app:app", framework="Litestar")
