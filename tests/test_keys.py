"""The syntax of keys."""

import uuid

import pytest

from django_idempotency.exceptions import KeyInvalid
from django_idempotency.keys import KEY_MAX_LENGTH, parse_key, validate_uuid


class TestParseKey:
    @pytest.mark.parametrize("value", ["abc", '"abc"', ' "abc" ', "\tabc  "])
    def test_quoted_and_bare_mean_the_same_key(self, value):
        assert parse_key(value) == "abc"

    def test_quotes_and_backslashes_are_unescaped(self):
        assert parse_key(r'"a\"b\\c"') == 'a"b\\c'

    def test_bare_backslash_stays(self):
        assert parse_key(r"a\b") == r"a\b"

    def test_quoted_comma_is_part_of_the_key(self):
        assert parse_key('"a,b"') == "a,b"

    @pytest.mark.parametrize("key", ["A", "a", "!", "~", "XaX", "123e4567-e89b-42d3-a456-426614174000", "a=b;c/d:e"])
    def test_visible_ascii_is_kept_as_it_is(self, key):
        assert parse_key(key) == key

    def test_longest_key(self):
        key = "k" * KEY_MAX_LENGTH

        assert parse_key(key) == parse_key(f'"{key}"') == key

    def test_length_is_counted_without_escapes(self):
        key = '"' * KEY_MAX_LENGTH

        assert parse_key('"' + r"\"" * KEY_MAX_LENGTH + '"') == key

    @pytest.mark.parametrize("value", ["k" * 256, '"' + "k" * 256 + '"'])
    def test_too_long_is_refused(self, value):
        with pytest.raises(KeyInvalid, match="is 256 characters long"):
            parse_key(value)

    @pytest.mark.parametrize("value", ["", " ", "\t", '""'])
    def test_blank_is_refused(self, value):
        with pytest.raises(KeyInvalid, match="blank"):
            parse_key(value)

    @pytest.mark.parametrize("value", ["a,b", "a, a", '"a","b"', '"a", "b"', 'a"b', '"a', 'a"', '"', r'"a\"', r'"\a"'])
    def test_list_or_broken_quotes_are_refused(self, value):
        with pytest.raises(KeyInvalid, match="exactly one key"):
            parse_key(value)

    def test_parameters_are_refused(self):
        with pytest.raises(KeyInvalid):
            parse_key('"abc";version=1')

    @pytest.mark.parametrize("value", ["a b", '"a b"', '" "', "a\tb", "a\nb", "a\x00b", "a\x7fb", "é", "ключ", '"é"'])
    def test_white_space_control_and_non_ascii_characters_are_refused(self, value):
        with pytest.raises(KeyInvalid, match="visible ASCII"):
            parse_key(value)


class TestValidateUuid:
    @pytest.mark.parametrize("key", [str(uuid.uuid4()), str(uuid.uuid4()).upper(), str(uuid.uuid1())])
    def test_canonical_form_is_accepted(self, key):
        validate_uuid(key)

    @pytest.mark.parametrize("key", ["abc", uuid.uuid4().hex, f"{{{uuid.uuid4()}}}", f"urn:uuid:{uuid.uuid4()}"])
    def test_anything_else_is_refused(self, key):
        with pytest.raises(KeyInvalid, match="must be a UUID"):
            validate_uuid(key)
