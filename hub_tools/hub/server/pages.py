"""The HTML of the few pages a printed address leads to: everything from a repo is text here, never markup."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from urllib.parse import quote

from starlette.responses import HTMLResponse

from hub_tools.hub.server.repos import Repo

_STYLE = """
:root { color-scheme: light dark }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; border: 1px solid #8886; padding: 1rem }
td { padding: .1rem 1.5rem .1rem 0; overflow-wrap: anywhere } td.n { text-align: right }
"""
_HEADERS = {
    # No scripts, nothing from elsewhere, no framing: whatever a card holds, it stays text.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def page(title: str, body: str, status: int = 200) -> HTMLResponse:
    """A whole page; `body` is HTML made here, `title` is text."""
    html = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f'<body><p><a href="/">Hub</a></p><h1>{escape(title)}</h1>{body}</body></html>'
    )
    return HTMLResponse(html, status, headers=_HEADERS)


def paragraph(text: str) -> str:
    """A paragraph of plain text."""
    return f"<p>{escape(text)}</p>"


def link(address: str, text: str) -> str:
    """A link; `address` is a path made of quoted parts."""
    return f'<a href="{escape(address)}">{escape(text)}</a>'


def listed(items: Iterable[str]) -> str:
    """An unordered list of HTML items."""
    inner = "".join(f"<li>{item}</li>" for item in items)
    return f"<ul>{inner}</ul>" if inner else "<p>None.</p>"


def revision_path(repo: Repo, revision: str) -> str:
    """The address of a repo's page at a revision."""
    return f"{repo.web_path}/tree/{quote(revision, safe='')}"


def repo_body(
    repo: Repo, revision: str, card: str, refs: Iterable[tuple[str, str]], files: Iterable[tuple[str, int]]
) -> str:
    """The inside of a repo's page: card, branches and tags, and files that link to their contents."""
    resolve = f"{repo.web_path}/resolve/{quote(revision, safe='')}"
    rows = "".join(
        f'<tr><td>{link(f"{resolve}/{quote(path)}", path)}</td><td class="n">{size:,}</td></tr>'
        for path, size in files
    )
    names = [link(revision_path(repo, ref), ref) for ref, _ in refs]
    visibility = "private" if repo.private else "public"
    return (
        f"<p>{escape(repo.kind)}, {visibility}, at revision <code>{escape(revision)}</code></p>"
        f"<pre>{escape(card) or 'This repo has no card.'}</pre>"
        f"<h2>Branches and tags</h2>{listed(names)}"
        f"<h2>Files</h2><table><tr><th>path</th><th>bytes</th></tr>{rows}</table>"
    )


def login_body(target: str, problem: str = "") -> str:
    """The form that asks for a token."""
    return (
        f"{paragraph(problem)}"
        "<p>This page needs the token that the server printed when it started (<code>HF_TOKEN</code>).</p>"
        '<form method="post" action="/login">'
        f'<input type="hidden" name="next" value="{escape(target)}">'
        '<label>Token <input type="password" name="token" autocomplete="current-password" required></label> '
        "<button>Log in</button></form>"
    )
