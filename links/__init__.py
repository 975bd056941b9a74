"""Doors to servers that two rooms speak to, each in the errors of the room that asks.

Imports nothing of ours.
"""
