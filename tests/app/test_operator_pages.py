"""How the operator's pages write amounts, days and texts, and what they let through."""

from datetime import UTC, date, datetime, timedelta

import pytest

from onterms.app.operator_pages import formats, pages
from onterms.app.operator_pages.desk import Line

AT = datetime(2026, 11, 23, 19, 30, tzinfo=UTC)


class TestAmounts:
    @pytest.mark.parametrize(
        ("amount", "currency", "written"),
        [
            (1_234_500_000, "USD", "1,234.50 USD"),
            (1_250_000_000_000, "JPY", "1,250,000 JPY"),
            ("12.3", "EUR", "12.30 EUR"),
            (7_900, "USD", "0.0079 USD"),
            (500_000, "JPY", "0.5 JPY"),
            (1_234_000, "BHD", "1.234 BHD"),
            (-5_000_000_000, "USD", "\u22125,000.00 USD"),
            (0, "USD", "0.00 USD"),
            (None, "USD", "\u2013"),
        ],
    )
    def test_an_amount_has_the_decimals_of_its_currency_and_more_only_where_it_has_more(
        self, amount: int | str | None, currency: str, written: str
    ) -> None:
        assert formats.money(amount, currency) == written.replace(" ", "\u00a0")

    def test_one_is_counted_otherwise_than_many(self) -> None:
        assert [formats.counted(n, "segment") for n in (0, 1, 1200)] == ["0 segments", "1 segment", "1,200 segments"]


class TestTimes:
    def test_days_and_instants_are_written_in_utc_with_their_machine_form(self) -> None:
        assert formats.day_text(date(2026, 1, 2)) == '<time datetime="2026-01-02">2 Jan 2026</time>'
        text = formats.time_text("2026-11-24T04:30:00+09:00")
        assert text == (
            '<time datetime="2026-11-23T19:30:00.000Z" title="2026-11-23 19:30:00 UTC">23 Nov 2026, 19:30</time>'
        )
        assert formats.day_text(None) == formats.time_text(None) == "\u2013"

    @pytest.mark.parametrize(
        ("ahead", "written"),
        [
            (timedelta(), "now"),
            (-timedelta(days=3), "now"),
            (timedelta(seconds=59), "in a moment"),
            (timedelta(hours=1), "in 1 hour"),
            (timedelta(days=2, hours=23), "in 2 days"),
        ],
    )
    def test_distance_is_the_largest_whole_unit(self, ahead: timedelta, written: str) -> None:
        assert formats.until_text(AT + ahead, AT) == written


class TestProse:
    def test_markdown_of_our_texts_is_rendered_with_headings_that_follow_the_page(self) -> None:
        shown = formats.prose("# Terms\n\n## 1. Words\n\nWe **bind** and *mean* ~~not~~.\n\n- one\n- two", 3)
        assert shown == (
            "<h3>Terms</h3>\n<h4>1. Words</h4>\n<p>We <strong>bind</strong> and <em>mean</em> <del>not</del>.</p>\n"
            "<ul><li>one</li><li>two</li></ul>"
        )

    def test_markup_in_a_text_stays_text(self) -> None:
        hostile = '# <img src=x>\n\n**<script>alert(1)</script>** & "more"\n\n- <b>*x*</b>'
        shown = formats.prose(hostile)
        assert "<img" not in shown and "<script" not in shown and "<b>" not in shown
        assert "&lt;script&gt;" in shown and "<li>&lt;b&gt;<em>x</em>&lt;/b&gt;</li>" in shown


class TestLines:
    def test_call_has_key_and_address_as_variables_and_its_query_encoded(self) -> None:
        line = Line("GET", "/commercial/v1/Cases", {"kind": 'a"; rm $HOME `id`'})
        assert line.command == (
            'curl -H "Authorization: Bearer $ONTERMS_OPERATOR_KEY" '
            '"$ONTERMS_URL/commercial/v1/Cases?kind=a%22%3B+rm+%24HOME+%60id%60"'
        )

    def test_body_is_json_between_single_quotes(self) -> None:
        command = Line("POST", "/simulator/v1/clock", body={"advance_s": 60}).command
        assert "-X POST" in command and """-d '{"advance_s": 60}'""" in command


class TestGoingOn:
    @pytest.mark.parametrize("path", ["/operator/", "/operator/customers?q=a%20b", "/operator/timers"])
    def test_paths_of_ours_are_gone_on_to(self, path: str) -> None:
        assert pages.inside(path) == path

    @pytest.mark.parametrize(
        "path",
        [
            None,
            "",
            "/",
            "//elsewhere.example/operator/",
            "https://elsewhere.example/operator/",
            "/operator",
            "/operator/\\elsewhere",
            "/operator/\r\nSet-Cookie: a=b",
            # No header can carry it.
            "/operator/\u4e2d",
        ],
    )
    def test_anything_else_leads_to_the_overview(self, path: object) -> None:
        assert pages.inside(path) == "/operator/"
