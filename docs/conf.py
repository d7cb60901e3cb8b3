"""How the documentation is built: `sphinx-build -W -n docs docs/_build`, without a network."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version as version_of
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "django-idempotency"
author = "The django-idempotency contributors"
copyright = f"2026, {author}"
version = release = version_of("django-idempotency")

extensions = ["myst_parser", "sphinx_copybutton", "sequence"]
exclude_patterns = ["_build"]
nitpicky = True

myst_heading_anchors = 4
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]

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

_CODE = re.compile(r"idempotency_[a-z_]+")


def keep_underscores(app: Sphinx, document: nodes.document) -> None:
    """Give the section of each error code the code itself as its anchor: `#idempotency_key_missing`.

    The `type` of a problem points there, and docutils would write a hyphen for each underscore.
    """
    for section in document.findall(nodes.section):
        title = section.next_node(nodes.title)
        if title is not None and _CODE.fullmatch(title.astext()):
            section["ids"].insert(0, title.astext())


def setup(app: Sphinx) -> None:
    app.connect("doctree-read", keep_underscores)
