"""Make text that others wrote safe to show in a Markdown page: it can add neither markup nor structure."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import quote

_HIDDEN = {"Cc", "Cf", "Cs", "Zl", "Zp"}
# Scripts such as Persian and emoji need the joiners; a soft hyphen is a harmless guest of web pages.
_ALLOWED = {"\n", "\t", "\u00ad", "\u200c", "\u200d"}
# The Hub renders `\\(` as mathematics, so that a backslash must not be escaped by a backslash; an `@` makes
# a link of an address or of a user's name.
_MARKUP = {"&": "&amp;", "<": "&lt;", ">": "&gt;", "\\": "&#92;", "@": "&#64;"} | {
    mark: "\\" + mark for mark in "`*_[]|~$"
}
_TAG_MARKS = "&<>\"'`*_[]|~$\\:"
_BLOCK_START = re.compile(r"^([0-9]{1,9})(?=[.)](?:\s|$))|^(?=[#+=:-])")
_CODE_SPAN = re.compile(r"`([^`]+)`")
_WORD = 40  # characters after which a word may be broken
_KEEP_MARK = re.compile(r"<!--(?=\s*backforth:)", re.IGNORECASE)


def visible(text: str) -> str:
    """Return the text with control, direction and other unseen characters spelt out, and `\\n` line ends."""
    return "".join(_spelt(char) if _is_hidden(char) else char for char in text.replace("\r\n", "\n"))


def folded(text: str, limit: int = 1200) -> str:
    """Return the first `limit` characters of the text, and say how many were left out."""
    if len(text) <= limit:
        return text
    return f"{text[:limit].rstrip()} … ({len(text) - limit:,} more characters)"


def fenced(text: str, info: str = "text", limit: int | None = None) -> str:
    """Return a fenced code block that the text cannot end, folded to `limit` characters if one is given."""
    text = visible(text if limit is None else folded(text, limit))
    # A person's marked passage is looked for by its markers (kept.py): text of others must not hold any.
    text = _KEEP_MARK.sub("<!- -", text)
    fence = "`" * max(3, _longest_run(text) + 1)
    return f"{fence}{info}\n{text}\n{fence}"


def inline(text: str) -> str:
    """Return the text on one line, free of markup, for a paragraph, heading, list item or table cell."""
    return _guarded(_escaped(_one_line(text)))


def lines(text: str, limit: int = 1200) -> str:
    """Return the text for a table cell, folded, with its line breaks and indents and nothing else of it."""
    shown = [_line(line) for line in visible(folded(text, limit)).strip("\n").split("\n")]
    # More than one empty line in a row says no more than one does.
    kept = [line for at, line in enumerate(shown) if line or (at and shown[at - 1])]
    return "<br>".join(kept)


def _line(line: str) -> str:
    """Return one line of a text with its indent, and with places to break in words that have none."""
    indent = len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip(" "))
    words = (
        "&#8203;".join(_escaped(word[at : at + _WORD]) for at in range(0, len(word), _WORD))
        for word in _one_line(line).split(" ")
    )
    return "&nbsp;" * min(indent, 16) + _guarded(" ".join(words))


def code(text: str) -> str:
    """Return a code span that holds the text on one line; in a table, use `cell`."""
    text = _one_line(text)
    if not text:
        return ""
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if "`" in (text[0], text[-1]) else ""
    return f"{ticks}{pad}{text}{pad}{ticks}"


def cell(text: str) -> str:
    """Return a code span for a table cell, where a bare `|` would end the cell even inside code."""
    return code(text).replace("|", "\\|")


def address(url: str) -> str:
    """Return a web address for the angle brackets of a Markdown link, out of which it cannot get."""
    return quote(visible(url), safe="/:?#&=%+,;@~.-_!'()*")


def plain(text: str) -> str:
    """Return the text on one line for the inside of an HTML tag, where Markdown's escapes do not count."""
    return "".join(f"&#{ord(char)};" if char in _TAG_MARKS else char for char in _one_line(text))


def prose(text: str) -> str:
    """Return a sentence on one line in which only `code` between single backticks is markup."""
    parts = _CODE_SPAN.split(_one_line(text))
    return _guarded("".join(code(part) if at % 2 else _escaped(part) for at, part in enumerate(parts)))


def _one_line(text: str) -> str:
    """Return the text with unseen characters spelt out and every run of white space as one blank."""
    return re.sub(r"\s+", " ", visible(text)).strip()


def _escaped(line: str) -> str:
    """Return the line with its inline markup escaped and its web addresses kept from becoming links."""
    line = "".join(_MARKUP.get(char, char) for char in line)
    return re.sub(r"(www)\.", r"\1&#46;", line.replace("://", ":&#47;/"), flags=re.IGNORECASE)


def _guarded(line: str) -> str:
    """Return the line with a backslash before what would make it a heading, a list item or a rule."""
    return _BLOCK_START.sub(r"\1\\", line)


def _is_hidden(char: str) -> bool:
    """Say whether a reader could not see this character, or an encoder could not write it."""
    return char not in _ALLOWED and (unicodedata.category(char) in _HIDDEN or ord(char) & 0xFFFE == 0xFFFE)


def _spelt(char: str) -> str:
    """Return a visible stand-in: the control picture of an ASCII control, else the code point."""
    point = ord(char)
    if point < 0x20:
        return chr(0x2400 + point)
    return "␡" if point == 0x7F else f"⟨U+{point:04X}⟩"


def _longest_run(text: str) -> int:
    """Return the length of the longest run of backticks."""
    return max((len(run) for run in re.findall(r"`+", text)), default=0)
