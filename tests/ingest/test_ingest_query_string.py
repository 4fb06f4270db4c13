"""The grammar of query strings, and what is said of one that breaks it: Parsec's words, as PostgREST
14 shows them."""

from __future__ import annotations

import pytest

from cht_sync.ingest.errors import ApiError
from cht_sync.ingest.query_string import parameters
from cht_sync.ingest.query_string.terms import Condition, Field, Logic, Order, Selected, Step
from cht_sync.ingest.query_string.window import EVERYTHING, NOTHING, Window, wanted

NAME = "field name (* or [a..z0..9_$])"


def refusal(text: str) -> ApiError:
    with pytest.raises(ApiError) as caught:
        parameters.parse(text).check()
    return caught.value


@pytest.mark.parametrize(
    ("text", "column", "details"),
    [
        ("_id=foo.bar", 1, 'unexpected "f" expecting "not" or operator (eq, gt, ...)'),
        ("_id=eq", 3, "unexpected end of input expecting operator (eq, gt, ...)"),
        ("_id=is.nul", 7, "unexpected end of input expecting isVal: (null, not_null, true, false, unknown)"),
        ("_id=in.a", 4, 'unexpected "a" expecting "("'),
        ("_id=in.(a", 6, 'unexpected end of input expecting "," or ")"'),
        ("_id=not.foo.1", 5, 'unexpected "f" expecting operator (eq, gt, ...)'),
        ("order=_id.up", 5, 'unexpected "u" expecting "asc", "desc", "nullsfirst" or "nullslast"'),
        ("order=_id.desc.first", 10, 'unexpected "f" expecting "nullsfirst" or "nullslast"'),
        ("order=", 1, f"unexpected end of input expecting {NAME}"),
        ("columns=@x", 1, f'unexpected "@" expecting {NAME}'),
        ("on_conflict=", 1, f"unexpected end of input expecting {NAME}"),
        ("or=()", 4, f'unexpected ")" expecting {NAME}, negation operator (not) or logic operator (and, or)'),
        ("or=(a.eq.1", 10, 'unexpected end of input expecting "," or ")"'),
        (
            "select=a!",
            2,
            'unexpected \'!\' expecting letter, digit, "-", "->>", "->", "::", ".", ")", "," or end of input',
        ),
        ("select=a::", 4, "unexpected end of input expecting letter or digit"),
        ("select=%C3%BC!x", 2, "unexpected '!'"),
    ],
)
def test_a_fault_is_told_with_its_place(text: str, column: int, details: str) -> None:
    error = refusal(text)
    assert (error.status, error.code) == (400, "PGRST100")
    assert error.message.endswith(f" (line 1, column {column})")
    assert str(error.details).startswith(details)


def test_a_fault_quotes_what_was_sent() -> None:
    error = refusal("select=a%22b")
    assert error.message.startswith('"failed to parse select parameter (a"b)"')
    assert refusal("x=%01").details == 'unexpected "\\1" expecting "not" or operator (eq, gt, ...)'


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a=eq.1", Condition(Field("a"), "eq", "1")),
        ("a=eq.a.b,c", Condition(Field("a"), "eq", "a.b,c")),
        ("a=not.in.(1,%22b,c%22,)", Condition(Field("a"), "in", ("1", "b,c", ""), negated=True)),
        ("a=in.()", Condition(Field("a"), "in", ("",))),
        ("a=is.NULL", Condition(Field("a"), "is", "null")),
        ("a=like(any).{b*}", Condition(Field("a"), "like", "{b*}", argument="any")),
        ("a=fts(english).b", Condition(Field("a"), "fts", "b", argument="english")),
        ("%22a.b%22=eq.1", Condition(Field("a.b"), "eq", "1")),
        (
            "a->b->>-1=gt.1",
            Condition(Field("a", (Step("b"), Step("-1", is_index=True, as_text=True))), "gt", "1"),
        ),
        (
            "or=(a.eq.1,not.and(b.is.true,c.in.(1,2)))",
            Logic(
                "or",
                (
                    Condition(Field("a"), "eq", "1"),
                    Logic(
                        "and",
                        (Condition(Field("b"), "is", "true"), Condition(Field("c"), "in", ("1", "2"))),
                        negated=True,
                    ),
                ),
            ),
        ),
        ("not.or=(a.eq.%22x,y%22)", Logic("or", (Condition(Field("a"), "eq", "x,y"),), negated=True)),
        ("a-b=eq.1+2", Condition(Field("a-b"), "eq", "1 2")),
    ],
)
def test_conditions(text: str, expected: Condition | Logic) -> None:
    assert parameters.parse(text).conditions == (expected,)


def test_what_to_show_and_in_which_order() -> None:
    query = parameters.parse("select=a,b:c,d->e->>0::int,*&order=a,b->c.desc.nullslast")
    assert query.select == (
        Selected(Field("a")),
        Selected(Field("c"), alias="b"),
        Selected(Field("d", (Step("e"), Step("+0", is_index=True, as_text=True))), cast="int"),
        Selected(Field("*")),
    )
    assert query.select[2].field.label == "e"
    assert query.order == (Order(Field("a")), Order(Field("b", (Step("c"),)), ("DESC", "NULLS LAST")))


def test_columns_are_a_set() -> None:
    assert parameters.parse("columns=b,%22@a%22,b").columns == ("@a", "b")


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("other.a=eq.1", "PGRST108"),
        ("other.order=a", "PGRST108"),
        ("other.limit=1", "PGRST108"),
        ("other.or=(a.eq.1)", "PGRST108"),
        ("order=other(a)", "PGRST108"),
        ("select=a.sum()", "PGRST123"),
        ("select=count()", "PGRST123"),
        ("select=other(a,b)", "PGRST100"),
        ("select=...other!inner(a)", "PGRST100"),
    ],
)
def test_other_tables_and_aggregates_are_refused(text: str, code: str) -> None:
    assert refusal(text).code == code


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("b=eq.1&a=eq.2", "a=eq.2&b=eq.1"),
        ("a=gt.1;a=lt.5", "a=gt.1,lt.5"),
        ("select=a,b&d", "d=&select=a%2Cb"),
        ("a=eq.%C3%BC", "a=eq.%C3%83%C2%BC"),
    ],
)
def test_the_canonical_form(text: str, canonical: str) -> None:
    text = text.replace("d", "limit") if text.endswith("&d") else text
    assert parameters.parse(text).canonical == canonical.replace("d=", "limit=")


@pytest.mark.parametrize(
    ("text", "header", "expected"),
    [
        ("", None, EVERYTHING),
        ("limit=3", None, Window(0, 2)),
        ("limit=3&offset=2", None, Window(2, 4)),
        ("offset=2", None, Window(2)),
        ("offset=-2", None, Window(0)),
        ("limit=x", None, EVERYTHING),
        ("limit=0", None, NOTHING),
        ("", "5-7", Window(5, 7)),
        ("", "5-", Window(5)),
        ("limit=2", "1-9", Window(1, 1)),
        ("", "items=5-7", EVERYTHING),
        ("", "bytes", EVERYTHING),
    ],
)
def test_windows(text: str, header: str | None, expected: Window) -> None:
    assert wanted(parameters.parse(text).window, header) == expected


@pytest.mark.parametrize(
    ("text", "header", "details"),
    [
        ("limit=-1", None, "Limit should be"),
        ("limit=0&offset=1", None, "Limit should be"),
        ("limit=1", "5-7", "Limit should be"),
        ("", "7-5", "The lower boundary"),
    ],
)
def test_empty_windows_are_refused(text: str, header: str | None, details: str) -> None:
    with pytest.raises(ApiError) as caught:
        wanted(parameters.parse(text).window, header)
    assert (caught.value.status, caught.value.code) == (416, "PGRST103")
    assert str(caught.value.details).startswith(details)


@pytest.mark.parametrize(
    "deep", ["(and" * 3_000, "(and" * 3_000 + "(a.eq.1)" + ")" * 3_000, "(not.or" * 3_000]
)
def test_nesting_beyond_what_can_be_followed_is_the_requests_fault(deep: str) -> None:
    error = refusal(f"and={deep}")
    assert (error.status, error.code) == (400, "PGRST100")
    assert len(error.message) < 100
