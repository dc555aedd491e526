package node

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"syscall"
	"testing"

	"muster/repl/client"
	"muster/repl/wire"
)

// cpuUsed is the time that this process has used of processors.
func cpuUsed(b *testing.B) float64 {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return float64(u.Utime.Sec+u.Stime.Sec)*1e6 + float64(u.Utime.Usec+u.Stime.Usec)
}

// BenchmarkHTTPGet tells what a GET of a key over HTTP costs, beside a handler of net/http that answers the same bytes, and
// beside a get of our own protocol: all of one connection, one after the other, with the little that asks counted in.
func BenchmarkHTTPGet(b *testing.B) {
	c := testConfig(b)
	c.API = someAPI
	r := start(b, c, defaultLimits())
	r.serves()
	if _, err := r.library().Set(b.Context(), []byte("k"), []byte("value"), client.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	bare := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "\"value\"\n") })}
	go func() { _ = bare.Serve(listener) }() // until it is closed
	b.Cleanup(func() { bare.Close() })
	get := func(b *testing.B, addr string) {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		request := []byte(fmt.Sprintf("GET /api/v1/kv/get?key=k HTTP/1.1\r\nHost: %s\r\n\r\n", addr))
		in := bufio.NewReader(conn)
		before := cpuUsed(b)
		for b.Loop() {
			if _, err := conn.Write(request); err != nil {
				b.Fatal(err)
			}
			a, err := http.ReadResponse(in, nil)
			if err != nil || a.StatusCode != http.StatusOK {
				b.Fatal(a, err)
			}
			if _, err := io.Copy(io.Discard, a.Body); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((cpuUsed(b)-before)/float64(b.N), "cpu-µs/op")
	}
	b.Run("bare", func(b *testing.B) { get(b, listener.Addr().String()) })
	b.Run("own", func(b *testing.B) {
		s := r.client()
		defer s.Close()
		body := getBody(wire.ReadLinearizable, "k")
		before := cpuUsed(b)
		for b.Loop() {
			if _, _, err := s.ask(wire.TypeGet, 0, body); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((cpuUsed(b)-before)/float64(b.N), "cpu-µs/op")
	})
	b.Run("HTTP", func(b *testing.B) { get(b, r.addr) })
}
