"""idempotency_conformance: the package's views and servers conform; what does otherwise is caught."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import uuid
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import transaction
from django.http import HttpResponse, JsonResponse
from django.test import TestCase

from django_idempotency.exceptions import UsageError
from django_idempotency.testing import NotConforming, idempotency_conformance
from tests import doors
from tests.app.models import Effect
from tests.factories import UserFactory
from tests.gate import TIMEOUT
from tests.server import ROOT, Server

pytestmark = pytest.mark.django_db(transaction=True)

NAMES = [
    "replay",
    "new-key",
    "quoted-key",
    "mismatch",
    "missing-key",
    "malformed-blank",
    "malformed-white-space",
    "malformed-not-ascii",
    "malformed-half-quoted",
    "malformed-list",
    "malformed-twice",
    "malformed-too-long",
    "scope",
    "in-flight",
    "headers",
    "expiry",
]


def charge(request):
    Effect.objects.create(label="charged")
    charge = str(uuid.uuid4())
    response = JsonResponse({"id": charge}, status=201, headers={"Location": f"/charges/{charge}/"})
    response.set_cookie("seen", "yes")
    return response


SAMPLE: dict[str, Any] = {
    "data": {"amount": 100},
    "other_data": {"amount": 200},
    "user": lambda: User.objects.get(username="ann"),
    "other_user": lambda: User.objects.get(username="bob"),
}
VIEWS = [door(charge, required=True) for door in (doors.function, doors.coroutine)]
PATH = idempotency_conformance("/http/plain-required/1/", data=b"{}", other_data=b"[]", content_type="text/plain")
RIGHT = [check for view in VIEWS for check in idempotency_conformance(view, **SAMPLE)] + PATH


@pytest.fixture(autouse=True)
def users(request):
    if request.cls is not TestUnittest:
        UserFactory.create(username="ann")
        UserFactory.create(username="bob")


@pytest.mark.parametrize("check", RIGHT, ids=str)
def test_right_endpoint_conforms(check):
    check()


class TestChecks:
    def test_all_are_made_of_all_arguments(self):
        assert [str(check) for check in idempotency_conformance(VIEWS[0], **SAMPLE)] == NAMES

    def test_what_is_not_given_is_not_tried(self):
        checks = idempotency_conformance("http://127.0.0.1/", required=False)

        left_out = {"mismatch", "missing-key", "scope", "expiry"}
        assert [str(check) for check in checks] == [name for name in NAMES if name not in left_out]

    def test_each_says_its_promise(self):
        assert all(check.promise.endswith(".") for check in idempotency_conformance(VIEWS[0], **SAMPLE))


def check_of(view, name, **options):
    [check] = [check for check in idempotency_conformance(view, **{**SAMPLE, **options}) if check.name == name]
    return check


def failing(view, name, **options):
    with pytest.raises(NotConforming) as caught:
        check_of(view, name, **options)()
    return str(caught.value)


def keyed(**options):
    """Make a wrong view: one that keeps the answers in a cache, by *options*."""

    def view(request):
        key = request.headers.get("Idempotency-Key", "none")
        if options.get("quotes"):
            key = key.strip('"')
        key = hashlib.sha256(key.encode()).hexdigest()  # A cache takes no long ones.
        known = cache.get(key)
        if known is None:
            known = {"id": str(uuid.uuid4()), "body": request.body.decode(), "user": request.user.pk}
            cache.set(key, known)
            return JsonResponse(known, status=201)
        if options.get("mismatch") and known["body"] != request.body.decode():
            cache.delete(key)
            return JsonResponse({}, status=422)
        response = JsonResponse({**known, "again": True} if options.get("differs") else known, status=201)
        if options.get("cookie"):
            response.set_cookie("session", "first client's")
        if options.get("location"):
            response["Location"] = "/again/"
        return response

    return view


def constant(request):
    return HttpResponse("done")


def unkeyed(request):
    return JsonResponse({"id": str(uuid.uuid4())}, status=201)


class TestMistakes:
    def test_endpoint_that_refuses_all(self):
        def view(request):
            return JsonResponse({"detail": "no"}, status=403)

        assert "should succeed was answered 403" in failing(view, "replay")

    @pytest.mark.parametrize("name", ["missing-key", "malformed-blank"])
    def test_refusal_of_the_body_is_none_of_the_key(self, name):
        assert "should succeed was answered 400" in failing(lambda request: JsonResponse({}, status=400), name)

    def test_refusal_of_the_other_body_is_none_of_its_key(self):
        def view(request):
            return JsonResponse({"id": str(uuid.uuid4())}, status=422 if b"200" in request.body else 201)

        assert "should succeed was answered 422" in failing(view, "mismatch")

    def test_other_client_that_is_refused(self):
        def view(request):
            return JsonResponse({}, status=201 if request.user.username == "ann" else 403)

        assert "403 instead of running" in failing(view, "scope")

    def test_answer_that_differs(self):
        assert "another body" in failing(keyed(differs=True), "replay")

    def test_second_run(self):
        assert "another body" in failing(unkeyed, "replay")

    def test_replay_that_cannot_be_told_from_a_run(self):
        assert "cannot be told from a second run" in failing(constant, "replay")

    def test_one_answer_for_all(self):
        def view(request):
            return JsonResponse({}, headers={"Idempotent-Replayed": "true"})

        assert "the answer to another request" in failing(view, "new-key")

    def test_quotes_that_count(self):
        assert "another body" in failing(keyed(), "quoted-key")

    def test_other_request_that_is_answered(self):
        assert "201 instead of 409 or 422" in failing(keyed(), "mismatch")

    def test_mismatch_that_loses_the_key(self):
        assert "another body" in failing(keyed(mismatch=True), "mismatch")

    def test_missing_key_that_is_taken(self):
        assert "201 instead of 400" in failing(keyed(), "missing-key")

    @pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("malformed")])
    def test_malformed_key_that_is_taken(self, name):
        assert "201 instead of 400" in failing(keyed(), name)

    def test_answer_that_leaks(self):
        assert "the answer to another request" in failing(keyed(), "scope")

    def test_clients_that_run_at_once(self):
        assert "two answers" in failing(unkeyed, "in-flight")

    def test_conflict_without_retry_after(self):
        answers = iter([*[JsonResponse({}, status=409)] * 8, JsonResponse({})])

        assert "without Retry-After" in failing(lambda request: next(answers), "in-flight")

    def test_cookie_that_is_replayed(self):
        assert "sets a cookie" in failing(keyed(cookie=True), "headers")

    def test_header_that_differs(self):
        assert "the header location: '/again/', the first answer had None" in failing(keyed(location=True), "headers")

    def test_key_that_does_not_expire(self):
        assert "with the old answer" in failing(keyed(), "expiry", expire=lambda key: None)

    def test_expired_key_that_is_refused(self):
        answers = iter([JsonResponse({}), JsonResponse({}, status=409)])

        assert "answered 409 instead of running" in failing(
            lambda request: next(answers), "expiry", expire=cache.delete
        )


class TestUsage:
    def test_keys_of_another_package_need_expire(self):
        with pytest.raises(UsageError, match="Pass expire="):
            check_of(keyed(), "expiry")()

    def test_threads_need_commits(self):
        with transaction.atomic(), pytest.raises(UsageError, match="TransactionTestCase"):
            check_of(VIEWS[0], "in-flight")()


class TestUnittest(TestCase):
    def test_checks_run_in_sub_tests(self):
        UserFactory.create(username="ann")
        UserFactory.create(username="bob")
        for check in idempotency_conformance(VIEWS[0], **SAMPLE):
            if check.name != "in-flight":
                with self.subTest(check=check.name):
                    check()


def run_module(*arguments):
    """Run the command as its user does, without settings of Django's, and return it, with what it wrote."""
    environment = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(
        [sys.executable, "-m", "django_idempotency.testing", *arguments],
        cwd=ROOT,
        env={**environment, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )


def answer_nonsense(listener):
    connection, _ = listener.accept()
    with connection:
        connection.recv(1024)
        connection.sendall(b"nonsense\r\n")


class TestCommand:
    def test_server_conforms(self, server: Server):
        ann, bob = ("Basic YW5uOnBhc3N3b3Jk", "Basic Ym9iOnBhc3N3b3Jk")

        process = run_module(
            f"{server.base_url}/http/plain-required/1/",
            *("--data", json.dumps({"amount": 100}), "--other-data", json.dumps({"amount": 200})),
            *("--header", f"Authorization: {ann}", "--other-header", f"Authorization: {bob}"),
        )

        assert process.returncode == 0, process.stdout + process.stderr
        assert "15 passed, 0 failed, 1 not tried" in process.stdout
        assert "It needs --expires-after." in process.stdout

    def test_server_without_keys_fails(self, server: Server):
        process = run_module(f"{server.base_url}/scripted/")

        assert process.returncode == 1
        assert "FAILED     replay" in process.stdout
        assert "another body" in process.stdout

    def test_expiry_is_waited_for(self, server: Server):
        process = run_module(f"{server.base_url}/scripted/", "--expires-after", "0")

        assert "passed     expiry" in process.stdout

    def test_server_that_does_not_answer_fails(self):
        process = run_module("http://127.0.0.1:9/")

        assert process.returncode == 1
        assert "Nothing was tried. No answer: ConnectionRefusedError" in process.stdout

    def test_request_that_does_not_succeed_ends_it(self, server: Server):
        process = run_module(f"{server.base_url}/nowhere/")

        assert process.returncode == 1
        assert "Nothing was tried. A request that should succeed was answered 404" in process.stdout
        assert "FAILED" not in process.stdout

    def test_server_that_does_not_speak_http_fails_on_one_line(self):
        with socket.create_server(("127.0.0.1", 0)) as listener:
            listener.settimeout(TIMEOUT)
            answering = threading.Thread(target=answer_nonsense, args=[listener])
            answering.start()
            process = run_module(f"http://127.0.0.1:{listener.getsockname()[1]}/")
            answering.join()

        assert process.stdout.splitlines()[2:] == ["Nothing was tried. No answer: BadStatusLine: nonsense"]

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [(["/charges/"], "is no URL; write"), (["http://127.0.0.1/", "--header", "abc"], 'write "Name: value"')],
    )
    def test_wrong_arguments_are_refused(self, arguments, message):
        process = run_module(*arguments)

        assert process.returncode == 2
        assert message in process.stderr
