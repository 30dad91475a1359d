# SPDX-License-Identifier: MIT
"""What plugin authors import.  Names leave it only after a release that warns.

from qpsmtpd.api import Plugin, Session, Verdict, deny
"""

from qpsmtpd.errors import AddressError, ConfigError, DnsError, StoreError
from qpsmtpd.lists.addresses import AddressList, compile_pattern
from qpsmtpd.lists.dnslists import DnsList, reversed_address
from qpsmtpd.lists.hosts import HostList, parse_hosts, read_hosts
from qpsmtpd.logs.levels import NOTHING, LogLevel
from qpsmtpd.logs.outlets import DatagramOutlet, FileOutlet, Outlet, PipeOutlet
from qpsmtpd.logs.records import (
    format_record,
    printable_text,
    record_text,
    stderr_text,
    write_stderr,
)
from qpsmtpd.mail.address import (
    Address,
    ReversePath,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)
from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.headers import HeaderField, Headers
from qpsmtpd.mail.ip import Endpoint, IPAddress, IPNetwork, parse_ip
from qpsmtpd.mail.message import Body, Message, scratch_file
from qpsmtpd.mail.notes import Note, Notes
from qpsmtpd.mail.session import AuthAttempt, ReceivedInfo, Recipient, Session, TlsInfo, Transaction
from qpsmtpd.mail.trail import Answer, Trail
from qpsmtpd.mail.verdict import (
    Decision,
    Verdict,
    accept,
    defer,
    deny,
    unless_another,
    verdict_from_word,
)
from qpsmtpd.plugin.base import (
    HookResult,
    ParsedPath,
    Plugin,
    RejectOptions,
    fit_status,
    password_matches,
    rejection,
)
from qpsmtpd.plugin.options import NoOptions, Seconds, Size, opt
from qpsmtpd.plugin.services import Clock, Config, Entry, Resolver, Services, Store

__all__ = [
    "NOTHING",
    "Address",
    "AddressError",
    "AddressList",
    "Answer",
    "AuthAttempt",
    "AuthResult",
    "Body",
    "Clock",
    "Config",
    "ConfigError",
    "DatagramOutlet",
    "Decision",
    "DnsError",
    "DnsList",
    "Endpoint",
    "Entry",
    "FileOutlet",
    "HeaderField",
    "Headers",
    "HookResult",
    "HostList",
    "IPAddress",
    "IPNetwork",
    "LogLevel",
    "Message",
    "NoOptions",
    "Note",
    "Notes",
    "Outlet",
    "ParsedPath",
    "PipeOutlet",
    "Plugin",
    "ReceivedInfo",
    "Recipient",
    "RejectOptions",
    "Resolver",
    "ReversePath",
    "Seconds",
    "Services",
    "Session",
    "Size",
    "Store",
    "StoreError",
    "TlsInfo",
    "Trail",
    "Transaction",
    "Verdict",
    "accept",
    "compile_pattern",
    "defer",
    "deny",
    "fit_status",
    "format_record",
    "opt",
    "parse_forward_path",
    "parse_hosts",
    "parse_ip",
    "parse_mailbox",
    "parse_reverse_path",
    "password_matches",
    "printable_text",
    "read_hosts",
    "record_text",
    "rejection",
    "reversed_address",
    "scratch_file",
    "stderr_text",
    "unless_another",
    "verdict_from_word",
    "write_stderr",
]
