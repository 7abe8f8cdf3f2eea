"""Rows out of text files: packed or not, with texts over several lines, damaged ones too."""

import gzip
import json

import pytest
from pages_support import dataset, opened

from hub_tools.hub.server.pages import unpacking
from hub_tools.hub.server.pages.lines import DelimitedRows, JsonRows

LINES = [json.dumps({"id": str(n), "text": f"line {n} " + str(n) * 40}).encode() for n in range(25_000)]


def packed_in_parts(parts):
    """Gzip data as `cat a.gz b.gz` makes it."""
    size = -(-len(LINES) // parts)
    pieces = [b"".join(line + b"\n" for line in LINES[at : at + size]) for at in range(0, len(LINES), size)]
    return b"".join(map(gzip.compress, pieces))


@pytest.mark.parametrize("parts", [1, 3])
def test_any_row_of_a_packed_file_is_reached_from_the_note_before_it(tmp_path, monkeypatch, parts):
    monkeypatch.setattr(unpacking, "_EVERY", 100_000)
    path = tmp_path / "rows"
    path.write_bytes(packed_in_parts(parts) + b"\0" * 100)
    rows = JsonRows(path, packed=True)
    assert rows.count == len(LINES)
    for number in (24_999, 0, 7_000, 8_334, 20_123):
        assert next(rows.rows(number)) == json.loads(LINES[number])
    assert rows.find("24321") == 24_321
    note = unpacking._notes(path).before(10**9)
    assert note.came_out > sum(map(len, LINES)) - 500_000


def test_packed_lines_can_be_paged_and_searched(hub):
    name, _ = dataset(hub, {"data/train-0.jsonl.gz": packed_in_parts(2)})
    viewer = f"/datasets/{name}/viewer"
    assert "25,000 rows" in opened(hub, viewer)
    assert "line 24999 " in opened(hub, f"{viewer}?page=250")
    assert "<mark>line 1234 </mark>" in opened(hub, f"{viewer}?q=LINE+1234+")
    assert "Row 20,001 of" in opened(hub, f"{viewer}?at=20001")


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-2000], lambda data: b"no gzip", lambda data: data[:50] + b"x" * 200]
)
def test_damaged_packed_file_is_named(hub, damage):
    name, _ = dataset(hub, {"train.jsonl.gz": damage(packed_in_parts(1))})
    assert "train.jsonl.gz cannot be read: it " in opened(hub, f"/datasets/{name}/viewer")


def test_file_that_unpacks_to_too_much_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_UNPACKED", 1_000_000)
    path = tmp_path / "bomb"
    path.write_bytes(gzip.compress(b"\0" * 5_000_000))
    with pytest.raises(ValueError, match="unpacks to more than"):
        _ = JsonRows(path, packed=True).count


CSV = '\ufeffid,text,,n\r\n1,"two\nlines, ""quoted""",x,3\r\n\r\n2,<b>,,4,more\n3\n'


def test_csv_has_texts_over_several_lines_and_uneven_rows(hub):
    name, _ = dataset(hub, {"data/train.csv": CSV.encode()})
    viewer = f"/datasets/{name}/viewer"
    html = opened(hub, viewer)
    assert "3 rows" in html
    assert "two\nlines, &#34;quoted&#34;" in html
    for piece in ('<th scope="col">column 3</th>', '<th scope="col">column 5</th>', "&lt;b&gt;", ">null<"):
        assert piece in html
    assert "Row 2 of 3" in opened(hub, f"{viewer}?id=2")


def test_any_row_of_a_csv_file_is_reached(tmp_path):
    path = tmp_path / "rows"
    path.write_text("id\ttext\n" + "".join(f'{n}\t"a\n{n}"\n' for n in range(3_500)))
    rows = DelimitedRows(path, "\t")
    assert rows.count == 3_500
    for number in (0, 999, 1_000, 2_345, 3_499):
        assert next(rows.rows(number)) == {"id": str(number), "text": f"a\n{number}"}
    assert list(rows.rows(3_500)) == []


def test_csv_that_never_ends_a_quote_is_named(hub):
    name, _ = dataset(hub, {"train.csv": b'a\n"' + b"x\n" * 600_000, "empty.csv": b""})
    assert "train.csv cannot be read: it is no CSV throughout" in opened(hub, f"/datasets/{name}/viewer")


def test_rows_come_from_files_of_one_form(hub):
    lines = b'{"text": "from json"}\n'
    name, _ = dataset(
        hub, {"data/a.jsonl": lines, "data/b.jsonl": lines, "data/notes.csv": b"text\nfrom csv\n"}
    )
    html = opened(hub, f"/datasets/{name}/viewer")
    assert "2 rows" in html
    assert "from csv" not in html


def test_rows_that_nest_deep_or_have_endless_columns_stay_readable(hub):
    deep = b'{"id": "deep", "a": ' + b"[" * 900 + b'"needle"' + b"]" * 900 + b"}\n"
    wide = b"".join(json.dumps({f"{n}-{k}": 1 for k in range(60)}).encode() + b"\n" for n in range(90))
    name, _ = dataset(hub, {"train.jsonl": deep + b'{"' + b"k" * 100_000 + b'": 1}\n' + wide})
    viewer = f"/datasets/{name}/viewer"
    html = opened(hub, viewer)
    assert "5,203 more columns are on the pages of single rows" in html
    assert len(html) < 2_000_000
    assert "1 row with" in opened(hub, f"{viewer}?q=NEEDLE")
    assert "No row with" in opened(hub, f"{viewer}?q=nowhere")
