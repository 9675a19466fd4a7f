"""The composition roots: each role built from its settings, started in order, stopped in reverse.

`khala.node.judicator`, `.executor` and `.gateway` have one `run(config) -> exit code` each, to be
called from the main thread of a process of its own.
"""
