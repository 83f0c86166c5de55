"""Weights of others, converted to snapshots without running their code.

A file is read by a process of its own (``child``), under limits, by an unpickler that knows a short list of names and
runs none of them (``unpickler``, ``formats``, ``flatten``; standard library alone). What comes back is raw numbers and
a list of names and shapes, which this process checks (``reading``); importers of plugins recognise and convert them
(``convert``).
"""
