"""An HTTP/1.1 server that moves bytes and hands connections on in the ways that
frameworks seldom do, chosen by its command line."""

import argparse
import ctypes
import json
import os
import select
import signal
import socket
import tempfile
import threading

libc = ctypes.CDLL(None, use_errno=True)
MSG_WAITFORONE = 0x10000


class IoVec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Message(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("name_length", ctypes.c_uint32),
        ("segments", ctypes.POINTER(IoVec)),
        ("n_segments", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("control_length", ctypes.c_size_t),
        ("flags", ctypes.c_int),
        ("padding", ctypes.c_int),
        ("moved", ctypes.c_uint32),
    ]


def messages(buffers):
    """A `struct mmsghdr` for each buffer, and what keeps their memory."""
    vectors = [IoVec(ctypes.addressof(buffer), len(buffer)) for buffer in buffers]
    array = (Message * len(buffers))()
    for message, vector in zip(array, vectors):
        message.segments = ctypes.pointer(vector)
        message.n_segments = 1
    return array, vectors


def checked(result):
    if result < 0:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return result


def buffers_of(parts):
    return [ctypes.create_string_buffer(part, len(part)) for part in parts]


def recvmmsg(fd, flags=MSG_WAITFORONE):
    # Small, so that a request needs several.
    buffers = buffers_of([bytes(48)] * 3)
    array, _vectors = messages(buffers)
    n = checked(libc.recvmmsg(fd, array, len(buffers), flags, None))
    return b"".join(buffers[i].raw[: array[i].moved] for i in range(n))


def peeked_recvmmsg(fd):
    recvmmsg(fd, MSG_WAITFORONE | socket.MSG_PEEK)
    return recvmmsg(fd)


def sendmmsg(fd, parts):
    parts = [part for part in parts if part]
    buffers = buffers_of(parts)
    array, _vectors = messages(buffers)
    n = checked(libc.sendmmsg(fd, array, len(buffers), 0))
    for i in range(len(parts)):
        sent = array[i].moved if i < n else 0
        write_all(fd, parts[i][sent:])


def preadv2(fd):
    (buffer,) = buffers_of([bytes(4096)])
    vector = IoVec(ctypes.addressof(buffer), len(buffer))
    n = checked(libc.preadv2(fd, ctypes.byref(vector), 1, ctypes.c_long(-1), 0))
    return buffer.raw[:n]


def pwritev2(fd, parts):
    buffers = buffers_of(parts)
    vectors = (IoVec * len(parts))(*[IoVec(ctypes.addressof(b), len(b)) for b in buffers])
    n = checked(libc.pwritev2(fd, vectors, len(parts), ctypes.c_long(-1), 0))
    write_all(fd, b"".join(parts)[n:])


def readv(fd):
    buffers = [bytearray(7), bytearray(30), bytearray(4096)]
    n = os.readv(fd, buffers)
    return b"".join(buffers)[:n]


def write_all(fd, data):
    while data:
        data = data[os.write(fd, data) :]


def on_socket(fd, action):
    """Calls a method of the descriptor's socket; the descriptor stays open."""
    borrowed = socket.socket(fileno=fd)
    try:
        return action(borrowed)
    finally:
        borrowed.detach()


def peeked(fd):
    def action(borrowed):
        borrowed.recv(4096, socket.MSG_PEEK)
        borrowed.recv(10, socket.MSG_PEEK | socket.MSG_TRUNC)
        return borrowed.recv(4096)

    return on_socket(fd, action)


def splice_all(source, target, length):
    while length:
        length -= os.splice(source, target, length)


def spliced(fd, parts):
    head, body = parts
    write_all(fd, head)
    if body:
        out, into = os.pipe()
        write_all(into, body)
        splice_all(out, fd, len(body))
        os.close(out)
        os.close(into)


def sendfile(fd, parts):
    head, body = parts
    write_all(fd, head)
    with tempfile.TemporaryFile() as file:
        file.write(body)
        file.flush()
        at = 0
        while at < len(body):
            at += os.sendfile(fd, file.fileno(), at, len(body) - at)


READS = {
    "read": lambda fd: os.read(fd, 4096),
    "byte": lambda fd: os.read(fd, 1),
    "readv": readv,
    "preadv2": preadv2,
    "recvmsg": lambda fd: on_socket(fd, lambda s: s.recvmsg(4096)[0]),
    "recvmmsg": recvmmsg,
    "peek": peeked,
    "peek-many": peeked_recvmmsg,
    # The head by `read`, the body by `splice` or thrown away by `MSG_TRUNC`.
    "splice": lambda fd: os.read(fd, 1),
    "trunc": lambda fd: os.read(fd, 1),
}
WRITES = {
    "write": lambda fd, parts: [write_all(fd, part) for part in parts],
    "byte": lambda fd, parts: [write_all(fd, bytes([b])) for part in parts for b in part],
    "writev": lambda fd, parts: os.writev(fd, parts),
    "pwritev2": pwritev2,
    "sendmsg": lambda fd, parts: on_socket(fd, lambda s: s.sendmsg(parts)),
    "sendmmsg": sendmmsg,
    "splice": spliced,
    "sendfile": sendfile,
}


def discard(fd, length, how):
    if how == "trunc":
        on_socket(fd, lambda s: s.recv(length, socket.MSG_TRUNC | socket.MSG_WAITALL))
        return
    out, into = os.pipe()
    splice_all(fd, into, length)
    os.close(out)
    os.close(into)


def answer(method, path, body):
    path = path.split("?")[0]
    if path.startswith("/items/"):
        return 200 if int(path[7:]) < 1000 else 404
    if path == "/predict":
        try:
            float(json.loads(body)["x"]) if body is not None else None
            return 200
        except ValueError:
            return 422
    return 500 if path == "/fail" else 404


def chunks(held, more):
    """A chunked body, and what came behind it."""
    body = b""
    while True:
        while b"\r\n" not in held:
            held += more()
        line, held = held.split(b"\r\n", 1)
        size = int(line, 16)
        while len(held) < size + 2:
            held += more()
        body, held = body + held[:size], held[size + 2 :]
        if size == 0:
            return body, held


def serve(fd, options):
    read, write = READS[options.read], WRITES[options.write]
    held = b""
    while True:
        while b"\r\n\r\n" not in held:
            more = read(fd)
            if not more:
                os.close(fd)
                return
            held += more
        head, held = held.split(b"\r\n\r\n", 1)
        lines = head.decode().split("\r\n")
        method, path, _ = lines[0].split(" ")
        fields = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
        length = int(fields.get("content-length", 0))
        if "transfer-encoding" in fields:
            body, held = chunks(held, lambda: read(fd))
        elif options.read in ("splice", "trunc"):
            discard(fd, length, options.read)
            body = None
        else:
            while len(held) < length:
                held += read(fd)
            body, held = held[:length], held[length:]
        status = answer(method, path, body)
        text = b"ok " * 20
        closes = fields.get("connection") == "close"
        head = f"HTTP/1.1 {status} Said\r\nContent-Length: {len(text)}\r\n"
        head += "Connection: close\r\n\r\n" if closes else "\r\n"
        write(fd, [head.encode(), text])
        if closes:
            os.close(fd)
            return


def quietly(fd, options):
    try:
        serve(fd, options)
    except OSError:
        os.close(fd)


def in_thread(fd, options):
    threading.Thread(target=quietly, args=(fd, options), daemon=True).start()


def in_child(fd, options):
    if os.fork() == 0:
        quietly(fd, options)
        os._exit(0)
    os.close(fd)


def as_duplicate(fd, options):
    copy = os.dup(fd)
    os.close(fd)
    in_thread(copy, options)


def as_high_duplicate(fd, options):
    # Over a descriptor that is open already.
    target = os.open("/dev/null", os.O_RDONLY)
    os.dup2(fd, target)
    os.close(fd)
    in_thread(target, options)


def worker(channel, options):
    while True:
        _, fds, _, _ = socket.recv_fds(channel, 1, 1)
        for fd in fds:
            in_thread(fd, options)


def relay(client, path):
    """Carries bytes between a client and the server behind it."""
    server = socket.socket(socket.AF_UNIX)
    server.connect(path)
    pairs = {client: server, server: client}
    while True:
        for ready in select.select(list(pairs), [], [])[0]:
            data = ready.recv(65536)
            if not data:
                client.close()
                server.close()
                return
            pairs[ready].sendall(data)


def front(port, path):
    listener = socket.create_server(("0.0.0.0", port), backlog=128)
    while True:
        client, _ = listener.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=relay, args=(client, path), daemon=True).start()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--read", choices=READS, default="read")
    parser.add_argument("--write", choices=WRITES, default="write")
    parser.add_argument(
        "--owner", default="thread", choices=["same", "thread", "fork", "dup", "dup2", "pass"]
    )
    parser.add_argument("--behind", metavar="PATH", help="serve there, behind a relay at the port")
    options = parser.parse_args()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    owners = {
        "same": quietly,
        "thread": in_thread,
        "fork": in_child,
        "dup": as_duplicate,
        "dup2": as_high_duplicate,
    }
    if options.owner == "pass":
        ours, theirs = socket.socketpair()
        if os.fork() == 0:
            worker(theirs, options)

        def hand_over(fd, _options):
            socket.send_fds(ours, [b"x"], [fd])
            os.close(fd)

        owners["pass"] = hand_over
    if options.behind:
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(options.behind)
        listener.listen(128)
        if os.fork() == 0:
            front(options.port, options.behind)
    else:
        listener = socket.create_server(("0.0.0.0", options.port), backlog=128)
    while True:
        connection, _ = listener.accept()
        if not options.behind:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        owners[options.owner](connection.detach(), options)


main()
