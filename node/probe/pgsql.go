package probe

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5/pgconn"

	"muster/shardmap/registry"
)

// pgsqlMessageMax bounds a message of a server, in bytes.
const pgsqlMessageMax = 64 << 10

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
