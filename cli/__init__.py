"""The click commands, and the embedded run that puts all rooms together on one machine. May import all of them."""
