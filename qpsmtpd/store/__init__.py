# SPDX-License-Identifier: MIT
"""The store: state that all workers, and perhaps several machines, share.

    plugin -> StoreClient -> Guard -> SqliteBackend or RedisBackend

A plugin calls a method of services.Store (facts.py), which becomes an operation, a value
(operation.py).  The guard (guard.py) collects operations, hands them to the back end in batches,
and makes sure that nobody waits beyond the deadline.  A back end carries out one batch
at a time and knows nothing of deadlines.
"""
