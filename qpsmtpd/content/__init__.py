# SPDX-License-Identifier: MIT
"""What is in a message: its parts, their text, and the hosts that links in it lead to.

Everything here is the sender's to choose, so all of it takes linear time, in slices that the caller
chooses, and keeps a few kilobytes whatever comes.
"""
