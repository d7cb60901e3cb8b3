"""docs/testing.md: its tests find what they are meant to find, and its reference is complete."""

import inspect
import re

import pytest
from django.http import HttpResponse
from django.urls import re_path

from django_idempotency import testing
from django_idempotency.decorators import idempotent
from django_idempotency.testing import NotExactlyOnce
from django_idempotency.testing.__main__ import main
from tests.docs.markdown import ROOT
from tests.docs.payments.models import Charge
from tests.docs.runner import run_page
from tests.docs.test_reference import arguments_of, table_of

PAGE = ROOT / "docs" / "testing.md"


def charges(request):
    charge = Charge.objects.create(amount=request.POST["amount"], description=request.POST["description"])
    return HttpResponse(f"charge {charge.pk}", status=201)


@pytest.fixture
def page(monkeypatch, settings):
    settings.ROOT_URLCONF = (re_path("^charges/$", idempotent(required=True)(charges)),)
    return run_page(PAGE, monkeypatch)


class TestExamples:
    def test_right_view_passes(self, page, assert_exactly_once, idempotency_race):
        page["test_charge_happens_once"](assert_exactly_once)
        page["test_clients_at_once_charge_once"](idempotency_race)

    def test_wrong_view_fails(self, page, settings, assert_exactly_once, idempotency_race):
        settings.ROOT_URLCONF = (re_path("^charges/$", charges),)

        with pytest.raises(NotExactlyOnce):
            page["test_charge_happens_once"](assert_exactly_once)
        with pytest.raises(NotExactlyOnce):
            page["test_clients_at_once_charge_once"](idempotency_race)

    @pytest.mark.django_db(transaction=True)
    def test_endpoint_conforms(self, page):
        names = [check.name for check in page["CHECKS"]]
        for check in page["CHECKS"]:
            page["test_charges_conform"](check)

        assert "mismatch" in names


class TestReference:
    @pytest.mark.parametrize("name", ["assert_exactly_once", "race", "idempotency_conformance"])
    def test_each_argument_is_named_with_its_default(self, name):
        assert table_of("testing.md", f"Arguments of `{name}`") == arguments_of(getattr(testing, name))

    def test_each_public_name_is_there(self):
        text = PAGE.read_text()

        assert {name for name in testing.__all__ if not re.search(rf"\b{name}\b", text)} <= {"Check"}
        assert all(inspect.getdoc(getattr(testing, name)) for name in testing.__all__)

    def test_unknown_name_is_refused(self):
        with pytest.raises(AttributeError, match="no attribute 'assert_twice'"):
            testing.assert_twice  # noqa: B018 - the attribute is the test

    def test_options_of_the_command_exist(self, capsys):
        with pytest.raises(SystemExit):
            main(["--help"])

        options = set(re.findall(r"--[a-z-]+", capsys.readouterr().out))
        assert set(re.findall(r"--[a-z]+(?:-[a-z]+)*", PAGE.read_text())) <= options
