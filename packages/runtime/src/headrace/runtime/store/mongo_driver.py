"""The one file that knows the driver: Motor over PyMongo.

Everything else gets a database handle and uses collection methods that Motor and PyMongo's own asyncio client share,
so that a change of driver is a change of this file.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl

import pymongo
from bson.codec_options import CodecOptions
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo.read_concern import ReadConcern
from pymongo.read_preferences import ReadPreference
from pymongo.write_concern import WriteConcern

from headrace.contracts.errors import ConfigError

SERVER_SELECTION_MS = 1000
"""How long a call looks for a primary. The driver looks at its watch every half second only, so this can become one and
a half: below the two seconds in which a submission is refused."""
CLOSE_SECONDS = 1.0

AwareDocument: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True)


def connect(url: str, *, appname: str, max_pool_size: int = 20) -> Any:
    """A client; nothing is opened before the first call.

    Args:
        url: A MongoDB URL. Its own options win over the ones given here.
        appname: Shown in the server's logs and usable to aim a failpoint at one component.
        max_pool_size: Connections at most. The driver's threads bound what is used at once.

    Returns:
        The driver's client, bound to the running event loop at its first call.

    Raises:
        ConfigError: The URL asks for zlib.
    """
    _refuse_zlib(url)
    client: Any = AsyncIOMotorClient(
        url,
        appname=appname,
        maxPoolSize=max_pool_size,
        serverSelectionTimeoutMS=SERVER_SELECTION_MS,
        connectTimeoutMS=1500,
        socketTimeoutMS=20_000,
        retryWrites=True,
        retryReads=True,
    )
    _keep_selection_short(client)
    return client


def _refuse_zlib(url: str) -> None:
    # MongoDB servers before their fix of CVE-2025-14847 disclose memory to whoever may speak zlib with them.
    for name, value in parse_qsl(url.partition("?")[2]):
        if name.lower() == "compressors" and "zlib" in value.lower():
            raise ConfigError("JOB_MONGO_URL: compressors must not hold zlib; use zstd or snappy, or leave it out")


def _keep_selection_short(client: Any) -> None:
    # PyMongo lets the time limit of an operation replace serverSelectionTimeoutMS instead of taking the smaller one, so
    # an insert would look for a primary for as long as it may take to write. There is no public switch for it.
    topology = client.delegate._topology
    if topology is None:  # mongodb+srv: resolved at the first call; the operation's own limit has to do
        return
    longest = topology._settings.server_selection_timeout
    within_limit = topology.get_server_selection_timeout
    topology.get_server_selection_timeout = lambda: min(longest, within_limit())


def database(client: Any, name: str) -> Any:
    """The database, every operation on it majority-durable and read from what a majority has."""
    return client.get_database(
        name,
        codec_options=AwareDocument,
        read_preference=ReadPreference.PRIMARY,
        write_concern=WriteConcern(w="majority"),
        read_concern=ReadConcern("majority"),
    )


def close(client: Any) -> None:
    """Close every connection of the client. Blocks: for milliseconds, or a second when MongoDB does not answer."""
    with pymongo.timeout(CLOSE_SECONDS):  # the driver says goodbye to the server and waits for its answer
        client.close()
