# SPDX-License-Identifier: MIT
"""What `qpsmtpd try` does: plays messages through the real session, and delivers nothing.

    mailbox.py, envelope.py -> Attempt -> client.py -> a socket pair -> SmtpProtocol of the daemon
                                                    -> Course (course.py) -> report.py, compare.py

A stage (stage.py) is a configuration that is loaded as the daemon loads it, and served by the code
of the daemon.  What differs: the hook `queue` hands nothing over, the store is only read, and the
chain writes down what each plugin answers.  names.py records and plays back the DNS.
"""
