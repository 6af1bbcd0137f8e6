"""The only place that knows frames and msgpack: every message, both ends, version 1.

A peer that sends nonsense is no exception here but a value: ``Unreadable``, or a reply that is
garbled. Only ``decode_task``, ``decode_payload``, ``decode_reply`` and a stream's ``Assembler``
raise, each for the one caller that reads them.
"""
