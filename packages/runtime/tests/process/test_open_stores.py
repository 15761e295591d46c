from __future__ import annotations

import pytest
from pydantic import SecretStr

from headrace.contracts.config import JobConfig
from headrace.runtime.process.open_stores import open_stores


@pytest.mark.parametrize(
    ("redis", "mongo", "found"),
    [
        ("redis://localhost:6379", "mongodb://localhost:27017/?replicaSet=rs0", []),
        ("redis://[::1]:6379/0", "mongodb://127.0.0.1,127.0.0.2:27018", []),
        ("redis://redis:6379", "mongodb://u:p@mongo", ["JOB_REDIS_URL"]),
        ("rediss://app:pw@redis:6379", "mongodb://localhost,db.example:27017", ["JOB_MONGO_URL"]),
        ("redis://app@redis", "mongodb+srv://cluster.example", ["JOB_REDIS_URL", "JOB_MONGO_URL"]),
        ("unix:///run/redis.sock", "mongodb://db/?authMechanism=MONGODB-X509&tls=true", []),
    ],
)
def test_a_store_elsewhere_without_a_password_is_named(redis, mongo, found):
    assert open_stores(JobConfig(redis_url=SecretStr(redis), mongo_url=SecretStr(mongo))) == found
