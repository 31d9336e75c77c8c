#!/bin/sh
# uvicorn behind nginx in one container: on a UNIX socket, or on loopback.
case "$1" in
unix) uvicorn fastapi_app:app --uds /tmp/app.sock --no-access-log & ;;
tcp) uvicorn fastapi_app:app --host 127.0.0.1 --port 8001 --no-access-log & ;;
esac
# nginx's port tells that the container is ready, so the server comes first.
until [ -S /tmp/app.sock ] || grep -q ":1F41 00000000:0000 0A" /proc/net/tcp; do sleep 0.1; done
exec nginx -c "/srv/nginx_$1.conf" -g "daemon off;"
