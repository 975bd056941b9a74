"""The tasks that ship: each an ordinary task file, as a user would write it."""
