//go:build !linux || race

package node

import "net"

// quick returns conn: only on Linux is there a quicker way. The race detector takes what
// passes through the net package's connections as an order between goroutines.
func quick(conn net.Conn) net.Conn { return conn }
