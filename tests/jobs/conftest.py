"""What the tests of jobs have at hand."""

import django

# Django has tasks from 6.0 on.
collect_ignore = [] if django.VERSION >= (6,) else ["test_django_tasks.py", "test_django_worker.py"]
