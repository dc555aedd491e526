"""A muster client from docs/protocol.md alone: client.py HOST:PORT set KEY VALUE | get KEY"""
import os, socket, struct, sys

TABLE = []
for n in range(256):  # CRC32C
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)

def crc32c(data):
    c = 0xFFFFFFFF
    for x in data:
        c = TABLE[(c ^ x) & 0xFF] ^ c >> 8
    return c ^ 0xFFFFFFFF

def pack(v):  # longer forms than needed are read as well
    if isinstance(v, list):
        return b"\xdc" + struct.pack(">H", len(v)) + b"".join(map(pack, v))
    if isinstance(v, int):
        return b"\xcf" + struct.pack(">Q", v)
    return (b"\xdb" if isinstance(v, str) else b"\xc6") + struct.pack(">I", len(v)) + (v.encode() if isinstance(v, str) else v)

def unpack(b, i=0):  # gives the value and where it ends; texts come as bytes
    c, i = b[i], i + 1
    if c < 0x80 or c in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}.get(c, c), i
    if 0x90 <= c < 0xC0:
        n = c & (0x0F if c < 0xA0 else 0x1F)
    else:  # a length, a count or a number in 1, 2, 4 or 8 bytes
        w = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD9: 1, 0xDA: 2, 0xDB: 4, 0xDC: 2, 0xDD: 4}[c]
        n, i = int.from_bytes(b[i:i + w], "big"), i + w
    if c < 0xA0 or c in (0xDC, 0xDD):
        items = []
        for _ in range(n):
            item, i = unpack(b, i)
            items.append(item)
        return items, i
    return (n, i) if 0xCC <= c <= 0xCF else (b[i:i + n], i + n)

class Refused(Exception): pass

def call(stream, kind, body, request=0):
    head = struct.pack("<I", len(body)), struct.pack("<HHIQ", kind, 0, 5000, request)
    stream.write(head[0] + struct.pack("<I", crc32c(head[0] + head[1] + body)) + head[1] + body)
    stream.flush()
    head = stream.read(24)
    body = stream.read(struct.unpack_from("<I", head)[0])
    if crc32c(head[:4] + head[8:] + body) != struct.unpack_from("<I", head, 4)[0]:
        raise OSError("bad frame")
    if struct.unpack_from("<H", head, 8)[0] == 5:
        raise Refused(*unpack(body)[0])
    return unpack(body)[0]

def ask(addr, kind, body):  # follows hints to the leader
    for _ in range(5):
        host, port = addr.rsplit(":", 1)
        with socket.create_connection((host.strip("[]"), int(port)), 5) as s, s.makefile("rwb") as stream:
            stream.write(b"\xedmus\x01\x01\x02\x00")
            if call(stream, 1, pack([1, 1, "", 0, 0, 0, 2, "", 1, os.urandom(32), 1]))[7]:
                raise Refused(10, b"this client knows no secret")
            call(stream, 3, pack([b""]))
            try:
                return call(stream, kind, body, 1)
            except Refused as e:
                if e.args[0] != 5 or not e.args[5]:
                    raise
                addr = e.args[5].decode()
    raise OSError("no leader found")

if __name__ == "__main__":
    addr, verb, key = sys.argv[1], sys.argv[2], os.fsencode(sys.argv[3])
    try:
        if verb == "set":
            command = pack([1, 0, 0, 0, 65535, 0, 0, [key, os.fsencode(sys.argv[4])]])
            print("version", ask(addr, 0x40, b"\x92\xce" + struct.pack(">I", crc32c(command)) + command)[3])
        else:
            row = ask(addr, 0x42, pack([0, 0, 0, 0, [key]]))[3][0]
            sys.exit("not found") if row is None else print(os.fsdecode(row[1]))
    except Refused as e:
        sys.exit("refused: " + b" ".join(x for x in e.args if isinstance(x, bytes)).decode())
