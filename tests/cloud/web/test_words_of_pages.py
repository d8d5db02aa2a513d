"""The pure parts of pages: answers marked, addresses, figures and times in words, assets."""

from __future__ import annotations

import gzip
import hashlib
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

import edgeqa_cloud.web
from edgeqa.messages import Span
from edgeqa_cloud.device_filter import DeviceSort
from edgeqa_cloud.fleet_views import ModelView
from edgeqa_cloud.presence import Presence
from edgeqa_cloud.targets.query import QueryError
from edgeqa_cloud.web import shown
from edgeqa_cloud.web.addresses import login_address, own_address, page_count, page_number
from edgeqa_cloud.web.assets import Assets
from edgeqa_cloud.web.device_list_state import ListState
from edgeqa_cloud.web.marking import Piece, marked
from edgeqa_cloud.web.ranges import chosen_range, range_choice
from edgeqa_cloud.web.rendering import render, templates

FOLDER = Path(edgeqa_cloud.web.__file__).parent


def span(context: str, text: str, score: float = 0.9) -> Span:
    start = context.index(text)
    return Span(text=text, start=start, end=start + len(text), score=score)


def test_an_answer_is_marked_by_code_points() -> None:
    # Emoji are two units in a browser, the flag four; é here is two code points.
    context = "🙂🇩🇪 Cafe\u0301 du Monde opened in 1862 👩‍👩‍👧."
    pieces = marked(context, [span(context, "Cafe\u0301 du Monde")])
    assert pieces == [
        Piece("🙂🇩🇪 "), Piece("Cafe\u0301 du Monde", 1), Piece(" opened in 1862 👩‍👩‍👧."),
    ]  # fmt: skip


def test_of_overlapping_answers_the_better_is_marked() -> None:
    context = "in the old town hall"
    pieces = marked(
        context, [span(context, "town hall"), span(context, "old town"), span(context, "in")]
    )
    assert [(piece.text, piece.rank) for piece in pieces] == [
        ("in", 3), (" the old ", None), ("town hall", 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("start", "end", "text"),
    [(0, 0, ""), (5, 3, "x"), (0, 99, "short"), (0, 4, "else"), (10**9, 10**9 + 1, "x")],
)
def test_an_answer_that_does_not_stand_there_is_not_marked(start: int, end: int, text: str) -> None:
    hostile = Span.model_construct(text=text, start=start, end=end, score=1.0)
    assert marked("short", [hostile]) == [Piece("short")]


@given(st.text(max_size=60), st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60))))
def test_pieces_are_always_the_whole_text(context: str, places: list[tuple[int, int]]) -> None:
    spans = [
        Span(text=context[start:end], start=start, end=end, score=0.5) for start, end in places
    ]
    assert "".join(piece.text for piece in marked(context, spans)) == context


@pytest.mark.parametrize(
    "address",
    [
        None, "", "devices", "//evil.example", "///evil.example", "/\\evil.example",
        "https://evil.example", "javascript:alert(1)", "/\t/evil.example", "/\n/evil.example",
        "/login", "/login?next=/login", "/logout", "/api/v1/devices", "/static/x/app.js",
        "/" + "a" * 3000, "\\/evil.example", "/ü", " /devices", "/devices\x00",
    ],
)  # fmt: skip
def test_no_way_leads_elsewhere(address: str | None) -> None:
    assert own_address(address) == "/"


@pytest.mark.parametrize("address", ["/", "/devices", "/devices?q=f1%3C70&page=2", "/devices/pi5"])
def test_a_page_of_ours_is_gone_back_to(address: str) -> None:
    assert own_address(address) == address


def test_the_address_of_the_login_holds_where_to_go_on() -> None:
    assert login_address("/") == "/login"
    assert login_address("/devices?q=a&page=2") == "/login?next=%2Fdevices%3Fq%3Da%26page%3D2"


@pytest.mark.parametrize(
    ("said", "page"),
    [
        ("3", 3),
        ("0", 1),
        ("-1", 1),
        ("x", 1),
        ("", 1),
        ("٣", 1),
        ("9" * 40, 1),
        ("999999", 100_000),
    ],
)
def test_page_numbers_are_bounded(said: str, page: int) -> None:
    assert page_number({"page": said}) == page


def test_pages_of_a_list() -> None:
    assert [page_count(total, 50) for total in (0, 1, 50, 51)] == [1, 1, 1, 2]


def test_a_list_is_its_address() -> None:
    said = {
        "q": " f1<70 ", "presence": "online", "model": "minilm@0.1.0", "group": "site-1",
        "tag": "canary", "sort": "-f1", "page": "3",
    }  # fmt: skip
    state = ListState.of(said)
    assert (state.sort, state.descending, state.page, state.offset) == (DeviceSort.F1, True, 3, 100)
    address = state.address(page=3)
    assert ListState.of(dict(parse_qsl(urlsplit(address).query))) == state
    assert state.filtered
    which = state.filter()
    assert which.presence == frozenset({Presence.ONLINE})
    assert (which.model, which.group, which.tag) == ("minilm@0.1.0", "site-1", "canary")
    # Another order begins at the first page.
    assert "page" not in state.sorted_address("em", descending=False)


@pytest.mark.parametrize(
    "said",
    [{"presence": "there"}, {"group": "a b"}, {"tag": "<b>"}, {"model": "x y"}, {"sort": "-nope"},
     {"page": "x"}, {"model": "a@b@c"}],
)  # fmt: skip
def test_what_makes_no_sense_counts_as_not_said(said: dict[str, str]) -> None:
    assert ListState.of(said) == ListState()


def test_a_query_that_is_none_is_told() -> None:
    with pytest.raises(QueryError, match="character 4"):
        ListState.of({"q": "f1<"}).filter()


def test_figures() -> None:
    thin = "\u202f"
    assert shown.number(1234567) == f"1{thin}234{thin}567"
    assert shown.points(76.04) == f"76.0{thin}%"
    assert (shown.part(1, 10_000), shown.part(9_999, 10_000)) == (f"<{thin}1{thin}%", f"99{thin}%")
    assert (shown.part(0, 0), shown.part(5, 5)) == (f"0{thin}%", f"100{thin}%")
    assert shown.milliseconds(12_345.0) == f"12.3{thin}s"
    assert shown.size(8 << 30) == f"8.0{thin}GiB"
    assert shown.size(1023) == f"1{thin}023{thin}B"
    assert shown.interval((-2.04, 1.0), sign=True) == "−2.0 to +1.0"
    assert shown.signed(-0.5) == "−0.5"
    assert shown.plural(1, "device") == "1 device"
    assert shown.plural(2, "device") == "2 devices"
    assert shown.model(ModelView(name="m\u202e", version="1")) == "m\ufffd 1"
    nothings = [
        shown.number(None), shown.points(None), shown.milliseconds(None), shown.celsius(None),
        shown.size(None), shown.interval(None), shown.said(None), shown.model(None),
        shown.stamp(None), shown.share(None), shown.duration(None), shown.digest(None),
        shown.signed(None),
    ]  # fmt: skip
    assert set(nothings) == {shown.NOTHING}


def test_times() -> None:
    made = str(shown.moment(1_800_000_000_000, 1_800_000_090_000))
    assert 'datetime="2027-01-15T08:00:00Z"' in made
    assert "2\u202fmin ago" in made.replace(" min", "\u202fmin")
    assert "in 5\u202fmin" in str(shown.moment(1_800_000_300_000, 1_800_000_000_000))
    # A time beyond the calendar, as a device might say.
    assert str(shown.moment(10**18, 1_800_000_000_000)) == shown.NOTHING
    assert shown.iso(-1) == ""


def test_ranges() -> None:
    assert chosen_range({"range": "7d"}) == "7d"
    assert chosen_range({"range": "<x>"}) == "24h"
    assert [chosen for _, _, chosen in range_choice("30d", str)] == [False, False, True]


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": raw})


def test_assets_are_named_by_their_content(tmp_path: Path) -> None:
    (tmp_path / "a.css").write_text("body { color: red }\n" * 100)
    (tmp_path / "secret.py").write_text("x")
    files = Assets(folder=tmp_path)
    version = files.url("a.css").split("/")[2]
    kept = files.respond(request(), version, "a.css")
    assert kept is not None
    assert "immutable" in kept.headers["cache-control"]
    packed = files.respond(request(accept_encoding="gzip, br"), version, "a.css")
    assert packed is not None
    assert gzip.decompress(bytes(packed.body)) == bytes(kept.body)
    assert packed.headers["vary"] == "Accept-Encoding"
    other = files.respond(request(), "0" * 16, "a.css")
    assert other is not None
    assert "immutable" not in other.headers["cache-control"]
    again = files.respond(request(if_none_match=kept.headers["etag"]), version, "a.css")
    assert again is not None
    assert again.status_code == 304
    for name in ("secret.py", "../rendering.py", "b.css", ""):
        assert files.respond(request(), version, name) is None


def test_scripts_of_others_are_unchanged_and_licensed() -> None:
    vendor = FOLDER / "static" / "vendor"
    listed = dict(
        reversed(line.split()) for line in (vendor / "SHA256SUMS").read_text().splitlines()
    )
    files = {path.name for path in vendor.iterdir() if path.suffix in {".js", ".css"}}
    assert files == set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((vendor / name).read_bytes()).hexdigest() == digest
        assert (vendor / f"{name.split('-')[0]}-LICENSE.txt").is_file()


def test_templates_escape_and_hold_nothing_inline() -> None:
    assert templates().autoescape is True
    for path in (FOLDER / "templates").glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"\|\s*safe\b|autoescape false|<style|\sstyle=|\son[a-z]+=", text), (
            path
        )
        assert not re.search(r"hx-on|hx-vals=.js:|<script(?![^>]*\ssrc=)", text), path
        # Filters of htmx's triggers would be evaluated.
        assert not re.search(r'hx-trigger="[^"]*\[', text), path
        assert not re.search(r'(src|href|action)="(https?:)?//', text), path


def test_half_a_character_makes_no_page_fail() -> None:
    response = render(
        request(), "error.html", title="a\ud800b", text="", number=404, code="", back=("/", "")
    )
    assert b"<h1>a?b</h1>" in bytes(response.body)
