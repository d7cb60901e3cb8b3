"""What counts as the same parameters."""

import decimal
import hashlib
import hmac

import pytest
from django.utils.encoding import force_bytes

from django_idempotency.fingerprint import Fingerprint, canonical_fields, canonical_json


class TestFingerprint:
    def test_same_parts_match(self):
        stored = Fingerprint.of(b"POST", b"/charges/").sign()

        assert Fingerprint.of(b"POST", b"/charges/").matches(stored)

    @pytest.mark.parametrize(
        "parts", [(b"POST", b"/refunds/"), (b"POST/charges/",), (b"POST/", b"charges/"), (b"POST", b"/charges/", b"")]
    )
    def test_other_parts_do_not_match(self, parts):
        stored = Fingerprint.of(b"POST", b"/charges/").sign()

        assert not Fingerprint.of(*parts).matches(stored)

    def test_what_is_stored_is_64_hexadecimal_digits(self):
        stored = Fingerprint.of(b"POST").sign()

        assert len(stored) == 64
        assert int(stored, 16)

    def test_is_keyed(self, settings):
        fingerprint = Fingerprint.of(b"4242424242424242")
        stored = fingerprint.sign()

        settings.SECRET_KEY = "other"

        assert fingerprint.sign() != stored
        assert not fingerprint.matches(stored)

    @pytest.mark.parametrize("secret", ["a", b"a", "a" * 1000])
    def test_is_an_hmac(self, settings, secret):
        settings.SECRET_KEY = secret
        fingerprint = Fingerprint.of(b"POST")

        key = hashlib.sha256(b"django_idempotency.fingerprint" + force_bytes(secret)).digest()
        assert fingerprint.sign() == hmac.new(key, fingerprint.content, "sha256").hexdigest()

    def test_rotated_secret_key_does_not_refuse_retries(self, settings):
        fingerprint = Fingerprint.of(b"POST")
        stored = fingerprint.sign()

        settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = "new", ["older", settings.SECRET_KEY]

        assert fingerprint.matches(stored)
        assert fingerprint.matches(fingerprint.sign())

    def test_secret_key_may_be_bytes(self, settings):
        settings.SECRET_KEY = b"\xff\x00"
        fingerprint = Fingerprint.of(b"POST")

        assert fingerprint.matches(fingerprint.sign())

    def test_what_another_release_has_stored_matches(self, settings):
        settings.SECRET_KEY = "secret"
        stored = "94cb6a0c202d8f50d0fcc65fd3c4fe94238524bb5734ba41b4c5829784421b5c"

        assert Fingerprint.of(b"POST", b"/charges/").matches(stored)

    def test_nothing_matches_no_fingerprint(self):
        assert not Fingerprint.of().matches("")


class TestCanonicalJson:
    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (b'{"a": 1, "b": 2}', b'{"b":2,"a":1}'),
            (b'{"a": {"b": [1, {"d": 2, "c": 3}]}}', b'{"a": {"b": [1, {"c": 3, "d": 2}]}}'),
            (b"[1,\n 2]\n", b"[1,2]"),
            (b'"\\u00e9"', '"é"'.encode()),
            ('"é"'.encode(), '"é"'.encode("utf-16")),
            (b"1.50", b"15e-1"),
            (b"0.00", b"0.0"),
            (b"1e400", b"10e399"),
            (b'{"a": 1, "a": 2}', b'{"a": 2}'),
        ],
    )
    def test_spelling_does_not_count(self, one, other):
        assert canonical_json(one) == canonical_json(other) is not None

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (b"[1, 2]", b"[2, 1]"),
            (b'{"a": null}', b"{}"),
            (b'"1"', b"1"),
            (b'"1.5"', b"1.5"),
            (b"1.0", b"1"),
            (b"true", b"1"),
            (b'"a"', b'"A"'),
            (b'""', b"null"),
            (b"NaN", b"Infinity"),
            (b"0.1", b"0.10000000000000000001"),
            (b"1." + b"0" * 40 + b"1", b"1." + b"0" * 40 + b"2"),
            (b"1e1000000", b"1e1000001"),
        ],
    )
    def test_meaning_counts(self, one, other):
        assert canonical_json(one) != canonical_json(other)

    def test_decimal_context_of_the_project_does_not_count(self):
        body = b'{"amount": 12345.678901}'
        expected = canonical_json(body)

        with decimal.localcontext(decimal.Context(prec=3, traps=[decimal.Inexact, decimal.Rounded])):
            assert canonical_json(body) == expected
            assert canonical_json(b'{"amount": 12345.678902}') != expected

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"amount=1",
            b"\xff",
            b"1" * 5000,
            b"1e" + b"9" * 30,
            b"1e-" + b"9" * 30,
            b"[" * 200_000 + b"]" * 200_000,
        ],
        ids=["empty", "broken", "form", "no Unicode", "long", "large", "small", "deep"],
    )
    def test_what_cannot_be_read_is_no_json(self, body):
        assert canonical_json(body) is None

    def test_spelling_is_that_of_other_releases(self):
        body = '{"b": 1.50, "a": [1, "é"]}'

        assert canonical_json(body) == rb'{"a":[1,"\u00e9"],"b":{"\u0000number":"1.5"}}'

    def test_ignored_fields_are_left_out(self):
        body = b'{"amount": 1, "timestamp": 2}'

        assert canonical_json(body, ignored_fields=["timestamp"]) == canonical_json(b'{"amount": 1}')

    def test_ignored_fields_are_those_of_the_outermost_object(self):
        body = b'{"a": {"timestamp": 1}}'

        assert canonical_json(body, ignored_fields=["timestamp"]) == canonical_json(body)

    def test_list_has_no_fields_to_ignore(self):
        assert canonical_json(b'["timestamp"]', ignored_fields=["timestamp"]) == b'["timestamp"]'


class TestCanonicalFields:
    def test_order_of_names_does_not_count(self):
        one, other = [("a", b"1"), ("b", b"2")], [("b", b"2"), ("a", b"1")]

        assert canonical_fields(one) == canonical_fields(other)

    def test_spelling_is_that_of_other_releases(self):
        fields = [("b", b"23"), ("a", b"1")]

        assert canonical_fields(fields) == (
            b"\0\0\0\0\0\0\0\1a\0\0\0\0\0\0\0\0011\0\0\0\0\0\0\0\1b\0\0\0\0\0\0\0\00223"
        )

    @pytest.mark.parametrize(
        "other",
        [
            [("a", b"2"), ("a", b"1")],
            [("a", b"1")],
            [("a", b"12")],
            [("a1", b""), ("a", b"2")],
            [("A", b"1"), ("a", b"2")],
            [],
        ],
    )
    def test_values_and_their_order_count(self, other):
        assert canonical_fields([("a", b"1"), ("a", b"2")]) != canonical_fields(other)

    def test_ignored_fields_are_left_out(self):
        fields = [("a", b"1"), ("timestamp", b"2")]

        assert canonical_fields(fields, ignored_fields={"timestamp"}) == canonical_fields([("a", b"1")])

    def test_names_that_are_no_unicode(self):
        one, other = b"\xff".decode(errors="surrogateescape"), b"\xfe".decode(errors="surrogateescape")

        assert canonical_fields([(one, b"")]) != canonical_fields([(other, b"")])
