"""What both support desks share: settings, database, users, bodies, timing and the page."""

from pathlib import Path

PAGE = Path(__file__).parent / "page"
"""The folder of the page at `/`: plain HTML, CSS and JavaScript, no build step."""
