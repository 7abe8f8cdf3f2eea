"""Pages from templates: the Jinja environment, the headers, and how numbers and dates look."""

from __future__ import annotations

import base64
import hashlib
import json
from datetime import datetime
from functools import cache
from pathlib import Path
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from hub_tools.hub.server.pages.values import pieces

TEMPLATES = Path(__file__).parent / "templates"
_POLICY = (
    "default-src 'none'; style-src 'self' '{drawing}'; img-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


_NOTHING = "-"


def page(template: str, status: int = 200, **values: object) -> HTMLResponse:
    """A whole page from a template; every value is text, whatever it holds."""
    html = _environment().get_template(f"{template}.html.jinja").render(**values)
    # Half a character (a lone surrogate) can come out of anybody's JSON.
    return HTMLResponse(html.encode("utf-8", "replace"), status, headers=_headers())


def style() -> Response:
    """The style sheet of all pages, under an address that changes with it."""
    return Response(_style(), media_type="text/css", headers={"Cache-Control": "max-age=31536000, immutable"})


@cache
def _headers() -> dict[str, str]:
    """No scripts, no styles but ours, nothing from elsewhere, no framing: nothing that a card holds runs."""
    from dataset_cards.lineage import style as of_drawings

    return {"Content-Security-Policy": _POLICY.format(drawing=f"sha256-{_digest(of_drawings())}"), **_HEADERS}


@cache
def _style() -> str:
    return (TEMPLATES / "style.css").read_text()


def _digest(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"count": count, "size": size, "date": date, "literal": literal}
    environment.filters |= {"percent": percent, "pieces": pieces}
    environment.globals["style"] = href("/style.css", v=_digest(_style())[:12])
    return environment


def load_templates() -> None:
    """Compile all templates, which else happens when each is first used."""
    for name in _environment().list_templates(extensions=["jinja"]):
        _environment().get_template(name)


def href(path: str, *parts: str, **query: object) -> str:
    """An address on this server: a path that is quoted already, further parts that are not, and a query."""
    # A part keeps its slashes only as the last one, where it is a path inside a repo.
    quoted = [quote(part, safe="", errors="replace") for part in parts[:-1]]
    quoted += [quote(part, errors="replace") for part in parts[-1:] if part]
    wanted = {key: str(value) for key, value in query.items() if value not in (None, "")}
    address = "/".join([path, *quoted])
    return f"{address}?{urlencode(wanted, errors='replace')}" if wanted else address


def trusted(html: str) -> Markup:
    """Mark HTML that was sanitised, or made by us, as such."""
    return Markup(html)  # noqa: S704 - the callers are the sanitiser and the drawing


def count(number: object) -> str:
    """A whole number with its thousands set apart."""
    return f"{number:,}" if isinstance(number, int) else _NOTHING


def percent(part: int, whole: int) -> str:
    """A share in percent."""
    return f"{100 * part / whole:.1f} %" if whole else _NOTHING


def size(number: int) -> str:
    """Bytes as people read them."""
    if number < 1000:
        return f"{number} B"
    value = float(number)
    for unit in ("kB", "MB", "GB"):
        value /= 1000
        if value < 999.5:
            return f"{value:.3g} {unit}"
    return f"{value / 1000:,.1f} TB"


def date(text: str) -> str:
    """A time as the store keeps it, to the minute."""
    try:
        return datetime.fromisoformat(text).strftime("%-d %b %Y, %H:%M UTC")
    except ValueError:
        return text


def literal(text: str) -> str:
    """A string literal of Python."""
    return json.dumps(text)
