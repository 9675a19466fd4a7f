"""Access tokens in MongoDB, one document each, by digest. Any thread may call."""

from __future__ import annotations

from pymongo.client_session import ClientSession

from khala.errors import Refusal
from khala.store.mongo.client import Connection
from khala.store.mongo.schema import META, TOKENS, TOKENS_ID
from khala.store.mongo.transactions import Transactions


class MongoTokens:
    """TokenStore. Each new token counts up one document, so that no two are created at once."""

    def __init__(self, connection: Connection, transactions: Transactions) -> None:
        self._connection = connection
        self._transactions = transactions
        self._meta = connection.collection(META)
        self._tokens = connection.collection(TOKENS)

    def create_first_token(self, digest: str, name: str, role: str) -> bool:
        """See TokenStore."""

        def create(session: ClientSession) -> bool:
            self._meta.update_one({"_id": TOKENS_ID}, {"$inc": {"count": 1}}, session=session)
            if self._tokens.find_one({}, {"_id": 1}, session=session):
                return False
            self._tokens.insert_one({"_id": digest, "name": name, "role": role}, session=session)
            return True

        return self._transactions.run("create the first token", create)

    def create_token(self, digest: str, name: str, role: str) -> None:
        """See TokenStore; Refusal `conflict` if the digest is another token's."""

        def create(session: ClientSession) -> None:
            self._meta.update_one({"_id": TOKENS_ID}, {"$inc": {"count": 1}}, session=session)
            stored = self._tokens.find_one({"_id": digest}, session=session)
            if stored is None:
                self._tokens.insert_one({"_id": digest, "name": name, "role": role}, session=session)
            elif (stored["name"], stored["role"]) != (name, role):
                raise Refusal("another token has this digest", code="conflict", field="digest")

        self._transactions.run("create a token", create)

    def role_of(self, digest: str) -> tuple[str, str] | None:
        """See TokenStore."""
        with self._connection.reading("look for a token"):
            stored = self._tokens.find_one({"_id": digest})
        return (stored["name"], stored["role"]) if stored else None
