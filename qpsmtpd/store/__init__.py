# SPDX-License-Identifier: MIT
"""The store: state that all workers, and perhaps several machines, share.

    plugin -> StoreClient -> Guard -> SqliteBackend, RedisBackend or ClusterBackend

A plugin calls a method of services.Store (facts.py), which becomes an operation, a value
(operation.py).  The guard (guard.py) collects operations, hands them to the back end in batches,
and makes sure that nobody waits beyond the deadline.  A back end carries out one batch
at a time.  That of SQLite and that of one Redis know nothing of deadlines; a Cluster has a shorter
one for each of its nodes, so that one that is dead does not stop the others.

    RedisBackend, ClusterBackend -> Node (a connection to one server; redisnode.py)
                                 -> redisentries.py (keys, scripts, what replies mean)

Which server a RedisBackend talks to may be for Sentinels to say (sentinel.py).
"""
