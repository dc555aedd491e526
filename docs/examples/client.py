"""A muster client, from docs/protocol.md and docs/clients.md alone.

client.py HOST:PORT,… set KEY VALUE | get KEY | incr KEY [TIMES|-] | watch KEY [EVENTS]
client.py vectors FILE

"incr KEY -" counts until standard input ends. This client keeps the rules for every client: a write has a session, so it takes effect once, however often it is sent; an answer
that another node would give better is looked for there; a watch goes on where it was, over lost connections, new leaders
and slots that move. It knows no secret: the cluster has TLS, or none (MUSTER_INSECURE).
"""
import contextlib, glob, hmac, json, os, select, socket, ssl, struct, sys, time

# Frames and bodies.

def shifted(c):
    for _ in range(8):
        c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c

TABLE = [shifted(byte) for byte in range(256)]

def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c = c >> 8 ^ TABLE[(c ^ byte) & 0xFF]
    return c ^ 0xFFFFFFFF

def pack(v):  # the shortest form of a value; bytes are bin, texts are str
    if v is None or isinstance(v, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[v]
    if isinstance(v, int):
        if -32 <= v < 128:
            return struct.pack(">b", v)
        for code, form in zip(b"\xcc\xcd\xce\xcf" if v >= 0 else b"\xd0\xd1\xd2\xd3", "BHIQ" if v >= 0 else "bhiq"):
            try:
                return struct.pack(">B" + form, code, v)
            except struct.error:
                pass
        raise ValueError("a number of more than 64 bits")
    if isinstance(v, list):
        return sized(len(v), 0x90, 16, {16: 0xDC, 32: 0xDD}) + b"".join(map(pack, v))
    if isinstance(v, str):
        return sized(len(v.encode()), 0xA0, 32, {8: 0xD9, 16: 0xDA, 32: 0xDB}) + v.encode()
    return sized(len(v), None, 0, {8: 0xC4, 16: 0xC5, 32: 0xC6}) + v

def sized(n, short, below, codes):
    if n < below:
        return bytes([short + n])
    bits = min(b for b in codes if n < 1 << b)
    return bytes([codes[bits]]) + n.to_bytes(bits // 8, "big")

WIDTHS = dict(zip(b"\xc4\xc5\xc6\xcc\xcd\xce\xcf\xd0\xd1\xd2\xd3\xd9\xda\xdb\xdc\xdd", (1, 2, 4, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 2, 4)))

def unpack(b, i=0, depth=0):  # the value at b[i], and where it ends; ValueError for what is none
    if i >= len(b):
        raise ValueError("the bytes end inside a value")
    c, i = b[i], i + 1
    if c in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[c], i
    if c < 0x80 or c >= 0xE0:
        return c - (256 if c >= 0xE0 else 0), i
    n = c & (0x0F if c < 0xA0 else 0x1F)
    if c >= 0xC0:  # a number, length or count of 1, 2, 4 or 8 bytes follows
        if c not in WIDTHS or i + WIDTHS[c] > len(b):
            raise ValueError("no value begins with 0x%02x, or it is cut off" % c)
        n, i = int.from_bytes(b[i:i + WIDTHS[c]], "big", signed=0xD0 <= c <= 0xD3), i + WIDTHS[c]
    elif c < 0x90:
        raise ValueError("a map")
    if 0xCC <= c <= 0xD3:
        return n, i
    if n > len(b) - i:  # before anything is made of it; an element has a byte at least
        raise ValueError("longer than what is left")
    if not 0x90 <= c < 0xA0 and c < 0xDC:
        return (bytes(b[i:i + n]) if c < 0xA0 or 0xC4 <= c <= 0xC6 else b[i:i + n].decode()), i + n
    items = []
    if depth == 32:
        raise ValueError("too deep")
    for _ in range(n):
        item, i = unpack(b, i, depth + 1)
        items.append(item)
    return items, i

def frame(kind, body, request=0, deadline=0, flags=0):
    size, rest = struct.pack("<I", len(body)), struct.pack("<HHIQ", kind, flags, deadline, request)
    return size + struct.pack("<I", crc32c(size + rest + body)) + rest + body

def parse(head, body):  # kind, flags, deadline, request, body
    size, crc, kind, flags, deadline, request = struct.unpack("<IIHHIQ", head)
    if size != len(body) or crc32c(head[:4] + head[8:] + body) != crc:
        raise ValueError("bad frame")
    value, end = unpack(body)
    if end != len(body):
        raise ValueError("bytes behind the body")
    return kind, flags, deadline, request, value

# Slots.

MASK = (1 << 64) - 1
PRIMES = 11400714785074694791, 14029467366897019727, 1609587929392839161, 9650029242287828579, 2870177450012600261

def rotated(x, n):
    return (x << n | x >> 64 - n) & MASK

def xxhash64(data):
    p1, p2, p3, p4, p5 = PRIMES
    mix = lambda acc, lane: rotated(acc + lane * p2 & MASK, 31) * p1 & MASK
    i, n = 0, len(data)
    if n < 32:
        h = p5
    else:
        accs = [p1 + p2 & MASK, p2, 0, -p1 & MASK]
        while i + 32 <= n:
            accs = [mix(a, lane) for a, lane in zip(accs, struct.unpack_from("<4Q", data, i))]
            i += 32
        h = sum(rotated(a, r) for a, r in zip(accs, (1, 7, 12, 18))) & MASK
        for a in accs:
            h = (h ^ mix(0, a)) * p1 + p4 & MASK
    h = h + n & MASK
    while i + 8 <= n:
        h = rotated(h ^ mix(0, struct.unpack_from("<Q", data, i)[0]), 27) * p1 + p4 & MASK
        i += 8
    if i + 4 <= n:
        h = rotated(h ^ struct.unpack_from("<I", data, i)[0] * p1 & MASK, 23) * p2 + p3 & MASK
        i += 4
    for byte in data[i:]:
        h = rotated(h ^ byte * p5 & MASK, 11) * p1 & MASK
    h = (h ^ h >> 33) * p2 & MASK
    h = (h ^ h >> 29) * p3 & MASK
    return h ^ h >> 32

def slot_of(key):
    tag = key[key.find(b"{") + 1:].split(b"}", 1) if b"{" in key else [b""]
    return xxhash64(tag[0] if len(tag) == 2 and tag[0] else key) % 4096

# Connections.

class Refused(Exception):
    def __init__(self, error):
        super().__init__("refused: " + "; ".join(filter(None, error[1:5])))
        self.code, self.hint, self.after = error[0], error[5], error[8]

class Connection:
    def __init__(self, addr):
        self.socket = dial(addr)
        self.stream, self.request, self.sent = self.socket.makefile("rwb"), 0, now()
        try:
            self.stream.write(b"\xedmus\x03\x03\x02\x00")
            self.send(1, [3, 3, "", 0, 0, 0, 2, "", 1, os.urandom(32), 1])
            if self.receive()[4][7]:
                sys.exit("this client knows no secret")
            self.send(3, [b""])
            self.level = self.receive()[4][4]
        except BaseException:
            self.close()
            raise

    def send(self, kind, body, request=0, wait=0):
        self.stream.write(frame(kind, pack(body) if isinstance(body, list) else body, request, int(wait * 1000)))
        self.stream.flush()
        self.sent = now()

    def receive(self):  # a frame as parse has it, and how long its body is
        head = self.stream.read(24)
        if len(head) < 24:
            raise OSError("the node has hung up")
        size = struct.unpack_from("<I", head)[0]
        if size > 17891328:
            raise OSError("bad frame")
        try:
            got = parse(head, self.stream.read(size))
        except ValueError as e:
            raise OSError(str(e))
        if got[0] == 5 and got[3] == 0:
            raise Refused(got[4])  # about the connection: the node closes it
        return *got, size

    def call(self, kind, body, wait):
        self.request += 1
        self.socket.settimeout(wait)
        self.send(kind, body, self.request, wait)
        while True:
            got = self.receive()
            if got[0] == 6:
                self.send(7, [], got[3])  # a Ping; all other answers are to this request
            elif got[3] == self.request:
                if got[0] == 5:
                    raise Refused(got[4])
                return got[4]

    def close(self):
        try:
            self.stream.close()
        except OSError:
            pass  # what could not be sent is lost with the connection
        self.socket.close()

def dial(addr):  # over TLS, with what the user has for the root that signed the node's certificate
    host, port = addr.rsplit(":", 1)
    to = (host.strip("[]"), int(port))
    if os.environ.get("MUSTER_INSECURE"):
        return socket.create_connection(to, 2)
    home = os.environ.get("MUSTER_HOME") or os.path.expanduser("~/.config/muster")
    for root in glob.glob(os.path.join(home, "*", "root.pem")):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.minimum_version, tls.check_hostname = ssl.TLSVersion.TLSv1_3, False  # names of hosts mean nothing here
        tls.set_alpn_protocols(["muster"])
        tls.load_verify_locations(root)
        tls.load_cert_chain(root.replace("root.pem", "user.pem"), root.replace("root.pem", "user.key"))
        try:
            s = tls.wrap_socket(socket.create_connection(to, 2))
        except ssl.SSLCertVerificationError:
            continue  # the node is of another cluster
        if any(k == "URI" and "/node/" in v for k, v in s.getpeercert()["subjectAltName"]):
            return s
        s.close()  # what answers is no node
    sys.exit("no certificate in " + home + " is of the cluster of " + addr)

# The cluster.

NOT_LEADER, MOVED, MAYBE_APPLIED = 5, 6, 9
AGAIN = {NOT_LEADER, MOVED, 7, 8, 13, 17, 18}  # a retry can help, there or elsewhere
GIVE_UP = 60  # seconds; at most 300, for outcomes are remembered for 600
PAUSE = 0.05

def now():  # a clock that keeps running while the host is suspended
    return time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC))

class Cluster:
    def __init__(self, seeds):
        self.seeds, self.connections = seeds, {}
        self.nodes, self.leaders, self.slots = [], {}, []  # by the topology, once it is known
        self.session, self.sequence = int.from_bytes(os.urandom(8), "big") | 1, 0

    def connection(self, addr):
        if addr not in self.connections:
            self.connections[addr] = Connection(addr)
        return self.connections[addr]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for addr in list(self.connections):
            self.forget(addr)

    def forget(self, addr):
        if addr in self.connections:
            self.connections.pop(addr).close()

    def once(self, addr, kind, body, wait):
        try:
            return self.connection(addr).call(kind, body, wait)
        except Refused as e:
            if e.code in (7, 17):
                self.forget(addr)  # it may be about the connection
            raise
        except (OSError, EOFError):
            self.forget(addr)
            raise

    def learn(self):  # the topology, from whichever node answers
        for addr in self.nodes + self.seeds:
            try:
                t = self.once(addr, 0x46, [], 2)
            except (OSError, Refused):
                continue
            addrs = {n[0]: n[2] for n in t[2]}
            self.nodes = [a for a in addrs.values() if a]
            self.leaders = {g[0]: addrs.get(g[1], "") for g in t[3]}
            self.slots = t[4]
            return

    def group_of(self, slot):
        return next((g for first, last, g in self.slots if first <= slot <= last), None)

    def ask(self, kind, body, slot):
        """The same bytes again and again, until there is an answer: at the leader, where a hint says, or at any node."""
        until, others, hint, cause, doubt = now() + GIVE_UP, 0, "", None, False
        while now() < until:
            everyone = self.nodes or self.seeds
            addr = hint or self.leaders.get(self.group_of(slot)) or everyone[others % len(everyone)]
            hint, connected = "", False
            try:
                self.connection(addr)
                connected = True
                return self.once(addr, kind, body, min(5, max(until - now(), 0.001)))
            except Refused as e:
                doubt = doubt or e.code == MAYBE_APPLIED
                if e.code == NOT_LEADER and e.hint and e.hint != addr:
                    hint, cause = e.hint, e
                    others += 1
                    if others % 8:  # hints that go round in a circle are no hurry
                        continue
                elif e.code not in AGAIN and not (e.code == MAYBE_APPLIED and kind == 0x40):
                    raise
                cause, pause = e, max(PAUSE, e.after / 1000)
            except OSError as e:
                doubt = doubt or connected  # it may have arrived
                cause, pause = e, PAUSE
            # The node is gone, or does not lead, or the slot is elsewhere: what is known of the cluster is old.
            others += 1
            time.sleep(pause)
            self.leaders, self.slots = {}, []
            self.learn()
            if others % 2:
                self.leaders = {}  # the table may be as old: try the others, too
        if doubt and kind == 0x40:
            raise OSError("maybe-applied: nobody knows whether it was carried out (%s)" % cause)
        raise cause

    def write(self, kind, slot, items):
        """A command with a session and a number of its own, so that it takes effect once."""
        self.sequence += 1
        command = pack([kind, self.session, self.sequence, self.sequence, slot, 0, 0, items])
        return self.ask(0x40, b"\x92\xce" + struct.pack(">I", crc32c(command)) + command, slot)

    def set(self, key, value):
        return self.write(1, slot_of(key), [key, value])[3]

    def incr(self, key, by=1):
        return self.write(13, slot_of(key), [pack([[], [[4, key, by]], []])])[5][0]

    def get(self, key):
        row = self.ask(0x42, [0, 0, 0, 0, [key]], slot_of(key))[3][0]
        return row and row[1]

# Watches.

WINDOW = 262144  # bytes that a stream may be ahead of its reader

class Lost(Exception):
    """What comes next is no longer kept: get the key, then watch it from now."""

def watch(cluster, key):
    """Yields (what, value, version) for each change of a key, in order, each once: first ("open", None, None)."""
    slot, group, positions, opened, tries = slot_of(key), None, {}, False, 0
    while True:
        if group is None or tries % 2:
            cluster.learn()
            group = cluster.group_of(slot) if group is None else group
        everyone = cluster.nodes or cluster.seeds
        addr = not tries and cluster.leaders.get(group) or everyone[tries % len(everyone)]
        tries += 1
        goes_to, connection = None, None
        try:
            connection = Connection(addr)
            connection.socket.settimeout(15)  # a piece comes each 5 seconds, also if nothing has happened
            granted, received = WINDOW, 0
            connection.send(0x4D, [WINDOW, 65536, group, [[slot, slot]], key, None, True, False, not positions,
                                   [positions[g] for g in sorted(positions)]], 1, 5)
            while True:
                kind, _, _, number, body, size = connection.receive()
                if kind == 6:
                    connection.send(7, [], number)
                if kind == 5:
                    raise Refused(body)
                if kind == 0x4C:
                    break
                if kind != 0x4E:
                    continue
                tries, received = 0, received + size
                if received > granted - WINDOW // 2:
                    granted = received + WINDOW
                    connection.send(0x4A, [granted], 1)
                elif now() - connection.sent > 20:
                    connection.send(6, [], 2)  # a node closes a connection of which it hears nothing for a minute
                if not opened:
                    opened = True
                    yield "open", None, None
                for row in body[4]:
                    if row[0] <= 3:
                        yield (None, "set", "del", "expired")[row[0]], row[6], row[7]
                    else:
                        goes_to = row[5] if row[0] == 4 else None  # the slot has left, or is here
                positions[body[0]] = body[:4]
                if goes_to:
                    break
            if goes_to:
                group = goes_to  # also if the move fails: then that group ends the watch, and the slot is where it was
                continue
            reason, resume, error = body
            if reason in (7, 8):
                raise Lost(error and error[3] or "")
            if resume:
                positions.update((p[0], p) for p in unpack(resume)[0])
            if reason == 6:
                raise Refused(error)
            if reason in (3, 9):  # the slot is elsewhere: where the topology has it
                group, tries = None, 0
        except Refused as e:
            if e.code not in AGAIN:
                raise
            if e.code == MOVED:
                group = None
        except OSError:
            pass
        finally:
            if connection:
                connection.close()
        time.sleep(PAUSE)

# Test vectors.

def meant(v):  # a value as the file of vectors writes it
    if isinstance(v, list):
        return [meant(x) for x in v]
    if isinstance(v, dict):
        return int(v["int"]) if "int" in v else bytes.fromhex(v["bin"])
    return v

def refuses(f, *args):
    try:
        f(*args)
    except ValueError:
        return True

def decoded(b):
    value, end = unpack(b)
    if end != len(b):
        raise ValueError("bytes behind the value")
    return value

def wrong(section, v):
    """What this client gets wrong of a vector; None or False: nothing."""
    b = bytes.fromhex(v.get("bytes", ""))
    if section == "checksums":
        return crc32c(b) != v["crc32c"]
    if section == "slots":
        return slot_of(b) != v["slot"]
    if section in ("values", "longer_values"):
        return decoded(b) != meant(v["value"]) or section == "values" and pack(meant(v["value"])) != b
    if section == "no_values":
        return not refuses(decoded, b)
    if section == "frames":
        head = v["type"], v["flags"], v["deadline_ms"], v["request"]
        return parse(b[:24], b[24:]) != (*head, meant(v["body"])) or frame(v["type"], pack(meant(v["body"])), v["request"], v["deadline_ms"], v["flags"]) != b
    if section == "no_frames":
        return not refuses(parse, b[:24], b[24:])
    if section == "writes":
        command = pack(meant(v["command"]))
        return b != b"\x92\xce" + struct.pack(">I", crc32c(command)) + command or "item" in v and pack(meant(v["item"])) != meant(v["command"])[7][0]
    if section == "codes":
        return (v["retry"] != "never") != (v["code"] in AGAIN)
    if section == "proofs":
        parts = [bytes.fromhex(p) for p in v["parts"]]
        data = bytes([v["side"]]) + b"".join(struct.pack("<I", len(p)) + p for p in parts)
        return hmac.digest(v["secret"].encode(), data, "sha256").hex() != v["proof"]
    return "a section that this client does not know"

def vectors(path):
    count = 0
    with open(path) as f:
        for section, all in json.load(f).items():
            for v in all if section != "about" else []:
                count += 1
                if wrong(section, v):
                    sys.exit("%s: %s" % (section, json.dumps(v)[:300]))
    print(count, "vectors hold")

def main(args):
    if args[0] == "vectors":
        return vectors(args[1])
    with Cluster(args[0].split(",")) as cluster:
        run(cluster, args[1], os.fsencode(args[2]), args[3:])

def ended(file):
    return select.select([file], [], [], 0)[0] and not file.read(1)

def run(cluster, verb, key, args):
    if verb == "set":
        print("version", cluster.set(key, os.fsencode(args[0])))
    elif verb == "get":
        value = cluster.get(key)
        if value is None:
            sys.exit("not found")
        print(os.fsdecode(value))
    elif verb == "incr":
        done, n, times = 0, "nothing", args[0] if args else "1"
        while not ended(sys.stdin) if times == "-" else done < int(times):
            n, done = cluster.incr(key), done + 1
        print(done, "times, to", n)
    elif verb == "watch":
        left = int(args[0]) if args else -1
        with contextlib.closing(watch(cluster, key)) as events:
            for what, value, version in events:
                print(what, *([] if version is None else [version]), *([] if value is None else [os.fsdecode(value)]), flush=True)
                left -= what != "open"
                if left == 0:
                    return
    else:
        sys.exit(__doc__)

if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except (Refused, Lost, OSError) as e:
        sys.exit(" ".join(str(e).split()) or type(e).__name__)
    except (IndexError, KeyboardInterrupt):
        sys.exit(__doc__)
