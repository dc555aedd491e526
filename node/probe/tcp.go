package probe

import (
	"context"
	"crypto/tls"
	"net"
	"strconv"

	"muster/shardmap/registry"
)

// target returns what is dialled for spec.
func target(spec *registry.Spec) string {
	return net.JoinHostPort(spec.Host, strconv.Itoa(int(spec.Port)))
}

// checkTCP connects, says nothing, and resets the connection.
func checkTCP(ctx context.Context, c *conns, spec *registry.Spec) (string, error) {
	if _, err := c.dial(ctx, target(spec), abrupt); err != nil {
		return "", err
	}
	return "takes connections", nil
}

// tlsOf returns how the server of spec must prove who it is; host is the name that is dialled.
func tlsOf(spec *registry.Spec, host string) *tls.Config {
	if spec.ServerName != "" {
		host = spec.ServerName
	}
	return &tls.Config{ServerName: host, InsecureSkipVerify: spec.SkipVerify}
}
