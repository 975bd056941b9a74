"""Asynchronous schedules: a job as a flow of versions, each made of the updates that are there.

`rules.py` decides, as `round.py` does for rounds; the other modules give it I/O with the parts of a round's leader.
"""
