# SPDX-License-Identifier: MIT
"""What the command `plugin` does for authors of plugins: it begins one, and tests one.

scaffold.py writes a plugin with its test, loading.py loads a plugin as check-config does, and
runner.py runs its test where there is no pytest.
"""
