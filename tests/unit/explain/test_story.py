# SPDX-License-Identifier: MIT
from pathlib import Path
from typing import Any

from qpsmtpd.config.files import ConfigFiles
from qpsmtpd.config.pluginfinder import shipped_plugins
from qpsmtpd.decisions.decision import Said
from qpsmtpd.explain.remedy import remedies
from qpsmtpd.explain.story import story
from tests.unit.decisions.examples import a_decision


def told(**changes: Any) -> str:
    return "\n".join(story(a_decision(**changes)))


def test_a_message_in_sentences() -> None:
    text = told()
    for sentence in (
        "192.0.2.7 (mail.client.example), which called itself client.example, connected with TLS",
        "from <Sender@Client.example>, to <user@example.test> and 1 other, 4711 bytes",
        "It was refused by the plugin spamassassin: 552 5.7.1 spam score exceeded threshold "
        "(the reason: score 12 of 5).",
        "connect            dnsbl refused (mode=shadow: it only would have): listed",
        "data_post          spamassassin refused after 0.4 s: score 12 of 5",
    ):
        assert sentence in text


def test_what_was_found_of_a_message() -> None:
    assert "Checks found spf=pass, dmarc=pass." in told(results="spf=pass dmarc=pass")


def test_a_recipient_and_an_accepted_message() -> None:
    assert "The recipient user@example.test was refused by" in told(
        hook="rcpt", about="user@example.test"
    )
    text = told(outcome="accepted", plugin="queue/exim-bsmtp", next_hop_id="1abc", sender="")
    assert "from the null sender <>" in text
    assert "The mail system behind has it as 1abc." in text


def test_every_outcome_has_words() -> None:
    outcomes = ("decided", "provisional", "passed", "tolerated", "naughty", "shadow", "tag")
    trail = tuple(Said("rcpt", "p", outcome, "", "", 0.0) for outcome in (*outcomes, "fault"))
    assert told(trail=trail).count("had no opinion") == len(trail)


def test_text_of_strangers_is_escaped() -> None:
    text = told(
        helo="\x1b[2J",
        sender="\u202e@x",
        about="\n",
        reply="\x07",
        message_id="\x00",
        plugin="\x1b",
    )
    assert all(line.isprintable() for line in text.split("\n"))


def advice(directory: Path, **changes: Any) -> str:
    (directory / "plugins").write_text("badmailfrom reject 1\nkarma:strict\ndnsbl\n")
    return "\n".join(remedies(a_decision(**changes), ConfigFiles([directory])))


def test_what_to_do_about_it(tmp_path: Path) -> None:
    text = advice(tmp_path, plugin="badmailfrom")
    for part in (
        "the file badmailfrom: ",
        "`reject 0`",
        "plugins:1)",
        "192.0.2.7 to whitelisthosts",
    ):
        assert part in text
    assert "qpsmtpd karma release" in advice(tmp_path, plugin="karma:strict")
    assert "mode=shadow" in advice(tmp_path, plugin="of_my_own")
    assert "rcpthosts" in advice(tmp_path, plugin="core", reply="550 5.7.1 Relaying denied")
    assert "protocol" in advice(tmp_path, plugin="core", reply="503 5.5.1 no")
    assert advice(tmp_path, outcome="accepted") == ""


def test_remedies_are_clauses() -> None:
    """They stand in a list, as what else is said about a plugin."""
    texts = [cls.remedy for cls in shipped_plugins().values() if cls.remedy]
    assert len(texts) > 5
    assert all(not text.endswith(".") and "  " not in text for text in texts)
