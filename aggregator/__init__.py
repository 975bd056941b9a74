"""What averages: the round as a pure state machine, reducers, strategies, and the service that gives them I/O.

Imports broker and storage. Runs no code of a user's task.
"""
