# SPDX-License-Identifier: MIT
"""The plugins that come with qpsmtpd, one file each, named as in the Perl version."""
