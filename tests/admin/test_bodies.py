"""Bodies as people can read them."""

import gzip
import json

import pytest

from django_idempotency.admin.bodies import HEAD_SIZE, extension, preview

JSON = [("Content-Type", "application/json")]


def shown(body, content_type="application/json", *others, size=None):
    return preview(body, size=len(body) if size is None else size, headers=[("Content-Type", content_type), *others])


class TestPreview:
    @pytest.mark.parametrize("content_type", ["application/json", "application/problem+json; charset=utf-8"])
    def test_json_is_indented(self, content_type):
        result = shown('{"b":[1,"é"],"a":null}'.encode(), content_type)

        assert (result.kind, result.is_whole) == ("json", True)
        assert result.text == '{\n  "b": [\n    1,\n    "é"\n  ],\n  "a": null\n}'

    @pytest.mark.parametrize(
        "value",
        [
            [],
            {},
            [[]],
            [{}, []],
            {"a": {}},
            {"a": [1, {"b": [True, None]}], "c": 'q"u\\o\nte,[{:'},
            1,
            "a",
            None,
            [[1], [2]],
        ],
    )
    def test_json_of_any_shape_is_indented(self, value):
        assert shown(json.dumps(value).encode()).text == json.dumps(value, indent=2, ensure_ascii=False)

    @pytest.mark.parametrize("body", [b"{", b"{'a': 1}", b"[" * 100_000])
    def test_what_only_claims_to_be_json_is_text(self, body):
        result = shown(body)

        assert (result.kind, result.text) == ("text", body.decode())

    def test_numbers_stay_as_they_are_spelled(self):
        assert shown(b'{"a": 1.10, "b": 1e2, "c": 12345678901234567890.5}').text.split() == [
            *("{", '"a":', "1.10,", '"b":', "1e2,", '"c":', "12345678901234567890.5", "}")
        ]

    def test_text_is_shown_as_it_is(self):
        assert shown("zwölf\n\t€".encode(), "text/plain").text == "zwölf\n\t€"

    def test_charset_is_heeded(self):
        assert shown(b"zw\xf6lf", "text/plain; charset=latin-1").text == "zwölf"

    @pytest.mark.parametrize(
        ("body", "content_type"),
        [
            (b"\x89PNG\r\n\x1a\n", "image/png"),
            (b"\xff\xfe", "text/plain"),
            (b"text", "text/plain; charset=nonsense"),
            (b"a\0b", "application/json"),
            (b"74657874", "text/plain; charset=hex"),
        ],
    )
    def test_anything_else_is_a_hex_dump(self, body, content_type):
        result = shown(body, content_type)

        assert result.kind == "binary"
        assert result.text.startswith(f"00000000  {body[:1].hex()} ")

    def test_hex_dump_shows_offset_octets_and_characters(self):
        result = shown(bytes(range(30, 50)), "image/png")

        assert result.text.splitlines() == [
            "00000000  1e 1f 20 21 22 23 24 25 26 27 28 29 2a 2b 2c 2d  .. !\"#$%&'()*+,-",
            "00000010  2e 2f 30 31                                      ./01",
        ]

    def test_compressed_text_is_binary(self):
        body = gzip.compress(b"text")

        assert shown(body, "text/plain", ("Content-Encoding", "gzip")).kind == "binary"
        assert shown(b"text", "text/plain", ("Content-Encoding", "identity")).kind == "text"

    def test_beginning_of_binary_data_is_enough(self):
        result = shown(bytes(1000), "image/png")

        assert not result.is_whole
        assert len(result.text.splitlines()) == 16

    def test_beginning_of_text_is_told_from_all_of_it(self):
        result = shown(b"{" * HEAD_SIZE, size=HEAD_SIZE + 1)

        assert (result.kind, result.is_whole) == ("text", False)

    def test_character_that_is_cut_in_two_is_left_out(self):
        assert shown("aaa€".encode()[:-1], "text/plain", size=6).text == "aaa"
        assert shown("aaa€aaaaaaa".encode()[:4] + b"a" * 9, "text/plain", size=99).kind == "binary"

    def test_empty_body_has_nothing_to_show(self):
        assert shown(b"").kind == "empty"

    def test_body_without_a_type_is_looked_at(self):
        assert preview(b"{}", size=2, headers=[]).kind == "text"


class TestExtension:
    @pytest.mark.parametrize(
        ("headers", "expected"),
        [
            (JSON, ".json"),
            ([("content-type", "application/problem+json; charset=utf-8")], ".json"),
            ([("Content-Type", "application/pdf")], ".pdf"),
            ([("Content-Type", "text/plain")], ".txt"),
            ([("Content-Type", 'x"/../y')], ".txt"),
            ([*JSON, ("Content-Encoding", "gzip")], ".bin"),
            ([], ".bin"),
        ],
    )
    def test_follows_the_type(self, headers, expected):
        assert extension(headers) == expected
