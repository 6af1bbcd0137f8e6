"""What a client of ZMTP 3.1 says first, for tests that speak the protocol by hand."""

from balancer.wire.zmtp import encode_command

GREETING = b"\xff" + bytes(7) + b"\x01\x7f\x03\x01" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = encode_command(b"READY", b"\x0bSocket-Type\0\0\0\x06DEALER")
