"""The drawings above the list, and what they count."""

import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random
from typing import Any
from uuid import UUID
from xml.etree import ElementTree as ET

import pytest
from django.utils import timezone, translation

from django_idempotency.admin.charts import ceiling, chart_of
from django_idempotency.admin.tallies import Span, Tally, class_of, days, hours, tally
from django_idempotency.models import IdempotencyKey
from tests.admin.conftest import LIST
from tests.admin.factories import KeyFactory

NOW = datetime(2026, 11, 24, 4, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def utc(year: int, month: int, day: int, hour: int = 0) -> datetime:
    return datetime(year, month, day, hour, tzinfo=UTC)


def tallies() -> Any:
    """Return the tallies of the last hours and of the last days."""
    return tally(IdempotencyKey.objects.all(), [hours(NOW), days(NOW)])


class TestHours:
    def test_end_with_the_hour_that_it_is(self):
        starts = hours(NOW).starts

        assert (starts[0], starts[-1], len(starts)) == (utc(2026, 11, 23, 5), utc(2026, 11, 24, 4), 24)

    @pytest.mark.parametrize(("zone", "minute"), [("Asia/Kolkata", 30), ("Asia/Kathmandu", 15), ("Europe/Berlin", 0)])
    def test_begin_by_the_local_clock(self, zone, minute):
        with timezone.override(zone):
            starts = hours(NOW).starts

        assert {start.minute for start in starts} == {minute}
        assert all(start <= NOW for start in starts)

    @pytest.mark.parametrize("now", [utc(2026, 3, 29, 5), utc(2026, 10, 25, 5)])
    def test_are_equally_long_when_the_clocks_change(self, now):
        with timezone.override("Europe/Berlin"):
            starts = hours(now).starts

        assert {later - earlier for earlier, later in pairwise(starts)} == {HOUR}

    def test_without_time_zones(self):
        assert hours(datetime(2026, 11, 24, 4, 30)).starts[-1] == datetime(2026, 11, 24, 4)  # noqa: DTZ001


class TestDays:
    def test_end_with_today(self):
        with timezone.override("UTC"):
            starts = days(NOW).starts

        assert (starts[0], starts[-1], len(starts)) == (utc(2026, 10, 26), utc(2026, 11, 24), 30)

    def test_begin_at_midnight_by_the_local_clock(self):
        with timezone.override("Europe/Berlin"):
            starts = [start.astimezone(UTC) for start in days(utc(2026, 11, 10)).starts]

        # Summer time ended on 25 October.
        assert (starts[0], starts[-1]) == (utc(2026, 10, 11, 22), utc(2026, 11, 9, 23))
        assert {later - earlier for earlier, later in pairwise(starts)} == {DAY, DAY + HOUR}

    def test_without_time_zones(self):
        assert days(datetime(2026, 11, 24, 4, 30)).starts[-1] == datetime(2026, 11, 24)  # noqa: DTZ001


class TestClassOf:
    @pytest.mark.parametrize(
        ("status", "name"),
        [(200, "2xx"), (299, "2xx"), (302, "3xx"), (404, "4xx"), (599, "5xx"), (None, "other"), (199, "other")],
    )
    def test_class(self, status, name):
        assert class_of(status) == name


@pytest.mark.django_db
class TestTally:
    @pytest.fixture(autouse=True)
    def utc(self):
        with timezone.override("UTC"):
            yield

    def create(self, *times, status=201, ttl=DAY):
        for time in times:
            KeyFactory.create(created=time, expires=time + ttl, status=status)

    def test_keys_are_counted_by_hour_and_day(self):
        self.create(NOW, NOW - 30 * timedelta(minutes=1), NOW - 3 * HOUR)
        self.create(NOW - HOUR, status=402)
        self.create(NOW - 5 * DAY, status=None)

        by_hour, by_day = tallies()

        assert [dict(part) for part in by_hour.counts[-5:]] == [{}, {"2xx": 1}, {}, {"4xx": 1}, {"2xx": 2}]
        assert by_hour.counts[:-5] == [Counter()] * 19
        assert {index: dict(part) for index, part in enumerate(by_day.counts) if part} == {
            24: {"other": 1},
            29: {"2xx": 3, "4xx": 1},
        }
        assert not by_hour.is_estimate
        assert not by_day.is_estimate

    def test_edges_belong_to_what_they_begin(self):
        hour = utc(2026, 11, 24, 3)
        self.create(hour, hour - timedelta(microseconds=1))

        by_hour, _by_day = tallies()

        assert [part.total() for part in by_hour.counts[-3:]] == [1, 1, 0]

    @pytest.mark.parametrize("zone", ["Asia/Kolkata", "Asia/Kathmandu", "America/St_Johns", "Europe/Berlin"])
    def test_parts_are_those_of_the_local_clock(self, zone):
        with timezone.override(zone):
            hour, day = hours(NOW).starts[-3], days(NOW).starts[-3]
            for start in (hour, day):
                self.create(start, start - timedelta(microseconds=1))

            by_hour, by_day = tallies()

        assert [part.total() for part in by_hour.counts[-4:]] == [1, 1, 0, 0]
        assert [part.total() for part in by_day.counts[-4:-2]] == [1, 1]

    def test_what_is_older_is_not_counted(self):
        self.create(NOW - 40 * DAY, ttl=90 * DAY)
        self.create(NOW - 2 * DAY, ttl=90 * DAY)

        by_hour, by_day = tallies()

        assert sum(part.total() for part in by_hour.counts) == 0
        assert sum(part.total() for part in by_day.counts) == 1

    def test_key_that_was_expired_by_hand_is_counted(self, settings):
        settings.IDEMPOTENCY_TOMBSTONE_TTL = 60 * DAY
        self.create(NOW, ttl=-60 * DAY)

        by_hour, by_day = tallies()

        assert (by_hour.counts[-1].total(), by_day.counts[-1].total()) == (1, 1)

    def test_empty_table(self):
        by_hour, by_day = tallies()

        assert (len(by_hour.counts), len(by_day.counts)) == (24, 30)

    def test_all_is_read_in_few_statements(self, django_assert_num_queries):
        self.create(NOW)

        with django_assert_num_queries(3):
            tallies()


@pytest.mark.django_db
class TestEstimate:
    @pytest.fixture(autouse=True)
    def small(self, monkeypatch):
        for name, number in {"COUNTED_ROWS": 100, "SAMPLE_ROWS": 1000, "_DISTINCT_KEYS": 100}.items():
            monkeypatch.setattr(f"django_idempotency.admin.tallies.{name}", number)

    def store(self, number, **fields):
        random = Random(7)
        keys = []
        for index in range(number):
            created = NOW - random.random() * 20 * HOUR
            status = 402 if index % 4 == 0 else 201
            options = {"key": str(UUID(int=random.getrandbits(128))), "status": status, **fields}
            keys.append(KeyFactory.build(scope=f"s{index}", created=created, expires=created + DAY, **options))
        IdempotencyKey.objects.bulk_create(keys, batch_size=500)

    def test_many_keys_are_estimated_from_a_sample(self):
        self.store(3000)

        by_hour, by_day = tallies()

        assert by_hour.is_estimate
        assert by_day.is_estimate
        for part in (by_hour, by_day):
            counts: Counter[str] = sum(part.counts, Counter())
            assert counts.total() == pytest.approx(3000, rel=0.1)
            assert counts["4xx"] == pytest.approx(750, rel=0.2)

    def test_no_more_rows_are_read(self, monkeypatch):
        self.store(1500)
        monkeypatch.setattr("django_idempotency.admin.tallies.SAMPLE_ROWS", 200)
        read = []
        original = IdempotencyKey.objects.all().__class__.annotate

        def annotate(self, *args, **kwargs):
            if "hour" in kwargs:
                read.append(self.count())
            return original(self, *args, **kwargs)

        monkeypatch.setattr(IdempotencyKey.objects.all().__class__, "annotate", annotate)
        tallies()

        assert read == [200]

    def test_few_keys_of_the_last_day_are_counted_among_many_of_the_month(self):
        self.store(1200)
        IdempotencyKey.objects.update(created=NOW - 5 * DAY, expires=NOW - 4 * DAY)
        KeyFactory.create(created=NOW, expires=NOW + DAY)

        by_hour, by_day = tallies()

        assert (by_hour.is_estimate, by_day.is_estimate) == (False, True)
        assert by_hour.counts[-1].total() == 1

    def test_nothing_is_estimated_from_a_few_keys_that_all_scopes_share(self, root):
        self.store(1200, key="same")

        assert tallies() is None

    def test_page_says_that_it_is_an_estimate(self, root):
        self.store(1200)
        IdempotencyKey.objects.update(created=timezone.now(), expires=timezone.now() + DAY)

        assert root.get(LIST).content.decode().count("estimated from a sample") == 2

    def test_page_does_without_drawings(self, root):
        self.store(1200, key="same")
        IdempotencyKey.objects.update(created=timezone.now(), expires=timezone.now() + DAY)

        assert "<figure" not in root.get(LIST).content.decode()


class TestCeiling:
    @pytest.mark.parametrize(
        ("number", "top"),
        [(0, 2), (1, 2), (2, 2), (3, 4), (5, 6), (7, 8), (9, 10), (11, 20), (21, 40), (99, 100), (1234, 2000)],
    )
    def test_is_round_and_even(self, number, top):
        assert ceiling(number) == top


class TestChart:
    def chart(self, *counts, **options):
        span = Span(starts=[NOW + index * HOUR for index in range(len(counts))])
        return chart_of(
            Tally(span=span, counts=[Counter(part) for part in counts], is_estimate=False),
            **{"name": "hours", "title": "Keys", "date": "H:i", "every": 2, **options},
        )

    def test_bars_stand_on_the_axis_and_on_each_other(self):
        chart = self.chart({"4xx": 1, "2xx": 3})

        lower, upper = chart.bars[0].pieces
        assert (lower.css, upper.css) == ("2xx", "4xx")
        assert float(lower.y) + float(lower.height) == float(chart.y_ticks[0].position)
        assert float(upper.y) + float(upper.height) == float(lower.y)
        assert float(upper.y) == float(chart.y_ticks[-1].position)

    def test_only_classes_that_occur_are_named(self):
        assert self.chart({"2xx": 1}, {"other": 1}).labels == [("2xx", "2xx"), ("other", "no status")]

    def test_axis_names_every_other_part_up_to_the_last(self):
        with timezone.override("UTC"):
            chart = self.chart({}, {}, {}, {})

        assert [tick.label for tick in chart.x_ticks] == ["05:30", "07:30"]
        assert [tick.label for tick in chart.y_ticks] == ["0", "1", "2"]

    def test_numbers_are_spelled_for_people(self):
        chart = self.chart({"2xx": 1234567})

        assert chart.bars[0].numbers == ["1,234,567"]
        assert chart.description == "1,234,567 keys (2xx: 1,234,567)"

    def test_one_key_and_none(self):
        one, none = self.chart({"2xx": 1}, {}).bars

        assert one.summary.endswith("1 key (2xx: 1)")
        assert none.summary.endswith("0 keys")


@pytest.mark.django_db
class TestDrawing:
    @pytest.fixture
    def drawing(self, root):
        KeyFactory.create(status=201)
        KeyFactory.create(status=402)
        text = root.get(LIST).content.decode()
        return [ET.fromstring(svg) for svg in re.findall(r"<svg viewBox=\"0 0 480.*?</svg>", text, re.DOTALL)]

    def test_there_are_two(self, drawing):
        assert len(drawing) == 2

    def test_have_a_title_and_a_description_for_those_who_cannot_see_them(self, drawing):
        for svg in drawing:
            ids = svg.attrib["aria-labelledby"].split()
            named = {element.attrib["id"]: element.text for element in svg if "id" in element.attrib}
            assert svg.attrib["role"] == "img"
            assert [named[each] for each in ids] == [
                "Keys per hour, last 24 hours" if "hours" in ids[0] else "Keys per day, last 30 days",
                "2 keys (2xx: 1, 4xx: 1)",
            ]

    def test_have_neither_script_nor_style(self, drawing):
        for svg in drawing:
            for element in svg.iter():
                assert element.tag in {"svg", "title", "desc", "g", "line", "text", "rect"}
                assert not [name for name in element.attrib if name == "style" or name.startswith("on")]

    def test_numbers_stand_in_a_table_as_well(self, root):
        KeyFactory.create()

        text = root.get(LIST).content.decode()

        assert text.count("<caption>Keys per") == 2
        assert text.count('<th scope="row">') == 54

    def test_no_locale_puts_a_comma_into_a_place(self, root, settings):
        settings.USE_THOUSAND_SEPARATOR = True
        KeyFactory.create()

        with translation.override("de"):
            text = root.get(LIST, headers={"accept-language": "de"}).content.decode()

        places = re.findall(r' (?:x|y|x1|y1|width|height)="([^"]*)"', text)
        assert len(places) > 100
        assert not [place for place in places if "," in place]
