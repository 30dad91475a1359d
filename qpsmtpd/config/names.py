# SPDX-License-Identifier: MIT
"""Names of plugins: those of the Perl version, and the older ones that still work."""

from __future__ import annotations

from collections.abc import Sequence

#: The current name of a plugin, and the arguments that the old name implies.
_ALIASES: dict[str, tuple[str, tuple[str, ...]]] = {
    "check_badmailfrom": ("badmailfrom", ()),
    "check_badmailfrom_patterns": ("badmailfrom", ("patterns",)),
    "check_badmailfromto": ("badmailfromto", ()),
    "check_badrcptto": ("badrcptto", ()),
    "check_badrcptto_patterns": ("badrcptto", ("patterns",)),
    "check_basicheaders": ("headers", ("check_basicheaders",)),
    "check_bogus_bounce": ("bogus_bounce", ()),
    "check_earlytalker": ("earlytalker", ()),
    "check_loop": ("loop", ()),
    "check_norelay": ("relay", ()),
    "check_qmail_deliverable": ("qmail_deliverable", ()),
    "check_relay": ("relay", ()),
    "check_spamhelo": ("helo", ()),
    "check_unrecognized_commands": ("count_unrecognized_commands", ()),
    "clamav": ("virus/clamav", ()),
    "clamdscan": ("virus/clamdscan", ()),
    "config/http": ("http_config", ()),
    "denysoft_greylist": ("greylisting", ()),
    "dkimcheck": ("dkim", ()),
    "geoip": ("ident/geoip", ()),
    "ident/geoip2": ("ident/geoip", ()),
    "klez_filter": ("virus/klez_filter", ()),
    "logging/file_connection": ("logging/file", ()),
    "p0f": ("ident/p0f", ()),
    "relay_only": ("relay", ("only", "1")),
    "require_resolvable_fromhost": ("resolvable_fromhost", ()),
    "whitelist_soft": ("whitelist", ()),
}

_PERL_PLUGINS = """
    auth/auth_checkpassword auth/auth_cvm_unix_local auth/auth_flat_file auth/auth_imap
    auth/auth_ldap_bind auth/auth_vpopmail auth/auth_vpopmail_sql auth/auth_vpopmaild auth/authdeny
    badmailfrom badmailfromto badrcptto bogus_bounce connection_time content_log
    count_unrecognized_commands dkim dmarc dns_whitelist_soft dnsbl domainkeys
    dont_require_anglebrackets dspam earlytalker fcrdns greylisting headers helo help hosts_allow
    http_config ident/geoip ident/p0f karma loadcheck logging/adaptive logging/apache
    logging/connection_id logging/devnull logging/file logging/syslog logging/transaction_id
    logging/warn loop milter naughty noop_counter parse_addr_withhelo qmail_deliverable
    queue/exim-bsmtp queue/maildir queue/postfix-queue queue/qmail-queue queue/smtp-forward
    quit_fortune random_error rcpt_map rcpt_ok rcpt_regexp relay resolvable_fromhost rhsbl
    sender_permitted_from spamassassin stunnel tls tls_cert uribl user_config virus/aveclient
    virus/bitdefender virus/clamav virus/clamdscan virus/hbedv virus/kavscanner virus/klez_filter
    virus/sophie virus/uvscan whitelist
"""

#: The plugins of the Perl version.
PERL_PLUGINS = frozenset(_PERL_PLUGINS.split())


def todays_name(name: str) -> tuple[str, Sequence[str]]:
    """The current name of a plugin, and the arguments that an old name implies."""
    # Up to version 0.94 these were the variants for one of its servers.
    name = name.removeprefix("async/")
    return _ALIASES.get(name, (name, ()))


def implied_instance(name: str) -> str:
    """What tells the plugin with this old name from one with its current name in the same chain."""
    return "patterns" if name.endswith("_patterns") and name in _ALIASES else ""


def old_names(name: str) -> list[str]:
    """The older names of a plugin that still work."""
    return [old for old, (todays, _) in _ALIASES.items() if todays == name]


def module_name(name: str) -> str:
    """The module of a plugin below `qpsmtpd.plugins`: queue/qmail-queue is queue.qmail_queue."""
    return name.replace("-", "_").replace("/", ".")
