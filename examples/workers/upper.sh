#!/bin/sh
# Texts in capital letters: a whole worker in shell and awk.
#
#     weir run --worker 'sh examples/workers/upper.sh' -j 2 rows.jsonl
#
# A row is a text, or an object with `text`. The letters a to z become capitals, all other characters stay, also the
# parts of an escape: "a\n\u0061" becomes "A\n\u0041". It starts a few processes for each row, so it is no model for
# speed, but of how little a worker needs. The protocol: docs/worker-protocol.md. Needs head -c, od and any awk.
set -u

# Everything counts in bytes.
LC_ALL=C
export LC_ALL
message_bytes_max=67108864

# Packets go to descriptor 3; what anything else prints goes to the log.
exec 3>&1 1>&2

# Reads a request, prints the response. Exit status: 0, or 9 after a shutdown, or 1 when it is no request.
# shellcheck disable=SC2016
program='
function space() {
    while (index(" \t\r\n", substr(s, at, 1)) && at <= n) at++
}
# Steps over the value at `at`, and returns it as it stands there.
function value(    start, depth, c) {
    space(); start = at; depth = 0
    do {
        c = substr(s, at, 1)
        if (c == "\"") {
            for (at++; at <= n && (c = substr(s, at, 1)) != "\""; at++) if (c == "\\") at++
            at++
        } else if (c == "{" || c == "[") { depth++; at++ }
        else if (c == "}" || c == "]") { depth--; at++ }
        else if (depth && index(", :\t\r\n", c)) at++
        else while (at <= n && !index(",:]} \t\r\n", substr(s, at, 1))) at++
    } while (depth > 0 && at <= n)
    return substr(s, start, at - start)
}
# Fills member[] with what stands in the object `text`, by name.
function read_object(text,    name) {
    split("", member)
    s = text; n = length(s); at = 1; space()
    if (substr(s, at, 1) != "{") return 0
    at++; space()
    while (substr(s, at, 1) == "\"") {
        name = value(); space(); at++
        member[substr(name, 2, length(name) - 2)] = value()
        space(); if (substr(s, at, 1) == ",") { at++; space() }
    }
    return 1
}
# In pieces between the backslashes, each of which begins with what its escape means.
function print_upper(text,    i, count, piece, hex) {
    count = split(text, pieces, "\\")
    printf "%s", toupper(pieces[1])
    for (i = 2; i <= count; i++) {
        piece = pieces[i]
        if (piece == "") {
            printf "\\\\%s", toupper(pieces[++i])
        } else if (substr(piece, 1, 1) == "u") {
            hex = tolower(substr(piece, 2, 4))
            if (hex ~ /^006[1-9a-f]$/) hex = "004" substr(hex, 4)
            else if (hex ~ /^007[0-9a]$/) hex = "005" substr(hex, 4)
            printf "\\u%s%s", hex, toupper(substr(piece, 6))
        } else {
            printf "\\%s%s", substr(piece, 1, 1), toupper(substr(piece, 2))
        }
    }
}
function fail(type, message) {
    printf "{\"id\":%s,\"success\":false,\"error\":{\"type\":\"%s\",\"message\":\"%s\"}}", id, type, message
    exit 0
}
{ all = all (NR > 1 ? "\n" : "") $0 }
END {
    if (!read_object(all) || !("id" in member) || !("command" in member)) exit 1
    id = member["id"]; command = member["command"]; args = member["args"]
    if (command == "\"ping\"" || command == "\"shutdown\"") {
        printf "{\"id\":%s,\"success\":true}", id
        exit (command == "\"shutdown\"" ? 9 : 0)
    }
    if (command != "\"process\"") fail("UnknownCommand", "this worker knows process")
    if (substr(args, 1, 1) == "{") { read_object(args); args = member["text"] }
    if (substr(args, 1, 1) != "\"") fail("ValueError", "a row is a text, or an object with a text as text")
    printf "{\"id\":%s,\"success\":true,\"result\":", id
    print_upper(args)
    printf "}"
}'

while :; do
    # shellcheck disable=SC2046
    set -- $(head -c 4 | od -An -v -tu1)
    # The end of the input is the end.
    [ $# -eq 4 ] || exit 0
    length=$((($1 << 24) + ($2 << 16) + ($3 << 8) + $4))
    if [ $length -gt $message_bytes_max ]; then
        echo 'upper.sh: what came in is not the protocol of workers' >&2
        exit 1
    fi
    # The x keeps line breaks at the end from being lost.
    request=$(head -c $length; echo x)
    request=${request%x}
    [ ${#request} -eq $length ] || exit 0
    response=$(printf '%s' "$request" | awk "$program")
    ended=$? # not `status`, which is zsh's own
    if [ $ended -ne 0 ] && [ $ended -ne 9 ]; then
        echo 'upper.sh: what came in is no request' >&2
        exit 1
    fi
    length=${#response}
    # shellcheck disable=SC2059
    printf "$(printf '\\%03o\\%03o\\%03o\\%03o' $((length >> 24)) $((length >> 16 & 255)) $((length >> 8 & 255)) \
        $((length & 255)))%s" "$response" >&3
    [ $ended -eq 0 ] || exit 0
done
