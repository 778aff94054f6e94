"""How Sphinx builds the documentation: MyST pages and the docstrings of the public names."""

from importlib.metadata import version as installed_version

project = "cache_revalidate"
author = "the cache_revalidate authors"
copyright = author  # noqa: A001
version = release = installed_version("cache-revalidate")

extensions = ["myst_parser", "sphinx.ext.autodoc"]
exclude_patterns = ["_build", "bench"]  # benchmarks.md includes what is in bench

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
default_role = "code"  # docstrings write `names` as Markdown does

html_theme = "furo"
html_title = "cache_revalidate"
