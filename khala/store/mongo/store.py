"""The store in MongoDB as one object that owns the process's client.

Create it after spawning and close it last. Any thread may call it.
"""

from __future__ import annotations

from khala.errors import ConfigurationError
from khala.store.mongo.client import Connection, MongoSettings
from khala.store.mongo.files import MongoFiles
from khala.store.mongo.jobs import MongoJobs
from khala.store.mongo.lists import MongoLists
from khala.store.mongo.outputs import MongoOutputs
from khala.store.mongo.people import MongoPeople
from khala.store.mongo.retention import MongoRetention
from khala.store.mongo.schema import META, SCHEMA_ID, prepare_schema
from khala.store.mongo.tasks import MongoTasks
from khala.store.mongo.tokens import MongoTokens
from khala.store.mongo.transactions import Transactions
from khala.store.mongo.unused_files import MongoUnusedFiles


class MongoStore(
    MongoTasks,
    MongoLists,
    MongoJobs,
    MongoFiles,
    MongoOutputs,
    MongoTokens,
    MongoPeople,
    MongoRetention,
    MongoUnusedFiles,
):
    """`khala.store.interface.Store` on a replica set that `initiate_replica_set` has made."""

    def __init__(self, settings: MongoSettings) -> None:
        connection = Connection(settings)
        self.times = connection.times
        transactions = Transactions(connection)
        MongoTasks.__init__(self, connection, transactions)
        MongoLists.__init__(self, connection)
        MongoJobs.__init__(self, connection)
        MongoFiles.__init__(self, connection)
        MongoOutputs.__init__(self, connection)
        MongoTokens.__init__(self, connection, transactions)
        MongoPeople.__init__(self, connection)
        MongoRetention.__init__(self, connection)
        MongoUnusedFiles.__init__(self, connection)

    def prepare(self, first_generation: int = 1) -> None:
        """See Store."""
        prepare_schema(self._connection, first_generation)
        self.counts_at_once()  # many tasks are counted before anybody asks

    def cluster_id(self) -> str:
        """See Store; ConfigurationError before the first `prepare`."""
        with self._connection.reading("read the cluster's id"):
            schema = self._connection.collection(META).find_one({"_id": SCHEMA_ID})
        if schema is None:
            raise ConfigurationError("the database was never prepared: start a judicator on it first")
        return str(schema["cluster_id"])

    def close(self) -> None:
        """See Store."""
        self.close_counts()
        self._transactions.close()
        self._connection.close()
