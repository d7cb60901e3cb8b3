"""Check a deployed API, in whatever language, and print a report."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from http.client import HTTPException
from typing import Final

from django_idempotency.testing.conformance import Check, all_checks
from django_idempotency.testing.dialogues import Dialogue, new_key
from django_idempotency.testing.failures import NotConforming
from django_idempotency.testing.targets import Sample, target_of

# Which options give what a check needs.
_OPTIONS: Final = {
    "other_data": "--other-data",
    "other_headers or other_user": "--other-header",
    "required": "no --optional",
    "expire": "--expires-after",
}


def main(argv: Sequence[str]) -> int:
    """Run every check that can be run, print a line for each, return 1 if one failed, or if no request succeeds."""
    options = _parser().parse_args(argv)
    sample = Sample(
        method=options.method, data=options.data, content_type=options.content_type, headers=dict(options.header)
    )
    target = target_of(options.url)
    checks = all_checks(
        target,
        sample,
        other=None if options.other_data is None else replace(sample, data=options.other_data),
        stranger=replace(sample, headers=dict(options.other_header)) if options.other_header else None,
        required=not options.optional,
        max_key_length=options.max_key_length,
        expire=None if options.expires_after is None else _waiting(options.expires_after),
    )
    print(f"{options.method} {options.url}\n")
    if refusal := _failure_of(partial(Dialogue(target, sample).succeed, new_key())):
        print(f"Nothing was tried. {refusal}")
        return 1
    counts = {"passed": 0, "FAILED": 0, "not tried": 0}
    for check in checks:
        outcome, detail = _outcome(check)
        counts[outcome] += 1
        print(f"{outcome:<10} {check.name:<24} {check.promise}")
        if detail:
            print(f"{'':<10} {'':<24} {detail}")
    print(f"\n{counts['passed']} passed, {counts['FAILED']} failed, {counts['not tried']} not tried")
    return 1 if counts["FAILED"] else 0


def _waiting(seconds: float) -> Callable[[str], object]:
    return lambda _: time.sleep(seconds)


def _outcome(check: Check) -> tuple[str, str]:
    if check.needs:
        return "not tried", f"It needs {_OPTIONS[check.needs]}."
    failure = _failure_of(check)
    return ("FAILED", failure) if failure else ("passed", "")


def _failure_of(run: Callable[[], object]) -> str:
    """Say on one line what is wrong; empty if nothing is."""
    try:
        run()
    except NotConforming as failure:
        return str(failure)
    except (OSError, HTTPException) as error:
        return f"No answer: {type(error).__name__}: {' '.join(str(error).split())}"
    return ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m django_idempotency.testing",
        description="Check what an API does with idempotency keys. It sends requests that take effect: not for use on "
        "production data.",
        allow_abbrev=False,
    )
    parser.add_argument("url", type=_url, help="where the requests go, such as http://127.0.0.1:8000/charges/")
    parser.add_argument("--method", default="POST", help="their HTTP method (default: %(default)s)")
    parser.add_argument("--data", default="", help="the body of a request that succeeds, however often it is sent")
    parser.add_argument("--other-data", help="the body of another request")
    parser.add_argument("--content-type", default="application/json", help="of both (default: %(default)s)")
    parser.add_argument(
        "--header", type=_header, action="append", default=[], help='such as "Authorization: Bearer abc"; repeatable'
    )
    parser.add_argument(
        "--other-header", type=_header, action="append", default=[], help="the same, of another client; repeatable"
    )
    parser.add_argument("--optional", action="store_true", help="a request without a key is not refused")
    parser.add_argument("--max-key-length", type=int, default=255, help="of a key (default: %(default)s)")
    parser.add_argument(
        "--expires-after", type=float, metavar="SECONDS", help="how long a key counts; it is waited for"
    )
    return parser


def _url(text: str) -> str:
    if not text.startswith(("http://", "https://")):
        raise argparse.ArgumentTypeError(f"{text!r} is no URL; write http://… or https://…")
    return text


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon:
        raise argparse.ArgumentTypeError(f'{text!r} is no header; write "Name: value"')
    return name.strip(), value.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
