"""The reference is complete, and says what the code does: names, defaults, ids, codes, texts."""

import inspect
import re
from dataclasses import MISSING, fields
from datetime import timedelta
from typing import get_overloads

import pytest
from django.conf import settings as django_settings
from django.core.management import load_command_class
from django.core.management.base import BaseCommand
from django.utils.functional import cached_property
from prometheus_client.metrics import MetricWrapperBase

from django_idempotency import (
    checks,
    conf,
    consumers,
    decorators,
    drf,
    exceptions,
    keys,
    models,
    opentelemetry,
    prometheus,
    purge,
    resume,
    signals,
    steps,
    tasks,
)
from django_idempotency.conf import Settings, settings
from django_idempotency.policy import Policy
from tests.docs.markdown import PAGES, ROOT, headings

DOCS = ROOT / "docs"
SETTINGS = {heading.text: heading.body for heading in headings(DOCS / "settings.md") if heading.level == 3}
ERRORS = {heading.text: heading.body for heading in headings(DOCS / "errors.md", below="Codes")}
CODE = re.compile(r"`([^`\n]+)`")

# Doors to these are documented; they themselves serve the package's own modules.
INTERNAL = {"drf.policy_of", "drf.respond", "models.UncheckedCharField", "signals.Event"}


def words(text):
    """Return *text* with its line breaks as spaces."""
    return " ".join(text.split())


def rows(text):
    """Return the cells of the tables in *text*, without their headings and rules."""
    lines = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    rules = [number for number, cells in enumerate(lines) if set("".join(cells)) <= set("-:")]
    skipped = {*rules, *(number - 1 for number in rules)}
    return [cells for number, cells in enumerate(lines) if number not in skipped]


def body_of(page, title):
    """Return what stands below the heading *title*, up to the next one."""
    [body] = [heading.body for heading in headings(DOCS / page) if heading.text == title]
    return body


def policy_defaults():
    return {field.name: field.default for field in fields(Policy) if field.default is not MISSING}


class TestSettings:
    def test_each_has_a_heading(self):
        properties = {name for name, value in vars(Settings).items() if isinstance(value, cached_property)}

        assert set(SETTINGS) == set(checks.SETTING_IDS)
        assert {name.removeprefix("IDEMPOTENCY_").lower() for name in SETTINGS} == properties

    @pytest.mark.parametrize("name", sorted(SETTINGS))
    def test_id_of_its_check_is_named(self, name):
        assert f"Check: `{checks.SETTING_IDS[name]}`." in words(SETTINGS[name])

    @pytest.mark.parametrize("name", sorted(set(SETTINGS) - {"IDEMPOTENCY_STORED_STATUSES"}))
    def test_default_is_named(self, name):
        [default] = re.findall(r"Default: `(.+?)`\.", words(SETTINGS[name]))

        stated = eval(default, {"timedelta": timedelta})
        value = getattr(settings, name.removeprefix("IDEMPOTENCY_").lower())
        if name == "IDEMPOTENCY_STORED_HEADERS":
            stated = conf.lowered_headers(stated)
        assert value == (frozenset(stated) if isinstance(value, frozenset) else stated)

    def test_default_statuses_are_named(self):
        [numbers] = re.findall(r"200 to 499 without `\{(.+?)\}`", SETTINGS["IDEMPOTENCY_STORED_STATUSES"])
        left_out = {int(number) for number in numbers.split(",")}

        assert settings.stored_statuses == set(range(200, 500)) - left_out

    @pytest.mark.parametrize("name", sorted(SETTINGS))
    def test_argument_that_wins_over_it_is_named(self, name):
        argument = name.removeprefix("IDEMPOTENCY_").lower()
        link = f"[`{argument}`](decorator.md#{argument})"
        stated = link if argument in policy_defaults() else "none"

        assert f"Argument: {stated}." in words(SETTINGS[name])

    def test_headers_that_are_always_stored_are_named(self):
        always, never = SETTINGS["IDEMPOTENCY_STORED_HEADERS"].split("These never are")
        named = {name.lower() for name in CODE.findall(always.partition("which always are")[2])}

        assert named == conf.DEFAULT_STORED_HEADERS
        assert {name.lower() for name in CODE.findall(never)} == conf.NEVER_STORED_HEADERS

    def test_no_setting_is_named_that_does_not_exist(self):
        for page in PAGES:
            named = set(re.findall(r"IDEMPOTENCY_[A-Z_]+", page.read_text()))

            assert {name for name in named if name.strip("_") != "IDEMPOTENCY"} <= set(checks.SETTING_IDS), page

    def test_suite_sets_none(self):
        """Otherwise the defaults above were not the defaults."""
        assert not [name for name in dir(django_settings) if name.startswith("IDEMPOTENCY_")]


class TestChecks:
    def test_each_id_is_named(self):
        ids = set(re.findall(r"django_idempotency\.([EW]\d{3})", inspect.getsource(checks)))
        page = (DOCS / "settings.md").read_text()

        assert ids == set(re.findall(r"django_idempotency\.([EW]\d{3})", page))


class TestIdempotent:
    def test_each_argument_has_a_heading(self):
        arguments = [heading.text for heading in headings(DOCS / "decorator.md", below="Arguments")]

        assert set(arguments) == set(policy_defaults())
        assert len(arguments) == len(set(arguments))

    @pytest.mark.parametrize("argument", sorted(policy_defaults()))
    def test_setting_behind_an_argument_is_named(self, argument):
        setting = f"IDEMPOTENCY_{argument.upper()}"
        [body] = [
            heading.body for heading in headings(DOCS / "decorator.md", below="Arguments") if heading.text == argument
        ]

        if setting in checks.SETTING_IDS:
            assert f"[`{setting}`](settings.md#{setting.lower()})" in body
        else:
            assert "There is no setting." in words(body)


class TestIdempotencyMixin:
    def test_each_attribute_is_named_with_its_default(self):
        attributes = {
            name: value
            for name, value in vars(drf.IdempotencyMixin).items()
            if name.startswith("idempotency_") and not callable(value)
        }
        table = rows(body_of("drf.md", "Attributes"))

        assert {name.strip("`"): eval(default.strip("`")) for name, default, _ in table} == attributes

    def test_each_attribute_leads_to_its_argument(self):
        for name, _, link in rows(body_of("drf.md", "Attributes")):
            argument = name.strip("`").removeprefix("idempotency_")

            assert link == f"[`{argument}`](decorator.md#{argument})"

    def test_each_method_is_named_with_its_signature(self):
        methods = {
            f"{name}({', '.join(list(inspect.signature(value).parameters)[1:])})"
            for name, value in vars(drf.IdempotencyMixin).items()
            if inspect.isfunction(value) and not name.startswith("_") and name != "initial"
        }

        assert {name.strip("`") for name, _ in rows(body_of("drf.md", "Methods to override"))} == methods


def refusals():
    return [
        value
        for value in vars(exceptions).values()
        if inspect.isclass(value)
        and issubclass(value, exceptions.IdempotencyError)
        and value is not exceptions.IdempotencyError
    ]


class TestErrors:
    def test_each_code_has_a_heading(self):
        assert set(ERRORS) == {refusal.code for refusal in refusals()}

    @pytest.mark.parametrize("refusal", refusals(), ids=lambda refusal: refusal.code)
    def test_title_status_and_retryability_are_named(self, refusal):
        first = words(ERRORS[refusal.code].strip().partition("\n\n")[0])
        title = (refusal.__doc__ or "").partition("\n")[0]

        assert first.startswith(f"*{title}* Status {refusal.status}")
        assert ("not retryable" not in first) == refusal.retryable

    def test_each_exception_is_named(self):
        named = CODE.findall((DOCS / "errors.md").read_text())

        assert {refusal.__name__ for refusal in refusals()} <= set(named)


class TestSignals:
    def test_each_is_named(self):
        table = {name.strip("`") for name, _, _ in rows(body_of("observability.md", "Signals"))}

        assert table == {name for name, value in vars(signals).items() if isinstance(value, signals.Event)}


def arguments_of(function):
    """Return the arguments, by name, as far as they have a default; None where they have none."""
    parameters = inspect.signature(function).parameters.values()
    return {each.name: None if each.default is each.empty else repr(each.default) for each in parameters}


def table_of(page, title):
    """Return the arguments in a page's table, and their defaults; None where there are none."""
    table = rows(body_of(page, title))
    return {name.strip("`"): default.strip("`").replace('"', "'") or None for name, default, _ in table}


def options_of(command):
    """Return the options that the management command adds to Django's own."""
    parsers = [each.create_parser("manage.py", command) for each in (load(command), BaseCommand())]
    added, own = ({option for action in parser._actions for option in action.option_strings} for parser in parsers)
    return added - own


def load(command):
    return load_command_class("django_idempotency", command)


class TestJobs:
    def test_each_argument_of_a_task_is_named_with_its_default(self):
        [_, plain, stepped] = get_overloads(tasks.idempotent_task)

        assert table_of("jobs.md", "Arguments") == {**arguments_of(stepped), **arguments_of(plain)}

    def test_each_argument_of_a_message_is_named_with_its_default(self):
        assert table_of("jobs.md", "Arguments of `process_once`") == arguments_of(consumers.process_once)

    def test_arguments_of_the_block_are_named(self):
        names = ", ".join(f"`{name}`" for name in arguments_of(consumers.once)).replace(", `using`", " and `using`")

        assert f"`once` takes {names}." in (DOCS / "jobs.md").read_text()


class TestAdmin:
    def test_each_permission_is_named(self):
        options = models.IdempotencyKey._meta
        permissions = {f"{action}_{options.model_name}" for action in options.default_permissions}

        table = {name.strip("`") for name, _ in rows(body_of("admin.md", "Permissions"))}
        assert table == permissions | {name for name, _ in options.permissions}


class TestPurge:
    def test_each_argument_is_named_with_its_default(self):
        assert table_of("admin.md", "As a function") == arguments_of(purge.purge)

    def test_each_part_of_its_result_is_named(self):
        named = CODE.findall(body_of("admin.md", "As a function"))
        public = {name for name in dir(purge.Purged) if not name.startswith("_")}

        assert public <= set(named)

    def test_each_option_of_the_command_is_named(self):
        options = options_of("purge_idempotency_keys")

        assert {name.strip("`") for name, _, _ in rows(body_of("admin.md", "Options"))} == options


class TestSteps:
    def test_each_option_of_the_command_is_named(self):
        table = rows(body_of("steps.md", "Going on without the client"))

        assert {name.strip("`") for name, _, _ in table} == options_of("resume_idempotent_operations")

    def test_each_argument_of_the_function_is_named(self):
        signature = ", ".join(f"{name}={default}" for name, default in arguments_of(resume.resume).items())

        assert f"`resume({signature})`" in words((DOCS / "steps.md").read_text())

    def test_each_part_of_its_result_is_named(self):
        named = CODE.findall(body_of("steps.md", "Going on without the client"))

        assert {field.name for field in fields(resume.Resumed)} <= set(named)


class TestPublishing:
    def test_each_option_of_the_command_is_named(self):
        text = (DOCS / "publishing.md").read_text()

        assert {option for option in options_of("idempotency_endpoints") if option not in text} == set()


class TestPrometheus:
    def test_each_metric_is_named_with_its_labels(self):
        metrics = {
            f"{name}_total" if kind == "counter" else name: set(labels)
            for value in vars(prometheus).values()
            if isinstance(value, MetricWrapperBase)
            for name, kind, labels in [(value._name, value._type, value._labelnames)]
        }
        table = {name.strip("`"): text for name, _, text in rows(body_of("observability.md", "Prometheus"))}

        assert set(table) == set(metrics)
        assert [name for name, labels in metrics.items() if not labels <= set(CODE.findall(table[name]))] == []


class TestIdempotencyKeyQuerySet:
    def test_each_method_is_named_with_its_signature(self):
        methods = {
            f"{name}({str(inspect.signature(value).replace(return_annotation=inspect.Signature.empty))[1:-1]})"
            for name, value in vars(models.IdempotencyKeyQuerySet).items()
            if inspect.isfunction(value) and not name.startswith("_")
        }
        bare = {re.sub(r"self(, )?|: [^=,)]*(?= =)|: [^=,)]*", "", method).replace(" = ", "=") for method in methods}

        assert {name.strip("`") for name, _ in rows(body_of("execute.md", "The model"))} == bare


class TestPublicNames:
    @pytest.mark.parametrize(
        "module",
        [consumers, decorators, drf, exceptions, keys, models, opentelemetry, prometheus, purge, signals, steps, tasks],
        ids=lambda module: module.__name__,
    )
    def test_each_appears_in_the_documentation(self, module):
        text = "\n".join(page.read_text() for page in PAGES)
        public = {
            name
            for name, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value))
            and value.__module__ == module.__name__
            and not name.startswith("_")
            and f"{module.__name__.rpartition('.')[2]}.{name}" not in INTERNAL
        }

        assert {name for name in public if not re.search(rf"\b{name}\b", text)} == set()


class TestLimits:
    @pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
    def test_page_says_what_is_not_promised(self, page):
        # What it includes has a heading of its own.
        included = "".join(
            (page.parent / name).read_text() for name in re.findall(r"```\{include\} (\S+)", page.read_text())
        )

        assert "\n## What is not promised\n" in page.read_text() + included
