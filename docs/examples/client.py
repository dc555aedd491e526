"""A muster client, from docs/protocol.md alone: client.py HOST:PORT set KEY VALUE | get KEY"""
import glob, os, socket, ssl, struct, sys

def crc32c(data):
    c = 0xFFFFFFFF
    for byte in data:
        c ^= byte
        for _ in range(8):
            c = c >> 1 ^ (0x82F63B78 if c & 1 else 0)
    return c ^ 0xFFFFFFFF

def pack(v):  # not always the shortest form, which need not be
    if isinstance(v, list):
        return struct.pack(">BH", 0xDC, len(v)) + b"".join(map(pack, v))
    if isinstance(v, bytes):
        return struct.pack(">BI", 0xC6, len(v)) + v
    return struct.pack(">BQ", 0xCF, v) if isinstance(v, int) else struct.pack(">BI", 0xDB, len(v)) + v.encode()

def unpack(b, i=0):  # the value at b[i], with where it ends; texts come as bytes
    c, i = b[i], i + 1
    if c < 0x80 or c in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}.get(c, c), i
    n = c & (0x0F if c < 0xA0 else 0x1F)
    if c >= 0xC0:  # a number, length or count of 1, 2, 4 or 8 bytes follows
        w = dict(zip(b"\xc4\xc5\xc6\xcc\xcd\xce\xcf\xd9\xda\xdb\xdc\xdd", (1, 2, 4, 1, 2, 4, 8, 1, 2, 4, 2, 4)))[c]
        n, i = int.from_bytes(b[i:i + w], "big"), i + w
    if 0xCC <= c <= 0xCF:
        return n, i
    if 0xA0 <= c < 0xDC:
        return b[i:i + n], i + n
    items = []
    for _ in range(n):
        item, i = unpack(b, i)
        items.append(item)
    return items, i

def call(stream, kind, body, request=0):
    size, rest = struct.pack("<I", len(body)), struct.pack("<HHIQ", kind, 0, request and 5000, request)
    stream.write(size + struct.pack("<I", crc32c(size + rest + body)) + rest + body)
    stream.flush()
    size, crc, kind = struct.unpack("<IIH14x", head := stream.read(24))
    if crc32c(head[:4] + head[8:] + (body := stream.read(size))) != crc:
        raise OSError("bad frame")
    return kind, unpack(body)[0]

def connect(addr):  # over TLS, with what the user has for the root that signed the node's certificate
    host, port = addr.rsplit(":", 1)
    to = (host.strip("[]"), int(port))
    if os.environ.get("MUSTER_INSECURE"):
        return socket.create_connection(to, 5)
    home = os.environ.get("MUSTER_HOME") or os.path.expanduser("~/.config/muster")
    for root in glob.glob(os.path.join(home, "*", "root.pem")):
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.minimum_version, tls.check_hostname = ssl.TLSVersion.TLSv1_3, False  # names of hosts mean nothing here
        tls.set_alpn_protocols(["muster"])
        tls.load_verify_locations(root)
        tls.load_cert_chain(root.replace("root.pem", "user.pem"), root.replace("root.pem", "user.key"))
        try:
            s = tls.wrap_socket(socket.create_connection(to, 5))
        except ssl.SSLCertVerificationError:
            continue  # the node is of another cluster
        if any(k == "URI" and "/node/" in v for k, v in s.getpeercert()["subjectAltName"]):
            return s
        s.close()  # what answers is no node
    sys.exit("no certificate in " + home + " is of the cluster of " + addr)

def ask(addr, kind, body):
    for _ in range(5):
        with connect(addr) as s, s.makefile("rwb") as stream:
            stream.write(b"\xedmus\x03\x03\x02\x00")
            hello = pack([3, 3, "", 0, 0, 0, 2, "", 1, os.urandom(32), 1])
            for frame in (1, hello), (3, pack([b""])), (kind, body, 1):
                got, answer = call(stream, *frame)
                if got == 2 and answer[7]:
                    sys.exit("this client knows no secret")
                if got == 5:
                    break
        if got != 5:
            return answer
        addr = answer[5].decode()
        if answer[0] != 5 or not addr:  # else it is not-leader, with a hint
            break
    sys.exit("refused: " + b"; ".join(answer[1:5]).decode())

addr, verb, key = sys.argv[1], sys.argv[2], os.fsencode(sys.argv[3])
if verb == "set":
    command = pack([1, 0, 0, 0, 65535, 0, 0, [key, os.fsencode(sys.argv[4])]])
    print("version", ask(addr, 0x40, b"\x92\xce" + struct.pack(">I", crc32c(command)) + command)[3])
else:
    row = ask(addr, 0x42, pack([0, 0, 0, 0, [key]]))[3][0]
    print(os.fsdecode(row[1])) if row else sys.exit("not found")
