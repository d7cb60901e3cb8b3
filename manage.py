#!/usr/bin/env python
"""Django's command line, with the example project's settings."""

import os
import sys

from django.core.management import execute_from_command_line


def main() -> None:
    """Run the command that is asked for."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "example_project.settings")
    execute_from_command_line(sys.argv)


if __name__ == "__main__":
    main()
