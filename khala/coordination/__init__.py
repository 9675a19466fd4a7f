"""Who is in the cluster and who leads it: one interface, etcd and an in-memory twin."""
