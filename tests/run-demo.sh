#!/bin/sh
# SPDX-License-Identifier: MIT
# Run qpsmtpd from this tree, without root, on 127.0.0.1:PORT, with the shipped
# configuration as far as it goes; mail lands in ./run/Maildir. For `make run`.

set -eu

cd "$(dirname "$0")/.."
bin=${BIN:-.venv/bin}
port=${PORT:-2525}
run=$PWD/run
config=$run/config

case $run in
*[!A-Za-z0-9/._-]*)
    echo "The file plugins has no quotes: this directory's path must be of A-Z a-z 0-9 / . _ -" >&2
    exit 1
    ;;
esac

make_config() {
    mkdir -p "$1"
    "$bin/python" -m maintscripts.render "$1/chains"
    for file in etc/qpsmtpd/*; do
        sed "s|/etc/qpsmtpd/|$config/|; s|/usr/share/qpsmtpd/chains/|$config/chains/|" "$file" \
            >"$1/${file##*/}"
    done
    echo "mx.example.test" >"$1/me"
    echo "logging/warn LOGINFO" >"$1/logging"
    echo "$run/spool" >"$1/spool_dir"
    echo "$run/plugins" >"$1/plugin_dirs"
    echo "queue/maildir $run/Maildir" >"$1/debian-queue-method"
    echo "\$include $config/chains/standard" >"$1/debian-protection"
    printf '%s\n' example.test localhost >"$1/debian-rcpthosts"
    echo "# Empty here, or 127.0.0.1 could send anywhere and would be spared the tests." >"$1/relayclients"
}

if [ ! -d "$config" ]; then
    rm -rf "$config.new"
    make_config "$config.new"
    mv "$config.new" "$config"
fi

cat <<END
qpsmtpd listens on 127.0.0.1:$port; Ctrl-C stops it. A first mail, from another terminal:

  swaks --server 127.0.0.1:$port --from me@example.com --to you@example.test

or without swaks:

  python3 -c "import smtplib; s = smtplib.SMTP('127.0.0.1', $port); s.sendmail('me@example.com', 'you@example.test', 'From: me@example.com\nSubject: Hello\n\nWorld\n'); s.quit()"

It lands in ./run/Maildir/new. What became of it, and how the daemon is doing:

  $bin/qpsmtpd log --config run/config
  $bin/qpsmtpd status --figures run/figures/figures

The configuration is in ./run/config, to be edited and, when it is
deleted, made anew; your plugins go to ./run/plugins.

END

# What `qpsmtpd status` shows lies there.
mkdir -p "$run/figures"
RUNTIME_DIRECTORY=$run/figures exec "$bin/qpsmtpd" run --config "$config" --listen "127.0.0.1:$port" --workers 1
