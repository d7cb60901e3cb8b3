"""What the pages say of their examples, beyond that these run."""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.conf import settings
from django.contrib.auth.models import AnonymousUser, User
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncRequestFactory, RequestFactory, override_settings
from django.test.utils import CaptureQueriesContext
from prometheus_client import REGISTRY
from rest_framework.authentication import BaseAuthentication
from rest_framework.test import APIRequestFactory

from django_idempotency import opentelemetry, prometheus, signals
from django_idempotency.decorators import idempotent
from django_idempotency.exceptions import KeyInvalid, KeyReused
from django_idempotency.fingerprint import Fingerprint, canonical_json
from django_idempotency.http import fingerprint_of
from django_idempotency.keys import validate_uuid
from django_idempotency.models import IdempotencyKey
from django_idempotency.specification import Specification
from tests.docs.markdown import ROOT, blocks
from tests.docs.payments.models import Account, Charge, Invoice, Order
from tests.factories import UserFactory

DOCS = ROOT / "docs"
Run = Callable[[Path], dict[str, Any]]


def answer(request: Any, view: Callable[..., Any], **kwargs: Any) -> Any:
    """Return the view's answer, and end the request as a server does."""
    try:
        return view(request, **kwargs)
    finally:
        request.close()


def post(view: Any, data: Any = None, *, key: str | None = "key", user: Any = None) -> Any:
    """Send a form to a plain Django view."""
    request = RequestFactory().post("/", data, headers={} if key is None else {"Idempotency-Key": key})
    request.user = user or AnonymousUser()
    return answer(request, view)


def post_json(view: Any, data: Any = None, *, key: str | None = "key", **kwargs: Any) -> Any:
    """Send JSON to a view of REST framework's."""
    headers = {} if key is None else {"Idempotency-Key": key}
    return answer(APIRequestFactory().post("/", data, format="json", headers=headers), view, **kwargs)


class TestDecoratorPage:
    page = DOCS / "decorator.md"

    def test_first_example_charges_once(self, run):
        view = run(self.page)["charges"]

        answers = [post(view, {"amount": "4.20", "description": "Coffee"}) for _ in range(2)]

        assert answers[1]["Idempotent-Replayed"] == "true"
        assert Charge.objects.count() == 1

    def test_request_without_a_key_runs_as_if_undecorated(self, run):
        view = run(self.page)["charges"]

        for _ in range(2):
            post(view, {"amount": "4.20", "description": "Coffee"}, key=None)

        assert Charge.objects.count() == 2
        assert not IdempotencyKey.objects.exists()

    def test_returned_decline_is_remembered(self, run):
        view = run(self.page)["purchases"]
        account = Account.objects.create(name="Savings", balance=3)
        post(view, {"account": "Savings"})
        account.balance = 100
        account.save()

        retry = post(view, {"account": "Savings"})

        assert retry.status_code == 402
        account.refresh_from_db()
        assert account.balance == 100

    def test_login_is_asked_for_before_a_replay(self, run):
        view = run(self.page)["transfers"]

        assert post(view, key="key").status_code == 302

    def test_coroutine_charges_once(self, run):
        view = run(self.page)["donations"]

        async def send() -> Any:
            request = AsyncRequestFactory().post("/", headers={"Idempotency-Key": "key"})
            request.user = AnonymousUser()
            return await view(request)

        first, retry = (async_to_sync(send)() for _ in range(2))

        assert retry.content == first.content
        assert Charge.objects.count() == 1

    def test_class_and_methods_require_a_key(self, run):
        names = run(self.page)
        order = names["OrderView"].as_view()
        subscription = names["SubscriptionViewSet"].as_view({"post": "create"})

        assert post(order, key=None).status_code == 400
        assert post_json(subscription, key=None).status_code == 400

    def test_scope_tells_tenants_apart(self, run):
        scope = run(self.page)["tenant"]

        assert scope(SimpleNamespace(tenant=SimpleNamespace(pk=7))) == "tenant:7"

    def test_field_that_is_ignored_may_differ(self, run):
        view = run(self.page)["events"]
        calls = []

        @idempotent(ignored_fields=("sent_at",))
        def events(request):
            calls.append(request)
            return HttpResponse("done")

        assert view.idempotency_policy.ignored_fields == ("sent_at",)
        assert post(events, {"name": "a", "sent_at": "1"}).status_code == 200
        assert post(events, {"name": "a", "sent_at": "2"})["Idempotent-Replayed"] == "true"
        assert post(events, {"name": "b", "sent_at": "2"}).status_code == 409
        assert len(calls) == 1


class TestDrfPage:
    page = DOCS / "drf.md"

    def test_three_ways_to_end_are_told_apart(self, run):
        view = run(self.page)["PurchaseView"].as_view()

        statuses = [post_json(view, {"amount": amount}, key=str(amount)).status_code for amount in (0, 5, 500)]

        assert statuses == [400, 201, 402]
        assert sorted(Charge.objects.values_list("amount", flat=True)) == [5, 500]
        assert sorted(IdempotencyKey.objects.values_list("key", flat=True)) == ["5", "500"]

    def test_handler_of_exceptions_adds_the_code(self, run):
        view = run(self.page)["ChargeViewSet"].as_view({"post": "create"})
        import payments.exceptions  # type: ignore[import-not-found]  # the page's

        with override_handler(payments.exceptions.with_code):
            response = post_json(view, key=None)

        assert response.status_code == 400
        assert response.data["code"] == "idempotency_key_missing"
        assert response.data["retryable"] is False

    def test_methods_that_are_overridden_answer(self, run):
        class TenantAuthentication(BaseAuthentication):
            def authenticate(self, request):
                return AnonymousUser(), {"tenant": 7}

        viewset = run(self.page)["TenantChargeViewSet"]
        view = viewset.as_view({"post": "create"}, authentication_classes=[TenantAuthentication])

        assert post_json(view, {"amount": "4.20"}, key="short").status_code == 400
        assert post_json(view, {"amount": "4.20"}, key=None).status_code == 400
        assert post_json(view, {"amount": "4.20", "description": "Coffee"}, key="k" * 20).status_code == 201
        key = IdempotencyKey.objects.get()
        assert key.scope == "tenant:7"
        assert (key.expires - key.created).days == 3

    def test_action_that_is_decorated_guards_itself(self, run):
        view = run(self.page)["OrderViewSet"].as_view({"post": "refund"})

        assert post_json(view, key=None, pk=1).status_code == 400
        assert post_json(view, key="key", pk=1).status_code == 204
        assert post_json(view, key="key", pk=1)["Idempotent-Replayed"] == "true"

    def test_headers_of_the_framework_are_there_in_a_replay(self, run):
        view = run(self.page)["PurchaseView"].as_view()

        first, retry = (post_json(view, {"amount": 5}) for _ in range(2))

        assert (retry["Allow"], retry["Vary"]) == (first["Allow"], first["Vary"])


class TestIdempotencyPage:
    page = DOCS / "idempotency.md"

    def test_natural_key_makes_one_invoice(self, run):
        names = run(self.page)

        names["bill"]("Ada", "2026-11")
        names["bill"]("Ada", "2026-11")

        assert names["bill_once"]("Ada", "2026-11") is None
        assert Invoice.objects.count() == 1

    def test_update_that_names_its_state_ships_once(self, run):
        ship = run(self.page)["ship"]
        order = Order.objects.create()

        assert [ship(order.pk), ship(order.pk)] == [True, False]


class TestSecurityPage:
    page = DOCS / "security.md"

    def fingerprint(self, body: str, content_type: str = "application/json", **headers: str) -> Fingerprint:
        request = RequestFactory().post("/", body, content_type=content_type, headers=headers)
        assert request.body == body.encode()
        return fingerprint_of(request)

    @pytest.mark.parametrize(
        ("first", "second", "same"),
        [
            ('{"a": 1, "b": 2}', '{"b":2,"a":1}', True),
            ('{"a": 1.5}', '{"a": 1.50}', True),
            ('{"a": 1}', '{"a": 1.0}', False),
            ('{"a": 0.30000000000000001}', '{"a": 0.3}', False),
        ],
    )
    def test_json_counts_by_its_meaning(self, first, second, same):
        assert (self.fingerprint(first) == self.fingerprint(second)) == same

    def test_headers_do_not_count_but_for_the_media_type(self):
        assert self.fingerprint("{}", accept="text/html") == self.fingerprint("{}", accept="text/plain")
        assert self.fingerprint("{}", "text/plain") != self.fingerprint("{}", "text/csv")

    def test_json_that_cannot_be_read_counts_byte_by_byte(self):
        deep = "[" * 100_000

        assert canonical_json(deep) is None
        assert self.fingerprint(deep) == self.fingerprint(deep)
        assert self.fingerprint(deep) != self.fingerprint(deep + " ")

    @pytest.mark.django_db
    def test_body_of_zero_bytes_at_most_drops_each_that_is_not_empty(self):
        @idempotent(max_response_bytes=0)
        def view(request):
            return HttpResponse("secret")

        post(view)

        key = IdempotencyKey.objects.get()
        assert key.body is None
        assert json.loads(post(view).content)["code"] == "idempotency_response_not_stored"

    @pytest.mark.django_db
    def test_row_holds_nothing_of_the_request_but_what_is_listed(self):
        request = RequestFactory().post(
            "/users/ada/?query=of-the-query",
            {"card": "of-the-body"},
            headers={"Idempotency-Key": "key", "Authorization": "of-a-header", "Cookie": "a=of-a-cookie"},
        )
        request.user = UserFactory.create()

        def view(request):
            response = HttpResponse("done", headers={"WWW-Authenticate": "of-the-response"})
            response.set_cookie("a", "of-the-response")
            return response

        answer(request, idempotent(view))

        row = IdempotencyKey.objects.values().get()
        assert {name for name, value in row.items() if "of-" in str(value)} == set()
        assert (row["scope"], row["method"], row["path"]) == (f"user:{request.user.pk}", "POST", "/users/ada/")

    def test_validator_takes_uuids_alone(self):
        validate_uuid("8e03978e-40d5-43e8-bc93-6894a57f9324")

        with pytest.raises(KeyInvalid):
            validate_uuid("coffee-1")

    def test_old_secret_key_still_knows_retries(self, run):
        names = run(self.page)
        with override_settings(SECRET_KEY=names["SECRET_KEY_FALLBACKS"][0]):
            stored = Fingerprint.of(b"body").sign()

        with override_settings(**{name: names[name] for name in ("SECRET_KEY", "SECRET_KEY_FALLBACKS")}):
            assert Fingerprint.of(b"body").matches(stored)
        with override_settings(SECRET_KEY="new", SECRET_KEY_FALLBACKS=[]):
            assert not Fingerprint.of(b"body").matches(stored)

    def test_members_of_a_tenant_have_scopes_of_their_own(self, run):
        run(self.page)
        import payments.scopes  # type: ignore[import-not-found]  # the page's

        request = SimpleNamespace(tenant=SimpleNamespace(pk=7), user=User(pk=3))

        assert payments.scopes.member_of_tenant(request) == "tenant:7:user:3"


class TestExecutePage:
    page = DOCS / "execute.md"

    def test_row_is_imported_once(self, run):
        names = run(self.page)

        assert Charge.objects.count() == 1
        with pytest.raises(KeyReused):
            names["import_row"](1, "9.99")


class TestObservabilityPage:
    page = DOCS / "observability.md"

    def test_receiver_is_called(self, run, capsys):
        names = run(self.page)

        @idempotent(required=True)
        def view(request):
            return HttpResponse("done")

        post(view, key=None)

        assert "refused: idempotency_key_missing" in capsys.readouterr().out
        signals.refused.disconnect(names["count_refusal"])

    @pytest.mark.django_db
    def test_log_has_the_fields_that_are_shown(self, caplog):
        @idempotent
        def view(request):
            return HttpResponse("done")

        with caplog.at_level(logging.INFO, "django_idempotency"):
            post(view, {"a": "1"})
            post(view, {"a": "2"})

        [shown] = blocks(self.page, "text")
        record = caplog.records[-1]
        assert re.findall(r"(\w+)=", record.getMessage()) == re.findall(r"(\w+)=", shown.text)
        assert record.levelno == logging.WARNING
        assert record.idempotency["error"] == "idempotency_key_reused"

    def test_connecting_counts_outcomes(self, run):
        run(self.page)
        import payments.metrics  # type: ignore[import-not-found]  # the page's
        import payments.traces  # type: ignore[import-not-found]  # the page's

        payments.metrics.MetricsConfig("payments", payments).ready()
        payments.traces.TracesConfig("payments", payments).ready()
        before = refused_so_far()

        @idempotent(required=True)
        def view(request):
            return HttpResponse("done")

        try:
            post(view, key=None)

            assert refused_so_far() == before + 1
        finally:
            for signal in (signals.executed, signals.replayed, signals.refused):
                for module in (prometheus, opentelemetry):
                    assert signal.disconnect(dispatch_uid=module.__name__)


class TestPublishingPage:
    page = DOCS / "publishing.md"

    def test_words_are_published(self, run):
        names = run(self.page)

        specification = Specification(policy=names["bookings"].idempotency_policy)

        assert "Each tenant has keys of its own." in specification.sentences

    def test_view_that_needs_no_keys_is_marked(self, run):
        assert run(self.page)["search"].idempotency_exempt


class TestJobsPage:
    page = DOCS / "jobs.md"

    def test_job_runs_once(self, run):
        names = run(self.page)
        before = Charge.objects.count()

        for amount in ("5.00", "5.00"):
            names["charge_fee"].apply(args=("grace", "2026-11", amount)).get()

        assert Charge.objects.count() == before + 1
        with pytest.raises(KeyReused):
            names["charge_fee"].apply(args=("grace", "2026-11", "6.00")).get()

    def test_decorator_above_the_queues_is_refused(self, run):
        names = run(self.page)

        with pytest.raises(TypeError, match="below it"):
            names["idempotent_task"](names["charge_fee"])

    def test_message_is_processed_once_by_each_consumer(self, run):
        names = run(self.page)
        before = Charge.objects.count()

        for _ in range(2):
            names["on_event"]("m-1", {"amount": "9.00"})

        assert Charge.objects.count() == before + 1


class TestHowItWorksPage:
    page = DOCS / "how-it-works.md"

    @pytest.mark.engine("postgresql")
    @pytest.mark.django_db(transaction=True)
    def test_statements_are_the_ones_that_are_shown(self):
        def view(request):
            Charge.objects.create(amount=5)
            return HttpResponse("done")

        guarded = idempotent(view)
        for block in blocks(self.page, "sql"):
            with CaptureQueriesContext(connection) as queries:
                post(guarded)

            statements = [query["sql"] for query in queries.captured_queries]
            shown = [text.strip() for text in re.sub(r"--[^\n]*\n", "\n", block.text).split(";") if text.strip()]
            handlers = [
                text for text in statements if "django_idempotency" not in text and text not in ("BEGIN", "COMMIT")
            ]
            assert len(handlers) == ("--" in block.text)
            statements = [text for text in statements if text not in handlers]
            assert len(statements) == len(shown)
            for statement, pattern in zip(statements, shown, strict=True):
                expected = re.escape(" ".join(pattern.split())).replace(r"\.\.\.", ".*")
                assert re.fullmatch(expected, " ".join(statement.split()), re.DOTALL), (statement, pattern)


def refused_so_far() -> float:
    """Return how many requests Prometheus has counted that lacked a key."""
    labels = {"outcome": "refused", "code": "idempotency_key_missing"}
    return REGISTRY.get_sample_value("idempotency_operations_total", labels) or 0.0


def override_handler(handler: Callable[..., Any]) -> Any:
    """Return a context manager that has REST framework's exceptions handled by *handler*."""
    path = f"{handler.__module__}.{handler.__name__}"
    return override_settings(REST_FRAMEWORK={**settings.REST_FRAMEWORK, "EXCEPTION_HANDLER": path})
