"""Things in motion: messages, the RabbitMQ topology, consuming and publishing, completions on Redis streams.

Imports nothing of ours. Import from its modules: `messages`, `ports`, `rabbit`, `memory`, `completions`.
"""
