import io
import json
import re
import subprocess
import sys
import time
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pages_support import change, dataset, opened, parquet
from PIL import Image

SCHEMA = pa.schema([("id", pa.string()), ("text", pa.string()), ("score", pa.int64())])


def row(number):
    return {"id": f"row{number:05d}", "text": f"text of row {number:05d}", "score": number % 5}


@pytest.fixture(scope="module")
def table(hub):
    """2,500 rows in three shards with row groups of 100."""
    shards = [[row(n) for n in range(start, min(start + 900, 2500))] for start in range(0, 2500, 900)]
    files = {f"data/train-{i:05d}-of-00003.parquet": parquet(s, 100, SCHEMA) for i, s in enumerate(shards)}
    return dataset(hub, files)[0]


def seen(html):
    return re.findall(r"row\d{5}(?=</)", html)


@pytest.mark.parametrize("page", [1, 2, 9, 10, 18, 25])
def test_any_page_shows_its_hundred_rows_across_shards(hub, table, page):
    html = opened(hub, f"/datasets/{table}/viewer?page={page}")
    assert seen(html) == [row(n)["id"] for n in range(100 * page - 100, min(100 * page, 2500))]
    assert "2,500 rows" in html


def test_page_past_the_end_says_so(hub, table):
    assert "no rows on this page" in opened(hub, f"/datasets/{table}/viewer?page=26")
    assert "no rows on this page" in opened(hub, f"/datasets/{table}/viewer?page=9999999999")


def test_addresses_of_the_real_viewer_open(hub, table):
    assert seen(opened(hub, f"/datasets/{table}/viewer/default/train?p=2"))[0] == "row00200"
    assert seen(opened(hub, f"/datasets/{table}/viewer/default"))[0] == "row00000"
    opened(hub, f"/datasets/{table}/viewer/other", 404)
    opened(hub, f"/datasets/{table}/viewer?config={quote('<b>')}", 404)


def test_search_finds_in_any_case_and_marks_it(hub, table):
    html = opened(hub, f"/datasets/{table}/viewer?q=TEXT+OF+ROW+0123")
    assert seen(html) == [row(n)["id"] for n in range(1230, 1240)]
    assert html.count("<mark>text of row 0123</mark>") == 10
    assert "Search further" not in html
    assert "No row with" in opened(hub, f"/datasets/{table}/viewer?q=nowhere")


def test_search_with_many_hits_goes_on_where_it_stopped(hub, table):
    found, address = [], f"/datasets/{table}/viewer?q=text"
    while address:
        html = opened(hub, address)
        found += seen(html)
        further = re.search(r'href="([^"]+)">Search further', html)
        address = further and further[1].replace("&amp;", "&")
    assert found == [row(n)["id"] for n in range(2500)]


def test_search_that_takes_too_long_stops_and_says_so(hub):
    rows = [{"text": f"{number} {'lorem ipsum ' * 400}"} for number in range(40)]
    file = parquet([rows[n % 40] for n in range(60_000)], 1_000)
    name, _ = dataset(hub, {"data/train.parquet": file})
    started = time.monotonic()
    html = opened(hub, f"/datasets/{name}/viewer?q=nothing-has-this")
    assert time.monotonic() - started < 2
    further = re.search(r'href="([^"]+)">Search further, from row ([\d,]+)', html)
    assert f"in rows 1 to {int(further[2].replace(',', '')) - 1:,} of 60,000" in html
    opened(hub, further[1].replace("&amp;", "&"))


def test_row_is_found_by_id_and_shown_whole(hub, table):
    html = opened(hub, f"/datasets/{table}/viewer?id=row02345")
    assert "Row 2,346 of 2,500" in html
    assert "text of row 02345" in html
    assert f'href="/datasets/{table}/viewer?id=row02345&amp;config=default&amp;split=train"' in html
    assert "No row of default has the id" in opened(hub, f"/datasets/{table}/viewer?id={quote('<b>')}")
    assert "there is no row 2,501" in opened(hub, f"/datasets/{table}/viewer?row=2500")
    assert seen(opened(hub, f"/datasets/{table}/viewer?row=2499"))[0] == "row02499"


def test_nested_values_are_readable_and_nothing_is_markup(hub):
    evil = "<script>alert(1)</script>"
    rows = [
        {
            "id": "a",
            "messages": [{"role": "user", "content": evil}, {"role": "assistant", "content": "Yes."}],
            "generation": {"model": evil, "temperature": 0.7, "stop": None},
            "tags": ["x", "y"],
            "deep": [[["z"]]],
            evil: 5,
            "raw": b"\x00" * 2048,
            "flag": True,
            "url": "https://example.org/?a=1&b=2",
            "script": "javascript:alert(1)",
        }
    ]
    name, _ = dataset(hub, {"data/train.parquet": parquet(rows)})
    html = opened(hub, f"/datasets/{name}/viewer")
    assert '<div class="turn user"><b>user</b><br>' in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "<b>temperature</b> <span" in html
    assert "2,048 bytes" in html
    assert 'href="https://example.org/?a=1&amp;b=2" rel="nofollow noopener noreferrer"' in html
    assert "<mark>alert</mark>" in opened(hub, f"/datasets/{name}/viewer?q=ALERT")


def test_long_texts_are_folded_and_wide_ones_cut(hub):
    name, _ = dataset(
        hub,
        {"data/train.parquet": parquet([{"id": "a", "text": "lorem " * 4_000, "many": list(range(500))}])},
    )
    html = opened(hub, f"/datasets/{name}/viewer")
    assert "<summary>… 23,700 more characters</summary>" in html
    assert "16,000 characters are left out here" in html
    assert "and 450 more items" in html
    assert html.count("lorem ") < 2_000
    assert opened(hub, f"/datasets/{name}/viewer?row=0").count("lorem ") == 4_000


CARD = """---
configs:
- config_name: plain
  data_files: files/plain-*.parquet
- config_name: parts
  data_files:
  - split: train
    path: [files/a.parquet]
  - split: test
    path: "**/b.jsonl"
- config_name: folder
  data_dir: deep
- config_name: none
  data_files: nothing/*.parquet
---
"""


def test_configs_of_the_card_choose_the_files(hub):
    files = {
        path: parquet([{"text": path}])
        for path in ("files/plain-1.parquet", "files/a.parquet", "deep/er/c.parquet")
    }
    files |= {"files/b.jsonl": b'{"text": "files/b.jsonl"}\n', "README.md": CARD.encode()}
    name, _ = dataset(hub, files)
    viewer = f"/datasets/{name}/viewer"
    assert "files/plain-1.parquet" in opened(hub, viewer)
    assert "files/a.parquet" in opened(hub, f"{viewer}?config=parts")
    assert "files/b.jsonl" in opened(hub, f"{viewer}?config=parts&split=test")
    assert "deep/er/c.parquet" in opened(hub, f"{viewer}?config=folder")
    opened(hub, f"{viewer}?config=none", 404)


def test_revision_shows_the_rows_of_then(hub):
    name, _ = dataset(hub, {"data/kept/train.parquet": parquet([{"text": "before"}])})
    hub.api().create_tag(name, tag="v1", repo_type="dataset")
    change(hub, name, {"data/kept/train.parquet": parquet([{"text": "after"}])})
    assert ">after</div>" in opened(hub, f"/datasets/{name}/viewer?config=kept")
    assert ">before</div>" in opened(hub, f"/datasets/{name}/viewer?config=kept&revision=v1")


def test_json_lines_are_rows_and_broken_ones_are_shown_as_they_are(hub):
    lines = [json.dumps({"id": str(n), "text": f"line {n}"}).encode() for n in range(2_345)]
    lines[7] = b"{broken <b>"
    lines[8] = b"[1, 2]"
    name, _ = dataset(hub, {"train.jsonl": b"\n".join(lines)})
    viewer = f"/datasets/{name}/viewer"
    first = opened(hub, viewer)
    assert "2,345 rows" in first
    assert "{broken &lt;b&gt;" in first
    assert "line 2344<" in opened(hub, f"{viewer}?page=24")
    assert "line 2200<" in opened(hub, f"{viewer}?page=23")
    assert opened(hub, f"{viewer}?q=LINE+1500").count("<mark>line 1500</mark>") == 1
    assert "Row 2,001 of" in opened(hub, f"{viewer}?id=2000")


def damaged():
    whole = parquet([{"text": f"text {n}" * 50} for n in range(1000)], 100)
    yield "no Parquet at all", b"this is no Parquet file"
    yield "empty", b""
    yield "cut off", whole[:-100]
    yield "only a tail", b"PAR1" + whole[-20:]
    yield "overwritten", whole[:4] + b"\xff" * (len(whole) // 2) + whole[4 + len(whole) // 2 :]


@pytest.mark.parametrize("data", [pytest.param(data, id=what) for what, data in damaged()])
def test_damaged_file_is_named_and_the_page_stands(hub, data):
    name, _ = dataset(hub, {"data/train.parquet": data})
    assert "data/train.parquet cannot be read" in opened(hub, f"/datasets/{name}/viewer")
    for query in ("?page=10", "?q=text", "?id=a", "?row=500"):
        opened(hub, f"/datasets/{name}/viewer{query}")
    opened(hub, f"/datasets/{name}/blob/main/data/train.parquet")


def test_huge_row_group_is_read_within_bounds(hub, tmp_path):
    path = tmp_path / "one-group.parquet"
    texts = [f"row {n} " + "x" * 200 for n in range(200_000)]
    pq.write_table(pa.table({"text": texts}), path, row_group_size=200_000, compression="zstd")
    name, _ = dataset(hub, {"data/train.parquet": path.read_bytes()})
    html = opened(hub, f"/datasets/{name}/viewer?page=2000")
    assert "row 199999 " in html
    assert "row 199899 " not in html


def test_repo_without_rows_says_so(hub):
    name, _ = dataset(hub, {"a.txt": b"x"})
    assert "There are no rows to show" in opened(hub, f"/datasets/{name}/viewer")
    empty, _ = dataset(hub, {"data/train.parquet": parquet([], schema=SCHEMA)})
    assert "There are no rows in this config" in opened(hub, f"/datasets/{empty}/viewer")


def test_whole_row_is_not_folded_and_empty_texts_are_told_from_nulls(hub):
    row = {"id": "a", "text": "lorem " * 400, "no": None, "blank": "", "deep": {"in": {"most": 1}}}
    name, _ = dataset(hub, {"data/train.parquet": parquet([row])})
    whole = opened(hub, f"/datasets/{name}/viewer?row=0").partition("<dl")[2]
    assert "more characters" not in whole
    assert '<span class="pale">null</span>' in whole
    assert '<span class="pale">empty</span>' in whole
    assert "more characters" in opened(hub, f"/datasets/{name}/viewer")


@pytest.mark.parametrize(
    ("sought", "heading"),
    [
        ("7", "Row 7 of 2,500"),
        (" 2500 ", "Row 2,500 of 2,500"),
        ("row02345", "Row 2,346 of 2,500"),
        ("2501", "No row of default has the id “2501”"),
        ("0", "has the id “0”"),
        ("%C2%B2", "has the id “²”"),
    ],
)
def test_one_box_leads_to_a_row_by_number_or_id(hub, table, sought, heading):
    assert heading in opened(hub, f"/datasets/{table}/viewer?at={sought.replace(' ', '+')}")


def test_change_of_config_does_not_ask_for_a_split_that_it_lacks(hub):
    paths = ("data/kept/train.parquet", "data/train.parquet", "data/test.parquet")
    name, _ = dataset(hub, {path: parquet([{"text": path}]) for path in paths})
    assert "data/kept/train.parquet" in opened(hub, f"/datasets/{name}/viewer?config=kept&split=test")
    assert "data/test.parquet" in opened(hub, f"/datasets/{name}/viewer?config=default&split=test")


def test_pictures_in_rows_are_shown_and_nothing_else_is_served_as_one(hub):
    file = io.BytesIO()
    Image.new("RGB", (20, 10)).save(file, "PNG")
    evil = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    rows = [{"image": {"bytes": data, "path": "a.png"}, "n": 1} for data in (file.getvalue(), evil)]
    name, oid = dataset(hub, {"data/train.parquet": parquet(rows)})
    html = opened(hub, f"/datasets/{name}/viewer")
    assert f"{len(evil)} bytes" in html
    addresses = re.findall(r'<img class="thumb" src="([^"]+)"', html)
    assert [f"revision={oid}" in address for address in addresses] == [True]
    answer = hub.request("GET", addresses[0].replace("&amp;", "&"))
    assert (answer.status, answer.headers["Content-Type"], answer.body) == (200, "image/png", file.getvalue())
    for query in ("row=1&column=image", "row=0&column=n", "row=0&column=none", "row=9&column=image", ""):
        opened(hub, f"/datasets/{name}/picture?{query}", 404)
    hub.api().update_repo_settings(name, repo_type="dataset", visibility="private")
    opened(hub, addresses[0].replace("&amp;", "&"), 401, token="")


def test_reading_searching_and_finding_rows_imports_nothing_slow(tmp_path):
    file = tmp_path / "rows"
    rows = [
        {"id": f"{n}", "text": None if n % 2 else f"text {n}", "deep": [{"a": f"in {n}"}]} for n in range(20)
    ]
    file.write_bytes(parquet(rows))
    script = f"""
import sys
from pathlib import Path
from hub_tools.hub.server.pages.parquet import ParquetRows
rows = ParquetRows(Path({str(file)!r}))
print(len(list(rows.rows(5))), [hits for _, hits in rows.matches("TEXT 4", 0)][0][0][0])
print([hits for _, hits in rows.matches("in 17", 0)][0][0][0], rows.find("1"), rows.find("x"))
print({{"pandas", "torch", "datasets"}} & sys.modules.keys())
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.stdout == "15 4\n17 1 None\nset()\n", done.stderr


def test_lists_in_lists_and_long_chats_do_not_make_endless_pages(hub):
    numbers = [[[list(range(20)) for _ in range(20)] for _ in range(20)]]
    chat = [{"role": "user", "content": f"turn {n} " + "x" * 9_000} for n in range(40)]
    name, _ = dataset(hub, {"data/train.parquet": parquet([{"numbers": numbers, "chat": chat}] * 20)})
    html = opened(hub, f"/datasets/{name}/viewer")
    assert len(html) < 3_000_000
    assert "more items" in html
    assert "turn 39 " in html
    assert "characters are left out here" in html
    assert opened(hub, f"/datasets/{name}/viewer?row=0").count("x" * 9_000) == 40
