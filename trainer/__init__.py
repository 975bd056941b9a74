"""What runs beside the data: the user's task, partitioners, local training, and the worker around them.

Imports broker and storage. The worker never imports torch; the training process does.
"""
