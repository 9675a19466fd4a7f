"""The pure domain: what a task is, how its state may change, who runs it, and when.

Nothing here imports a thread, a clock, a socket or a library; time and randomness come in as
arguments. The same code decides in the real actors and in the simulation.
"""
