"""The click commands, and the embedded run that puts all rooms together on one machine.

May import all of them. A command's module imports click alone; what does its work comes when it is called.
"""
