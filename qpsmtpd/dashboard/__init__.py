# SPDX-License-Identifier: MIT
"""The dashboard: pages for the administrator's browser.  It reads and changes nothing.

    browser -> web server (or ssh -L) -> application -> views -> archive (the store)
                                              |           +----> chain (the configuration)
                                              +-> pages   +----> status of the daemon

It is a process of its own: nothing that it does can slow or stop mail.  application.py has the
addresses; guard.py lets only harmless requests in, and puts on each response what forbids the
browser everything that the pages do not need.  views.py finds what is on a page, pages.py makes
HTML of it, and escapes everything; archive.py asks the store, in threads and within limits; live.py
keeps a page up to date in all browsers that look at it.

The pages need no JavaScript: static/live.js replaces parts of them by newer ones, and no more.
Links are relative, so a web server may put them below any path.
"""
