"""Properties: the codec loses at most half a step, the plan is the best there is, the gate lets nothing bad through."""

from __future__ import annotations

import math
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from ctrl.field.codec import BlockCodec, CodecError, PointCodec
from ctrl.field.frame import check_reply
from ctrl.field.gate import ARMED, Allowed, GateState, Request, decide
from ctrl.field.read_plan import ReadBlock, plan_points
from ctrl.field.spec import WORD_ORDERS, WORDS, PointSpec
from ctrl.field.transport import ProtocolError

TYPES = [t for t in WORDS if t != "bool"]


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from(TYPES),
    st.sampled_from(WORD_ORDERS),
    st.sampled_from([1.0, 0.1, 0.01, -0.5, 3.0, 1e-3]),
    st.sampled_from([0.0, -40.0, 273.15]),
    st.floats(allow_nan=True, allow_infinity=True, width=64),
)
@example("f64", "ABCD", 3.0, 0.0, 1.7976931348623157e308)
def test_round_trip_within_half_a_step(type_, order, scale, offset, value):
    p = PointSpec("p", "d.p", "hr", 0, type_, "1", word_order=order, scale=scale, offset_value=offset)
    codec = PointCodec(p)
    try:
        words = codec.encode(value)
    except CodecError:
        return
    assert math.isfinite(value)
    assert all(type(w) is int and 0 <= w <= 0xFFFF for w in words)
    back = codec.decode(words)
    # scale and offset are applied in float64: their own rounding comes on top of half a step
    rounding = 4 * math.ulp(max(abs(value), abs(offset)))
    assert abs(back - value) <= 0.5 * codec.step(value) * (1 + 1e-9) + rounding
    assert BlockCodec(ReadBlock("hr", 0, p.words, (p,))).decode(words)[0][0] == back


def brute_force(points: list[PointSpec], gap: int, limit: int) -> int:
    """Fewest blocks over all partitions of the points into sets that one read may cover."""

    def legal(rows: list[PointSpec]) -> bool:
        used = {o for p in rows for o in range(p.offset, p.end)}
        lo, hi = min(used), max(used)
        ordered = sorted(used)
        return hi - lo + 1 <= limit and all(b - a - 1 <= gap for a, b in pairwise(ordered))

    best = len(points)

    def place(i: int, groups: list[list[PointSpec]]) -> None:
        nonlocal best
        if i == len(points):
            if all(legal(g) for g in groups):
                best = min(best, len(groups))
            return
        for g in [*groups]:
            g.append(points[i])
            place(i + 1, groups)
            g.pop()
        if len(groups) + 1 < best or not groups:
            groups.append([points[i]])
            place(i + 1, groups)
            groups.pop()

    place(0, [])
    return best


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 24), st.sampled_from(["u16", "f32", "u64"])), min_size=1, max_size=6),
    st.integers(0, 4),
    st.integers(4, 9),
)
def test_plan_is_minimal_and_covers_everything(rows, gap, limit):
    points = [PointSpec(f"p{i}", f"d.p{i}", "ir", o, t, "1") for i, (o, t) in enumerate(rows)]
    blocks = plan_points(points, gap, limit, 2000)
    assert sorted(p.name for b in blocks for p in b.points) == sorted(p.name for p in points)
    for b in blocks:
        assert b.count <= limit
        assert all(b.start <= p.offset and p.end <= b.start + b.count for p in b.points)
    assert len(blocks) == brute_force(points, gap, limit)


@settings(max_examples=300, deadline=None)
@given(
    st.floats(allow_nan=True, allow_infinity=True) | st.floats(-1.0, 330.0),
    st.lists(st.integers(0, 0xFFFF), min_size=0, max_size=4),
    st.integers(-(10**10), 10**10) | st.integers(0, 10**9),
    st.tuples(st.sampled_from([ARMED, 0, 1]), st.sampled_from(["engine", "other"]), st.sampled_from([10, 11])),
)
def test_whatever_the_gate_passes_is_safe(value, words, age_ns, place):
    mode, owner, offset = place
    p = PointSpec("p", "d.p", "hr", 10, "f32", "kW", write=True, lo=0.0, hi=320.0, rate=40.0)
    codec = PointCodec(p)
    state = GateState("d", "engine", 1.0, {"p": Allowed(p, codec, 10**9, 100.0, 0)}, mode=mode)
    for sent in (tuple(words), _encoded(codec, value)):
        request = Request("p", "hr", offset, value, sent, owner, 10**9 - age_ns, 0.0, "change")
        if decide(request, state, 10**9) is None:
            assert mode == ARMED
            assert owner == "engine"
            assert offset == 10
            assert 0.0 <= value <= 320.0
            assert abs(value - 100.0) <= 40.0 + 0.001
            assert abs(codec.decode(sent) - value) <= codec.step(value)
            assert 0 <= age_ns <= 10**9


def _encoded(codec: PointCodec, value: float) -> tuple[int, ...]:
    try:
        return codec.encode(value)
    except CodecError:
        return ()


REQUEST = bytes.fromhex("0007 0000 0006 01 03 0064 0002".replace(" ", ""))
REPLY = bytes.fromhex("0007 0000 0007 01 03 04 3f80 0000".replace(" ", ""))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(REPLY) - 1), st.integers(1, 255))
def test_one_changed_byte_outside_the_data_is_never_accepted(place, flip):
    spoiled = bytearray(REPLY)
    spoiled[place] ^= flip
    if place >= 9:
        return  # payload: only plausibility can tell
    try:
        pdu = check_reply(REQUEST, bytes(spoiled))
    except ProtocolError:
        return
    assert pdu is None or pdu[0] & 0x80, "waits for more, or is a device exception: never data"


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40))
def test_noise_is_never_an_answer(noise):
    try:
        pdu = check_reply(REQUEST, noise)
    except ProtocolError:
        return
    assert pdu is None or noise[:9] == REPLY[:9] or pdu[0] == 0x83
