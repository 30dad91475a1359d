# SPDX-License-Identifier: MIT
"""What the errors of Redis, Sentinel, Cluster and TLS mean for the store, in plain words."""

from __future__ import annotations

from dataclasses import dataclass

from qpsmtpd.store.redisentries import ACL


@dataclass(frozen=True)
class Meaning:
    """What an error means, and what helps."""

    text: str
    advice: str = ""


#: Parts of errors, in lower case, and what they mean; the first that fits counts.
_MEANINGS: tuple[tuple[tuple[str, ...], Meaning], ...] = (
    (
        ("wrongpass", "invalid username-password", "invalid password"),
        Meaning(
            "the server refuses the user or the password",
            "Compare the file `store`, and the password_file that it names, with `ACL LIST` or "
            "requirepass of the server.",
        ),
    ),
    (
        ("noauth ", "authentication required", "hello must be called"),
        Meaning("the server wants a password", "Add password_file=PATH to the file `store`."),
    ),
    (
        ("without any password", "no password is set"),
        Meaning(
            "the server has no password, but the file `store` does",
            "Remove it here, or set requirepass or an ACL user there: now everybody may use it.",
        ),
    ),
    (
        ("noperm ", "has no permissions"),
        Meaning(
            "the user may not do what the store needs",
            f"The server's ACL has to have: ACL SETUSER NAME on >PASSWORD {ACL}",
        ),
    ),
    (
        ("hostname mismatch", "ip address mismatch", "doesn't match"),
        Meaning(
            "the server's certificate is for another name than the one that we connect to",
            "Name it in the file `store` (with Sentinels or a Cluster: in what they announce) as "
            "its certificate does.",
        ),
    ),
    (
        ("certificate has expired",),
        Meaning("the server's certificate has expired", "Renew it on the server."),
    ),
    (
        ("certificate verify failed", "self-signed", "unable to get local issuer"),
        Meaning(
            "the server's certificate is not signed by a CA that we know",
            "Name the file with the certificate of that CA: ssl_ca_certs=PATH.",
        ),
    ),
    (
        (
            "certificate_required",
            "certificate required",
            "handshake_failure",
            "handshake failure",
            "unknown_ca",
            "unknown ca",
            "bad_certificate",
            "bad certificate",
        ),
        Meaning(
            "the server does not accept our certificate, or misses one",
            "Give us one that its tls-ca-cert-file has signed (ssl_certfile=PATH&ssl_keyfile=PATH),"
            " or set tls-auth-clients to no there.",
        ),
    ),
    (
        (
            "wrong_version_number",
            "wrong version number",
            "record layer failure",
            "packet length too long",
        ),
        Meaning(
            "there is no TLS on this port",
            "Write redis in place of rediss, or use the server's tls-port.",
        ),
    ),
    (
        ("readonly you", "masterdown link"),
        Meaning(
            "the server is a replica, which takes no writes",
            "Name its master, or the Sentinels that know it: redis+sentinel://HOST,.../NAME",
        ),
    ),
    (
        ("is not the master now",),
        Meaning(
            "Sentinels name a server that is not the master: a fail-over is under way, or the "
            "Sentinel that answered is cut off from the others",
            "Run this again in a minute, and then: redis-cli -p 26379 SENTINEL masters",
        ),
    ),
    (
        ("is loading the dataset",),
        Meaning("the server is still reading its data from disk", "Wait until it has."),
    ),
    (
        ("misconf ",),
        Meaning(
            "the server cannot save its data, and takes no writes", "See its log; is its disk full?"
        ),
    ),
    (
        ("oom command not allowed",),
        Meaning(
            "the server's memory is full (maxmemory)",
            "qpsmtpd-scaling(7) says how much the store needs; with maxmemory-policy volatile-ttl "
            "what would end first makes room.",
        ),
    ),
    (
        ("knows no master with the name",),
        Meaning(
            "the Sentinels do not know a master of this name",
            "It is what follows `sentinel monitor` in sentinel.conf.",
        ),
    ),
    (
        ("unknown command 'sentinel'", "unknown command `sentinel`"),
        Meaning(
            "this is a server and not a Sentinel",
            "Name the Sentinels with their ports (26379), or write redis in place of "
            "redis+sentinel, without the name.",
        ),
    ),
    (
        (
            "unknown command 'eval'",
            "unknown command `eval`",
            "unknown command 'select'",
            "unknown command `select`",
        ),
        Meaning(
            "this is a Sentinel, or lacks commands that the store needs",
            "For Sentinels write redis+sentinel://HOST[:PORT],.../NAME",
        ),
    ),
    (
        ("moved ",),
        Meaning(
            "the server is a node of a Cluster",
            "Write redis+cluster://HOST[:PORT],... in the file `store`.",
        ),
    ),
    (
        ("cluster support disabled",),
        Meaning("the server is not a part of a Cluster", "Write redis in place of redis+cluster."),
    ),
    (
        ("clusterdown", "knows of no slots"),
        Meaning(
            "the Cluster does not serve all slots: a master without a replica is down, or slots "
            "were never given out",
            "redis-cli --cluster check HOST:PORT says which.",
        ),
    ),
    (
        ("db index is out of range", "select is not allowed in cluster"),
        Meaning("the server does not have this database", "Most have 0 to 15; a Cluster has 0."),
    ),
    (
        ("connection closed", "connection reset", "connection lost", "closed by server"),
        Meaning(
            "the server closes the connection at once: it may want TLS, or a certificate of ours, "
            "or does not want us",
            "On a tls-port write rediss in place of redis, and unless its tls-auth-clients is no, "
            "ssl_certfile=PATH&ssl_keyfile=PATH; see also its log, protected-mode and maxclients.",
        ),
    ),
    (
        ("connect call failed", "connection refused"),
        Meaning("nobody listens there", "Is the server running, and does its `bind` have this?"),
    ),
    (
        ("name or service not known", "no address associated", "name resolution"),
        Meaning("its name cannot be looked up"),
    ),
    (
        ("no answer within", "does not answer", "timed out"),
        Meaning(
            "no answer in time",
            "See store_timeout, and firewalls between here and there; where there is no TLS, "
            "rediss in the file `store` waits in vain.",
        ),
    ),
)


def meaning_of(error: str) -> Meaning:
    """What an error means; the error itself is a part of the text."""
    lowered = error.lower()
    for parts, meaning in _MEANINGS:
        if any(part in lowered for part in parts):
            return Meaning(f"{meaning.text} ({error})", meaning.advice)
    return Meaning(error)
