"""Markdown of repos as HTML that is safe to show: rendered by markdown-it, sanitised by nh3."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable
from functools import cache, lru_cache
from urllib.parse import quote, unquote, urlsplit

import nh3
from markdown_it import MarkdownIt
from markdown_it.rules_core import StateCore
from markupsafe import Markup

from hub_tools.hub.server import attachments
from hub_tools.hub.server.pages.render import trusted

# Rendering takes about half a second for this many characters; longer texts are shown as they are.
MAX_RENDERED = 128_000
_TAGS = """
a abbr b blockquote br caption cite code dd del details div dl dt em h1 h2 h3 h4 h5 h6 hr i img input ins kbd
li mark ol p pre q s samp small span strong sub summary sup table tbody td tfoot th thead tr tt u ul var
"""
_HEADINGS = ("h1", "h2", "h3", "h4", "h5", "h6")
_ALIGNED = {"left", "center", "right"}
_LENGTH = re.compile(r"[0-9]{1,4}%?")


def rendered(text: str, folder: str, files: str, pages: str) -> Markup | None:
    """The HTML of a Markdown text; None if it is too long.

    Relative pictures point below `files` and relative links below `pages`, both from the text's own `folder`.
    """
    return _rendered(text, folder, files, pages) if len(text) <= MAX_RENDERED else None


@lru_cache(maxsize=32)
def _rendered(text: str, folder: str, files: str, pages: str) -> Markup:
    return trusted(_cleaner(_Addresses(folder, files, pages)).clean(_parser().render(text)))


@cache
def _parser() -> MarkdownIt:
    """GitHub's dialect: tables, strikethrough, bare links, task lists; headings with anchors."""
    from mdit_py_plugins.anchors import anchors_plugin
    from mdit_py_plugins.tasklists import tasklists_plugin

    parser = MarkdownIt("gfm-like").use(anchors_plugin, max_level=6).use(tasklists_plugin)
    assert parser.linkify is not None
    # Only what has a scheme: a README.md in a sentence is a file, not a host in Moldova.
    parser.linkify.set({"fuzzy_link": False, "fuzzy_email": False})
    parser.core.ruler.push("aligned", _align)
    return parser


def _align(state: StateCore) -> None:
    """Align cells by an attribute of their own: pages take no styles from texts."""
    for token in state.tokens:
        if token.type in ("th_open", "td_open") and (look := token.attrs.pop("style", None)):
            token.attrSet("align", str(look).removeprefix("text-align:"))


class _Addresses:
    """Decides where a link or picture of a text may lead, and which attributes keep their values."""

    def __init__(self, folder: str, files: str, pages: str) -> None:
        self._folder = folder
        self._files = files
        self._pages = pages

    def __call__(self, tag: str, name: str, value: str) -> str | None:
        """The value that an attribute keeps; None takes it out."""
        if name == "id":
            return None if value.startswith("page-") else value  # those are the page's own
        if name == "href":
            return self._link(value)
        if name == "src":
            return self._picture(value)
        if name in ("width", "height"):
            return value if _LENGTH.fullmatch(value) else None
        return value

    def _link(self, address: str) -> str | None:
        found = _split(address)
        if found is None:
            return None
        scheme, host, path, fragment = found
        if scheme or host:
            return address if scheme in ("", "http", "https", "mailto") else None
        if not path:
            return f"#{fragment}" if fragment else None
        return self._inside(self._pages, path) + (f"#{fragment}" if fragment else "")

    def _picture(self, address: str) -> str | None:
        found = _split(address)
        if found and attachments.ADDRESS.fullmatch(found[2]):
            return found[2]  # of this Hub, under whichever name its sender knew it
        if found is None or found[0] or found[1] or not found[2]:
            return None  # nothing is loaded from elsewhere; the picture's text stands in for it
        return self._inside(self._files, found[2])

    def _inside(self, base: str, path: str) -> str:
        if path.startswith("/"):
            return quote(posixpath.normpath("/" + unquote(path).lstrip("/")))
        joined = posixpath.normpath("/" + posixpath.join(self._folder, unquote(path)))
        return base + quote(joined if joined != "/" else "")


def _split(address: str) -> tuple[str, str, str, str] | None:
    """Scheme, host, path and fragment of an address; None for one that browsers might read in another way."""
    address = address.strip()
    if any(char <= " " or char == "\\" for char in address):
        return None
    try:
        parts = urlsplit(address)
    except ValueError:
        return None
    return parts.scheme.lower(), parts.netloc, parts.path, parts.fragment


def _cleaner(addresses: Callable[[str, str, str], str | None]) -> nh3.Cleaner:
    return nh3.Cleaner(
        tags=set(_TAGS.split()),
        clean_content_tags={
            "script",
            "style",
            "iframe",
            "noscript",
            "template",
            "textarea",
            "title",
            "svg",
            "math",
        },
        attributes={
            "a": {"href", "title"},
            "img": {"src", "alt", "title", "width", "height"},
            "details": {"open"},
            "ol": {"start"},
            "input": {"checked"},
            "td": {"colspan", "rowspan"},
            "th": {"colspan", "rowspan"},
            **{tag: {"id"} for tag in _HEADINGS},
        },
        tag_attribute_values={
            tag: {"align": _ALIGNED} for tag in ("td", "th", "p", "div", "img", *_HEADINGS)
        },
        # Task lists are the only boxes there are; none can be ticked or sent.
        set_tag_attribute_values={"input": {"type": "checkbox", "disabled": ""}, "img": {"loading": "lazy"}},
        attribute_filter=addresses,
        link_rel="nofollow noopener noreferrer",
        url_schemes={"http", "https", "mailto"},
        strip_comments=True,
    )
