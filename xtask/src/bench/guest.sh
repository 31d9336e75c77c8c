#!/bin/sh
# Counts instructions a request in an emulated guest:
#   guest.sh SERVER REQUESTS TIMES PHASE...
# A phase is `nothing`, `other` (modeltap watches another container) or
# `watched`; each is measured so many times. The guest's clock advances by one
# nanosecond an instruction, so what a cgroup used of the processor is what it
# executed. Prints lines `phase NAME SERVER CLIENT DAEMON` in microseconds.
set -eu
server=$1
requests=$2
times=$3
shift 3
root=/sys/fs/cgroup
watched=$(printf 'a%063d' 1)
other=$(printf 'b%063d' 2)
scope=docker-$watched.scope
ulimit -n 65536
. ./settings

become() { # CGROUP COMMAND...
    mkdir -p "$root/$1"
    exec sh -c 'echo $$ > "$0/cgroup.procs"; exec "$@"' "$root/$@"
}
used() { sed -n 's/^usage_usec //p' "$root/$1/cpu.stat"; }
send() { (become client ./load --targets 127.0.0.1:8000 --requests "$1") > /dev/null; }
await() { # FILE TEXT
    n=0
    until grep -q "$2" "$1" 2> /dev/null; do
        sleep 0.1
        n=$((n + 1))
        if [ $n -gt 600 ]; then
            cat "$1"
            echo "no '$2' within a minute"
            exit 1
        fi
    done
}
start() { # CONTAINER=PID
    rm -f /tmp/log /tmp/port /tmp/docker.sock
    python3 docker.py /tmp/docker.sock "$1" &
    docker=$!
    until [ -S /tmp/docker.sock ]; do sleep 0.1; done
    become modeltap ./modeltap run --listen 127.0.0.1:7979 --data-dir /tmp/data \
        --docker-host unix:///tmp/docker.sock --port-file /tmp/port --max-cpu off > /tmp/log 2>&1 &
    daemon=$!
    await /tmp/log 'watching a container'
    await /tmp/port .
}
stop() {
    kill $daemon
    wait $daemon || true
    kill $docker
    wait $docker 2> /dev/null || true
}
measure() { # PHASE
    send 50
    n=0
    while [ $n -lt "$times" ]; do
        before="$(used $scope) $(used client) $(used modeltap)"
        send "$requests"
        after="$(used $scope) $(used client) $(used modeltap)"
        echo "$1 $before $after" | awk '{ print "phase", $1, $5 - $2, $6 - $3, $7 - $4 }'
        n=$((n + 1))
    done
}
profile() { # PHASE: what each program executed
    command -v bpftool > /dev/null || return 0
    echo 1 > /proc/sys/kernel/bpf_stats_enabled
    bpftool -j prog show > "$1-before.json"
    send "$requests"
    bpftool -j prog show > "$1-after.json"
    echo 0 > /proc/sys/kernel/bpf_stats_enabled
}

mkdir -p $root/client $root/modeltap /tmp/bench-nginx
case $server in
nginx) become $scope "$NGINX" -c "$PWD/nginx.conf" > /tmp/server.log 2>&1 & ;;
uvicorn) become $scope "$PYTHON" -m uvicorn app:app --port 8000 --no-access-log \
    --loop uvloop --http httptools > /tmp/server.log 2>&1 & ;;
predictor) become $scope ./predictor --port 8000 --latency-ms 0 --error-rate 0 > /tmp/server.log 2>&1 & ;;
esac
server_pid=$!
become docker-$other.scope sleep 100000 &
other_pid=$!
n=0
until ./load --targets 127.0.0.1:8000 --requests 1 > /dev/null 2>&1; do
    sleep 0.2
    n=$((n + 1))
    [ $n -lt 300 ] || { cat /tmp/server.log; exit 1; }
done

# Interpreters become faster with the first thousands.
send $((2 * requests))

for phase; do
    case $phase in
    nothing) measure nothing ;;
    other)
        start "$other=$other_pid"
        measure other
        profile other
        stop
        ;;
    watched)
        start "$watched=$server_pid"
        measure watched
        profile watched
        # Everything sent was seen, or the figures say nothing.
        sleep 1
        echo "status $(python3 -c 'import urllib.request as r
print(r.urlopen("http://127.0.0.1:7979/api/v1/status").read().decode())')"
        stop
        ;;
    esac
done
