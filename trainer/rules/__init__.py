"""Local rules: what an algorithm adds to a client's training. One module a paper, its names the paper's.

No I/O. A rule is chosen by the job (`storage.rules`); `choosing` makes it.
"""
