"""Warren: federated learning that runs on RabbitMQ, Redis and MinIO."""

__version__ = "0.1.0"
