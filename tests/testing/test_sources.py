"""Which code is the project's own."""

import json

from django_idempotency.testing.sources import is_project_file, place_of


class TestIsProjectFile:
    def test_this_one_is(self):
        assert is_project_file(__file__)

    def test_libraries_and_what_has_no_file_are_not(self):
        assert not is_project_file(json.__file__)
        assert not is_project_file("<string>")


class TestPlaceOf:
    def test_stack_without_the_projects_code_has_none(self):
        assert place_of(None) == ""
