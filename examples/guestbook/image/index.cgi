#!/bin/sh
# The guestbook's page: lists what visitors wrote, and takes new entries. Redis keeps them.
LC_ALL=C

# Sends one command to Redis, each argument as a counted string, and prints the raw answer.
redis() {
    {
        [ -z "${REDIS_PASSWORD:-}" ] || frame AUTH "$REDIS_PASSWORD"
        frame "$@"
        frame QUIT
    } | nc "${REDIS_HOST:-guestbook-redis}" "${REDIS_PORT:-6379}" | tr -d '\r'
}

frame() {
    printf '*%d\r\n' $#
    for word in "$@"; do printf '$%d\r\n%s\r\n' "${#word}" "$word"; done
}

escape() { sed -e 's/&/\&amp;/g' -e 's/</\&lt;/g' -e 's/>/\&gt;/g'; }

if [ "$REQUEST_METHOD" = POST ]; then
    form=$(head -c "${CONTENT_LENGTH:-0}")
    entry=$(httpd -d "${form#entry=}" | head -c 500 | tr -d '\r\n')
    [ -z "$entry" ] || redis RPUSH guestbook "$entry" >/dev/null
    printf 'Status: 303 See Other\r\nLocation: /\r\n\r\n'
    exit
fi

answer=$(redis LRANGE guestbook 0 -1)
case $answer in
    *'*'*) status='200 OK' ;;
    *) status='503 Service Unavailable' answer= ;;
esac
printf 'Status: %s\r\nContent-Type: text/html; charset=utf-8\r\n\r\n' "$status"
cat <<PAGE
<!doctype html>
<title>${TITLE:-Guestbook}</title>
<h1>${TITLE:-Guestbook}</h1>
<form method="post" action="/cgi-bin/index.cgi"><input name="entry" autofocus><button>Sign</button></form>
<ul>
$(printf '%s\n' "$answer" | grep -v -e '^[+*$:-]' | escape | sed -e '/^$/d' -e 's|.*|<li>&</li>|')
</ul>
<p>Served by $(hostname).</p>
PAGE
