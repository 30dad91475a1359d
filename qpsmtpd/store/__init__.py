# SPDX-License-Identifier: MIT
"""The store: state that all workers, and maybe several machines, share.

    plugin -> StoreClient -> Guard -> SqliteBackend or RedisBackend

A plugin calls a method of services.Store (client.py), which becomes an operation, a value
(operation.py).  The guard (guard.py) collects operations, hands them to the back end in batches,
and sees to it that nobody waits for longer than the deadline.  A back end carries out one batch
at a time and knows nothing of deadlines.
"""
