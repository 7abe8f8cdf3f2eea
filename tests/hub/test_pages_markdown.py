import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pages_support import Checked

from hub_tools.hub.server.pages.markdown import MAX_RENDERED, rendered

FILES, PAGES = "/demo/x/resolve/v1", "/demo/x/blob/v1"


def html(text, folder=""):
    return str(rendered(text, folder, FILES, PAGES))


def test_github_markdown_is_rendered():
    table = html("| a | b |\n|---|--:|\n| 1 | ~~2~~ |")
    assert "<th>a</th>" in table
    assert '<td align="right"><s>2</s></td>' in table
    tasks = html("- [x] done\n- [ ] open")
    assert tasks.count('type="checkbox"') == tasks.count("disabled") == 2
    assert tasks.count("checked=") == 1
    assert "<code>&lt;b&gt; = 1\n</code>" in html("```python\n<b> = 1\n```").replace(
        ' class="language-python"', ""
    )
    kept = html("<details open><summary>More</summary>\n\n**in** H<sub>2</sub>O<br>end\n\n</details>")
    for piece in ("<details", "<summary>More</summary>", "<strong>in</strong>", "<sub>2</sub>", "<br>"):
        assert piece in kept


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("[a](docs/a.md#top)", f'href="{PAGES}/docs/a.md#top"'),
        ("see README.md", "<p>see README.md</p>"),
        ("[a](<./a b.md>)", f'href="{PAGES}/a%20b.md"'),
        ("[a](../../../../login)", f'href="{PAGES}/login"'),
        ("[a](/datasets/demo/y)", 'href="/datasets/demo/y"'),
        ("[a](#usage)", 'href="#usage"'),
        ("[a](https://example.org/?a=1&b=2)", 'href="https://example.org/?a=1&amp;b=2"'),
        ("[a](mailto:a@example.org)", 'href="mailto:a@example.org"'),
        ("![p](plot.png)", f'src="{FILES}/plot.png"'),
        ('<img src="p/q.svg" width="40%" onerror="x">', f'src="{FILES}/p/q.svg" width="40%"'),
        ("https://example.org", 'href="https://example.org"'),
    ],
)
def test_addresses_lead_to_this_revision(text, found):
    assert found in html(text)


def test_addresses_start_at_the_folder_of_the_text():
    assert f'href="{PAGES}/docs/b.md"' in html("[b](b.md)", folder="docs")
    assert f'src="{FILES}/p.png"' in html("![p](../p.png)", folder="docs")


@pytest.mark.parametrize(
    "text",
    [
        "![p](https://elsewhere.example/p.png)",
        "![p](//elsewhere.example/p.png)",
        "![p](///elsewhere.example/p.png)",
        "<img src='/\\elsewhere.example/p.png'>",
        "<img srcset='https://elsewhere.example/p.png 2x'>",
        "<picture><source srcset='https://elsewhere.example/p.png'></picture>",
        "<video src='https://elsewhere.example/v' poster='https://elsewhere.example/p.png'></video>",
        "<p style='background: url(https://elsewhere.example/p.png)'>x</p>",
        "<table background='https://elsewhere.example/p.png'><tr><td>x</td></tr></table>",
        "<link rel=stylesheet href='https://elsewhere.example/s.css'>",
        "| a |\n|--:|\n| <i style='position:fixed'>x</i> |",
        "<style>@import 'https://elsewhere.example/s.css'</style>",
    ],
)
def test_nothing_is_loaded_from_elsewhere(text):
    shown = html(text)
    Checked().feed(shown)
    assert "style" not in shown
    assert "url(" not in shown
    assert '="https://elsewhere' not in shown


TRICKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "<svg><a xlink:href='javascript:alert(1)'><text>x</text></a></svg>",
    "<math><mtext><table><mglyph><style><img src=x onerror=alert(1)>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<form action=/login method=post><input name=token value=x><button>go</button></form>",
    "<a href='javascript:alert(1)'>x</a>",
    "<a href='&#106;avascript:alert(1)'>x</a>",
    "<a href='java&#9;script:alert(1)'>x</a>",
    "<a href=' &#1; javascript:alert(1)'>x</a>",
    "<a href='data:text/html,<script>alert(1)</script>'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt&colon;alert(1))",
    "[x](vbscript:msgbox(1))",
    "![x](data:image/svg+xml;base64,PHN2Zy8+)",
    "<details ontoggle=alert(1) open>x</details>",
    "<base href='https://elsewhere.example/'>",
    "<meta http-equiv=refresh content='0;url=https://elsewhere.example'>",
    "<object data='x'></object><embed src='x'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "<textarea><script>alert(1)</script>",
    "<!--><script>alert(1)</script>-->",
    "</article></main><script>alert(1)</script>",
    "`</code><script>alert(1)</script>`",
    "| <script>alert(1)</script> |\n|---|\n| <img onerror=alert(1) src=x> |",
]


@pytest.mark.parametrize("text", TRICKS)
def test_nothing_runs(text):
    shown = html(text)
    Checked().feed(shown)
    assert "<form" not in shown
    assert "<meta" not in shown


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.sampled_from(TRICKS), st.text(max_size=20)), max_size=6).map("".join))
def test_no_mixture_of_tricks_runs(text):
    Checked().feed(html(text))


def test_raw_closing_tags_do_not_leave_the_card():
    assert "</main>" not in html("</div></article></main></body>")


def test_headings_take_no_ids_of_the_page():
    shown = html("# page main\n\n# Usage\n\n<h2 id=page-revision>x</h2>")
    assert "page-" not in shown
    assert 'id="usage"' in shown


def test_only_boxes_of_task_lists_are_inputs():
    shown = html("<input type=text name=token value=x>")
    assert 'type="checkbox"' in shown
    assert "disabled" in shown
    assert "name" not in shown
    assert "text" not in shown


def test_very_long_text_is_not_rendered():
    assert rendered("x" * (MAX_RENDERED + 1), "", FILES, PAGES) is None
