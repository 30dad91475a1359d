# SPDX-License-Identifier: MIT
"""The thinking behind the maintainer scripts of the Debian package.

ask.py becomes the body of `config` when the package is built; configure.py is what `postinst` runs.
"""
