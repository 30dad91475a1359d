# SPDX-License-Identifier: MIT
"""The catalogue: everything that is counted and measured.

Values of labels come from the configuration and from the code, never from a client.
"""

from __future__ import annotations

from qpsmtpd.metrics.metric import DELAYS, Metric, counter, gauge, histogram, sampled

# --- connections ----------------------------------------------------------------------------

CONNECTIONS = counter("qpsmtpd_connections", "Connections that got a session.")
CONNECTIONS_OPEN = sampled(
    "qpsmtpd_connections_open",
    "Open connections, by what they are at: proxy (its header is awaited), connect (no command "
    "yet), command, mail (a transaction has begun), data (a message is being read), decision "
    "(plugins look at it), queue (it is being handed over).",
    "stage",
)
CONNECTIONS_LIMIT = sampled(
    "qpsmtpd_connections_limit",
    "The setting max_connections; 0 means no limit.",
    combined="least",
)
CONNECTIONS_REFUSED = counter(
    "qpsmtpd_connections_refused",
    "Connections for which there was no room: full (max_connections), full_here (the limit of open "
    "files), from_client (max_from_ip), from_network (max_from_network).",
    "reason",
)
SESSIONS_ENDED = counter(
    "qpsmtpd_sessions_ended",
    "Sessions that are over, by how far they came: connect, hello, mail, or message (one was "
    "accepted).",
    "stage",
)
TLS_SESSIONS = counter(
    "qpsmtpd_tls_sessions", "TLS handshakes that succeeded, by version.", "version"
)
TLS_FAILURES = counter("qpsmtpd_tls_failures", "TLS handshakes that failed.")
LOGINS = counter(
    "qpsmtpd_logins",
    "Attempts to log in: succeeded, failed, cancelled (by the client), or unjudged (nobody could "
    "tell whether the password is right).",
    "result",
)

# --- messages -------------------------------------------------------------------------------

#: What may become of a message.
OUTCOMES = ("accepted", "deferred", "refused")
MESSAGES = counter(
    "qpsmtpd_messages", "Messages, by what became of them: accepted, deferred, refused.", "outcome"
)
MESSAGE_BYTES = counter(
    "qpsmtpd_message_bytes", "Size of all messages that were read to their end.", unit="bytes"
)
MESSAGE_SECONDS = histogram("qpsmtpd_message_seconds", "From MAIL to the reply after the message.")
REFUSALS = counter(
    "qpsmtpd_refusals",
    "What was refused before there was a message, by the plugin that did (core is none).",
    "plugin",
    "hook",
    "outcome",
)
AUTHENTICATION = counter(
    "qpsmtpd_authentication",
    "Results of SPF, DKIM, DMARC and the like for messages that were decided on.",
    "method",
    "result",
)
GREYLIST_DELAY = histogram(
    "qpsmtpd_greylist_delay_seconds",
    "From the first attempt to the delivery of a message that had to wait.",
    buckets=DELAYS,
)
SPOOL_MEMORY = sampled(
    "qpsmtpd_spool_memory_bytes", "Messages that are under way, in memory.", unit="bytes"
)

# --- plugins --------------------------------------------------------------------------------

PLUGIN_ANSWERS = counter(
    "qpsmtpd_plugin_answers",
    "Answers of plugins: accept, deny, defer, value (something else that the hook supplies), none "
    "(no opinion, after a wait), those that would have refused (shadow, tag), and fault, timeout, "
    "store (it did not answer). No opinion without a wait is not counted.",
    "plugin",
    "hook",
    "answer",
)
PLUGIN_SECONDS = histogram(
    "qpsmtpd_plugin_seconds",
    "How long a plugin took for a hook, where it had to wait for something.",
    "plugin",
    "hook",
)
BLOCKING_CALLS = sampled(
    "qpsmtpd_blocking_calls", "Calls of plugins in threads, running or waiting for one."
)

# --- the servers that we ask ----------------------------------------------------------------

DNS_LOOKUPS = counter(
    "qpsmtpd_dns_lookups",
    "Questions to the DNS that nothing was remembered of: found, empty, nxdomain, timeout (no name "
    "server has answered), error.",
    "type",
    "result",
)
DNS_SECONDS = histogram("qpsmtpd_dns_lookup_seconds", "How long these took.")
SERVICE_DOWN = sampled(
    "qpsmtpd_service_down",
    "Workers that do not ask a scanner, a milter, a DNS list or the like, because it is down.",
    "kind",
    "place",
)
SERVICE_FAILURES = counter(
    "qpsmtpd_service_failures", "Attempts to ask one of these that failed.", "kind", "place"
)
SERVICE_OUTAGES = counter(
    "qpsmtpd_service_outages", "How often a worker found one of these down.", "kind", "place"
)
NEXT_HOP_TRANSACTIONS = counter(
    "qpsmtpd_next_hop_transactions",
    "Transactions with a server that messages are handed to: done (it has answered), failed, or "
    "in_doubt (it failed after the end of the message was sent).",
    "next_hop",
    "result",
)
NEXT_HOP_SECONDS = histogram(
    "qpsmtpd_next_hop_seconds", "How long these took, without connecting.", "next_hop"
)
NEXT_HOP_CONNECTS = counter(
    "qpsmtpd_next_hop_connects", "Attempts to connect to it: done or failed.", "next_hop", "result"
)
NEXT_HOP_CONNECTIONS = sampled(
    "qpsmtpd_next_hop_connections", "Connections to it: busy or idle.", "next_hop", "state"
)
STORE_OPERATIONS = counter(
    "qpsmtpd_store_operations", "Questions to the store: done, or failed (it was down).", "result"
)
STORE_DOWN = sampled("qpsmtpd_store_down", "Workers for which the store is down.")
STORE_OUTAGES = counter("qpsmtpd_store_outages", "How often a worker found the store down.")

# --- the daemon -----------------------------------------------------------------------------

BUILD = Metric("qpsmtpd_build", "info", "The daemon that is running.", ("version",))
WORKERS = gauge("qpsmtpd_workers", "Processes that serve.")
WORKERS_WANTED = gauge("qpsmtpd_workers_wanted", "Processes that are meant to serve.")
WORKER_DEATHS = counter("qpsmtpd_worker_deaths", "Workers that ended without being told to.")
RELOADS = counter(
    "qpsmtpd_reloads",
    "Reloads of the configuration: used, or refused (the old one stays).",
    "result",
)
LOOP_LAG = histogram(
    "qpsmtpd_loop_lag_seconds",
    "How much later than due a worker's timer fired, once a second: what held its event loop.",
)
LOG_LINES_LOST = counter("qpsmtpd_log_lines_lost", "Log lines that could not be written.", "outlet")
CERTIFICATE_EXPIRY = sampled(
    "qpsmtpd_certificate_expiry_timestamp_seconds",
    "When a certificate expires, in seconds since the epoch.",
    "certificate",
    unit="seconds",
    combined="least",
)
START_TIME = gauge(
    "qpsmtpd_start_time_seconds",
    "When the daemon was started, in seconds since the epoch.",
    unit="seconds",
)
SERIES_LEFT_OUT = gauge(
    "qpsmtpd_series_left_out", "Series for which there was no room; what they would count is lost."
)

#: All of them, in the order of the manual.
CATALOGUE: tuple[Metric, ...] = tuple(
    value for value in list(globals().values()) if isinstance(value, Metric)
)
BY_NAME = {metric.name: metric for metric in CATALOGUE}
