package probe

import (
	"bytes"
	"context"
	"crypto/rsa"
	"crypto/x509"
	"database/sql/driver"
	"encoding/pem"
	"errors"
	"fmt"
	"net"

	"github.com/go-sql-driver/mysql"

	"muster/shardmap/registry"
)

// mysqlPacketMax bounds a packet of a server before TLS, in bytes: the driver reserves what
// its head claims, up to 16 MiB, before the bytes are there.
const mysqlPacketMax = 64 << 10

// mysqlKeyMax bounds the key of a server that a password is encrypted with, in bits. It is the bound that
// package tls has, and MySQL makes keys of 2,048. The time grows with the square: one that fills a packet
// takes 9 s of a core, which no deadline cuts short.
const mysqlKeyMax = 8192

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
		return "", mysqlWhy(err)
	}
	err = server.(driver.Pinger).Ping(ctx)
	if bye := server.Close(); err == nil && bye != nil {
		err = bye
	}
	if err != nil {
		return "", mysqlWhy(err)
	}
	return "logged in", nil
}

// mysqlWhy words an error of the driver. What the server itself says stays as it is.
func mysqlWhy(err error) error {
	var said *mysql.MySQLError
	if errors.As(err, &said) {
		return said
	}
	for _, way := range []error{mysql.ErrUnknownPlugin, mysql.ErrOldPassword, mysql.ErrCleartextPassword, mysql.ErrNativePassword} {
		if errors.Is(err, way) {
			return errors.New("the server wants the user to log in in a way that checks do not have")
		}
	}
	return otherwise(err, "not MySQL: an answer that can't be read")
}

// mysqlConn hands the driver only whole packets that it can read, as long as they are not in TLS:
//
//	[length u24 little-endian, number u8] length bytes
//
// The driver trusts the lengths within a packet, and would end this process at one that is cut short.
// In TLS it is on its own, see [Prober.guarded].
type mysqlConn struct {
	*conn
	onlyFirst bool   // what follows the first packet is TLS
	first     bool   // the first packet has come whole
	ready     int    // bytes of held that the driver may have
	held      []byte // what was read and not handed over
}

// Read implements [net.Conn].
func (x *mysqlConn) Read(b []byte) (int, error) {
	for x.ready == 0 {
		if x.onlyFirst && x.first {
			if len(x.held) == 0 {
				return x.conn.Read(b)
			}
			x.ready = len(x.held)
			break
		}
		if err := x.packet(); err != nil {
			return 0, err
		}
	}
	n := copy(b, x.held[:x.ready])
	x.held, x.ready = x.held[n:], x.ready-n
	return n, nil
}

// packet reads until held begins with a whole packet, and looks at it.
func (x *mysqlConn) packet() error {
	want := mysqlHead
	for {
		if len(x.held) >= mysqlHead {
			size := int(x.held[0]) | int(x.held[1])<<8 | int(x.held[2])<<16
			if size > mysqlPacketMax {
				return x.refused(fmt.Errorf("not MySQL: a packet of %d bytes", size))
			}
			want = mysqlHead + size
			if len(x.held) >= want {
				break
			}
		}
		block := make([]byte, 4<<10)
		n, err := x.conn.Read(block)
		x.held = append(x.held, block[:n]...)
		if err != nil && len(x.held) < want {
			return err
		}
	}
	looks := mysqlAnswer
	if !x.first {
		looks, x.first = mysqlGreeting, true
	}
	if !looks(x.held[mysqlHead:want]) {
		return x.refused(errors.New("not MySQL: a packet that can't be read"))
	}
	x.ready = want
	return nil
}

// refused keeps the error, which the driver hides, and returns it.
func (x *mysqlConn) refused(err error) error {
	x.of.refuse(err)
	return err
}

const (
	mysqlHead     = 4 // bytes before a packet
	mysqlOK       = 0x00
	mysqlMore     = 0x01 // of an authentication
	mysqlSwitch   = 0xfe // to another authentication
	mysqlError    = 0xff
	mysqlScramble = 20 // bytes of what a password is hashed with
	mysqlHashed   = "mysql_native_password"
)

// mysqlGreeting reports whether the first packet of a server, which is an error or begins with
//
//	[protocol u8, version NUL, thread u32, scramble 8 bytes, 0 u8, capabilities u16,
//	 charset u8, status u16, capabilities u16, length u8, 0 10 bytes, scramble 12 bytes, 0 u8, …]
//
// has all of these. Servers before 4.1 end at the first capabilities.
func mysqlGreeting(p []byte) bool {
	if len(p) > 0 && p[0] == mysqlError {
		return mysqlAnswer(p)
	}
	const after = 4 + 8 + 1 + 2 + 1 + 2 + 2 + 1 + 10 + (mysqlScramble - 8) + 1
	if len(p) == 0 {
		return false
	}
	end := bytes.IndexByte(p[1:], 0)
	return end >= 0 && len(p) >= 1+end+1+after
}

// mysqlAnswer reports whether another packet has the fields of its kind:
//
//	[0x00, rows int, id int, status u16, …]
//	[0x01, a public key, or nothing that has a form]
//	[0xfe], or [0xfe, name NUL, …], with a scramble of 20 bytes for the name mysqlHashed
//	[0xff, code u16, message], or [0xff, code u16, '#', state 5 bytes, message]
func mysqlAnswer(p []byte) bool {
	if len(p) == 0 {
		return false
	}
	rest := p[1:]
	switch p[0] {
	case mysqlOK:
		for range 2 {
			n := mysqlIntSize(rest)
			if len(rest) < n {
				return false
			}
			rest = rest[n:]
		}
		return len(rest) >= 2
	case mysqlMore:
		// The driver refuses what is no key at all, but uses one that is not RSA or is very large.
		block, _ := pem.Decode(rest)
		if block == nil {
			return true
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		public, ok := key.(*rsa.PublicKey)
		return err != nil || ok && public.N.BitLen() <= mysqlKeyMax
	case mysqlSwitch:
		end := bytes.IndexByte(rest, 0)
		return len(rest) == 0 || end >= 0 && (string(rest[:end]) != mysqlHashed || len(bytes.TrimSuffix(rest[end+1:], []byte{0})) >= mysqlScramble)
	case mysqlError:
		return len(rest) >= 3 && (rest[2] != '#' || len(rest) >= 8)
	}
	return true
}

// mysqlIntSize returns the bytes of the integer that p begins with.
func mysqlIntSize(p []byte) int {
	if len(p) > 0 {
		switch p[0] {
		case 0xfc:
			return 3
		case 0xfd:
			return 4
		case 0xfe:
			return 9
		}
	}
	return 1
}
