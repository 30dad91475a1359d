# SPDX-License-Identifier: MIT
"""What plugin authors import.  Names are removed only after a release that warns.

from qpsmtpd.api import Plugin, Session, Verdict, deny
"""

from qpsmtpd.errors import (
    AddressError,
    ConfigError,
    DnsError,
    DnsLimitError,
    PeerError,
    StoreError,
)
from qpsmtpd.lists.addresses import AddressList, AddressSet
from qpsmtpd.lists.clientlist import ClientList
from qpsmtpd.lists.clientrecords import ClientRecord, ClientRecords, client_key
from qpsmtpd.lists.dnslists import DnsList, reversed_address
from qpsmtpd.lists.domains import OUR_DOMAINS, DomainList, HelloList, our_domains
from qpsmtpd.lists.dynamicnames import looks_dynamic
from qpsmtpd.lists.hosts import HostList, parse_hosts, read_hosts, read_network
from qpsmtpd.lists.lines import made_of, read_all, read_each
from qpsmtpd.lists.listchecks import CLIENTS, DOMAINS, check_lists
from qpsmtpd.lists.listcodes import Codes, is_among, read_codes
from qpsmtpd.lists.patterns import Pattern, compile_pattern
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
    address_key,
    parse_forward_path,
    parse_mailbox,
    parse_reverse_path,
)
from qpsmtpd.mail.authresult import AuthResult
from qpsmtpd.mail.capabilities import (
    announce_limit,
    offer_extension,
    offers_extension,
    withdraw_extension,
)
from qpsmtpd.mail.domain import (
    Domain,
    Spellings,
    canonical_domain,
    domain_spellings,
    literal_address,
    looks_like_address,
)
from qpsmtpd.mail.headers import HeaderField, Headers
from qpsmtpd.mail.ip import Endpoint, IPAddress, IPNetwork, network_of, parse_ip
from qpsmtpd.mail.message import Body, Message
from qpsmtpd.mail.notes import Note, Notes
from qpsmtpd.mail.scratch import scratch_file
from qpsmtpd.mail.session import (
    AuthAttempt,
    AuthExchange,
    Challenge,
    ReceivedInfo,
    Recipient,
    Session,
    TlsInfo,
    Transaction,
)
from qpsmtpd.mail.text import printable_ascii
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
from qpsmtpd.mailauth.aggregate import published_by as dmarc_published
from qpsmtpd.mailauth.aggregate import row_of as dmarc_row
from qpsmtpd.mailauth.aggregatecounts import AggregateCounts as DmarcCounts
from qpsmtpd.mailauth.arc import ArcResult, ArcVerifier
from qpsmtpd.mailauth.author import Author, read_author
from qpsmtpd.mailauth.budget import resolver_for
from qpsmtpd.mailauth.canonical import BodyHash as DkimBodyHash
from qpsmtpd.mailauth.canonical import Canonicalization as DkimCanonicalization
from qpsmtpd.mailauth.dkim import DkimResult
from qpsmtpd.mailauth.dkim import Verifier as DkimVerifier
from qpsmtpd.mailauth.dkimsigning import Form as DkimForm
from qpsmtpd.mailauth.dkimsigning import NotSignableError, dkim_signatures
from qpsmtpd.mailauth.dkimsigning import SigningKey as DkimSigningKey
from qpsmtpd.mailauth.dmarc import DmarcResult
from qpsmtpd.mailauth.dmarc import Evaluation as DmarcEvaluation
from qpsmtpd.mailauth.dmarc import Identifier as DmarcIdentifier
from qpsmtpd.mailauth.dmarc import identifiers_of as dmarc_identifiers
from qpsmtpd.mailauth.dmarcrecord import DmarcRecord
from qpsmtpd.mailauth.publicsuffix import PublicSuffixes, read_public_suffixes
from qpsmtpd.mailauth.results import (
    ARC_RESULT,
    DKIM_RESULTS,
    DMARC_RESULT,
    SPF_RESULT,
    arc_auth_result,
    dkim_auth_result,
    dmarc_auth_result,
    received_spf,
    spf_auth_result,
)
from qpsmtpd.mailauth.spf import SpfQuery, SpfResult, check_host
from qpsmtpd.plugin.base import (
    HookResult,
    ParsedPath,
    Plugin,
    RejectKind,
    RejectMode,
    RejectOptions,
    RejectType,
    fit_status,
    password_matches,
    rejection,
)
from qpsmtpd.plugin.breaker import Breaker
from qpsmtpd.plugin.certificates import check_certificate
from qpsmtpd.plugin.dkimchecks import check_keys as check_dkim_keys
from qpsmtpd.plugin.dkimfiles import Keyring as DkimKeyring
from qpsmtpd.plugin.dkimfiles import read_keys as read_dkim_keys
from qpsmtpd.plugin.filechecks import check_directory, check_program, socket_denied
from qpsmtpd.plugin.finding import Finding, Severity
from qpsmtpd.plugin.options import NoOptions, Seconds, Size, matching, opt, with_defaults
from qpsmtpd.plugin.place import PLACE_FORMS, Place, parse_place, parse_places
from qpsmtpd.plugin.reportoptions import DmarcReportOptions
from qpsmtpd.plugin.services import (
    Clock,
    Config,
    DnsAnswer,
    Entry,
    RecordType,
    Resolver,
    Services,
    Store,
)
from qpsmtpd.plugin.system import Account, Obstacle, Output, System
from qpsmtpd.plugin.timelimit import time_limit
from qpsmtpd.plugin.verification import KNOWN, Verification, unavailable, unknown, unsure
from qpsmtpd.scanners.results import SPAM_RESULTS, VIRUS_RESULTS, SpamResult, VirusResult

__all__ = [
    "ARC_RESULT",
    "CLIENTS",
    "DKIM_RESULTS",
    "DMARC_RESULT",
    "DOMAINS",
    "KNOWN",
    "NOTHING",
    "OUR_DOMAINS",
    "PLACE_FORMS",
    "SPAM_RESULTS",
    "SPF_RESULT",
    "VIRUS_RESULTS",
    "Account",
    "Address",
    "AddressError",
    "AddressList",
    "AddressSet",
    "Answer",
    "ArcResult",
    "ArcVerifier",
    "AuthAttempt",
    "AuthExchange",
    "AuthResult",
    "Author",
    "Body",
    "Breaker",
    "Challenge",
    "ClientList",
    "ClientRecord",
    "ClientRecords",
    "Clock",
    "Codes",
    "Config",
    "ConfigError",
    "DatagramOutlet",
    "Decision",
    "DkimBodyHash",
    "DkimCanonicalization",
    "DkimForm",
    "DkimKeyring",
    "DkimResult",
    "DkimSigningKey",
    "DkimVerifier",
    "DmarcCounts",
    "DmarcEvaluation",
    "DmarcIdentifier",
    "DmarcRecord",
    "DmarcReportOptions",
    "DmarcResult",
    "DnsAnswer",
    "DnsError",
    "DnsLimitError",
    "DnsList",
    "Domain",
    "DomainList",
    "Endpoint",
    "Entry",
    "FileOutlet",
    "Finding",
    "HeaderField",
    "Headers",
    "HelloList",
    "HookResult",
    "HostList",
    "IPAddress",
    "IPNetwork",
    "LogLevel",
    "Message",
    "NoOptions",
    "NotSignableError",
    "Note",
    "Notes",
    "Obstacle",
    "Outlet",
    "Output",
    "ParsedPath",
    "Pattern",
    "PeerError",
    "PipeOutlet",
    "Place",
    "Plugin",
    "PublicSuffixes",
    "ReceivedInfo",
    "Recipient",
    "RecordType",
    "RejectKind",
    "RejectMode",
    "RejectOptions",
    "RejectType",
    "Resolver",
    "ReversePath",
    "Seconds",
    "Services",
    "Session",
    "Severity",
    "Size",
    "SpamResult",
    "Spellings",
    "SpfQuery",
    "SpfResult",
    "Store",
    "StoreError",
    "System",
    "TlsInfo",
    "Trail",
    "Transaction",
    "Verdict",
    "Verification",
    "VirusResult",
    "accept",
    "address_key",
    "announce_limit",
    "arc_auth_result",
    "canonical_domain",
    "check_certificate",
    "check_directory",
    "check_dkim_keys",
    "check_host",
    "check_lists",
    "check_program",
    "client_key",
    "compile_pattern",
    "defer",
    "deny",
    "dkim_auth_result",
    "dkim_signatures",
    "dmarc_auth_result",
    "dmarc_identifiers",
    "dmarc_published",
    "dmarc_row",
    "domain_spellings",
    "fit_status",
    "format_record",
    "is_among",
    "literal_address",
    "looks_dynamic",
    "looks_like_address",
    "made_of",
    "matching",
    "network_of",
    "offer_extension",
    "offers_extension",
    "opt",
    "our_domains",
    "parse_forward_path",
    "parse_hosts",
    "parse_ip",
    "parse_mailbox",
    "parse_place",
    "parse_places",
    "parse_reverse_path",
    "password_matches",
    "printable_ascii",
    "printable_text",
    "read_all",
    "read_author",
    "read_codes",
    "read_dkim_keys",
    "read_each",
    "read_hosts",
    "read_network",
    "read_public_suffixes",
    "received_spf",
    "record_text",
    "rejection",
    "resolver_for",
    "reversed_address",
    "scratch_file",
    "socket_denied",
    "spf_auth_result",
    "stderr_text",
    "time_limit",
    "unavailable",
    "unknown",
    "unless_another",
    "unsure",
    "verdict_from_word",
    "with_defaults",
    "withdraw_extension",
    "write_stderr",
]
