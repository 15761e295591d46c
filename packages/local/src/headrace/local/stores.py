"""The embedded stores under one name."""

from headrace.local.mongo_server import MongoServer
from headrace.local.redis_server import RedisServer
from headrace.local.server import EmbeddedServer, ServerStartError

__all__ = ["EmbeddedServer", "MongoServer", "RedisServer", "ServerStartError"]
