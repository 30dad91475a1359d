# SPDX-License-Identifier: MIT
from qpsmtpd.decisions.decision import Said
from qpsmtpd.decisions.privacy import Privacy, hashed
from tests.unit.decisions.examples import a_decision

KEY = b"secret"
#: Everything in which an address may stand.
WITH_ADDRESSES = a_decision(
    about="user@example.test",
    user="sender@client.example",
    reply="550 5.1.1 user@example.test is unknown",
    reason="other@example.test",
    message_id="<user@example.test>",
    trail=(Said("rcpt", "p", "decided", "deny", "no user@example.test here", 0.1),),
)


def test_by_default_everything_is_kept() -> None:
    assert Privacy().applied(WITH_ADDRESSES, KEY) is WITH_ADDRESSES


def test_only_the_domain_is_kept() -> None:
    kept = Privacy(addresses="domain").applied(WITH_ADDRESSES, KEY)
    text = kept.encode()
    for local in ("user@", "other@", "ender@"):
        assert local not in text
    assert kept.recipients == ("*@example.test", "*@example.test")
    assert kept.reply == "550 5.1.1 *@example.test is unknown"


def test_a_hash_finds_the_address_again_however_it_is_spelled() -> None:
    kept = Privacy(addresses="hashed").applied(WITH_ADDRESSES, KEY)
    assert kept.sender == f"{hashed('SENDER@client.EXAMPLE', KEY)}@Client.example"
    assert "user@" not in kept.encode()
    assert hashed("user@example.test", b"other") != hashed("user@example.test", KEY)


def test_users_without_a_domain_are_hidden_too() -> None:
    decision = a_decision(user="joe")
    assert Privacy(addresses="domain").applied(decision, KEY).user == "*"
    assert Privacy(addresses="hashed").applied(decision, KEY).user == hashed("joe", KEY)


def test_only_the_network_of_a_client_is_kept() -> None:
    privacy = Privacy(clients="network")
    kept = privacy.applied(a_decision(), KEY)
    assert (kept.ip, kept.name, kept.helo) == ("192.0.2.0/24", "", "")
    assert privacy.network("2001:db8::7") == "2001:db8::/64"
