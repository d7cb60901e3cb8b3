"""From a request to the operation that it asks for."""

import gc
import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.core.exceptions import RequestDataTooBig, ValidationError
from django.core.files.uploadedfile import SimpleUploadedFile
from django.core.handlers.asgi import ASGIRequest
from django.http import QueryDict
from django.http.multipartparser import MultiPartParserError
from django.http.request import RawPostDataException
from django.test import RequestFactory
from django.test.client import encode_multipart

from django_idempotency.bodies import is_consumed
from django_idempotency.exceptions import KeyInvalid, KeyMissing, UsageError
from django_idempotency.fingerprint import Fingerprint
from django_idempotency.http import (
    fingerprint_of,
    is_guarded,
    key_for,
    operation_for,
    read_key,
    scope_of,
)
from django_idempotency.keys import validate_uuid
from django_idempotency.policy import Policy

FORM = "application/x-www-form-urlencoded"
METHODS = ["POST", "PATCH"]
rf = RequestFactory()


def request(body=b"", *, method="POST", path="/charges/", query="", content_type="application/json", **headers):
    """Return a request whose body the server has not read yet."""
    return rf.generic(method, path, body, content_type=content_type, QUERY_STRING=query, headers=headers or None)


def with_key(value):
    return rf.post("/", headers={"Idempotency-Key": value})


def multipart(fields, *, boundary="boundary", method="POST"):
    content = encode_multipart(boundary, fields)
    return request(content, method=method, content_type=f"multipart/form-data; boundary={boundary}")


def upload(content=b"content", name="a.txt", content_type="text/plain"):
    return SimpleUploadedFile(name, content, content_type)


def same(one, other, **options):
    """Tell whether two requests ask for the same."""
    return fingerprint_of(one, **options) == fingerprint_of(other, **options)


class TestReadKey:
    def test_no_header_is_no_key(self):
        assert read_key(rf.post("/")) is None

    @pytest.mark.parametrize("value", ["abc", '"abc"'])
    def test_header_carries_the_key(self, value):
        assert read_key(with_key(value)) == "abc"

    @pytest.mark.parametrize("value", ["", "  ", "a,b", "é", "k" * 256])
    def test_malformed_header_is_refused(self, value):
        with pytest.raises(KeyInvalid):
            read_key(with_key(value))

    def test_validator_of_the_view_may_ask_for_more(self):
        with pytest.raises(KeyInvalid, match="must be a UUID"):
            read_key(with_key("abc"), validate_uuid)

    def test_validator_of_the_settings_may_ask_for_more(self, settings):
        settings.IDEMPOTENCY_KEY_VALIDATOR = "django_idempotency.keys.validate_uuid"

        with pytest.raises(KeyInvalid, match="must be a UUID"):
            read_key(with_key("abc"))

    def test_validator_of_the_view_replaces_that_of_the_settings(self, settings):
        settings.IDEMPOTENCY_KEY_VALIDATOR = "django_idempotency.keys.validate_uuid"

        assert read_key(with_key("abc"), lambda key: None) == "abc"

    @pytest.mark.parametrize(
        ("error", "detail"),
        [
            (ValueError("Send 20 characters."), "Send 20 characters."),
            (ValueError(), "The Idempotency-Key is not of the form that this endpoint takes."),
            (ValidationError("Too short."), "Too short."),
            (ValidationError(["Too short.", "Too dull."]), "Too short. Too dull."),
            (KeyInvalid("Not this one."), "Not this one."),
        ],
        ids=repr,
    )
    def test_whatever_a_validator_raises_is_a_malformed_key(self, error, detail):
        def validate(key):
            raise error

        with pytest.raises(KeyInvalid) as raised:
            read_key(with_key("abc"), validate)

        assert raised.value.detail == detail

    def test_bug_in_a_validator_is_not_the_clients_fault(self):
        def validate(key):
            raise KeyError(key)

        with pytest.raises(KeyError):
            read_key(with_key("abc"), validate)


class TestKeyFor:
    def test_key_that_is_there(self):
        assert key_for(with_key("abc"), Policy(required=True)) == "abc"

    def test_key_that_is_not_needed(self):
        assert key_for(rf.post("/"), Policy()) is None

    def test_key_that_is_missing(self, settings):
        settings.IDEMPOTENCY_REQUIRED = True

        with pytest.raises(KeyMissing):
            key_for(rf.post("/"), Policy())

    def test_policy_validates(self):
        with pytest.raises(KeyInvalid):
            key_for(with_key("abc"), Policy(key_validator=validate_uuid))


class TestScopeOf:
    def test_request_without_user_is_anonymous(self):
        assert scope_of(rf.post("/")) == "anonymous"

    @pytest.mark.parametrize("user", [None, AnonymousUser()])
    def test_request_without_authenticated_user_is_anonymous(self, user):
        request = rf.post("/")
        request.user = user

        assert scope_of(request) == "anonymous"

    def test_users_have_a_scope_each(self):
        request = rf.post("/")
        scopes = set()
        for pk in (1, 2):
            request.user = User(pk=pk)
            scopes.add(scope_of(request))

        assert scopes == {"user:1", "user:2"}  # Those of other releases: their keys are remembered, too.

    def test_authenticated_user_without_primary_key_is_refused(self):
        request = rf.post("/")
        request.user = User()

        with pytest.raises(UsageError, match="scope"):
            scope_of(request)

    def test_callable_of_the_view_beats_the_settings(self, settings):
        settings.IDEMPOTENCY_SCOPE = lambda request: "settings"

        assert scope_of(rf.post("/")) == "settings"
        assert scope_of(rf.post("/"), lambda request: f"view {request.path}") == "view /"


class TestOperationFor:
    def operation(self, request, **options):
        given = {"key": "abc", "scope": "anonymous", "fingerprint": Fingerprint.of(), "ttl": 60, **options}
        return operation_for(request, **given)

    def test_is_of_the_namespace_of_http(self):
        operation = self.operation(request(path="/charges/", query="a=b"))

        assert (operation.namespace, operation.scope, operation.key) == ("http", "anonymous", "abc")
        assert (operation.method, operation.path, operation.ttl) == ("POST", "/charges/", timedelta(seconds=60))

    def test_guards_the_request(self):
        guarded = request()
        assert not is_guarded(guarded)

        operation = self.operation(guarded)

        assert is_guarded(guarded)
        assert guarded.idempotency_operation is operation

    def test_path_is_kept_as_ascii(self):
        operation = self.operation(request(path="/café/€"))

        assert operation.path == "/caf%C3%A9/%E2%82%AC"

    @pytest.mark.parametrize("scope", ["", None, 1, "a\n", "x" * 256])
    def test_scope_that_is_no_name_is_told_to_the_programmer(self, scope):
        with pytest.raises(UsageError, match="scope"):
            self.operation(request(), scope=scope)


class TestFingerprintOf:
    def test_same_request_is_the_same(self):
        assert same(request(b'{"a": 1}', query="a=1"), request(b'{"a": 1}', query="a=1"))

    @pytest.mark.parametrize(
        "other",
        [
            {"method": "PATCH"},
            {"path": "/refunds/"},
            {"path": "/Charges/"},
            {"query": "a=2"},
            {"query": "a=1&a=1"},
            {"query": ""},
            {"query": "a=1&b="},
            {"body": b'{"a": 2}'},
            {"body": b""},
            {"content_type": "text/plain"},
            {"content_type": "application/vnd.api+json"},
            {"content_type": ""},
        ],
        ids=repr,
    )
    def test_other_request_is_another(self, other):
        given = {"body": b'{"a": 1}', "query": "a=1"}

        assert not same(request(**given), request(**{**given, **other}))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a=1&b=2", "b=2&a=1"),
            ("a=%41", "a=A"),
            ("a=1+2", "a=1%202"),
            ("a=%e2%82%ac", "a=%E2%82%AC"),
        ],
    )
    def test_spelling_of_the_query_does_not_count(self, one, other):
        assert same(request(query=one), request(query=other))

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            ("a=1&a=2", "a=2&a=1"),
            ("a=%ff", "a=%fe"),
            ("a", "b"),
            ("%ff=", "%fe="),
            ("a=%00", "a="),
            ("a=1&a=2", "a=12"),
        ],
    )
    def test_meaning_of_the_query_counts(self, one, other):
        assert not same(request(query=one), request(query=other))

    def test_server_may_leave_out_an_empty_query(self):
        without = request()
        del without.META["QUERY_STRING"]  # PEP 3333: it may be absent.

        assert same(without, request())

    def test_parameters_of_the_media_type_do_not_count(self):
        assert same(
            request(b"{}", content_type="application/json"),
            request(b"{}", content_type="application/json; charset=utf-8"),
        )

    def test_headers_do_not_count(self):
        assert same(request(b"{}", Accept="text/html"), request(b"{}", Authorization="Bearer new"))

    @pytest.mark.parametrize(
        "content_type", ["application/json", "application/vnd.api+json", "application/problem+json"]
    )
    def test_json_counts_by_meaning(self, content_type):
        one, other = b'{"a": 1, "b": 2.50}', b'{ "b":2.5, "a":1 }'

        assert same(request(one, content_type=content_type), request(other, content_type=content_type))

    @pytest.mark.parametrize("content_type", ["text/plain", "application/octet-stream", "application/xml", ""])
    def test_anything_else_counts_by_its_bytes(self, content_type):
        assert same(request(b"\xff\0", content_type=content_type), request(b"\xff\0", content_type=content_type))
        assert not same(request(b"{} ", content_type=content_type), request(b"{}", content_type=content_type))

    def test_broken_json_counts_by_its_bytes(self):
        assert same(request(b"{"), request(b"{"))
        assert not same(request(b"{"), request(b"{ "))

    def test_ignored_fields_of_json_may_differ(self):
        one, other = request(b'{"a": 1, "at": 1}'), request(b'{"a": 1, "at": 2}')

        assert same(one, other, ignored_fields=["at"])
        assert not same(request(b'{"a": 1, "at": 1}'), request(b'{"a": 1, "at": 2}'))

    @pytest.mark.parametrize("method", METHODS)
    def test_form_counts_by_its_fields(self, method):
        def form(body):
            return request(body, method=method, content_type=FORM)

        assert same(form(b"a=1&b=2"), form(b"b=%32&a=1"))
        assert not same(form(b"a=1&a=2"), form(b"a=2&a=1"))
        assert not same(form(b"a=1"), form(b"a=2"))
        assert not same(form(b"a=1"), form(b""))
        assert same(form(b"a=1&at=1"), form(b"a=1&at=2"), ignored_fields=["at"])

    @pytest.mark.parametrize("method", METHODS)
    def test_multipart_counts_by_its_content(self, method):
        def form(fields, **options):
            return multipart(fields, method=method, **options)

        assert same(form({"a": "1", "b": "2"}, boundary="one"), form({"b": "2", "a": "1"}, boundary="two"))
        assert same(form({"f": upload()}, boundary="one"), form({"f": upload()}, boundary="two"))
        assert same(form({"f": upload()}), form({"f": upload(name="b.bin", content_type="image/png")}))
        assert not same(form({"a": "1"}), form({"a": "2"}))
        assert not same(form({"f": upload(b"one")}), form({"f": upload(b"two")}))
        assert not same(form({"f": upload(b"1")}), form({"f": "1"}))
        assert not same(form({"f": upload()}), form({"g": upload()}))
        assert not same(form({"f": [upload(b"1"), upload(b"2")]}), form({"f": [upload(b"2"), upload(b"1")]}))
        assert same(form({"a": "1", "at": "1"}), form({"a": "1", "at": "2"}), ignored_fields=["at"])

    def test_multipart_and_urlencoded_are_different(self):
        assert not same(multipart({"a": "1"}), request(b"a=1", content_type=FORM))

    @pytest.mark.parametrize("method", METHODS)
    def test_large_uploads_stay_files(self, method, settings):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 10
        one, other = (multipart({"f": upload(b"x" * 1000)}, method=method, boundary=name) for name in ("one", "two"))

        assert same(one, other)

        for large in (one, other):
            large.close()
        gc.collect()  # What was not closed would warn here, and fail this test.

    @pytest.mark.parametrize("method", METHODS)
    def test_form_with_text_that_is_no_unicode(self, method):
        one, other = (request(body, method=method, content_type=FORM) for body in (b"a=%ff", b"a=%ff"))

        assert same(one, other)

    @pytest.mark.parametrize(
        ("given", "options", "stored"),
        [
            (
                lambda: request(b'{"a": 1}', query="b=2"),
                {},
                "36f9c1030fe55481d034982c6b57733617e60ba27faac579c775410062ec8365",
            ),
            (
                lambda: request(b"a=1", content_type=FORM),
                {},
                "54052fb0cd9813362129de3a3965de1ce3d6d4341dd5cc760fc14444a6264fb0",
            ),
            (
                lambda: multipart({"a": "1", "f": upload()}),
                {},
                "6abf2e82954701b43c9b5c1f3dc9ed9b424e61224057ddff0afb480d72b19a21",
            ),
            (
                lambda: request(b"a", content_type=""),
                {},
                "7972146016493c652aa68d3376ed39dbefb180b862b55cc72b5cf195795dac0e",
            ),
            (request, {"parsed": b'{"a": 1}'}, "bf5dcb660154ff7f4d8d7df7599f0a1395c472fc5c992c452c7e94d2c5f1e646"),
        ],
        ids=["JSON", "urlencoded", "multipart", "bytes", "parsed"],
    )
    def test_what_another_release_has_stored_matches(self, given, options, stored, settings):
        settings.SECRET_KEY = "secret"

        assert fingerprint_of(given(), **options).matches(stored)

    def test_malformed_multipart_is_djangos_affair(self):
        with pytest.raises(MultiPartParserError):
            fingerprint_of(request(b"x", content_type="multipart/form-data"))

    def test_patch_form_counts_after_somebody_has_asked_for_post(self):
        one, other = (request(body, method="PATCH", content_type=FORM) for body in (b"a=1", b"a=2"))
        for patch in (one, other):
            assert patch.POST == {}  # Django parses the forms of POST alone.

        assert not same(one, other)

    def test_query_that_is_no_ascii(self):
        def asgi(query):
            scope = {"type": "http", "method": "POST", "path": "/", "query_string": query, "headers": []}
            return ASGIRequest(scope, io.BytesIO())

        assert same(asgi("a=€".encode()), asgi("a=€".encode()))
        assert same(asgi("a=€".encode()), asgi(b"a=%E2%82%AC"))
        assert not same(asgi("a=€".encode()), asgi("a=£".encode()))

    def test_path_that_is_no_unicode(self):
        one, other = (rf.generic("POST", "/", PATH_INFO=path) for path in ("/\xff", "/\xfe"))

        assert not same(one, other)

    def test_parsed_content_stands_for_the_body(self):
        one, other = request(b"consumed"), request(b"consumed, too")

        assert fingerprint_of(one, parsed=b'{"a": 1, "b": 2}') == fingerprint_of(other, parsed=b'{"b": 2, "a": 1}')
        assert fingerprint_of(one, parsed=b'{"a": 1}') != fingerprint_of(other, parsed=b'{"a": 2}')
        assert fingerprint_of(one, parsed=b'{"a": 1, "at": 1}', ignored_fields=["at"]) == fingerprint_of(
            other, parsed=b'{"a": 1}'
        )

    def test_parsed_content_that_is_beyond_json_counts_by_its_bytes(self):
        deep = b"[" * 200_000 + b"]" * 200_000

        assert fingerprint_of(request(), parsed=deep) == fingerprint_of(request(), parsed=deep)
        assert fingerprint_of(request(), parsed=deep) != fingerprint_of(request(), parsed=deep + b" ")


@pytest.mark.parametrize("size", [10, 100_000], ids=["small", "spilled"])
class TestBodyAfterwards:
    """The handler finds the request as the server gave it."""

    @pytest.fixture(autouse=True)
    def limit(self, settings):
        settings.FILE_UPLOAD_MAX_MEMORY_SIZE = 1000

    @pytest.fixture
    def body(self, size):
        return b'"' + b"x" * size + b'"'

    @pytest.fixture(params=["application/json", "text/plain"])
    def taken(self, request, body):
        """Return a request whose fingerprint has been taken."""
        taken = rf.generic("POST", "/", body, content_type=request.param)
        fingerprint_of(taken)
        yield taken
        taken.close()

    def test_body(self, taken, body):
        assert taken.body == body

    def test_stream(self, taken, body):
        assert taken.read(5) + taken.read() == body

    def test_lines(self, taken, body):
        assert taken.readline() == body
        assert taken.readlines() == []

    def test_body_after_the_stream_is_refused_as_ever(self, taken):
        taken.read(1)

        with pytest.raises(RawPostDataException):
            taken.body  # noqa: B018 - raises

    def test_body_and_then_the_stream(self, taken, body):
        assert taken.body == taken.read() == body

    def test_body_that_was_read_before(self, body):
        read = rf.generic("POST", "/", body, content_type="application/json")
        assert read.body == body

        fingerprint_of(read)

        assert read.body == body

    @pytest.mark.parametrize("content_type", [FORM, "multipart/form-data; boundary=boundary"])
    def test_post_and_files(self, size, content_type):
        body = b"a=" + b"x" * size
        if "multipart" in content_type:
            body = encode_multipart("boundary", {"a": "x" * size, "f": upload(b"y" * size)})
        taken = rf.generic("POST", "/", body, content_type=content_type)

        fingerprint_of(taken)

        assert taken.POST.dict() == {"a": "x" * size}
        assert [file.read() for _, [file] in taken.FILES.lists()] == (
            [b"y" * size] if "multipart" in content_type else []
        )
        taken.close()

    def test_form_of_another_method(self, size):
        body = b"a=" + b"x" * size
        taken = rf.generic("PATCH", "/", body, content_type=FORM)

        fingerprint_of(taken)

        assert taken.body == body
        taken.close()

    def test_upload_of_another_method(self, size):
        body = encode_multipart("boundary", {"a": "1", "f": upload(b"y" * size)})
        taken = rf.generic("PATCH", "/", body, content_type="multipart/form-data; boundary=boundary")

        fingerprint_of(taken)
        fields, files = taken.parse_file_upload(taken.META, taken)

        assert fields == QueryDict("a=1")
        assert [file.read() for _, [file] in files.lists()] == [b"y" * size]
        for _, [file] in files.lists():
            file.close()
        taken.close()


class TestDataUploadMaxMemorySize:
    """Bodies beyond Django's limit are refused where they would be without the package, and not read into memory."""

    @pytest.fixture(autouse=True)
    def limit(self, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100

    @pytest.mark.parametrize(
        ("method", "content_type"),
        [(method, content_type) for method in METHODS for content_type in ("application/json", "text/plain", FORM)],
    )
    def test_body_is_refused_when_the_handler_reads_it(self, method, content_type):
        large = request(b'"' + b"x" * 200 + b'"', method=method, content_type=content_type)

        fingerprint_of(large)

        with pytest.raises(RequestDataTooBig):
            large.body  # noqa: B018 - raises

    @pytest.mark.parametrize("content_type", ["application/json", "text/plain"])
    def test_handler_may_still_read_the_stream(self, content_type):
        body = b'"' + b"x" * 200 + b'"'
        large = request(body, content_type=content_type)

        fingerprint_of(large)

        assert large.read() == body

    @pytest.mark.parametrize("method", METHODS)
    def test_form_of_too_many_fields_counts_by_its_bytes(self, method, settings):
        settings.DATA_UPLOAD_MAX_NUMBER_FIELDS = 1

        def form(body):
            return request(body, method=method, content_type=FORM)

        assert same(form(b"a=1&b=2"), form(b"a=1&b=2"))
        assert not same(form(b"a=1&b=2"), form(b"b=2&a=1"))

    def test_multipart_field_is_refused_at_once(self):
        with pytest.raises(RequestDataTooBig):
            fingerprint_of(multipart({"a": "x" * 200}))

    @pytest.mark.parametrize("method", METHODS)
    def test_upload_does_not_count(self, method):
        fingerprint_of(multipart({"f": upload(b"x" * 200)}, method=method))

    @pytest.mark.parametrize(
        ("method", "content_type"), [("POST", "application/json"), ("POST", FORM), ("PATCH", FORM)]
    )
    def test_large_body_counts_by_its_bytes(self, method, content_type):
        one, other = ('["a", "%s"]' % ("x" * 200), '["a","%s"]' % ("x" * 200))

        def large(body):
            return request(body.encode(), method=method, content_type=content_type)

        assert same(large(one), large(one))
        assert not same(large(one), large(other))

    @pytest.mark.parametrize(("size", "by_meaning"), [(100, True), (101, False)])
    def test_largest_body_that_is_allowed_counts_by_its_meaning(self, size, by_meaning):
        member = '"a": "%s"' % ("x" * (size - len('{"a": "", "b": 1}')))
        one, other = "{" + member + ', "b": 1}', '{"b": 1, ' + member + "}"
        assert len(one) == len(other) == size

        assert same(request(one.encode()), request(other.encode())) == by_meaning

    def test_multipart_of_another_method_is_left_at_its_beginning(self):
        taken = multipart({"a": "1"}, method="PATCH")

        fingerprint_of(taken)

        assert taken.read() == encode_multipart("boundary", {"a": "1"})
        taken.close()

    def test_form_counts_to_its_end(self):
        one, other = (request(b"a=" + b"x" * 98 + last, content_type=FORM) for last in (b"1", b"2"))

        assert not same(one, other)

    def test_no_limit(self, settings):
        settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
        one, other = ('["a", "%s"]' % ("x" * 200), '["a","%s"]' % ("x" * 200))

        assert same(request(one.encode()), request(other.encode()))


class TestIsConsumed:
    @pytest.mark.parametrize("content_type", ["application/json", "text/plain", FORM])
    @pytest.mark.parametrize("method", METHODS)
    def test_stream_that_was_read_before_is_told_to_the_programmer(self, method, content_type):
        consumed = request(b"a=1", method=method, content_type=content_type)
        consumed.read()

        assert is_consumed(consumed)
        with pytest.raises(UsageError, match=r"Read request\.body instead"):
            fingerprint_of(consumed)

    def test_multipart_stream_that_was_read_before_is_told_to_the_programmer(self):
        consumed = multipart({"a": "1"})
        consumed.read()

        with pytest.raises(UsageError, match=r"Read request\.body instead"):
            fingerprint_of(consumed)

    def test_body_that_was_read_is_not(self):
        read = request(b"{}")
        read.body  # noqa: B018 - reads

        assert not is_consumed(read)

    def test_form_that_was_parsed_before_is_understood(self):
        one, other = multipart({"a": "1"}, boundary="one"), multipart({"a": "1"}, boundary="two")
        assert one.POST == other.POST

        assert same(one, other)
