package probe

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
)

// Dial connects to an address, HOST:PORT.
type Dial func(ctx context.Context, network, addr string) (net.Conn, error)

// Transport returns a transport for HTTP/1.1 requests to servers that nobody trusts, each over a
// connection of its own that dial makes. The headers of an answer have at most headMax bytes. conf
// is for https; nil: the certificate must be that of the host that is dialled.
//
// A server may send its answer before the request has arrived, as one does that says the same to
// everybody. That answer counts: this side can't see which of the two came first. But
// net/http takes what arrives while nothing was asked for a fault of the connection, or not, as
// the two goroutines happen to run, and writes it to the log of the process. So nothing is
// read of a connection before the request is written.
func Transport(dial Dial, conf *tls.Config, headMax int64) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err // not a connection that is none
			}
			return newAsker(c), nil
		},
		DialTLSContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			c, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			server := tls.Client(c, tlsFor(conf, addr))
			if err := server.HandshakeContext(ctx); err != nil {
				c.Close()
				return nil, err
			}
			return newAsker(server), nil // not below: a handshake writes too
		},
		Proxy:                  nil, // a proxy would dial what this node must not
		DisableKeepAlives:      true,
		DisableCompression:     true, // what is read is what was sent
		MaxResponseHeaderBytes: headMax,
	}
}

// tlsFor returns conf, or what is usual for a server at addr.
func tlsFor(conf *tls.Config, addr string) *tls.Config {
	if conf != nil {
		return conf
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	return &tls.Config{ServerName: host}
}

// asker is a connection that reads nothing before something was written to it.
type asker struct {
	net.Conn
	once  sync.Once
	asked chan struct{} // closed by the first write, or when the connection is closed
}

func newAsker(c net.Conn) *asker { return &asker{Conn: c, asked: make(chan struct{})} }

func (x *asker) Read(b []byte) (int, error) {
	<-x.asked
	return x.Conn.Read(b)
}

func (x *asker) Write(b []byte) (int, error) {
	x.open()
	return x.Conn.Write(b)
}

// Close ends a read that waits.
func (x *asker) Close() error {
	x.open()
	return x.Conn.Close()
}

func (x *asker) open() { x.once.Do(func() { close(x.asked) }) }
