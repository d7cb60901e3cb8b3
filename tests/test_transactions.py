"""The promise: a request is remembered if and only if its effects are committed."""

from contextlib import contextmanager, suppress

import pytest
from django.contrib.auth.decorators import permission_required
from django.contrib.auth.models import Permission
from django.core.exceptions import BadRequest, PermissionDenied
from django.db import DatabaseError, connection, connections, transaction
from django.db.transaction import atomic
from django.http import Http404, HttpResponse, JsonResponse
from rest_framework.exceptions import APIException, NotFound, ValidationError
from rest_framework.permissions import DjangoModelPermissions, IsAdminUser
from rest_framework.response import Response
from rest_framework.views import APIView

from django_idempotency.decorators import idempotent
from django_idempotency.drf import IdempotencyMixin
from django_idempotency.models import IdempotencyKey
from tests.app.faults import cut_session, doom_commit
from tests.app.models import Effect
from tests.app.views import CrashError, effect, on_commit_effect
from tests.doors import api_view_method, below_api_view, coroutine, function, mixin, send
from tests.factories import UserFactory
from tests.operations import labels

DRF_DOORS = [below_api_view, mixin]


def autocommit(*doors):
    """Return parameters for `door`: kinds of views in a transaction of their own."""
    real = pytest.mark.django_db(transaction=True)
    return [pytest.param((door, False), id=door.__name__, marks=real) for door in doors]


def atomic_requests(*doors):
    """Return parameters for `door`: kinds of views inside of ATOMIC_REQUESTS."""
    return [
        pytest.param((door, True), id=f"{door.__name__}, ATOMIC_REQUESTS", marks=pytest.mark.django_db)
        for door in doors
    ]


# Coroutines know no ATOMIC_REQUESTS: Django refuses them.
@pytest.fixture(
    params=[*autocommit(function, coroutine, *DRF_DOORS), *atomic_requests(function, *DRF_DOORS)],
)
def door(request, monkeypatch):
    """Return a kind of view, with a transaction around each request or without one."""
    door, atomic_requests = request.param
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", atomic_requests)
    return door


def refuse(status):
    """Return a handler that answers with *status* after a write."""

    def handler(request):
        effect("a")
        return JsonResponse({}, status=status)

    return handler


def create_twice():
    """Fail in a way of which Django remembers the error."""
    Effect.objects.create(pk=Effect.objects.get().pk)


def insert_twice():
    """Fail in a way of which Django remembers only that it happened."""
    with atomic(savepoint=False), connection.cursor() as cursor:
        cursor.execute("INSERT INTO app_effect SELECT * FROM app_effect")


def create_in_bulk_twice():
    """Fail in a way that not every Django and not every database takes for the end of the transaction."""
    Effect.objects.bulk_create([Effect(pk=Effect.objects.get().pk)])


def assert_forgotten(view):
    """See that nothing is left of the first request, and that its retry runs."""
    assert labels() == []
    assert not IdempotencyKey.objects.exists()
    assert "Idempotent-Replayed" not in send(view, key="k").headers


def assert_remembered(view, status):
    assert IdempotencyKey.objects.completed().count() == 1
    retry = send(view, key="k")
    assert (retry.status_code, retry.headers.get("Idempotent-Replayed")) == (status, "true")
    assert labels() == ["a"]


class TestRememberedIfCommitted:
    def test_handler_that_returns_after_a_write(self, door):
        view = door(refuse(201))

        assert send(view, key="k").status_code == 201
        assert_remembered(view, 201)

    def test_handler_that_raises_after_a_write(self, door):
        def handler(request):
            effect("a")
            raise CrashError

        view = door(handler)

        assert send(view, key="k").status_code == 500
        assert_forgotten(view)

    @pytest.mark.parametrize("status", [500, 503])
    def test_handler_that_returns_a_server_error_after_a_write(self, door, status):
        view = door(refuse(status))

        assert send(view, key="k").status_code == status
        assert_forgotten(view)

    @pytest.mark.parametrize("status", [402, 404])
    def test_returned_client_error_is_kept_with_its_effects(self, door, status):
        view = door(refuse(status))

        assert send(view, key="k").status_code == status
        assert_remembered(view, status)

    @pytest.mark.parametrize("status", [400, 409, 422, 429])
    def test_returned_client_error_that_means_not_accepted_is_forgotten(self, door, status):
        view = door(refuse(status))

        assert send(view, key="k").status_code == status
        assert_forgotten(view)

    @pytest.mark.parametrize(("error", "status"), [(Http404, 404), (PermissionDenied, 403)])
    def test_raised_client_error_is_forgotten(self, door, error, status):
        def handler(request):
            effect("a")
            raise error

        view = door(handler)

        assert send(view, key="k").status_code == status
        assert_forgotten(view)

    @pytest.mark.parametrize(("status", "answered"), [(402, 402), (303, 500), (201, 500)])
    def test_handler_that_marks_the_transaction_for_rollback(self, door, status, answered):
        def handler(request):
            effect("a")
            transaction.set_rollback(True)
            return JsonResponse({}, status=status)

        view = door(handler)

        assert send(view, key="k").status_code == answered
        assert_forgotten(view)

    @pytest.mark.parametrize("swallow", [create_twice, insert_twice, create_in_bulk_twice])
    def test_handler_that_swallows_a_database_error_answers_no_success_that_is_not_kept(self, door, swallow):
        def handler(request):
            effect("a")
            with suppress(DatabaseError):
                swallow()
            return JsonResponse({}, status=201)

        view = door(handler)

        if send(view, key="k").status_code == 201:
            assert_remembered(view, 201)
        else:
            assert_forgotten(view)

    @pytest.mark.parametrize("door", autocommit(function, coroutine, *DRF_DOORS), indirect=True)
    def test_handler_that_closes_the_connection(self, door):
        def handler(request):
            effect("a")
            connection.close()
            return JsonResponse({}, status=201)

        view = door(handler)

        send(view, key="k")
        assert_forgotten(view)

    def test_nested_atomic_is_a_part(self, door):
        def handler(request):
            with atomic():
                effect("a")
            with pytest.raises(CrashError), atomic():
                crash_after(effect, "b")
            return JsonResponse({}, status=201)

        view = door(handler)

        assert send(view, key="k").status_code == 201
        assert_remembered(view, 201)

    def test_nested_atomic_that_has_ended_is_rolled_back_with_the_rest(self, door):
        def handler(request):
            with atomic():
                effect("a")
            raise CrashError

        view = door(handler)

        assert send(view, key="k").status_code == 500
        assert_forgotten(view)

    def test_response_that_cannot_be_rendered(self, door):
        def handler(request):
            effect("a")
            return HttpResponse(iter(crash_after(effect, "b") for _ in range(1)))

        view = door(handler)

        assert send(view, key="k").status_code == 500
        assert_forgotten(view)


def crash_after(call, *arguments):
    call(*arguments)
    raise CrashError


class TestRaisedClientErrorsOfRestFramework:
    @pytest.mark.parametrize("door", [*autocommit(*DRF_DOORS), *atomic_requests(*DRF_DOORS)], indirect=True)
    @pytest.mark.parametrize(("error", "status"), [(NotFound, 404), (ValidationError, 400), (APIException, 500)])
    def test_are_forgotten(self, door, error, status):
        def handler(request):
            effect("a")
            raise error

        view = door(handler)

        assert send(view, key="k").status_code == status
        assert_forgotten(view)


class TestRaisedBadRequest:
    @pytest.mark.parametrize("door", [*autocommit(function, coroutine), *atomic_requests(function)], indirect=True)
    def test_is_forgotten(self, door):
        def handler(request):
            effect("a")
            raise BadRequest

        view = door(handler)

        assert send(view, key="k").status_code == 400
        assert_forgotten(view)


@contextmanager
def session_cut_before_commit():
    """Cut the session once the key's row is completed."""

    def wrapper(execute, sql, params, many, context):
        result = execute(sql, params, many, context)
        if sql.startswith(("UPDATE", "INSERT")) and "completed" in sql:
            cut_session()
        return result

    with connection.execute_wrapper(wrapper):
        yield


class TestCommit:
    @pytest.mark.django_db(transaction=True)
    def test_that_fails_on_a_deferred_constraint(self, door):
        def handler(request):
            effect("a")
            if not request.headers.get("X-Second"):
                doom_commit()
            return JsonResponse({}, status=201)

        view = door(handler)

        assert send(view, key="k").status_code == 500
        assert labels() == []
        assert not IdempotencyKey.objects.exists()
        assert send(view, key="k", headers={"X-Second": "1"}).status_code == 201
        assert labels() == ["a"]

    @pytest.mark.engine("postgresql", "mariadb")
    @pytest.mark.django_db(transaction=True)
    def test_that_never_reaches_the_database(self, door):
        view = door(refuse(201))

        with session_cut_before_commit():
            response = send(view, key="k")

        assert response.status_code == 500
        assert_forgotten(view)

    @pytest.mark.django_db(transaction=True)
    def test_runs_callbacks_once_and_on_the_first_run_only(self, door):
        def handler(request):
            effect("a")
            on_commit_effect("b")
            return JsonResponse({}, status=201)

        view = door(handler)

        assert [send(view, key="k").status_code for _ in range(3)] == [201] * 3
        assert labels() == ["a", "b"]

    @pytest.mark.parametrize("status", [500, 422])
    @pytest.mark.django_db(transaction=True)
    def test_callbacks_of_what_is_rolled_back_never_run(self, door, status):
        def handler(request):
            on_commit_effect("a")
            return JsonResponse({}, status=status)

        view = door(handler)

        assert [send(view, key="k").status_code for _ in range(2)] == [status] * 2
        assert labels() == []

    @pytest.mark.django_db(transaction=True)
    def test_callback_that_fails_does_not_make_the_retry_run(self, door):
        def handler(request):
            effect("a")
            transaction.on_commit(lambda: crash_after(effect, "b"))
            return JsonResponse({}, status=201)

        view = door(handler)

        assert send(view, key="k").status_code == 500
        assert send(view, key="k").headers["Idempotent-Replayed"] == "true"
        assert labels() == ["a", "b"]


@pytest.mark.django_db(transaction=True, databases=["default", "other"])
class TestSecondAlias:
    def handler(self, request):
        effect("a", using="other")
        if request.headers.get("X-Crash"):
            raise CrashError
        return JsonResponse({}, status=201)

    @pytest.mark.parametrize("door", [function, coroutine, *DRF_DOORS])
    def test_key_and_effects_share_its_transaction(self, door):
        view = door(self.handler, using="other")

        responses = [send(view, key="k", headers={"X-Crash": "1"}), send(view, key="k"), send(view, key="k")]

        assert [response.status_code for response in responses] == [500, 201, 201]
        assert labels("other") == ["a"]
        assert IdempotencyKey.objects.using("other").count() == 1
        assert not IdempotencyKey.objects.using("default").exists()

    @pytest.mark.parametrize("door", [function, mixin])
    def test_commit_that_fails_there(self, door):
        def handler(request):
            effect("a", using="other")
            doom_commit("other")
            return JsonResponse({}, status=201)

        view = door(handler, using="other")

        assert send(view, key="k").status_code == 500
        assert labels("other") == []
        assert not IdempotencyKey.objects.using("other").exists()


@pytest.mark.django_db
class TestPermissionsBeforeReplays:
    """Who may not call any more is not told what he was answered when he might."""

    def handler(self, request):
        effect("a")
        return Response(status=201) if hasattr(request, "_request") else HttpResponse(status=201)

    def views(self):
        handler = self.handler

        class Admins(IdempotencyMixin, APIView):
            permission_classes = [IsAdminUser]

            def post(self, request):
                return handler(request)

        class Decorated(APIView):
            permission_classes = [IsAdminUser]

            @idempotent
            def post(self, request):
                return handler(request)

        class Granted(IdempotencyMixin, APIView):
            permission_classes = [DjangoModelPermissions]
            queryset = Effect.objects.all()

            def post(self, request):
                return handler(request)

        granted = permission_required("app.add_effect", raise_exception=True)
        return {
            "mixin": Admins.as_view(),
            "method": Decorated.as_view(),
            "model permissions": Granted.as_view(),
            "function": granted(idempotent(handler)),
        }

    @pytest.mark.parametrize("name", ["mixin", "method", "model permissions", "function"])
    def test_permission_revoked_before_a_retry(self, name):
        view = self.views()[name]
        user = UserFactory.create(is_staff=True)
        permission = Permission.objects.get(codename="add_effect")
        user.user_permissions.add(permission)
        before = [send(view, key="k", user=user) for _ in range(2)]

        user.is_staff = False
        user.save()
        user.user_permissions.remove(permission)
        after = send(view, key="k", user=user)

        assert [response.status_code for response in before] == [201, 201]
        assert before[1].headers["Idempotent-Replayed"] == "true"
        assert after.status_code == 403
        assert "Idempotent-Replayed" not in after.headers
        assert labels() == ["a"]

    @pytest.mark.parametrize("name", ["mixin", "method", "model permissions", "function"])
    def test_user_who_may_not_call_leaves_no_key(self, name):
        response = send(self.views()[name], key="k", user=UserFactory.create())

        assert response.status_code == 403
        assert labels() == []
        assert not IdempotencyKey.objects.exists()


@pytest.mark.django_db
class TestSecretKeyRotated:
    @pytest.mark.parametrize("door", [function, coroutine, below_api_view, api_view_method, mixin])
    def test_retries_replay_while_the_old_one_is_a_fallback(self, door, settings):
        view = door(refuse(201))
        send(view, key="k", body='{"amount": 1}')

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "rotated", [settings.SECRET_KEY]
        retry, other = (send(view, key="k", body=f'{{"amount": {amount}}}') for amount in (1, 2))

        assert retry.headers["Idempotent-Replayed"] == "true"
        assert other.status_code == 409
        assert labels() == ["a"]
