"""The executor's decisions: what it accepts, refuses, starts, reports and forgets. Pure.

`machine` takes events and returns effects; `holdings` is what the executor has in hand.
"""
