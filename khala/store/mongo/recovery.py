"""Making a replica set of one out of a survivor, when the majority is lost for good (P4, P19).

For `khala judicator --recover`, over a direct connection to the survivor's own mongod, with nobody else at
work on it. Whether the other members really are gone is for the caller to find out, from `Survivor.others`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pymongo import MongoClient
from pymongo.errors import OperationFailure

from khala.errors import ConfigurationError, Unavailable
from khala.store.mongo.client import Document, MongoSettings, login
from khala.store.mongo.failures import translated
from khala.store.mongo.leadership import begin_generation
from khala.store.mongo.schema import META, SCHEMA_ID, check_version

POLL_S = 0.1
PRIMARY, SECONDARY, ARBITER = 1, 2, 7
NOT_A_MEMBER, NOT_YET_INITIALIZED = 93, 94


@dataclass(frozen=True, slots=True, kw_only=True)
class Survivor:
    """What a survivor has, and who else belonged to its set (`others`, as host:port).

    Every write that was acknowledged until `sure_until` is in it: it knew that a majority had all that.
    `has_until` is its own last write. What was acknowledged after `sure_until` may be missing, and what it
    has from after that moment may never have been acknowledged. Both to the second, in UTC.
    """

    host: str
    others: tuple[str, ...]
    sure_until: datetime
    has_until: datetime


class SurvivingMember:
    """The mongod at `settings.hosts[0]`. Use it with `contextlib.closing`."""

    def __init__(self, settings: MongoSettings) -> None:
        self._settings = settings
        self._client: MongoClient[Document] = MongoClient(
            settings.hosts[0],
            directConnection=True,
            w=1,
            journal=True,
            serverSelectionTimeoutMS=8_000,
            timeoutMS=int(settings.timeout_s * 1000),
            appname="khala-recover",
            **login(settings),
        )

    def look(self, timeout_s: float) -> Survivor:
        """What it has. ConfigurationError if that is no whole copy of a cluster's data, or is not after
        `timeout_s`; nothing is changed."""
        with translated("tell what the survivor has", writes=False):
            status = self._settled(timeout_s)
            (me,) = [member["name"] for member in status["members"] if member.get("self")]
            schema = self._client[self._settings.database][META].find_one({"_id": SCHEMA_ID})
        if schema is None:
            raise ConfigurationError(
                f"the mongod of {me} has no data of a cluster: recover on another judicator"
            )
        check_version(schema["version"], "the survivor")
        return Survivor(
            host=me,
            others=tuple(member["name"] for member in status["members"] if member["name"] != me),
            sure_until=_sure_until(status),
            has_until=status["optimes"]["lastAppliedWallTime"].replace(tzinfo=UTC),
        )

    def stand_alone(self, survivor: Survivor, timeout_s: float) -> None:
        """Make it the only member of its set, and wait until it takes writes. May be done again."""
        with translated("make the survivor stand alone", writes=False):
            config = self._client.admin.command("replSetGetConfig")["config"]
            (mine,) = [member for member in config["members"] if member["host"] == survivor.host]
            # whatever it was while it joined or left, it votes now and can be elected
            mine.update(votes=1, priority=1, hidden=False, secondaryDelaySecs=0)
            config["members"] = [mine]
            config["version"] += 1
            self._client.admin.command({"replSetReconfig": config, "force": True})
            give_up_at = time.monotonic() + timeout_s
            while not self._client.admin.command("hello")["isWritablePrimary"]:
                if time.monotonic() > give_up_at:
                    raise Unavailable(
                        f"the mongod of {survivor.host} did not become a primary in {timeout_s:g} s"
                    )
                time.sleep(POLL_S)

    def begin_generation(self, now_s: int) -> int:
        """A new generation (P4); `now_s` is Unix time."""
        with translated("begin a new generation", writes=True):
            return begin_generation(self._client[self._settings.database][META], now_s)

    def close(self) -> None:
        """Release the connection."""
        self._client.close()

    def _settled(self, timeout_s: float) -> Any:
        """Its status, once its data are whole: a member that was just started reads its own log first."""
        give_up_at = time.monotonic() + timeout_s
        while (status := self._status())["myState"] not in (PRIMARY, SECONDARY):
            if status["myState"] == ARBITER or time.monotonic() > give_up_at:
                (words,) = [member["stateStr"] for member in status["members"] if member.get("self")]
                raise ConfigurationError(
                    f"the mongod at {self._settings.hosts[0]} is {words}, so it has no whole copy of the "
                    "data: recover on another judicator, or restore a backup"
                )
            time.sleep(POLL_S)
        return status

    def _status(self) -> Any:
        try:
            return self._client.admin.command("replSetGetStatus")
        except OperationFailure as error:
            if error.code in (NOT_A_MEMBER, NOT_YET_INITIALIZED):
                raise ConfigurationError(
                    f"the mongod at {self._settings.hosts[0]} belongs to no cluster, or no longer: give the "
                    "--data-dir of a judicator that does, and its own addresses"
                ) from error
            raise


def _sure_until(status: Any) -> datetime:
    """Until when it knew a majority to be as far: from this life of the mongod, or from its last checkpoint,
    which never holds more than that."""
    committed: datetime = status["optimes"]["lastCommittedWallTime"].replace(tzinfo=UTC)
    checkpoint = status.get("lastStableRecoveryTimestamp")
    return max(committed, checkpoint.as_datetime()) if checkpoint is not None else committed
