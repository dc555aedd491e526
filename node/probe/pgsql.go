package probe

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"muster/shardmap/registry"
)

// pgsqlMessageMax bounds a message of a server, in bytes.
const pgsqlMessageMax = 64 << 10

// pgsqlRoundsMax bounds how often a server may have a password hashed. PostgreSQL's own number is 4,096. The
// driver takes ten million, which is 4 s of a core that no deadline cuts short; this is a twentieth of them.
const pgsqlRoundsMax = 500_000

// pgsqlConfig returns what the driver makes of a connection string that says everything. The driver
// takes only configurations that it has made from a string, together with the environment and the
// files of whoever runs the node; a check sets everything that it uses of it.
var pgsqlConfig = sync.OnceValues(func() (*pgconn.Config, error) {
	return pgconn.ParseConfig("host=127.0.0.1 port=5432 user=u password=p dbname=d sslmode=disable passfile=/dev/null target_session_attrs=any")
})

// checkPgSQL logs in, runs an empty statement, and says goodbye.
func checkPgSQL(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	made, err := pgsqlConfig()
	if err != nil { // of PGSERVICE, say
		return "", &notMadeError{"the environment of this node: " + err.Error()}
	}
	conf := made.Copy()
	conf.Host, conf.Port = spec.Host, spec.Port
	conf.User, conf.Password, conf.Database = spec.User, spec.Pass, spec.Database
	conf.TLSConfig = nil
	if spec.TLS {
		conf.TLSConfig = tlsOf(spec, spec.Host)
	}
	conf.ConnectTimeout = 0 // ctx has the time
	conf.Fallbacks, conf.ValidateConnect, conf.AfterConnect, conf.OAuthTokenProvider = nil, nil, nil, nil
	conf.KerberosSrvName, conf.KerberosSpn, conf.RequireAuth = "", "", ""
	conf.SSLNegotiation, conf.SSLCertMode, conf.ChannelBinding = "", "", "prefer"
	conf.RuntimeParams = map[string]string{"application_name": "muster-check"}
	conf.MaxProtocolMessageBodyLen = pgsqlMessageMax
	// The name stays a name until it is dialled: there the address is compared with the ranges.
	conf.LookupFunc = func(_ context.Context, host string) ([]string, error) { return []string{host}, nil }
	conf.DialFunc = func(ctx context.Context, _, addr string) (net.Conn, error) { return c.dial(ctx, addr, polite) }
	conf.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		return pgproto3.NewFrontend(&pgsqlReader{of: c, r: r}, w)
	}
	server, err := pgconn.ConnectConfig(ctx, conf)
	if err != nil {
		return "", pgsqlError(err)
	}
	if err := server.Ping(ctx); err != nil {
		return "", pgsqlError(err)
	}
	if err := server.Close(ctx); err != nil && !errors.Is(err, net.ErrClosed) {
		return "", pgsqlError(err)
	}
	return "logged in", nil
}

// pgsqlError words an error of the driver. What the server itself says stays as it is.
func pgsqlError(err error) error {
	var said *pgconn.PgError
	if errors.As(err, &said) {
		return said
	}
	if strings.HasSuffix(err.Error(), "server refused TLS connection") {
		return errors.New(noTLS)
	}
	return otherwise(err, "not PostgreSQL: an answer that can't be read")
}

// pgsqlReader hands the driver only whole messages of a server, and none that costs too much to answer. It
// reads what comes out of TLS:
//
//	[type u8, length u32 big-endian, which counts itself] length-4 bytes
type pgsqlReader struct {
	of    *conns
	r     io.Reader
	ready int    // bytes of held that the driver may have
	held  []byte // what was read and not handed over
}

const (
	pgsqlHead     = 5   // bytes before the body of a message
	pgsqlSize     = 4   // bytes of the length, which counts itself
	pgsqlLogin    = 'R' // a message about the login
	pgsqlContinue = 11  // the step of SCRAM that says how often to hash
)

// Read implements [io.Reader].
func (x *pgsqlReader) Read(b []byte) (int, error) {
	for x.ready == 0 {
		if err := x.message(); err != nil {
			return 0, err
		}
	}
	n := copy(b, x.held[:x.ready])
	x.held, x.ready = x.held[n:], x.ready-n
	return n, nil
}

// message reads until held begins with a whole message, and looks at it. After an error, which may be that of
// a deadline, it goes on where it was.
func (x *pgsqlReader) message() error {
	want := pgsqlHead
	for {
		if len(x.held) >= pgsqlHead {
			size := binary.BigEndian.Uint32(x.held[1:])
			if size < pgsqlSize || size > pgsqlSize+pgsqlMessageMax {
				x.ready = len(x.held) // the driver refuses it by its head
				return nil
			}
			want = pgsqlHead - pgsqlSize + int(size)
			if len(x.held) >= want {
				break
			}
		}
		block := make([]byte, 4<<10)
		n, err := x.r.Read(block)
		x.held = append(x.held, block[:n]...)
		if err != nil && len(x.held) < want {
			return err
		}
	}
	if x.held[0] == pgsqlLogin {
		if rounds := pgsqlRounds(x.held[pgsqlHead:want]); rounds > pgsqlRoundsMax {
			err := fmt.Errorf("the server wants the password hashed %d times, the limit is %d", rounds, pgsqlRoundsMax)
			x.of.refuse(err)
			return err
		}
	}
	x.ready = want
	return nil
}

// pgsqlRounds returns how often the body of a message about the login wants a password hashed; 0: it does not,
// or has no form that the driver takes:
//
//	[11 u32, "r=" nonce ",s=" salt ",i=" rounds]
func pgsqlRounds(body []byte) int {
	const step = 4
	if len(body) < step || binary.BigEndian.Uint32(body) != pgsqlContinue {
		return 0
	}
	// Neither a nonce nor a salt has a comma in it.
	parts := bytes.SplitN(body[step:], []byte(","), 3)
	digits, ok := bytes.CutPrefix(parts[len(parts)-1], []byte("i="))
	if !ok {
		return 0
	}
	n, err := strconv.Atoi(string(digits))
	if err != nil {
		return 0
	}
	return n
}
