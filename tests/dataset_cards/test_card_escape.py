from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from dataset_cards import escape

# Texts that lean towards what Markdown and HTML are made of.
MARKUP = st.text(alphabet="`~<>|\\*_[]()!#&;:/-+=$ \t\n\r\x00\x1b\u2028\u202e\ud800abw.1é", max_size=60)
TEXTS = st.one_of(MARKUP, st.text(max_size=60))
PAGE = MarkdownIt("commonmark").enable(["table", "strikethrough"])
NASTY = [
    "<script>alert(1)</script>",
    "a\n\n<img src=x onerror=alert(1)>",
    "`````\n# out",
    "``` ```",
    "| a | b |\n|---|---|",
    "a \\| b \\\\| c",
    "[x](javascript:alert(1)) ![y](z)",
    "# heading",
    "1. one",
    "- item",
    "***",
    "&lt;b&gt;",
    "\x00\x1b[31m\u202egnp",
    "`",
    "trailing \\",
]


def kinds(markdown: str) -> list[str]:
    """Return the names of all block and inline tokens but plain text."""
    tokens = PAGE.parse(markdown)
    nested = [child for token in tokens for child in [token, *(token.children or [])]]
    return [token.type for token in nested if token.type not in ("text", "text_special", "inline")]


def words(markdown: str) -> str:
    """Return the text that a reader of the page sees."""
    tokens = [child for token in PAGE.parse(markdown) for child in token.children or []]
    return "".join(token.content for token in tokens)


@pytest.mark.parametrize("text", NASTY)
def test_nasty_text_adds_nothing_to_a_paragraph(text: str) -> None:
    assert kinds("x " + escape.inline(text)) == ["paragraph_open", "paragraph_close"]
    assert set(kinds(escape.inline(text))) == {"paragraph_open", "paragraph_close"}


@settings(deadline=None)
@given(TEXTS)
@example("&amp;")
@example("1) x")
def test_inline_shows_the_text_and_nothing_else(text: str) -> None:
    shown = " ".join(escape.visible(text).split())
    assert words(escape.inline(text)) == shown
    assert set(kinds(escape.inline(text))) <= {"paragraph_open", "paragraph_close"}


@settings(deadline=None)
@given(TEXTS)
def test_code_is_one_span_with_the_text_in_it(text: str) -> None:
    shown = " ".join(escape.visible(text).split())
    expected = (
        ["paragraph_open", "code_inline", "paragraph_close"]
        if shown
        else ["paragraph_open", "paragraph_close"]
    )
    assert kinds("x " + escape.code(text)) == expected
    assert words("x " + escape.code(text)) == ("x " + shown).strip()


@settings(deadline=None)
@given(TEXTS, TEXTS)
@example("a|b", "\\|")
def test_a_table_row_keeps_its_cells(first: str, second: str) -> None:
    page = f"| a | b |\n|---|---|\n| {escape.cell(first)} | {escape.inline(second)} |\n| end | end |\n"
    found = kinds(page)
    assert found.count("tr_open") == 3
    assert found.count("td_open") == 4
    assert "html_inline" not in found
    shown = [
        "".join(child.content for child in token.children or [])
        for token in PAGE.parse(page)
        if token.type == "inline"
    ]
    assert shown[2:4] == [" ".join(escape.visible(text).split()) for text in (first, second)]


@settings(deadline=None)
@given(TEXTS)
def test_prose_has_no_element_but_code(text: str) -> None:
    assert set(kinds(escape.prose(text))) <= {"paragraph_open", "paragraph_close", "code_inline"}


def test_prose_shows_code_between_backticks() -> None:
    assert escape.prose("Keeps `a_b` and *this*.") == "Keeps `a_b` and \\*this\\*."


@settings(deadline=None)
@given(TEXTS)
@example("```\n# out\n```")
@example("~~~\n\n    x")
def test_a_fence_holds_the_whole_text_and_only_it(text: str) -> None:
    tokens = PAGE.parse(f"before\n\n{escape.fenced(text)}\n\nafter <b>\n")
    assert [token.type for token in tokens if token.type in ("fence", "html_block")] == ["fence"]
    assert next(token for token in tokens if token.type == "fence").content == escape.visible(text) + "\n"


@settings(deadline=None)
@given(TEXTS)
def test_rendered_html_has_no_element_of_the_text(text: str) -> None:
    page = f"{escape.inline(text)}\n\n- x {escape.code(text)}\n\n{escape.fenced(text)}\n"
    rendered = PAGE.render(page)
    for element in ("<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>", "<code>", "</code>", "<pre>", "</pre>"):
        rendered = rendered.replace(element, "")
    assert "<" not in rendered.replace('<code class="language-text">', "")


@settings(deadline=None)
@given(TEXTS)
def test_visible_text_can_be_written_and_holds_no_control_character(text: str) -> None:
    shown = escape.visible(text)
    assert shown.encode().decode() == shown
    unseen = [char for char in shown if unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp")]
    assert set(unseen) <= set("\n\t\u00ad\u200c\u200d")


def test_control_characters_are_spelt_out() -> None:
    assert escape.visible("a\x00\x1b\x7f\u202e\r\nb") == "a␀␛␡⟨U+202E⟩\nb"


def test_long_text_says_how_much_was_left_out() -> None:
    assert escape.folded("x" * 1300, 100) == "x" * 100 + " … (1,200 more characters)"
    assert escape.folded("short", 5) == "short"


def test_addresses_do_not_become_links() -> None:
    assert "://" not in escape.inline("see https://example.org/?a=1")
    assert "@" not in escape.inline("ask me@example.org or @somebody")
    assert "www." not in escape.inline("WWW.example.org or www.example.org").lower()


def test_a_text_cannot_pretend_to_be_a_kept_passage() -> None:
    assert "<!-- backforth:" not in escape.fenced("<!-- backforth:keep:start -->")
