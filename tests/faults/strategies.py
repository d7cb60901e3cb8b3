"""What Hypothesis makes up: keys, bodies and content types, some well-formed, some nearly, some not at all."""

import json
import os
from typing import Any
from urllib.parse import urlencode

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

SECONDS = float(os.environ.get("TEST_FAULTS_SECONDS", "0"))


def bounded(examples: int) -> settings:
    """Try that many examples, always the same; for each second of TEST_FAULTS_SECONDS, ten other ones."""
    return settings(
        max_examples=int(SECONDS * 10) or examples,
        deadline=None,
        derandomize=not SECONDS,
        database=None,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )


# --- Keys -------------------------------------------------------------------------------------------------------------

VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
LATIN = st.characters(max_codepoint=0xFF)

keys = st.text(VISIBLE, min_size=1, max_size=20) | st.text(VISIBLE, min_size=250, max_size=260)


def quoted(key: str) -> str:
    """Return the key as a string of RFC 8941, section 3.3.3."""
    return '"' + key.replace("\\", "\\\\").replace('"', '\\"') + '"'


def key_in(value: str) -> str | None:
    """Return the key that a header's *value* carries, or None: the grammar, read character by character."""
    value = value.strip(" \t")
    key = unquoted(value) if value.startswith('"') else value
    if key is None or (key is value and set('",') & set(key)):
        return None
    return key if 1 <= len(key) <= 255 and set(key) <= set(VISIBLE) else None


def unquoted(value: str) -> str | None:
    """Return what stands between the quotes, or None if they do not enclose all of *value*."""
    characters = iter(value[1:])
    key = ""
    while (character := next(characters, "")) not in {"", '"'}:
        escaped = next(characters, "") if character == "\\" else None
        if escaped is not None and escaped not in {"\\", '"'}:
            return None
        key += escaped or character
    return key if character and not "".join(characters) else None


key_headers = st.one_of(
    keys,
    keys.map(quoted),
    keys.map(lambda key: f" \t{key}\t "),
    st.lists(keys, min_size=2, max_size=3).map(", ".join),
    st.text('"\\, \tabc', max_size=12),
    st.text(LATIN, max_size=300),
)

# --- Bodies -----------------------------------------------------------------------------------------------------------

numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | st.text(max_size=10)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=4),
    max_leaves=10,
)
json_texts = st.one_of(
    json_values.map(lambda value: json.dumps(value).encode()),
    json_values.map(lambda value: json.dumps(value, indent=1, ensure_ascii=False).encode(errors="surrogatepass")),
    json_values.map(lambda value: json.dumps(value).encode("utf-16")),
    st.sampled_from(
        (b"NaN", b"-Infinity", b"1e999999999", b"9" * 5000, b"1." + b"9" * 5000, b'"\\ud800"', b"\xef\xbb\xbf1")
    ),
    # Deeper, and parsers fail by themselves, with or without a key.
    st.integers(1, 200).map(lambda depth: b"[" * depth + b"]" * depth),
    st.sampled_from((b'{"a":1,"a":2}', b'{"a":', b"{'a':1}", b"")),
)
names = st.text(max_size=8)
forms = st.lists(st.tuples(names, names), max_size=5).map(
    lambda fields: urlencode(fields, errors="surrogatepass").encode()
)
boundaries = st.text("abcdefXYZ0123456789-", min_size=1, max_size=20)


@st.composite
def multiparts(draw: st.DrawFn) -> tuple[str, bytes]:
    """Draw a content type, and a form with fields and files; some are cut short, or miss their boundary."""
    boundary = draw(boundaries)
    parts = b""
    for name, filename, content in draw(
        st.lists(st.tuples(names, st.none() | names, st.binary(max_size=30)), max_size=4)
    ):
        disposition = f'form-data; name="{name}"' + ("" if filename is None else f'; filename="{filename}"')
        encoded = disposition.encode(errors="surrogatepass")
        encoding = draw(
            st.sampled_from((b"", b"\r\nContent-Transfer-Encoding: base64", b"\r\nContent-Type: a;charset=b"))
        )
        parts += b"--%b\r\nContent-Disposition: %b%b\r\n\r\n%b\r\n" % (boundary.encode(), encoded, encoding, content)
    body = parts + b"--%b--\r\n" % boundary.encode()
    body = body[: draw(st.none() | st.integers(0, len(body)))]
    return f"multipart/form-data; boundary={draw(st.just(boundary) | boundaries)}", body


media_types = st.sampled_from(
    (
        "application/json",
        "application/problem+json",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "text/plain",
        "application/octet-stream",
        "",
    )
)
charsets = st.sampled_from(
    ("", "; charset=utf-8", "; charset=latin-1", "; charset=utf-16", "; charset=rot13", "; charset=none")
)
content_types = st.builds(str.__add__, media_types, charsets) | st.text(VISIBLE + " ", max_size=20)
bodies = st.one_of(
    st.tuples(content_types, st.binary(max_size=100) | json_texts | forms),
    st.tuples(st.just("application/json"), json_texts),
    st.tuples(st.just("application/x-www-form-urlencoded"), forms | st.binary(max_size=50)),
    multiparts(),
)


@st.composite
def spellings(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """Draw two JSON texts that mean the same."""
    value = draw(json_values)
    spaces = draw(st.sampled_from(("", " ", "\n\t")))
    separators = (f"{spaces},{spaces}", f"{spaces}:{spaces}")
    other = json.dumps(shuffled(value, draw(st.randoms())), ensure_ascii=False, separators=separators)
    return json.dumps(value).encode(), other.encode(errors="surrogatepass")


def shuffled(value: Any, random: Any) -> Any:
    """Return the same value, with the members of its objects in another order."""
    if isinstance(value, list):
        return [shuffled(item, random) for item in value]
    if isinstance(value, dict):
        members = [(name, shuffled(member, random)) for name, member in value.items()]
        random.shuffle(members)
        return dict(members)
    return value
