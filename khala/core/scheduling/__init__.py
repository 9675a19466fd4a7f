"""The leader's decisions: what waits, who runs it, what became of it. Pure.

`scheduler` is the door; `ledger` holds what the leader knows; `queue` and `placement` choose;
`assigning`, `settling` and `reconciling` each handle their events on the ledger.
"""
