"""Records what a stock client and a RocketMQ broker say to each other, frame by frame.

Listens where the client dials, passes every byte on unchanged, and runs the client program given
after `--`. When that ends, each exchange (request and answer) is written at most three times per
request code and response code, in the order it was seen, as `> HEX` (client to server) or `< HEX`
(server to client); a frame is written whole, length prefix included. Nothing is rewritten: the
broker must register an address that this proxy listens on (see README.md).
"""

import argparse
import json
import socket
import struct
import subprocess
import sys
import threading

KEEP = 3
ONE_WAY = 2
RESPONSE = 1
SENDS = (10, 310)


def header(frame):
    """(code, opaque, flag, special) of a frame, from either header encoding; special tells a
    batch and a compressed body from a plain one, so that neither is dropped as a repeat."""
    word = struct.unpack('>I', frame[4:8])[0]
    raw = frame[8:8 + (word & 0xffffff)]
    if word >> 24 == 0:
        parsed = json.loads(raw)
        special = ()
        if parsed['code'] in SENDS:
            fields = parsed.get('extFields') or {}
            special = str(fields.get('batch')), str(fields.get('sysFlag'))
        return parsed['code'], parsed['opaque'], parsed['flag'], special
    code, _, _, opaque, flag = struct.unpack('>hBhii', raw[:13])
    return code, opaque, flag, ()


class Tape:
    """All frames of all connections in the order they were seen."""

    def __init__(self):
        self.lock = threading.Lock()
        self.frames = []

    def add(self, connection, upward, frame):
        with self.lock:
            self.frames.append((connection, upward, bytes(frame)))

    def exchanges(self):
        """Lists of positions in `frames`: a request and its answer, or a one-way alone."""
        waiting, found = {}, []
        for place, (connection, upward, frame) in enumerate(self.frames):
            code, opaque, flag, special = header(frame)
            if flag & RESPONSE:
                # The answer to a request that travelled the other way on the same connection.
                open_one = waiting.pop((connection, not upward, opaque), None)
                if open_one is not None:
                    open_one['places'].append(place)
                    open_one['answer'] = code
            else:
                one = {'code': code, 'up': upward, 'flag': flag, 'answer': None,
                       'special': special, 'places': [place]}
                found.append(one)
                if not flag & ONE_WAY:
                    waiting[(connection, upward, opaque)] = one
        return found

    def kept(self):
        seen, places = {}, []
        for one in self.exchanges():
            kind = (one['code'], one['up'], one['flag'], one['special'], one['answer'])
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] <= KEEP:
                places.extend(one['places'])
        return [self.frames[place] for place in sorted(places)]


def pump(source, sink, tape, connection, upward):
    """Copies one direction and cuts it into frames."""
    pending = bytearray()
    while True:
        try:
            chunk = source.recv(65536)
        except OSError:
            chunk = b''
        if not chunk:
            break
        pending += chunk
        while len(pending) >= 4:
            size = 4 + struct.unpack('>I', pending[:4])[0]
            if len(pending) < size:
                break
            tape.add(connection, upward, pending[:size])
            del pending[:size]
        sink.sendall(chunk)
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(listen, target, tape):
    host, port = listen.rsplit(':', 1)
    listener = socket.create_server((host, int(port)))
    to_host, to_port = target.rsplit(':', 1)

    def accept():
        number = 0
        while True:
            client, _ = listener.accept()
            server = socket.create_connection((to_host, int(to_port)))
            number += 1
            name = (listen, number)
            for pair in ((client, server, tape, name, True), (server, client, tape, name, False)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--map', action='append', required=True, metavar='LISTEN=TARGET')
    parser.add_argument('--client', required=True)
    parser.add_argument('--version', required=True)
    parser.add_argument('--recorded', required=True, help='how, in one line')
    parser.add_argument('--out', required=True)
    parser.add_argument('command', nargs=argparse.REMAINDER)
    args = parser.parse_args()
    tape = Tape()
    for pair in args.map:
        serve(*pair.split('='), tape)
    command = args.command[1:] if args.command[:1] == ['--'] else args.command
    code = subprocess.run(command, timeout=120, check=False).returncode
    with open(args.out, 'w', encoding='utf-8') as out:
        out.write('# client: %s\n# version: %s\n# recorded: %s\n'
                  % (args.client, args.version, args.recorded))
        for _, upward, frame in tape.kept():
            out.write('%s %s\n' % ('>' if upward else '<', frame.hex()))
    sys.exit(code)


if __name__ == '__main__':
    main()
