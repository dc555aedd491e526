package probe

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"

	"muster/shardmap/registry"
)

// mysqlPacketMax bounds a packet of a server before TLS, in bytes: the driver reserves what
// its head claims, up to 16 MiB, before the bytes are there.
const mysqlPacketMax = 64 << 10

// checkMySQL logs in, pings, and says goodbye. No server is sent the password in clear (the driver's
// AllowCleartextPasswords is off), and none may ask for a file.
func checkMySQL(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	conf := mysql.NewConfig()
	conf.Net, conf.Addr = "tcp", target(spec)
	conf.User, conf.Passwd, conf.DBName = spec.User, spec.Pass, spec.Database
	conf.Logger = &mysql.NopLogger{} // what it would log is in the error, or does not matter
	conf.CheckConnLiveness = false
	if spec.TLS {
		conf.TLS = tlsOf(spec, spec.Host)
	}
	conf.DialFunc = func(ctx context.Context, _, addr string) (net.Conn, error) {
		x, err := c.dial(ctx, addr, polite)
		if err != nil {
			return nil, err
		}
		return &mysqlConn{conn: x, onlyFirst: spec.TLS}, nil
	}
	connector, err := mysql.NewConnector(conf)
	if err != nil {
		return "", err
	}
	server, err := connector.Connect(ctx)
	if err != nil {
		return "", err
	}
	err = server.(driver.Pinger).Ping(ctx)
	if bye := server.Close(); err == nil && bye != nil {
		err = bye
	}
	if err != nil {
		return "", err
	}
	return "logged in", nil
}

// mysqlConn looks at the heads of the packets that a server sends, before the driver does:
//
//	[length u24 little-endian, number u8] length bytes
type mysqlConn struct {
	*conn
	onlyFirst bool    // what follows the first packet is TLS
	head      [4]byte // of the packet that comes
	have      int     // bytes of head
	skip      int     // bytes of the packet that are still to come
	first     bool    // the first packet's head was seen
}

func (x *mysqlConn) Read(b []byte) (int, error) {
	n, err := x.conn.Read(b)
	for rest := b[:n]; len(rest) > 0 && !(x.onlyFirst && x.first); {
		if x.skip > 0 {
			step := min(x.skip, len(rest))
			x.skip, rest = x.skip-step, rest[step:]
			continue
		}
		step := copy(x.head[x.have:], rest)
		x.have, rest = x.have+step, rest[step:]
		if x.have < len(x.head) {
			continue
		}
		x.have, x.first = 0, true
		x.skip = int(x.head[0]) | int(x.head[1])<<8 | int(x.head[2])<<16
		if x.skip > mysqlPacketMax {
			err := fmt.Errorf("not MySQL: a packet of %d bytes", x.skip)
			x.of.refuse(err)
			return 0, err
		}
	}
	return n, err
}
