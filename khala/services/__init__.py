"""The native servers of a judicator: etcd and mongod as guarded child processes."""
