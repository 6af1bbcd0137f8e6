"""The only place that knows frames and msgpack: every message, both ends, version 1.

A peer that sends nonsense is no exception here but a value: ``Unreadable``, or a reply that is
garbled. Only ``decode_task``, ``decode_payload`` and ``decode_reply`` raise, each for the one
caller that reads them.
"""
