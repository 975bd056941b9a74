"""Things in motion: messages, the RabbitMQ topology, consuming and publishing, completions on Redis streams.

Imports links. Import from its modules: `messages`, `ports`, `rabbit`, `memory`, `completions`.
"""
