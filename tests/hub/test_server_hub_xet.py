import contextlib
import hashlib
import tracemalloc

import lz4.frame
import pytest
from hub_support import xet_chunk, xet_name, xet_shard
from hypothesis import given, settings
from hypothesis import strategies as st

from hub_tools.hub.server.blobs import BlobStore
from hub_tools.hub.server.errors import HubError
from hub_tools.hub.server.xet.shard import ingest
from hub_tools.hub.server.xet.xorb import Xorb

PLAIN, LZ4, GROUPED = 0, 1, 2
NAME = xet_name(b"x" * 32)


def grouped(data):
    return b"".join(data[lane::4] for lane in range(4))


def chunk(data, scheme):
    stored = data if scheme == PLAIN else lz4.frame.compress(grouped(data) if scheme == GROUPED else data)
    return xet_chunk(stored, len(data), scheme)


def put_xorb(blobs, data):
    path = blobs.xorb_path(NAME)
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)


PARTS = st.lists(
    st.tuples(st.binary(min_size=1, max_size=300), st.sampled_from([PLAIN, LZ4, GROUPED])), min_size=1
)


@pytest.fixture(scope="module")
def blobs(tmp_path_factory):
    return BlobStore(tmp_path_factory.mktemp("blobs"))


@settings(deadline=None, max_examples=60)
@given(parts=PARTS, data=st.data())
def test_any_run_of_chunks_in_any_scheme_comes_back(blobs, parts, data):
    put_xorb(blobs, b"".join(chunk(*part) for part in parts) + b"XETBLOB and a footer")
    plain = [part for part, _ in parts]
    first = data.draw(st.integers(0, len(parts) - 1))
    end = data.draw(st.integers(first + 1, len(parts)))
    whole = b"".join(plain[first:end])
    ingest(blobs, xet_shard(plain, first, end), 10**6)
    assert blobs.get(hashlib.sha256(whole).hexdigest()) == whole


@settings(deadline=None, max_examples=150)
@given(parts=PARTS, data=st.data())
def test_damage_is_refused_and_keeps_nothing_wrong(blobs, parts, data):
    plain = [part for part, _ in parts]
    xorb, described = bytearray(b"".join(chunk(*part) for part in parts)), bytearray(xet_shard(plain))
    target = data.draw(st.sampled_from([xorb, described]))
    place = data.draw(st.integers(0, len(target) - 1))
    if data.draw(st.booleans()):
        target[place] ^= data.draw(st.integers(1, 255))
    else:
        del target[place:]
    put_xorb(blobs, xorb)
    # Any other exception than a refusal fails the test.
    with contextlib.suppress(HubError):
        ingest(blobs, bytes(described), 10**6)
    assert list((blobs.path("0" * 64).parents[2] / "incoming").iterdir()) == []


def test_file_whose_bytes_do_not_match_its_sha256_is_refused(blobs):
    put_xorb(blobs, chunk(b"what was sent", PLAIN))
    # Hashes are written as four little-endian numbers.
    digest = hashlib.sha256(b"what was announced").digest()
    swapped = b"".join(digest[i : i + 8][::-1] for i in range(0, 32, 8))
    with pytest.raises(HubError, match="was announced"):
        ingest(blobs, xet_shard([b"what was sent"], sha=swapped), 10**6)
    assert not blobs.has(hashlib.sha256(b"what was sent").hexdigest())


def test_small_chunk_that_unfolds_hugely_is_refused(tmp_path):
    stored = lz4.frame.compress(bytes(50_000_000))
    head = b"\0" + len(stored).to_bytes(3, "little") + bytes([LZ4]) + (1000).to_bytes(3, "little")
    (tmp_path / "bomb").write_bytes(head + stored)
    xorb = Xorb(tmp_path / "bomb")
    tracemalloc.start()
    try:
        with pytest.raises(HubError, match="length its header states"):
            xorb.chunk(0)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()
        xorb.close()
    header_lies = (
        b"\0" + len(stored).to_bytes(3, "little") + bytes([LZ4]) + (16_000_000).to_bytes(3, "little")
    )
    (tmp_path / "liar").write_bytes(header_lies + stored)
    with pytest.raises(HubError, match="over-long"):
        Xorb(tmp_path / "liar")


def test_file_over_the_limit_is_refused(blobs):
    put_xorb(blobs, chunk(b"x" * 200, PLAIN))
    with pytest.raises(HubError) as refused:
        ingest(blobs, xet_shard([b"x" * 200]), 100)
    assert refused.value.status == 413
