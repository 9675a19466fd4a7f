"""The durable store in MongoDB, and the replica set's administration."""
