"""One device in the cycle: read its blocks into the image, write its outputs through the gate, then its heartbeat.

`read` and `write` never wait on anything but the wire, so on the memory wire they run without an event loop.
Reads of a device go one after the other; devices run side by side (the caller's business).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

from ctrl.field import gate as g
from ctrl.field.codec import BlockCodec, CodecError
from ctrl.field.gate import Outcome, Request, WriteGate
from ctrl.field.link import LinkWatch
from ctrl.field.output import Finding, Output, Words
from ctrl.field.read_plan import ECHO, ReadBlock, plan
from ctrl.field.spec import DeviceSpec, SpecError
from ctrl.field.transport import BUSY, MISMATCH, DeviceException, Transport, TransportError
from ctrl.messages import Event
from ctrl.quality import (
    BAD_CONFIG,
    BAD_NO_COMMS,
    BAD_NO_COMMS_LAST,
    BAD_SENSOR,
    CASCADE_LOCAL_OVERRIDE,
    CASCADE_NOT_INVITED,
    CASCADE_OK,
    GOOD,
    UNCERTAIN,
)


class ImageLike(Protocol):
    """What a device needs of the process image."""

    def post(self, slot: int, value: float, status: int, t_ns: int) -> None:
        """Put a value into the next buffer."""

    def get(self, slot: int) -> tuple[float, int, int]:
        """Value, status and time in the current buffer."""


class _Scan:
    """A read block, compiled: where its values go, and the last ones that were numbers."""

    __slots__ = ("block", "codec", "echo", "inputs", "outputs", "refused", "seen", "t_ns", "values")

    def __init__(self, block: ReadBlock, slots: Mapping[str, int], outputs: Mapping[str, Output]) -> None:
        self.block = block
        self.codec = BlockCodec(block)
        self.echo = next((i for i, p in enumerate(block.points) if p.name == ECHO), -1)
        self.inputs = tuple((i, slots[p.tag]) for i, p in enumerate(block.points) if not p.write and p.name != ECHO)
        self.outputs = tuple(
            (outputs[p.name], i, p.offset - block.start, p.end - block.start)
            for i, p in enumerate(block.points)
            if p.write
        )
        self.values = [0.0] * len(block.points)
        self.t_ns = 0
        self.seen = False
        self.refused = False

    def numbers(self, values: list[float]) -> list[float]:
        """The values, with the last finite one where the register holds none."""
        return [v if math.isfinite(v) else last for v, last in zip(values, self.values, strict=True)]


class DeviceDriver:
    """Polls and commands one device.

    slots: tag -> slot of the image. Needed for every measurement; a command without a slot, or whose slot stays bad,
    is only read back. Optional tags: `<tag>~readback` of a command, `<device>.state` (0 disarmed, 1 shadow, 2 armed),
    `<device>.link` (1 good), `<device>.latency` (ms). recover_s: good reads that a lost link needs.
    counters: what happened since start. Raises SpecError for a measurement without a slot.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        transport: Transport,
        gate: WriteGate,
        image: ImageLike,
        slots: Mapping[str, int],
        *,
        recover_s: float = 5.0,
    ) -> None:
        missing = [p.tag for p in spec.points if not p.write and p.tag not in slots]
        if missing:
            raise SpecError(f"device {spec.name!r}: no slot for {', '.join(missing)}")
        self.spec = spec
        self.gate = gate
        self.counters = dict.fromkeys(
            ("cycles", "bad_cycles", "exceptions", "wire_errors", "written", "uncertain", "heartbeats"), 0
        )
        self._transport = transport
        self._image = image
        self._outputs = tuple(
            Output(p, spec.contract, slots.get(p.tag, -1), slots.get(p.readback_tag, -1))
            for p in spec.points
            if p.write
        )
        self._scans = tuple(_Scan(b, slots, {o.point.name: o for o in self._outputs}) for b in plan(spec))
        self._pins = tuple(slots.get(f"{spec.name}.{pin}", -1) for pin in ("state", "link", "latency"))
        self._shed_ns = round(1e9 * recover_s)
        self.link = LinkWatch(spec, recover_s)
        self._told: list[tuple[int, str, str, dict[str, float | int | str | bool | None]]] = []
        self._utc_of_zero = 0.0  # utc - boot time, as of the last write()
        self._epoch = gate.epoch
        self._complete = False
        self._silent = False

    @property
    def name(self) -> str:
        """Name in the site file."""
        return self.spec.name

    def drain_events(self) -> list[Event]:
        """What happened since the last call, in order."""
        told = [Event(self._utc(at), self.name, event, text, data) for at, event, text, data in self._told]
        events = told + self.gate.events
        self._told, self.gate.events = [], []
        return sorted(events, key=lambda e: e.utc)

    # ------------------------------------------------------------------------------------------------------ read
    async def read(self, now_ns: int, deadline: float = math.inf) -> None:
        """Read all blocks and post what they say, with time `now_ns`; what did not answer is bad at once.

        deadline: seconds on the transport's clock that no request may pass.
        """
        if self._epoch != self.gate.epoch:
            self._start_afresh()
        self._transport.deadline = deadline
        self._complete = True
        silent = False
        again: list[_Scan] = []
        for scan in self._scans:
            silent = await self._read_block(scan, now_ns, silent, again)
        for scan in again:  # a busy device gets one more chance in the cycle, after everything else
            silent = await self._read_block(scan, now_ns, silent, None)
        self._judge_link(now_ns)
        self._post_pins(now_ns)

    async def _read_block(self, scan: _Scan, now_ns: int, silent: bool, again: list[_Scan] | None) -> bool:
        """Read one block; True when the wire failed and the rest need not be tried in this cycle."""
        if silent or scan.refused:
            self._missed(scan, BAD_CONFIG if scan.refused else None)
            return silent
        try:
            words = await self._transport.read(scan.block)
        except DeviceException as error:
            self.counters["exceptions"] += 1
            if error.code == BUSY and again is not None:
                again.append(scan)
                return False
            if error.code in MISMATCH:
                self._mismatch(scan, error, now_ns)
            self._missed(scan, BAD_CONFIG if scan.refused else None)
            return False
        except TransportError as error:
            self.counters["wire_errors"] += 1
            if self.link.bad == 0:
                self._tell(now_ns, "READ_FAILED", f"{type(error).__name__}: {error}")
            self._missed(scan, None)
            return True
        self._accept(scan, words, now_ns)
        return False

    def _accept(self, scan: _Scan, words: Sequence[int], now_ns: int) -> None:
        values, statuses = scan.codec.decode(words)
        if statuses is not scan.codec.all_good:
            values = scan.numbers(values)
        scan.values, scan.t_ns, scan.seen = values, now_ns, True
        post = self._image.post
        for i, slot in scan.inputs:
            post(slot, values[i], statuses[i], now_ns)
        if scan.echo >= 0:
            self._watch_echo(int(values[scan.echo]), now_ns)
        for output, i, first, end in scan.outputs:
            self._read_back(output, tuple(words[first:end]), values[i], statuses[i], now_ns)

    def _missed(self, scan: _Scan, status: int | None) -> None:
        self._complete = False
        if status is None:
            status = BAD_NO_COMMS_LAST if scan.seen else BAD_NO_COMMS
        post, t_ns = self._image.post, scan.t_ns
        for i, slot in scan.inputs:
            post(slot, scan.values[i], status, t_ns)
        for output, _, _, _ in scan.outputs:
            if output.readback_slot >= 0:
                post(output.readback_slot, output.held, status, t_ns)

    def _mismatch(self, scan: _Scan, error: DeviceException, now_ns: int) -> None:
        """The map is not what was configured: ask no more, and latch."""
        scan.refused = True
        block = scan.block
        text = f"read {block.table} {block.start} x {block.count}: {error}"
        self.gate.latch("CONFIG_DEVICE_MISMATCH", text, self._utc(now_ns))
        self._epoch = self.gate.epoch  # our own doing: the block stays refused until somebody acts

    # -------------------------------------------------------------------------------------------------- read-back
    def _read_back(self, output: Output, words: Words, value: float, status: int, now_ns: int) -> None:
        code = CASCADE_OK
        if (
            output.sent is None
            or self.gate.state.mode != g.ARMED
            or not self.link.good
            or now_ns < output.shed_until_ns
        ):
            output.adopt(words, value)
            if status >= UNCERTAIN and self.gate.state.mode != g.SHADOW:
                self.gate.known(output.point.name, value)
            if self.gate.state.mode != g.ARMED or not self.link.good or now_ns < output.shed_until_ns:
                code = CASCADE_NOT_INVITED
        elif output.yielded:
            code = CASCADE_LOCAL_OVERRIDE
        elif words == output.sent:
            output.confirmed(words)
        else:
            value, code = self._differs(output, words, value, status >= UNCERTAIN, now_ns)
        if status >= UNCERTAIN:
            output.held = value
        if output.readback_slot >= 0:
            self._image.post(output.readback_slot, output.held, code if status >= UNCERTAIN else BAD_SENSOR, now_ns)

    def _differs(self, output: Output, words: Words, value: float, usable: bool, now_ns: int) -> tuple[float, int]:
        """Achieved value and status of an output whose register does not hold what was sent."""
        finding = output.compare(words, value, usable)
        if finding is Finding.CONFIRMED:
            return value, CASCADE_OK
        if finding is Finding.NOT_EXECUTED:
            self.gate.known(output.point.name, value)
            self._tell(now_ns, "WRITE_NOT_EXECUTED", f"{output.point.name}: the register still holds {value:g}")
            return value, CASCADE_OK
        if finding is Finding.PENDING:
            # a slow device is on its way: the command counts, or as far as a limit let it
            return (value, CASCADE_OK | output.limited) if output.limited else (output.sent_value, CASCADE_OK)
        if finding is Finding.MISMATCH:
            return self._ignored(output, value, now_ns)
        if finding is Finding.CONFLICT:
            output.yielded = True
            text = f"{output.point.name}: {value:g} is not ours, we sent {output.sent_value:g}; no more writes here"
            self._tell(now_ns, "OWNER_CONFLICT", text, point=output.point.name, value=value)
        return value, CASCADE_LOCAL_OVERRIDE

    def _ignored(self, output: Output, value: float, now_ns: int) -> tuple[float, int]:
        if not output.told:
            output.told = True
            text = f"{output.point.name}: the register shows {value:g}, we sent {output.sent_value:g}"
            self._tell(now_ns, "READBACK_MISMATCH", text, point=output.point.name, value=value)
        if output.limited:
            return value, CASCADE_OK | output.limited
        output.shed_until_ns = now_ns + self._shed_ns
        return value, CASCADE_NOT_INVITED

    # ------------------------------------------------------------------------------------------------------- link
    def _watch_echo(self, echo: int, now_ns: int) -> None:
        beating = self.gate.state.mode == g.ARMED and self.counters["heartbeats"] > 0
        self._link_changed(self.link.watch(echo, now_ns, beating), now_ns)

    def _judge_link(self, now_ns: int) -> None:
        self.counters["cycles"] += 1
        self.counters["bad_cycles"] += not self._complete
        self._link_changed(self.link.judge(self._complete, now_ns), now_ns)
        self.gate.state.link_good = self.link.good

    def _link_changed(self, finding: tuple[str, str] | None, now_ns: int) -> None:
        if finding is not None:
            self._tell(now_ns, *finding)
        if not self.link.good:
            for output in self._outputs:
                output.reset()

    def _start_afresh(self) -> None:
        """Somebody changed the gate: what the registers hold is the new beginning."""
        self._epoch = self.gate.epoch
        for output in self._outputs:
            output.reset()
        for scan in self._scans:
            scan.refused = False

    def _post_pins(self, now_ns: int) -> None:
        state, link, latency = self._pins
        if state >= 0:
            self._image.post(state, float(self.gate.state.mode), GOOD, now_ns)
        if link >= 0:
            self._image.post(link, float(self.link.good), GOOD, now_ns)
        if latency >= 0:
            self._image.post(latency, self._transport.latency_ms, GOOD if self._complete else BAD_NO_COMMS_LAST, now_ns)

    # ------------------------------------------------------------------------------------------------------ write
    async def write(self, now_ns: int, utc: float, deadline: float = math.inf) -> None:
        """Write what changed or is due, then the heartbeat if this cycle of the device was complete and good.

        deadline: seconds on the transport's clock that no request may pass.
        """
        self._transport.deadline = deadline
        self._utc_of_zero = utc - 1e-9 * now_ns
        mode = self.gate.state.mode
        if mode == g.DISARMED or self._silent or not (self._complete and self.link.good):
            return
        busy: list[tuple[Output, Request]] = []
        passed = True
        for output in self._outputs:
            request = self._wanted(output, now_ns, utc)
            if request is None:
                continue
            if mode == g.SHADOW:
                self._rehearse(output, request, now_ns)
                continue
            outcome = await self._send(output, request, now_ns, utc)
            if outcome is Outcome.BUSY:
                busy.append((output, request))
            elif outcome is not Outcome.WRITTEN:
                passed = False
                if outcome is not Outcome.REFUSED:
                    break  # the wire or the device is in trouble: nothing more in this cycle
        for output, request in busy:
            passed = passed and await self._send(output, request, now_ns, utc) is Outcome.WRITTEN
        if passed and mode == g.ARMED:
            await self._beat(utc)

    def _wanted(self, output: Output, now_ns: int, utc: float) -> Request | None:
        """The write this output needs now, if any. Held and fail-action values (uncertain) go out, bad ones do not."""
        if output.slot < 0 or output.paused(now_ns):
            return None
        value, status, t_ns = self._image.get(output.slot)
        if status < UNCERTAIN:
            return None
        if value != output.seen_value:
            output.seen_words = _words(output, value)
            output.seen_value = value
        words = output.seen_words
        reason = g.CHANGE
        if words and words == output.sent:
            if now_ns - output.sent_ns < output.refresh_ns:
                return None
            reason = g.REFRESH
        return self._request(output, value, words, t_ns, utc, reason=reason)

    def _request(self, output: Output, value: float, words: Words, t_ns: int, utc: float, *, reason: str) -> Request:
        point = output.point
        return Request(point.name, point.table, point.offset, value, words, self.spec.owner, t_ns, utc, reason)

    async def _send(self, output: Output, request: Request, now_ns: int, utc: float) -> Outcome:
        outcome = await self.gate.write(request, self._transport, now_ns, utc)
        if outcome is Outcome.WRITTEN:
            self.counters["written"] += 1
            output.wrote(tuple(request.words), request.value, now_ns, uncertain=False)
        elif outcome is Outcome.UNCERTAIN:
            self.counters["uncertain"] += 1
            output.wrote(tuple(request.words), request.value, now_ns, uncertain=True)
        return outcome

    def _rehearse(self, output: Output, request: Request, now_ns: int) -> None:
        if request.words == output.would:
            return
        output.would = tuple(request.words)
        refusal = self.gate.rehearse(request, now_ns)
        text = f"{request.point} = {request.value:g}" if refusal is None else refusal.text
        value = request.value if math.isfinite(request.value) else None
        code = None if refusal is None else refusal.code
        self._tell(now_ns, "SHADOW_WRITE", text, point=request.point, value=value, refused=code)

    async def _beat(self, utc: float) -> None:
        if self.spec.contract.kind != "heartbeat":
            return
        if await self.gate.beat(self.link.next_beat(), self._transport, utc):
            self.counters["heartbeats"] += 1

    async def fail_action(self, now_ns: int, utc: float) -> None:
        """The engine stops: write each fallback value once, through the gate; then no command and no heartbeat."""
        self._utc_of_zero = utc - 1e-9 * now_ns
        self._transport.deadline = math.inf  # the last writes have the device's own timeout
        if self.gate.state.mode == g.ARMED and self.link.good and not self._silent:
            for output in self._outputs:
                fallback = output.point.fallback
                if output.slot >= 0 and not isinstance(fallback, str) and not output.paused(now_ns):
                    words = _words(output, float(fallback))
                    request = self._request(output, float(fallback), words, now_ns, utc, reason=g.FAIL_ACTION)
                    await self._send(output, request, now_ns, utc)
        self._silent = True

    # ----------------------------------------------------------------------------------------------------- events
    def _utc(self, now_ns: int) -> float:
        return self._utc_of_zero + 1e-9 * now_ns

    def _tell(self, now_ns: int, event: str, text: str, **data: float | str | None) -> None:
        # the time of day is settled when they are drained: before the first write() nothing here knows it
        self._told.append((now_ns, event, text, dict(data)))


def _words(output: Output, value: float) -> Words:
    """Encoded value; empty when it has no place in the register, which the gate then refuses with its reason."""
    try:
        return output.codec.encode(value)
    except CodecError:
        return ()
