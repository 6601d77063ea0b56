"""Modbus/TCP frames as bytes: does this answer belong to that request, to the last byte?

MODBUS Messaging on TCP/IP Implementation Guide V1.0b, section 3.1.3 (MBAP: transaction, protocol 0, length, unit),
and MODBUS Application Protocol Specification V1.1b3, section 6 (form of each answer). Client libraries check little of
this, so it is done here, on the raw bytes.
"""

from __future__ import annotations

from struct import Struct
from typing import Final

from ctrl.field.transport import ProtocolError

HEADER: Final = Struct(">HHHB")
READ_BITS: Final = (1, 2)
READ_REGISTERS: Final = (3, 4)
_HEAD: Final = Struct(">BHH")


def check_reply(sent: bytes, received: bytes) -> bytes | None:
    """The PDU of the answer in `received` to the request frame `sent`, or None while bytes are still missing.

    Raises ProtocolError for any difference: transaction, protocol, unit, function, length, byte count, write echo,
    or bytes after the end. A complete exception answer is a valid answer.
    """
    if len(received) < 8:
        return None
    transaction, protocol, length, unit = HEADER.unpack_from(received)
    if received[:2] != sent[:2]:
        raise ProtocolError(f"transaction {transaction}, wanted {int.from_bytes(sent[:2], 'big')}")
    if protocol != 0:
        raise ProtocolError(f"protocol {protocol}")
    if unit != sent[6]:
        raise ProtocolError(f"unit {unit}, wanted {sent[6]}")
    function, asked = received[7], sent[7]
    if function not in (asked, asked | 0x80):
        raise ProtocolError(f"function {function}, wanted {asked}")
    wanted = 3 if function & 0x80 else 1 + _reply_size(sent)
    if length != wanted:
        raise ProtocolError(f"length {length}, wanted {wanted}")
    if len(received) > 6 + length:
        raise ProtocolError("bytes after the answer")
    if len(received) < 6 + length:
        return None
    pdu = received[7:]
    if not function & 0x80:
        _check_body(sent, pdu)
    return pdu


def _reply_size(sent: bytes) -> int:
    function, _, count = _HEAD.unpack_from(sent, 7)
    if function in READ_BITS:
        return 2 + int(count + 7) // 8
    if function in READ_REGISTERS:
        return 2 + 2 * int(count)
    return 5


def _check_body(sent: bytes, pdu: bytes) -> None:
    function = pdu[0]
    if function in READ_BITS or function in READ_REGISTERS:
        if pdu[1] != len(pdu) - 2:
            raise ProtocolError(f"byte count {pdu[1]}, wanted {len(pdu) - 2}")
    elif pdu != sent[7:12]:
        # FC 5 and 6 repeat address and value, FC 15 and 16 address and quantity: in both the first five bytes
        raise ProtocolError(f"write echo {pdu[1:].hex()}, wanted {sent[8:12].hex()}")
