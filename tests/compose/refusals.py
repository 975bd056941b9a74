"""What the accounts of an installation are refused: a table of docs/security.md, as Python for their containers."""

from __future__ import annotations

# Each is tried over the account's own connections: store, broker, redis, minio, admin (the store), users (RabbitMQ).
SERVERS_OWN = {
    "empties Redis": "redis.flushall()",
    "makes a user of Redis": "redis.acl_setuser('other', enabled=True)",
    "changes Redis' settings": "redis.config_set('maxmemory', '1')",
    "lists the store's accounts": "admin.user_list()",
    "makes an account of the store": "admin.user_add('other', 'secret-of-other')",
    "makes a bucket": "minio.make_bucket(bucket_name='another-bucket')",
    "makes a user of RabbitMQ": "users('other')",
}
NEWS = {
    "takes a lease": "redis.set(f'warren:lease:{job}', 'mine')",
    "changes a job's progress": "redis.hset(f'warren:progress:{job}', 'state', 'done')",
    "changes the epoch": "redis.set('warren:epoch', 'mine')",
}
REFUSALS = {
    "aggregator": SERVERS_OWN,
    "cli": {"takes a pool's round jobs": "broker.consume(['rounds.v1.pool.default'])", **NEWS, **SERVERS_OWN},
    "trainer": {
        "makes a checkpoint": "store.create(f'jobs/{job}/checkpoints/round-00099.safetensors', b'x')",
        "deletes a checkpoint": "store.delete(f'jobs/{job}/checkpoints/round-00001.safetensors')",
        "labels a checkpoint": "store.label(f'jobs/{job}/checkpoints/round-00001.safetensors', {'state': 'best'})",
        "commands a job": "store.create(f'jobs/{job}/control/00009.json', b'x')",
        "makes a job": "store.create('jobs/other/job.json', b'x')",
        "reads a site's update": "store.read(f'updates/{job}/00001/site.st-mary/st-mary.a1.safetensors')",
        "answers for a site": "store.create(f'updates/{job}/00001/site.st-mary/st-mary.a1.safetensors', b'x')",
        "lists the bucket": "list(store.list(''))",
        "takes a site's round jobs": "broker.consume(['rounds.v1.site.st-mary'])",
        "takes submissions": "broker.consume(['submissions.v1'])",
        "sends a round job": "broker.publish([Outgoing('rounds.v1.pool.default', b'x')])",
        "submits a job": "broker.publish([Outgoing('submissions.v1', b'x')])",
        "tells for a site": "redis.xadd(f'completions:{job}:site.st-mary', {'m': 'x'})",
        "is an aggregator": "redis.set('warren:presence:aggregator:a', '{}')",
        **NEWS,
        **SERVERS_OWN,
    },
}

PROBE = """
import json, os, sys, urllib.error, urllib.request
import redis as redis_py
from minio import Minio, MinioAdmin
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException, S3Error
from warren.broker.errors import BrokerRefused
from warren.broker.ports import Outgoing
from warren.cli.connect import open_servers
from warren.storage.errors import StorageRefused

NoPermissionError = redis_py.exceptions.NoPermissionError
REFUSED = (BrokerRefused, StorageRefused, S3Error, MinioAdminException, NoPermissionError, PermissionError)
said = lambda name: open(os.environ[f"WARREN_{name}_FILE"]).read().strip()
keys = said("S3_ACCESS_KEY"), said("S3_SECRET_KEY")
redis = redis_py.Redis.from_url(said("REDIS"))
minio = Minio("minio:9000", access_key=keys[0], secret_key=keys[1], secure=False)
admin = MinioAdmin(endpoint="minio:9000", credentials=StaticProvider(*keys), secure=False)

def users(name):
    host = "http://rabbitmq:15672"
    passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
    passwords.add_password(None, host, keys[0], said("AMQP").split(":")[2].split("@")[0])
    opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(passwords))
    body = json.dumps({"password": "x", "tags": ""}).encode()
    kind = {"content-type": "application/json"}
    try:
        opener.open(urllib.request.Request(f"{host}/api/users/{name}", body, kind, method="PUT"))
    except urllib.error.HTTPError as error:
        assert error.code in (401, 403), error
        raise PermissionError from None

job, allowed = sys.argv[1], []
with open_servers({}, "probe") as servers:
    store, broker = servers.store, servers.broker
    for what, attempt in json.loads(sys.argv[2]).items():
        try:
            eval(attempt)
            allowed.append(what)
        except REFUSED:
            pass
print(json.dumps(allowed))
"""
