# Print the lines of the file plugins whose plugin this version does not have, and that stop the start
# for that reason, as "FILE:NUMBER: LINE". There is nothing but essential packages. (Two blanks, and no
# two parentheses in a row: lintian takes awk for shell, and these for bashisms.)
missing_lines() {
    awk -v etc="${DPKG_ROOT:-}/etc/qpsmtpd" -v root="${DPKG_ROOT:-}" -v known=" @KNOWN@ " \
        "$(cat <<'AWK'
    function  is_there(file,   line, found) {
        found = (getline line < file) >= 0
        close(file)
        return found
    }
    function  has(name,   python, i) {
        sub(/^async\//, "", name)
        python = name
        gsub(/-/, "_", python)
        if (index(known, " " python " ")) return 1
        for (i = 1; i <= directories; i++)
            if (is_there(root directory[i] "/" name ".py") || is_there(root directory[i] "/" python ".py"))
                return 1
        return 0
    }
    function  check(file,   line, number, word, name) {
        if (file in reading) return # a circle
        reading[file]
        while (0 < (getline line < file)) {
            number++
            gsub(/^[ \t\r]+|[ \t\r]+$/, "", line)
            if (line == "" || line ~ /^#/) continue
            split(line, word, /[ \t]+/)
            if (word[1] == "$include") {
                sub(/^[^ \t]+[ \t]*/, "", line)
                check(line ~ /^\// ? root line : etc "/" line)
                continue
            }
            name = word[1]
            sub(/:[0-9]+$/, "", name)
            if (!has(name)) print substr(file, length(root) + 1) ":" number ": " line
        }
        close(file)
        delete reading[file]
    }
    function  meaning(line) {
        gsub(/^[ \t\r]+|[ \t\r]+$/, "", line)
        return line ~ /^#/ ? "" : line
    }
    BEGIN {
        file = etc "/missing_plugins"
        while (0 < (getline line < file)) if (meaning(line) == "skip") exit
        file = etc "/plugin_dirs"
        while (0 < (getline line < file)) {
            line = meaning(line)
            if (line != "") directory[++directories] = line
        }
        check(etc "/plugins")
    }
AWK
)" 2>/dev/null || true
}
