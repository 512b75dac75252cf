"""The log: what goes in comes out; a cut leaves a valid prefix; no flipped bit goes unseen."""

from __future__ import annotations

import hashlib

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from saltus.runs.metrics_log import Column, encode_block, read_log

GENESIS = hashlib.sha256(b"genesis").hexdigest()
MEMBERS = 3


@st.composite
def columns(draw: st.DrawFn) -> list[Column]:
    """Some metrics with their own steps, shapes and types, NaN and infinities included."""
    found = []
    for name in draw(st.lists(st.text(max_size=6), min_size=1, max_size=2, unique=True)):
        steps = sorted(draw(st.sets(st.integers(0, 2**40), min_size=1, max_size=3)))
        dtype = draw(st.sampled_from([np.float32, np.float64, np.int64]))
        shape = draw(hnp.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=2))
        values = draw(hnp.arrays(dtype, (len(steps), MEMBERS, *shape)))
        found.append(Column(name, np.array(steps), values))
    return found


logs = st.lists(columns(), min_size=1, max_size=3)


def encode(blocks: list[list[Column]]) -> tuple[bytes, list[int]]:
    data, ends, parent = b"", [0], GENESIS
    for block in blocks:
        piece, parent = encode_block(block, parent)
        data += piece
        ends.append(len(data))
    return data, ends


@given(logs)
def test_round_trip(blocks: list[list[Column]]) -> None:
    data, ends = encode(blocks)
    log = read_log(data, GENESIS)
    assert log.damage is None and [0, *(block.end for block in log.blocks)] == ends
    for wrote, read in zip(blocks, log.blocks, strict=True):
        by_name = {column.name: column for column in read.columns}
        assert by_name.keys() == {column.name for column in wrote}
        for column in wrote:
            again = by_name[column.name]
            assert again.values.dtype == column.values.dtype
            assert again.values.shape == column.values.shape
            assert again.values.tobytes() == column.values.tobytes()
            assert again.steps.tolist() == column.steps.tolist()


@given(columns())
def test_bytes_do_not_depend_on_the_order_of_names(block: list[Column]) -> None:
    assert encode_block(block, GENESIS) == encode_block(block[::-1], GENESIS)


@given(logs, st.data())
def test_any_truncation_leaves_a_valid_prefix(blocks: list[list[Column]], data: st.DataObject):
    raw, ends = encode(blocks)
    cut = data.draw(st.integers(0, len(raw)))
    log = read_log(raw[:cut], GENESIS)
    assert log.end == max(end for end in ends if end <= cut)
    assert log.torn == (log.damage is not None) == (cut not in ends)


@given(logs, st.data())
def test_any_flipped_bit_is_seen(blocks: list[list[Column]], data: st.DataObject) -> None:
    raw, ends = encode(blocks)
    bit = data.draw(st.integers(0, 8 * len(raw) - 1))
    bad = bytearray(raw)
    bad[bit // 8] ^= 1 << bit % 8
    log = read_log(bytes(bad), GENESIS)
    assert log.damage is not None
    assert log.end == max(end for end in ends if end <= bit // 8)


def test_every_flipped_bit_of_one_log_is_seen() -> None:
    rows = Column("loss", np.array([1, 2]), np.ones((2, 1), np.float32))
    raw, _ = encode([[rows], [rows]])
    for bit in range(8 * len(raw)):
        bad = bytearray(raw)
        bad[bit // 8] ^= 1 << bit % 8
        assert read_log(bytes(bad), GENESIS).damage is not None


@given(logs)
def test_blocks_of_another_shard_do_not_fit(blocks: list[list[Column]]) -> None:
    log = read_log(encode(blocks)[0], hashlib.sha256(b"another").hexdigest())
    assert log.blocks == [] and log.damage is not None and not log.torn


@given(st.binary(max_size=200))
def test_any_bytes_can_be_read(data: bytes) -> None:
    assert read_log(data, GENESIS).end == 0
