"""Operations that nobody is at, taken up by the requests that were kept."""

import json
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.transaction import atomic
from django.http import HttpResponse, JsonResponse
from django.test import override_settings
from django.urls import re_path
from rest_framework.permissions import IsAuthenticated
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency import leases
from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.exceptions import UsageError
from django_idempotency.models import IdempotencyKey, IdempotentRun
from django_idempotency.resume import Resumed, resume
from tests.app.views import effect
from tests.doors import send
from tests.factories import UserFactory
from tests.operations import labels
from tests.steps.stepping import LEASE, leave, run_out_leases
from tests.threads import together

pytestmark = pytest.mark.django_db(transaction=True)


class Broken:
    """A handler that fails until it is mended."""

    def __init__(self, **options):
        self.is_mended = False
        self.requests: list[Any] = []
        self.view: Any = idempotent(steps=True, **{"keep_request": True, **options})(self.handle)

    def handle(self, request, *, operation):
        self.requests.append(request)
        operation.step("a", leave("a"))
        if not self.is_mended:
            raise ValueError("broken")
        operation.step("b", leave("b"))
        return JsonResponse({"sent": json.loads(request.body or b"null"), "q": request.GET.get("q")}, status=201)

    def send(self, **options):
        return send(self.view, key="1", **options)

    def resume(self, **options):
        with override_settings(ROOT_URLCONF=(re_path("", self.view),)):
            return resume(**options)


class TestResume:
    def test_goes_on_and_stores_the_answer(self):
        broken = Broken()
        assert broken.send(body='{"amount": 1}', path="/charges/é/?q=ü").status_code == 500
        broken.is_mended = True

        assert broken.resume() == Resumed(ended=1)
        assert labels() == ["a", "b"]
        response = broken.send(body='{"amount": 1}', path="/charges/é/?q=ü")
        assert response["Idempotent-Replayed"] == "true"
        assert response.json() == {"sent": {"amount": 1}, "q": "ü"}
        assert len(broken.requests) == 2

    def test_dead_workers_operation_is_taken_up_once_its_lease_has_run_out(self):
        broken = Broken()
        broken.send()
        IdempotentRun.objects.update(lease_until="2100-01-01T00:00:00Z")
        broken.is_mended = True

        assert broken.resume() == Resumed()
        run_out_leases()
        assert broken.resume() == Resumed(ended=1)

    def test_request_is_erased_at_the_end(self):
        broken = Broken()
        broken.send(body='{"card": "4242"}')
        assert IdempotentRun.objects.get().request
        broken.is_mended = True
        broken.resume()

        assert IdempotentRun.objects.get().request == ""

    def test_no_credentials_are_kept(self):
        broken = Broken(keep_request=["X-Tenant"])
        user: Any = UserFactory()
        broken.send(user=user, body="{}", headers={"Cookie": "sessionid=1", "X-Tenant": "a", "X-Other": "b"})

        kept = json.loads(IdempotentRun.objects.get().request)
        assert set(kept["headers"]) == {"Content-Type", "Idempotency-Key", "X-Tenant"}
        assert kept["user"] == str(user.pk)

    def test_is_sent_as_its_user(self):
        broken = Broken(scope=lambda request: f"user:{request.user.pk}")
        user: Any = UserFactory()
        broken.send(user=user)
        broken.is_mended = True

        assert broken.resume() == Resumed(ended=1)
        assert broken.requests[-1].user == user

    def test_rest_frameworks_views_know_the_user_too(self):
        users: list[Any] = []

        class View(IdempotencyMixin, APIView):
            permission_classes = [IsAuthenticated]
            idempotency_steps = True
            idempotency_keep_request = True

            def post(self, request, *, operation):
                users.append(request.user)
                operation.step("a", leave("a"))
                if len(users) == 1:
                    raise ValueError("broken")
                return Response(request.data, status=201)

        user: Any = UserFactory()
        view = View.as_view()
        assert send(view, key="1", user=user, body='{"a": 1}').status_code == 500

        with override_settings(ROOT_URLCONF=(re_path("", view),)):
            assert resume() == Resumed(ended=1)
        assert users == [user, user]
        assert labels() == ["a"]
        assert send(view, key="1", user=user, body='{"a": 1}').json() == {"a": 1}

    def test_user_who_is_gone_is_told(self):
        broken = Broken(scope=lambda request: "all")
        user: Any = UserFactory()
        broken.send(user=user)
        user.delete()

        assert broken.resume() == Resumed(unfinished=1)
        assert "is gone" in IdempotentRun.objects.get().note

    def test_request_of_another_scope_does_not_run(self):
        broken = Broken(scope=lambda request: request.headers.get("X-Tenant", "none"))
        broken.send(headers={"X-Tenant": "a"})
        broken.is_mended = True

        assert broken.resume() == Resumed(unfinished=1)
        assert len(broken.requests) == 1
        assert IdempotencyKey.objects.count() == 1

    def test_view_that_refuses_it_counts_as_an_attempt(self):
        broken = Broken()
        broken.send()
        broken.view = lambda request: HttpResponse(status=403)

        assert broken.resume(max_attempts=2) == Resumed(unfinished=1)
        assert broken.resume(max_attempts=2) == Resumed(failed=1)
        assert IdempotentRun.objects.get().note == "Taken up by the command, and answered with 403."

    def test_fails_after_so_many_attempts_and_is_left_alone(self):
        broken = Broken()
        broken.send()

        assert [broken.resume(max_attempts=2) for _ in range(3)] == [
            Resumed(unfinished=1),
            Resumed(failed=1),
            Resumed(),
        ]
        assert IdempotentRun.objects.get().state == IdempotentRun.State.FAILED

    def test_command_that_dies_each_time_does_not_go_on_for_ever(self):
        broken = Broken()
        broken.send()
        IdempotentRun.objects.update(resumes=5)

        assert broken.resume() == Resumed(failed=1)
        assert len(broken.requests) == 1

    def test_client_can_go_on_with_a_failed_one(self):
        broken = Broken()
        broken.send()
        broken.resume(max_attempts=1)
        broken.is_mended = True

        assert broken.send().status_code == 201

    def test_held_call_is_uncertain_and_is_left_alone(self):
        def call(key):
            effect("called")
            raise ValueError("broken")

        @idempotent(steps=True, keep_request=True)
        def view(request, *, operation):
            operation.call("charge", call, if_uncertain="hold")

        send(view, key="1")
        with override_settings(ROOT_URLCONF=(re_path("", view),)):
            assert [resume(), resume()] == [Resumed(uncertain=1), Resumed()]

        assert labels() == ["called"]

    def test_operations_without_a_kept_request_are_counted(self):
        broken = Broken(keep_request=False)
        broken.send()

        assert broken.resume() == Resumed(unkept=1)

    def test_several_at_once_take_each_up_once(self):
        broken = Broken()
        for key in "123":
            send(broken.view, key=key)
        broken.is_mended = True

        with override_settings(ROOT_URLCONF=(re_path("", broken.view),)):
            resumed = together([resume] * 4)

        assert sum(each.ended for each in resumed) == 3
        assert sorted(labels()) == ["a"] * 3 + ["b"] * 3

    def test_is_bounded(self):
        broken = Broken()
        for key in "123":
            send(broken.view, key=key)
        broken.is_mended = True

        assert broken.resume(max_operations=2) == Resumed(ended=2)
        assert broken.resume(should_stop=lambda: True) == Resumed()

    @pytest.mark.parametrize("arguments", [{"max_attempts": 0}, {"max_operations": True}], ids=str)
    def test_argument_that_cannot_be_meant_is_refused(self, arguments):
        with pytest.raises(UsageError, match="must be a whole number"):
            resume(**arguments)

    def test_open_transaction_is_refused(self):
        broken = Broken()
        broken.send()

        with atomic(), pytest.raises(RuntimeError):
            broken.resume()

    def test_what_another_has_taken_is_skipped(self):
        broken = Broken()
        broken.send()
        run = IdempotentRun.objects.get().pk
        leases.resume(run, duration=LEASE, using="default", most=5)

        assert leases.resume(run, duration=LEASE, using="default", most=5) is None


class TestKeepRequest:
    def test_upload_is_refused(self):
        broken = Broken()
        body = '--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'

        assert broken.send(body=body, content_type="multipart/form-data; boundary=b").status_code == 500
        assert not IdempotencyKey.objects.exists()


class TestCommand:
    def run(self, *arguments):
        out = StringIO()
        call_command("resume_idempotent_operations", *arguments, stdout=out)
        return out.getvalue()

    def test_says_what_it_has_done(self):
        broken = Broken()
        broken.send()
        broken.is_mended = True

        with override_settings(ROOT_URLCONF=(re_path("", broken.view),)):
            assert self.run() == "1 ended, 0 unfinished, 0 uncertain, 0 failed, 0 left to who sent them\n"

    def test_is_bounded(self):
        broken = Broken()
        broken.send()

        with override_settings(ROOT_URLCONF=(re_path("", broken.view),)):
            assert "1 failed" in self.run("--max-attempts", "1", "--max-operations", "1", "--database", "default")

    def test_can_be_silent(self):
        assert self.run("--verbosity", "0") == ""

    @pytest.mark.parametrize("number", ["0", "-1", "x"])
    def test_number_that_cannot_be_meant_is_refused(self, number):
        with pytest.raises(CommandError, match="whole number"):
            self.run(f"--max-attempts={number}")
