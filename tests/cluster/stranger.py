"""A REP worker as anybody may write it: ``python stranger.py ADDRESS [DEED]``, no line of ours."""

import sys

import msgpack
import zmq

address, deed = sys.argv[1], "answer" if len(sys.argv) < 3 else sys.argv[2]
replies = {
    "nothing": [b""],
    "no msgpack": [b"\xc1"],
    "two values": [msgpack.packb(1) + msgpack.packb(2)],
    "three frames": [b"a", b"b", b"c"],
    "above the limit": [msgpack.packb(bytes(300_000))],
    "above the hard limit": [msgpack.packb(bytes(3_000_000))],
    "an error": [msgpack.packb({"status": 500, "error": "ValueError: no good"}), b"\xc0"],
    "an unknown status": [msgpack.packb({"status": 200}), b"\xc0"],
}

socket = zmq.Context().socket(zmq.REP)
socket.bind(address)
while True:
    *header, payload = frames = socket.recv_multipart()
    fields = msgpack.unpackb(header[0]) if header else {}
    if deed == "together" and "op" in fields:
        socket.send(msgpack.packb({"batch": "whole"}))
    elif deed == "together":
        count = len(fields.get("batch", "1"))
        values = [msgpack.packb([count, msgpack.unpackb(frame)]) for frame in frames[-count:]]
        socket.send_multipart([msgpack.packb({"batch": count}), *values] if count > 1 else values)
    elif deed == "answer":
        socket.send(msgpack.packb(["stranger", payload and msgpack.unpackb(payload)]))
    else:
        socket.send_multipart(replies[deed])
