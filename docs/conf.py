"""How the documentation is built: `sphinx-build -W -n docs docs/_build`, without a network."""

from __future__ import annotations

import sys
from importlib.metadata import version as version_of
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "django-idempotency"
author = "The django-idempotency contributors"
copyright = f"2026, {author}"
version = release = version_of("django-idempotency")

extensions = ["myst_parser", "sphinx_copybutton", "sequence"]
exclude_patterns = ["_build"]
nitpicky = True

# Anchors as in GitHub's: problem types point to #idempotency_key_missing, which docutils alone would not have.
myst_heading_anchors = 4

html_theme = "furo"
html_title = "django-idempotency"
html_static_path = ["_static"]
html_css_files = ["docs.css"]
html_show_sourcelink = False
html_copy_source = False
# Furo draws both; each reads well on the background that it was made for.
pygments_style = "tango"
pygments_dark_style = "github-dark"

# The prompt is not copied, and neither is what a command prints.
copybutton_prompt_text = r"\$ |> |>>> |\.\.\. "
copybutton_prompt_is_regexp = True
copybutton_only_copy_prompt_lines = True
